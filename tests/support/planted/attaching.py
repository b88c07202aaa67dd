"""Faults of ``attach``, and of how servers are found."""

import threading
from dataclasses import replace

from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, DeviceInUse, ServerNotFound

from .reference import FIRST_VOLUME, SERVER, Reference, caught_by


@caught_by(
    "test_attach_returns_the_device_that_attached_reports",
    "test_attach_to_an_unknown_server_raises_server_not_found",
    "test_servers_have_separate_volumes",
)
class AttachesNothing(Reference):
    def attach(self, server, volume, device):
        return device or "/dev/vdb"


@caught_by("test_attach_returns_the_device_that_attached_reports")
class AttachesALittleLater(Reference):
    def attach(self, server, volume, device):
        chosen = self.choose({}, device)
        threading.Timer(0.3, lambda: self.add(self.directory(server), volume, chosen)).start()
        return chosen


@caught_by("test_attach_returns_the_device_that_attached_reports", "test_each_volume_has_its_own_device")
class ReturnsAnotherDevice(Reference):
    def attach(self, server, volume, device):
        super().attach(server, volume, device)
        return "/dev/vdz"


@caught_by("test_a_device_is_a_path_or_none_as_declared", "test_attached_maps_volume_ids_to_devices")
class ReportsNamesForDevices(Reference):
    def attach(self, server, volume, device):
        return super().attach(server, volume, device).removeprefix("/dev/")

    def attached(self, server):
        return {name: device.removeprefix("/dev/") for name, device in super().attached(server).items()}


@caught_by("test_a_device_is_a_path_or_none_as_declared", reports_devices=False)
class ReportsDevicesUndeclared(Reference):
    pass


@caught_by("test_each_volume_has_its_own_device")
class ReportsOneDeviceForAll(Reference):
    def attach(self, server, volume, device):
        super().attach(server, volume, device)
        return "/dev/vdb"

    def attached(self, server):
        return dict.fromkeys(super().attached(server), "/dev/vdb")


@caught_by("test_servers_have_separate_volumes", "test_detach_from_another_server_leaves_this_one")
class GivesAllServersTheSameDisks(Reference):
    def find(self, server):
        return super().find(server) and super().find(replace(server, id=SERVER))


@caught_by(
    "test_a_repeated_attach_returns_the_same_device",
    "test_a_repeated_attach_succeeds_on_a_full_server",
    "test_threads_that_attach_the_same_volume_make_one_disk",
)
class RefusesARepeatedAttach(Reference):
    def devices_of(self, directory, volume):
        return []

    def choose(self, disks, device):
        if FIRST_VOLUME in disks.values():
            raise DeviceInUse("it is attached already")
        return super().choose(disks, device)


@caught_by(
    "test_a_repeated_attach_adds_no_second_disk",
    "test_backend_objects_that_attach_the_same_volume_make_one_disk",
    "test_processes_that_attach_the_same_volume_make_one_disk",
)
class AddsASecondDisk(Reference):
    def attach(self, server, volume, device):
        present = super().attach(server, volume, device)
        with self.locked(server) as directory:
            self.add(directory, volume, self.choose(self.disks(directory), None))
        return present

    def attached(self, server):
        with self.locked(server) as directory:
            return {volume_id: device for device, volume_id in reversed(self.disks(directory).items())}

    def detach(self, server, volume, device):
        with self.locked(server) as directory:
            for each in self.devices_of(directory, volume)[:1]:
                self.remove(directory, each)


@caught_by("test_a_repeated_attach_returns_the_present_device_whatever_is_requested")
class MovesAnAttachedVolume(Reference):
    def attach(self, server, volume, device):
        if device is not None:
            self.detach(server, volume, None)
        return super().attach(server, volume, device)


@caught_by("test_a_repeated_attach_returns_the_present_device_whatever_is_requested")
class RefusesAMalformedDeviceOfAnAttachedVolume(Reference):
    def attach(self, server, volume, device):
        if device is not None and not device.startswith("/dev/"):
            raise AttachRefused("The device is malformed.")
        return super().attach(server, volume, device)


@caught_by("test_a_repeated_attach_returns_the_present_device_whatever_is_requested")
class RefusesADeviceInUseForAnAttachedVolume(Reference):
    def attach(self, server, volume, device):
        present = self.attached(server)
        if any(device == where for volume_id, where in present.items() if volume_id != volume.id):
            raise DeviceInUse("another volume has the device")
        return super().attach(server, volume, device)


@caught_by("test_attach_to_an_unknown_server_does_not_create_it")
class CreatesUnknownServers(Reference):
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except ServerNotFound:
            (self.root / "servers" / server.id).mkdir()
            raise


@caught_by("test_attach_to_an_unknown_server_raises_server_not_found")
class RefusesUnknownServers(Reference):
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except ServerNotFound as error:
            raise AttachRefused("There is no such server.") from error


class FindsServersBy(Reference):
    """Find the first server for which ``matches(name, id)``."""

    def find(self, server):
        servers = sorted((self.root / "servers").iterdir())
        return next((each for each in servers if self.matches(each.name, server.id)), None)


