"""Faults of a server's limit."""

import threading

from os_volume_ext.backends.base import AttachRefused, DeviceInUse, TooManyAttachments

from .reference import LIMIT, Reference, caught_by


@caught_by("test_one_volume_more_than_the_limit_is_refused_and_nothing_happens")
class ReportsAnotherLimit(Reference):
    def check_limit(self, disks):
        try:
            super().check_limit(disks)
        except TooManyAttachments as error:
            raise TooManyAttachments(26) from error


@caught_by("test_one_volume_more_than_the_limit_is_refused_and_nothing_happens", limit=LIMIT - 1)
class HasAnotherLimitThanDeclared(Reference):
    pass


@caught_by(
    "test_one_volume_more_than_the_limit_is_refused_and_nothing_happens",
    "test_a_full_server_gets_no_more_volumes_at_once_than_its_limit",
)
class HasNoLimit(Reference):
    def check_limit(self, disks):
        pass


@caught_by("test_one_volume_more_than_the_limit_is_refused_and_nothing_happens")
class RefusesAFullServerWithAnotherException(Reference):
    def check_limit(self, disks):
        try:
            super().check_limit(disks)
        except TooManyAttachments as error:
            raise AttachRefused("The server is full.") from error


@caught_by("test_a_repeated_attach_succeeds_on_a_full_server")
class ChecksTheLimitFirst(Reference):
    def attach(self, server, volume, device):
        with self.locked(server) as directory:
            self.check_limit(self.disks(directory))
        return super().attach(server, volume, device)


class CountsForEver(Reference):
    """Count attaches, whatever becomes of the volumes, in ``.count``."""

    def check_limit(self, disks):
        if self.counted() >= LIMIT:
            raise TooManyAttachments(LIMIT)

    def counted(self):
        count = self.root / ".count"
        return len(count.read_text()) if count.exists() else 0

    def count(self):
        (self.root / ".count").write_text("x" * (self.counted() + 1))


@caught_by("test_a_full_server_takes_a_volume_after_a_detach")
class CountsDetachedVolumes(CountsForEver):
    def add(self, directory, volume, device):
        super().add(directory, volume, device)
        self.count()


@caught_by("test_a_refused_attach_takes_no_place")
class KeepsThePlaceOfAnUnusableVolume(CountsForEver):
    def check_source(self, volume):
        self.count()
        super().check_source(volume)


@caught_by("test_a_refused_attach_takes_no_requested_device")
class KeepsTheDeviceOfAnUnusableVolume(Reference):
    def __init__(self, options):
        super().__init__(options)
        self.chosen = set()

    def attach(self, server, volume, device):
        if device in self.chosen:
            raise DeviceInUse("it is in use")
        self.chosen |= {device} - {None}
        return super().attach(server, volume, device)


@caught_by("test_a_refused_attach_takes_no_place")
class KeepsThePlaceOfARefusedDevice(CountsForEver):
    def choose(self, disks, device):
        try:
            return super().choose(disks, device)
        except DeviceInUse:
            self.count()
            raise


@caught_by("test_each_server_has_a_limit_of_its_own")
class CountsTheVolumesOfAllServers(Reference):
    def check_limit(self, disks):
        if len(list(self.root.glob("servers/*/vd?"))) >= LIMIT:
            raise TooManyAttachments(LIMIT)


@caught_by("test_the_limit_does_not_count_disks_that_are_no_volumes")
class CountsDisksThatAreNoVolumes(Reference):
    def check_limit(self, disks):
        if len(disks) >= LIMIT:
            raise TooManyAttachments(LIMIT)


@caught_by("test_a_full_server_gets_no_more_volumes_at_once_than_its_limit")
class ChecksTheLimitWithoutTheLock(Reference):
    def attach(self, server, volume, device):
        with self.locked(server) as directory:
            super().check_limit(self.disks(directory))
        threading.Event().wait(0.2)  # until calls that came at once have checked it too
        return super().attach(server, volume, device)

    def check_limit(self, disks):
        pass


# What a refused attach keeps.


class KeepsDevices(Reference):
    """Keep the devices in ``kept``."""

    def __init__(self, options):
        super().__init__(options)
        self.kept = set()

    def choose(self, disks, device):
        if device in self.kept:
            raise DeviceInUse("it is in use")
        return super().choose({**dict.fromkeys(self.kept, ""), **disks}, device)


@caught_by("test_a_refused_attach_takes_no_requested_device")
class KeepsTheDeviceRequestedOfAFullServer(KeepsDevices):
    def choose(self, disks, device):
        try:
            return super().choose(disks, device)
        except TooManyAttachments:
            self.kept |= {device} - {None}
            raise


@caught_by("test_a_refused_attach_takes_no_requested_device")
class KeepsTheDeviceRequestedOfASecondServer(KeepsDevices):
    def check_exclusive(self, server, volume):
        try:
            super().check_exclusive(server, volume)
        except AttachRefused:
            self.kept |= {self.requested} - {None}
            raise

    def attach(self, server, volume, device):
        self.requested = device
        return super().attach(server, volume, device)


@caught_by("test_a_refused_attach_takes_no_place")
class KeepsThePlaceOfASecondServer(CountsForEver):
    def check_exclusive(self, server, volume):
        try:
            super().check_exclusive(server, volume)
        except AttachRefused:
            self.count()
            raise


@caught_by("test_a_refused_attach_takes_no_place")
class KeepsThePlaceOfAMalformedDevice(CountsForEver):
    def choose(self, disks, device):
        try:
            return super().choose(disks, device)
        except AttachRefused:
            self.count()
            raise


@caught_by("test_a_refused_attach_takes_no_device_that_the_backend_chose")
class KeepsTheDeviceThatItChoseForAnUnusableVolume(KeepsDevices):
    def attach(self, server, volume, device):
        with self.locked(server) as directory:
            is_new = not self.devices_of(directory, volume)
            chosen = self.choose(self.disks(directory), device) if is_new else None
        if is_new:
            self.kept.add(chosen)
            self.check_volume(volume)
            self.kept.remove(chosen)
        return super().attach(server, volume, device)


@caught_by("test_a_refused_attach_takes_no_place", requestable_device=None)
class KeepsDevicesThatCanNotBeRequested(KeepsTheDeviceThatItChoseForAnUnusableVolume.backend):
    def choose(self, disks, device):
        if device is not None:
            raise AttachRefused("A requested device is not supported.")
        try:
            return super().choose(disks, device)
        except StopIteration as error:
            raise TooManyAttachments(LIMIT) from error
