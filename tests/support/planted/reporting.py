"""Faults of ``attached``."""

from os_volume_ext.backends.base import ServerNotFound

from .reference import Reference, caught_by


@caught_by("test_a_server_without_volumes_shows_none")
class ReportsARootDiskOfEveryServer(Reference):
    def attached(self, server):
        return {"root": "/dev/vda", **super().attached(server)}


@caught_by("test_attached_maps_volume_ids_to_devices")
class ReturnsAList(Reference):
    def attached(self, server):
        return list(super().attached(server).items())


@caught_by("test_attached_maps_volume_ids_to_devices")
class ReportsIdsAsBytes(Reference):
    def attached(self, server):
        return {volume_id.encode(): device for volume_id, device in super().attached(server).items()}


@caught_by("test_attached_of_an_unknown_server_raises_server_not_found")
class ReportsNoVolumesOfUnknownServers(Reference):
    def attached(self, server):
        try:
            return super().attached(server)
        except ServerNotFound:
            return {}


@caught_by(
    "test_a_new_backend_object_finds_what_an_earlier_one_attached",
    "test_a_new_backend_object_repeats_and_detaches_what_an_earlier_one_attached",
    "test_a_volume_attached_by_hand_is_reported",
)
class RespondsFromMemory(Reference):
    def __init__(self, options):
        super().__init__(options)
        self.memory = {}

    def attach(self, server, volume, device):
        attached_at = super().attach(server, volume, device)
        self.memory.setdefault(server.id, {})[volume.id] = attached_at
        return attached_at

    def detach(self, server, volume, device):
        super().detach(server, volume, device)
        self.memory.get(server.id, {}).pop(volume.id, None)

    def attached(self, server):
        super().attached(server)
        return self.memory.get(server.id, {})


@caught_by("test_attached_looks_again_after_another_object_changed_the_server")
class CachesWhatItSaw(Reference):
    def __init__(self, options):
        super().__init__(options)
        self.cache = {}

    def attach(self, server, volume, device):
        self.cache.pop(server.id, None)
        return super().attach(server, volume, device)

    def detach(self, server, volume, device):
        self.cache.pop(server.id, None)
        super().detach(server, volume, device)
        self.cache.pop(server.id, None)

    def attached(self, server):
        if server.id not in self.cache:
            self.cache[server.id] = super().attached(server)
        return self.cache[server.id]


@caught_by("test_a_volume_attached_by_hand_is_reported", "test_a_volume_attached_by_hand_is_not_attached_again")
class KnowsOnlyWhatItAttached(Reference):
    def add(self, directory, volume, device):
        (directory / f".{volume.id}").touch()
        super().add(directory, volume, device)

    def devices_of(self, directory, volume):
        return super().devices_of(directory, volume) if self.is_own(directory, volume.id) else []

    def attached(self, server):
        directory = self.directory(server)
        return {each: where for each, where in super().attached(server).items() if self.is_own(directory, each)}

    def is_own(self, directory, volume_id):
        return self.is_safe(volume_id) and (directory / f".{volume_id}").exists()


@caught_by("test_a_disk_that_is_no_volume_is_not_reported")
class ReportsDisksThatAreNoVolumes(Reference):
    def attached(self, server):
        with self.locked(server) as directory:
            return {volume_id or "other": device for device, volume_id in self.disks(directory).items()}


@caught_by("test_a_disk_that_is_no_volume_is_not_reported")
class StumblesOverDisksThatAreNoVolumes(Reference):
    def disks(self, directory):
        disks = super().disks(directory)
        if "" in disks.values():
            raise ServerNotFound("this is no server of ours")
        return disks


@caught_by("test_the_device_of_a_disk_that_is_no_volume_is_in_use")
class IgnoresDisksThatAreNoVolumes(Reference):
    def disks(self, directory):
        return {device: volume_id for device, volume_id in super().disks(directory).items() if volume_id}
