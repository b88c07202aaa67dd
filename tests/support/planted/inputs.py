"""Faults in what is refused: ids, sources, formats and devices."""

import re
from pathlib import Path

from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, DeviceInUse

from .reference import Reference, caught_by


@caught_by("test_a_hostile_server_id_raises_backend_errors_only")
class TrustsServerIds(Reference):
    def find(self, server):
        path = self.root / "servers" / server.id
        return path if path.is_dir() else None


@caught_by("test_a_hostile_volume_id_is_attached_or_refused")
class RaisesOtherExceptionsForVolumeIds(Reference):
    def check_volume(self, volume):
        if not self.is_safe(volume.id):
            raise ValueError(volume.id)
        super().check_volume(volume)


@caught_by("test_a_hostile_source_is_attached_or_refused", "test_a_refused_attach_takes_no_place")
class RaisesOtherExceptionsForSources(Reference):
    def check_source(self, volume):
        if volume.source is not None:
            Path(volume.source).open().close()


@caught_by("test_a_hostile_format_is_attached_or_refused")
class RaisesOtherExceptionsForFormats(Reference):
    def check_volume(self, volume):
        {None: 1, "raw": 2}[volume.format]
        super().check_volume(volume)


@caught_by("test_a_hostile_volume_id_detaches_nothing_else")
class RaisesOtherExceptionsFromDetach(Reference):
    def detach(self, server, volume, device):
        if not self.is_safe(volume.id):
            raise KeyError(volume.id)
        super().detach(server, volume, device)


@caught_by("test_a_malformed_device_is_refused_and_nothing_happens")
class TrustsDevices(Reference):
    def choose(self, disks, device):
        return super().choose(disks, device if device in ("/dev/vdp", None) else None)


@caught_by("test_a_malformed_device_is_refused_and_nothing_happens")
class TakesAMalformedDeviceForOneInUse(Reference):
    def choose(self, disks, device):
        if device is not None and not re.fullmatch("/dev/vd[b-z]", device):
            raise DeviceInUse("there is no such device")
        return super().choose(disks, device)


@caught_by("test_a_malformed_device_is_refused_and_nothing_happens")
class TakesAnEmptyDeviceForNone(Reference):
    def choose(self, disks, device):
        return super().choose(disks, device or None)


@caught_by("test_a_requested_device_is_used", "test_the_device_of_a_detached_volume_can_be_requested")
class IgnoresTheRequestedDevice(Reference):
    def choose(self, disks, device):
        return super().choose(disks, None)


@caught_by(
    "test_a_device_in_use_is_refused_and_nothing_happens",
    "test_a_device_that_the_backend_chose_is_in_use_too",
    "test_threads_that_request_the_same_device_do_not_share_it",
    "test_a_refused_attach_takes_no_place",
    "test_the_device_of_a_disk_that_is_no_volume_is_in_use",
)
class ReplacesTheDiskAtARequestedDevice(Reference):
    def choose(self, disks, device):
        return super().choose({each: disks[each] for each in disks if each != device}, device)


@caught_by("test_a_device_in_use_is_refused_and_nothing_happens")
class AttachesElsewhereAndRefuses(Reference):
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except DeviceInUse:
            super().attach(server, volume, None)
            raise


@caught_by("test_a_device_in_use_is_refused_and_nothing_happens")
class GivesNoReason(Reference):
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except DeviceInUse as error:
            raise DeviceInUse from error


@caught_by("test_a_requested_device_is_refused_where_it_is_not_supported", requestable_device=None)
class SupportsRequestedDevicesUndeclared(Reference):
    pass


@caught_by(
    "test_a_volume_that_can_not_be_used_is_refused_and_nothing_happens",
    "test_the_reason_of_a_refusal_does_not_show_the_source",
)
class AttachesWhatIsNotThere(Reference):
    def check_source(self, volume):
        pass


@caught_by("test_a_volume_that_can_not_be_used_is_refused_and_nothing_happens")
class TakesAnUnusableVolumeForAnOutage(Reference):
    def check_source(self, volume):
        try:
            super().check_source(volume)
        except AttachRefused as error:
            raise BackendUnavailable("the source can't be read") from error


@caught_by("test_a_volume_that_can_not_be_used_is_refused_and_nothing_happens")
class RefusesTooLate(Reference):
    def check_volume(self, volume):
        pass

    def add(self, directory, volume, device):
        super().add(directory, volume, device)
        super().check_volume(volume)


@caught_by("test_the_reason_of_a_refusal_does_not_show_the_source")
class ShowsTheSource(Reference):
    def check_source(self, volume):
        try:
            super().check_source(volume)
        except AttachRefused as error:
            raise AttachRefused(f"There is no {volume.source}.") from error


@caught_by("test_a_hostile_source_is_attached_or_refused")
class ShowsAHostileSource(Reference):
    def check_source(self, volume):
        if volume.source is not None and "\0" in volume.source:
            raise AttachRefused(f"The source {volume.source} has a NUL.")
        super().check_source(volume)
