"""``detach``: what it removes, when it is repeated, and what it needs to know."""

from dataclasses import replace

from ...backends.base import BackendError, ServerNotFound
from .checks import assert_has, must_raise
from .declarations import Declarations


class Detach(Declarations):
    """Detach a volume that is attached, and one that is not."""

    def test_detach_removes_the_volume(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        backend.detach(server, volume, device)
        assert_has(backend, server, {}, "after its detach")

    def test_detach_leaves_the_other_volumes(self, backend, server, new_volume):
        going, staying = new_volume(), new_volume()
        device = backend.attach(server, going, None)
        stays = backend.attach(server, staying, None)
        backend.detach(server, going, device)
        assert_has(backend, server, {staying.id: stays}, f"after the detach of {going.id}")

    def test_a_repeated_detach_succeeds(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        backend.detach(server, volume, device)
        backend.detach(server, volume, device)
        assert_has(backend, server, {}, "after two detaches")

    def test_detaching_what_was_never_attached_succeeds(self, backend, server, volume):
        backend.detach(server, volume, None)
        assert_has(backend, server, {}, "after a detach of what was never attached")

    def test_detach_goes_by_the_volume_not_by_the_device(self, backend, server, new_volume):
        staying, never_there = new_volume(), new_volume()
        device = backend.attach(server, staying, None)
        backend.detach(server, never_there, device)
        assert_has(backend, server, {staying.id: device}, "after the detach of another volume at its device")

    def test_detach_finds_a_volume_by_its_whole_id(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        for similar in (f"{volume.id}0", f"0{volume.id}", volume.id[:-1], volume.id[1:], "*", ""):
            _detach_or_refuse(backend, server, replace(volume, id=similar, source=None, format=None))
            assert_has(backend, server, {volume.id: device}, f"after the detach of a volume {similar!r}")

    def test_detach_from_another_server_leaves_this_one(self, backend, server, other_server, volume):
        device = backend.attach(server, volume, None)
        backend.detach(other_server, volume, device)
        assert_has(backend, server, {volume.id: device}, "after a detach from another server")

    def test_detach_needs_no_device(self, backend, server, volume):
        backend.attach(server, volume, None)
        backend.detach(server, volume, None)
        assert_has(backend, server, {}, "after a detach with the device None")

    def test_detach_works_for_a_volume_gone_from_the_catalog(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        backend.detach(server, replace(volume, source=None, format=None), device)
        assert_has(backend, server, {}, "after a detach without source and format")

    def test_detach_works_for_a_server_as_it_was_last_seen(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        backend.detach(replace(server, status="UNKNOWN", user_id=None, task_state=None), volume, device)
        assert_has(backend, server, {}, "after a detach from a server with the status UNKNOWN")

    def test_a_detached_volume_can_be_attached_again(self, backend, server, volume):
        backend.detach(server, volume, backend.attach(server, volume, None))
        device = backend.attach(server, volume, None)
        assert_has(backend, server, {volume.id: device}, "after attach, detach and attach")

    def test_detach_from_an_unknown_server_raises_server_not_found(self, backend, unknown_server, volume):
        with must_raise(ServerNotFound, "detach from a server that the backend does not have"):
            backend.detach(unknown_server, volume, None)


def _detach_or_refuse(backend, server, volume):
    try:
        backend.detach(server, volume, None)
    except ServerNotFound:
        raise
    except BackendError:
        return
