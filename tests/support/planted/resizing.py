"""Faults of ``disk_size`` and ``resize``."""

from dataclasses import replace

from os_volume_ext.backends.base import ServerNotFound

from .reference import SIZE, Reference, caught_by


@caught_by("test_the_disk_of_an_extended_volume_is_resized", "test_a_disk_is_never_made_smaller")
class ResizesNothing(Reference):
    def resize(self, server, volume):
        self.directory(server)


@caught_by("test_the_disk_of_an_extended_volume_is_resized")
class DetachesWhatItResizes(Reference):
    def resize(self, server, volume):
        super().resize(server, volume)
        attached_at = self.attached(server).get(volume.id)
        if attached_at:
            self.detach(server, volume, attached_at)
            self.attach(server, replace(volume, size=None), "/dev/vdm")


@caught_by("test_a_disk_is_never_made_smaller")
class MakesDisksSmaller(Reference):
    def is_larger(self, size, than):
        return size is not None and size != than


@caught_by("test_a_resize_leaves_the_other_disks")
class ResizesAllDisks(Reference):
    def resize(self, server, volume):
        for each in self.attached(server):
            super().resize(server, replace(volume, id=each))


@caught_by("test_a_resize_of_what_is_not_attached_does_nothing")
class AttachesWhatItResizes(Reference):
    def resize(self, server, volume):
        if server.status != "SHUTOFF":
            self.attach(server, volume, None)
        super().resize(server, volume)


@caught_by(
    "test_a_resize_of_what_is_not_attached_does_nothing", "test_a_server_that_does_not_run_has_no_size_of_a_disk"
)
class KnowsTheSizeOfEveryVolume(Reference):
    def disk_size(self, server, volume):
        return super().disk_size(server, volume) or SIZE


@caught_by("test_an_unknown_server_has_no_disk_to_resize")
class ResizesDisksOfUnknownServers(Reference):
    def resize(self, server, volume):
        try:
            super().resize(server, volume)
        except ServerNotFound:
            return
