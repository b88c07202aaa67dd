"""``attached``: what it reports, and from where."""

from collections.abc import Mapping

import pytest

from ...backends.base import DeviceInUse, ServerNotFound
from ..expectations import must_raise
from .checks import assert_has, must_attach, must_detach, must_show
from .declarations import Declarations


class Attached(Declarations):
    """Which disks of a server are reported, whoever attached them."""

    def test_a_server_without_volumes_shows_none(self, backend, server):
        assert_has(backend, server, {}, "although nothing was attached")

    def test_attached_maps_volume_ids_to_devices(self, backend, server, volume):
        must_attach(backend, server, volume)
        attached = must_show(backend, server)
        assert isinstance(attached, Mapping), f"attached returned {attached!r}: it must return a mapping"
        assert all(isinstance(volume_id, str) for volume_id in attached), f"the ids in {attached!r} must be strings"
        for device in attached.values():
            self.assert_as_declared(device)

    def test_attached_of_an_unknown_server_raises_server_not_found(self, backend, unknown_server):
        with must_raise(ServerNotFound, "attached of a server that the backend does not have"):
            backend.attached(unknown_server)

    # No state in the backend object.

    def test_a_new_backend_object_finds_what_an_earlier_one_attached(self, new_backend, server, volume):
        device = must_attach(new_backend(), server, volume)
        assert_has(new_backend(), server, {volume.id: device}, "as another backend object attached it")

    def test_a_new_backend_object_repeats_and_detaches_what_an_earlier_one_attached(self, new_backend, server, volume):
        former, later = new_backend(), new_backend()
        device = must_attach(former, server, volume)
        again = must_attach(later, server, volume)
        assert again == device, f"one object attached at {device!r}, and another one repeated it at {again!r}"
        must_detach(later, server, volume, device)
        assert_has(former, server, {}, "after another backend object detached it")

    def test_attached_looks_again_after_another_object_changed_the_server(self, new_backend, server, new_volume):
        looking, changing = new_backend(), new_backend()
        first, second = new_volume(), new_volume()
        expected = {first.id: must_attach(looking, server, first)}
        assert_has(looking, server, expected, "after an attach")
        expected[second.id] = must_attach(changing, server, second)
        assert_has(looking, server, expected, "after another object attached it: attached must not use a cache")
        must_detach(changing, server, first, None)
        del expected[first.id]
        assert_has(looking, server, expected, "after another object detached it: attached must not use a cache")

    # What others attached.

    def test_a_volume_attached_by_hand_is_reported(self, backend, server, volume, attach_by_hand):
        device = attach_by_hand(server, volume)
        assert_has(backend, server, {volume.id: device}, "which an administrator attached")

    def test_a_volume_attached_by_hand_is_not_attached_again(self, backend, server, volume, attach_by_hand):
        device = attach_by_hand(server, volume)
        again = must_attach(backend, server, volume)
        assert again == device, f"an administrator attached the volume at {device!r}, and attach returned {again!r}"
        must_detach(backend, server, volume, None)
        assert_has(backend, server, {}, "after the detach of what an administrator attached")

    def test_a_disk_that_is_no_volume_is_not_reported(self, backend, server, volume, attach_other_disk):
        attach_other_disk(server)
        assert_has(backend, server, {}, "as it has a disk that is no volume")
        device = must_attach(backend, server, volume)
        assert_has(backend, server, {volume.id: device}, "as it has a disk that is no volume")
        must_detach(backend, server, volume, device)
        assert_has(backend, server, {}, "after the detach of its only volume")

    def test_a_disk_that_is_no_volume_is_not_detached(self, backend, server, new_volume, attach_other_disk):
        self.device_or_skip()
        taken = attach_other_disk(server)
        if taken is None:
            pytest.skip("attach_other_disk returned None: the backend does not know the disk's device")
        must_detach(backend, server, new_volume(), taken)
        with must_raise(DeviceInUse, f"attach at {taken}, where there is a disk that is no volume,"):
            backend.attach(server, new_volume(), taken)

    def test_the_device_of_a_disk_that_is_no_volume_is_in_use(self, backend, server, new_volume, attach_other_disk):
        taken = attach_other_disk(server)
        volumes = [new_volume() for _ in range(2)]
        devices = {volume.id: must_attach(backend, server, volume) for volume in volumes}
        if taken is not None:
            self.assert_distinct({"that is no volume": taken, **devices})
        if taken is not None and self.requestable_device is not None:
            with must_raise(DeviceInUse, f"attach at {taken}, where there is a disk that is no volume,"):
                backend.attach(server, new_volume(), taken)
        assert_has(backend, server, devices, "as it has a disk that is no volume")