@caught_by("test_a_server_is_found_by_its_whole_id")
class FindsServersByTheBeginningOfTheirIds(FindsServersBy):
    def matches(self, name, server_id):
        return name.startswith(server_id)


@caught_by("test_a_server_is_found_by_its_whole_id")
class FindsServersByTheEndOfTheirIds(FindsServersBy):
    def matches(self, name, server_id):
        return name.endswith(server_id)


@caught_by("test_a_server_is_found_by_its_whole_id")
class FindsServersWhoseIdsAreCutOff(FindsServersBy):
    def matches(self, name, server_id):
        return name == server_id[:36]


@caught_by("test_a_server_whose_host_is_not_known_is_not_missing")
class NeedsAHostUndeclared(Reference):
    def find(self, server):
        if server.host is None:
            raise BackendUnavailable("the host is not known")
        return super().find(server)


@caught_by("test_a_server_whose_host_is_not_known_is_not_missing")
class TakesAServerWithoutAHostForMissing(Reference):
    needs_host = True

    def find(self, server):
        return super().find(server) if server.host else None


@caught_by("test_a_server_that_does_not_run_gets_the_disk_or_refuses_it")
class TakesAStoppedServerForMissing(Reference):
    def find(self, server):
        return super().find(server) if server.status != "SHUTOFF" else None


@caught_by("test_a_server_that_does_not_run_gets_the_disk_or_refuses_it")
class AttachesToRunningServersOnly(Reference):
    def attach(self, server, volume, device):
        return super().attach(server, volume, device) if server.status == "ACTIVE" else "/dev/vdb"


@caught_by("test_a_server_that_does_not_run_gets_the_disk_or_refuses_it")
class RefusesAStoppedServerTooLate(Reference):
    def attach(self, server, volume, device):
        attached_at = super().attach(server, volume, device)
        if server.status == "SHUTOFF":
            raise AttachRefused("The server does not run.")
        return attached_at


@caught_by("test_a_server_that_does_not_run_releases_the_disk_or_keeps_it")
class DetachesFromRunningServersOnly(Reference):
    def detach(self, server, volume, device):
        if server.status != "SHUTOFF":
            super().detach(server, volume, device)


@caught_by("test_a_server_that_does_not_run_releases_the_disk_or_keeps_it")
class RefusesADetachTooLate(Reference):
    def detach(self, server, volume, device):
        super().detach(server, volume, device)
        if server.status == "SHUTOFF":
            raise AttachRefused("The server does not run.")


# Ids.


@caught_by("test_attach_returns_the_device_that_attached_reports")
class RefusesIdsAsLongAsAUUID(Reference):
    def is_safe(self, name):
        return super().is_safe(name) and len(name) <= 20


@caught_by("test_the_ids_are_as_long_as_real_ones", id_length=37)
class IsTestedWithShortIds(Reference):
    pass


@caught_by("test_attach_finds_a_volume_by_its_whole_id")
class AttachesByTheBeginningOfTheId(Reference):
    def attach(self, server, volume, device):
        for volume_id, present in self.attached(server).items():
            if volume_id.startswith(volume.id):
                return present
        return super().attach(server, volume, device)


@caught_by("test_attach_finds_a_volume_by_its_whole_id")
class AttachesByTheBeginningOfTheOtherId(Reference):
    def attach(self, server, volume, device):
        for volume_id, present in self.attached(server).items():
            if volume.id.startswith(volume_id):
                return present
        return super().attach(server, volume, device)


@caught_by("test_attach_finds_a_volume_by_its_whole_id", "test_detach_finds_a_volume_by_its_whole_id")
class ComparesAllButTheLastCharacterOfVolumeIds(Reference):
    def devices_of(self, directory, volume):
        return [each for each, volume_id in self.disks(directory).items() if volume_id[:35] == volume.id[:35]]


@caught_by("test_attach_finds_a_volume_by_its_whole_id", "test_detach_finds_a_volume_by_its_whole_id")
class IgnoresTheCaseOfVolumeIds(Reference):
    def devices_of(self, directory, volume):
        return [each for each, volume_id in self.disks(directory).items() if volume_id.lower() == volume.id.lower()]


@caught_by("test_attach_finds_a_volume_by_its_whole_id")
class ReportsOneOfVolumesWhoseIdsDifferInCase(Reference):
    def attached(self, server):
        by_id = {volume_id.lower(): (volume_id, device) for volume_id, device in super().attached(server).items()}
        return dict(by_id.values())


@caught_by("test_a_server_is_found_by_its_whole_id")
class IgnoresTheCaseOfServerIds(FindsServersBy):
    def matches(self, name, server_id):
        return name.lower() == server_id.lower()


@caught_by("test_a_server_is_found_by_its_whole_id")
class ReportsTheVolumesOfAServerOfASimilarId(Reference):
    def attached(self, server):
        similar = [each.name for each in (self.root / "servers").iterdir() if each.name.startswith(server.id[:20])]
        return super().attached(replace(server, id=similar[0] if similar else server.id))
