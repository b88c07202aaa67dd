"""Faults of ``detach``."""

import fnmatch
import threading
from dataclasses import replace

from os_volume_ext.backends.base import AttachRefused, ServerNotFound

from .reference import Reference, caught_by


@caught_by(
    "test_detach_removes_the_volume",
    "test_a_repeated_detach_succeeds",
    "test_detach_needs_no_device",
    "test_threads_that_detach_different_volumes_detach_them_all",
)
class DetachesNothing(Reference):
    def detach(self, server, volume, device):
        self.directory(server)


@caught_by("test_detach_removes_the_volume", "test_a_detached_volume_can_be_attached_again")
class DetachesALittleLater(Reference):
    def remove(self, directory, device):
        threading.Timer(0.3, super().remove, (directory, device)).start()

    def attach(self, server, volume, device):
        attached_at = super().attach(server, volume, device)
        threading.Event().wait(0.4)  # what was detached before is gone now
        return attached_at


@caught_by("test_detach_leaves_the_other_volumes", "test_volumes_attached_while_others_are_detached_stay_attached")
class DetachesAllVolumes(Reference):
    def detach(self, server, volume, device):
        threading.Event().wait(0.2)  # until calls that came at once have attached theirs
        for volume_id in self.attached(server):
            super().detach(server, replace(volume, id=volume_id), device)


@caught_by(
    "test_a_repeated_detach_succeeds",
    "test_detaching_what_was_never_attached_succeeds",
    "test_threads_that_detach_the_same_volume_all_succeed",
)
class RefusesARepeatedDetach(Reference):
    def detach(self, server, volume, device):
        with self.locked(server) as directory:
            found = self.devices_of(directory, volume)
            if not found:
                raise AttachRefused("It is not attached.")
            self.remove(directory, found[0])


@caught_by("test_detach_goes_by_the_volume_not_by_the_device", "test_detach_needs_no_device")
class DetachesByTheDevice(Reference):
    def detach(self, server, volume, device):
        for volume_id, attached_at in self.attached(server).items():
            if attached_at == device:
                super().detach(server, replace(volume, id=volume_id), device)


@caught_by("test_detach_finds_a_volume_by_its_whole_id")
class DetachesByTheBeginningOfTheId(Reference):
    def devices_of(self, directory, volume):
        return [each for each, volume_id in self.disks(directory).items() if volume_id.startswith(volume.id)]

    def attached(self, server):
        return {**super().attached(server)}


@caught_by("test_detach_finds_a_volume_by_its_whole_id", "test_a_hostile_volume_id_detaches_nothing_else")
class DetachesByAPattern(Reference):
    def devices_of(self, directory, volume):
        return [each for each, volume_id in self.disks(directory).items() if fnmatch.fnmatch(volume_id, volume.id)]


@caught_by("test_a_disk_that_is_no_volume_is_not_detached")
class DetachesWhateverIsAtTheDeviceIfItFindsNoVolume(Reference):
    def detach(self, server, volume, device):
        super().detach(server, volume, device)
        with self.locked(server) as directory:
            if device in self.disks(directory):
                self.remove(directory, device)


@caught_by("test_detach_from_another_server_leaves_this_one")
class DetachesFromAllServers(Reference):
    def detach(self, server, volume, device):
        for each in (self.root / "servers").iterdir():
            super().detach(replace(server, id=each.name), volume, device)


@caught_by("test_detach_works_for_a_volume_gone_from_the_catalog")
class NeedsTheSourceToDetach(Reference):
    def detach(self, server, volume, device):
        if volume.source is None:
            raise AttachRefused("The volume has no source.")
        super().detach(server, volume, device)


@caught_by("test_detach_works_for_a_server_as_it_was_last_seen")
class DetachesFromServersOfAKnownStatusOnly(Reference):
    def detach(self, server, volume, device):
        if server.status not in ("ACTIVE", "SHUTOFF"):
            raise AttachRefused("The server is in an unknown state.")
        super().detach(server, volume, device)


@caught_by("test_a_detached_volume_can_be_attached_again")
class AttachesEachVolumeOnce(Reference):
    def add(self, directory, volume, device):
        try:
            (directory / f".{volume.id}").touch(exist_ok=False)
        except FileExistsError as error:
            raise AttachRefused("The volume was attached before.") from error
        super().add(directory, volume, device)


@caught_by("test_the_device_of_a_detached_volume_can_be_requested")
class KeepsTheDeviceOfADetachedVolume(Reference):
    def remove(self, directory, device):
        (directory / device.removeprefix("/dev/")).write_text("")


@caught_by("test_detach_from_an_unknown_server_raises_server_not_found", "test_a_server_is_found_by_its_whole_id")
class DetachesFromUnknownServers(Reference):
    def detach(self, server, volume, device):
        try:
            super().detach(server, volume, device)
        except ServerNotFound:
            return


@caught_by("test_a_volume_of_an_unknown_server_can_be_forgotten")
class ForgetsVolumesOfKnownServersOnly(Reference):
    def forget(self, server, volume):
        self.attached(server)


@caught_by("test_what_was_attached_or_detached_is_not_incomplete")
class ReportsCompleteAttachmentsAsIncomplete(Reference):
    def incomplete(self, server):
        return dict.fromkeys(self.attached(server), "attached")


@caught_by("test_clients_of_a_volume_are_a_list_of_strings_or_refused")
class ReturnsAStringOfClients(Reference):
    def find_clients(self, server, volume):
        return "192.0.2.5:0/11"


@caught_by("test_a_server_is_not_cut_off_without_a_client")
class CutsOffNobodyAndSucceeds(Reference):
    def cut_off(self, server, volume, clients):
        pass
