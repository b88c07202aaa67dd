"""``disk_size`` and ``resize``: what becomes of the disk of a volume that is extended while it is attached."""

from collections.abc import Callable
from dataclasses import replace

from ...backends.base import Backend, Server, ServerNotFound, Volume
from ..expectations import must_raise, must_succeed
from .checks import assert_has, must_attach, try_attach
from .declarations import Declarations


class Resizing(Declarations):
    """Resize the disks of volumes, which were extended or not."""

    def test_the_disk_of_an_extended_volume_is_resized(self, backend, server, volume, extend_volume):
        device = must_attach(backend, server, volume)
        before = _must_have_size(backend, server, volume)
        larger = _extend(extend_volume, volume)
        for _ in range(2):
            _must_resize(backend, server, larger)
            size = _must_have_size(backend, server, larger)
            assert size == larger.size, f"the disk has {size} bytes after a resize from {before} to {larger.size}"
        assert_has(backend, server, {volume.id: device}, "after its resize")

    def test_a_disk_is_never_made_smaller(self, backend, server, volume, extend_volume):
        must_attach(backend, server, volume)
        before = _must_have_size(backend, server, volume)
        larger = _extend(extend_volume, volume)
        _must_resize(backend, server, larger)
        for size in (before, 1, None):
            _must_resize(backend, server, replace(volume, size=size))
            found = _must_have_size(backend, server, volume)
            assert found == larger.size, f"the disk has {found} bytes after a resize from {larger.size} to {size}"

    def test_a_resize_leaves_the_other_disks(self, backend, server, new_volume, extend_volume):
        growing, staying = new_volume(), new_volume()
        for each in (growing, staying):
            must_attach(backend, server, each)
        before = _must_have_size(backend, server, staying)
        _must_resize(backend, server, _extend(extend_volume, growing))
        after = _must_have_size(backend, server, staying)
        assert after == before, f"the disk of another volume has {after} bytes after a resize, and had {before}"

    def test_a_resize_of_what_is_not_attached_does_nothing(self, backend, server, new_volume, extend_volume):
        present, absent = new_volume(), new_volume()
        device = must_attach(backend, server, present)
        _must_resize(backend, server, replace(absent, size=_extend(extend_volume, present).size))
        assert_has(backend, server, {present.id: device}, "after the resize of a volume that is not attached")
        size = _disk_size(backend, server, absent)
        assert size is None, f"disk_size of a volume that is not attached returned {size!r}: it must be None"

    def test_a_server_that_does_not_run_has_no_size_of_a_disk(self, backend, stopped_server, volume, extend_volume):
        try_attach(backend, stopped_server, volume)
        _must_resize(backend, stopped_server, _extend(extend_volume, volume))
        size = _disk_size(backend, stopped_server, volume)
        assert size is None, f"disk_size at a server that does not run returned {size!r}: it must be None"

    def test_an_unknown_server_has_no_disk_to_resize(self, backend, unknown_server, volume, extend_volume):
        larger = _extend(extend_volume, volume)
        with must_raise(ServerNotFound, "disk_size at a server that the backend does not have"):
            backend.disk_size(unknown_server, larger)
        with must_raise(ServerNotFound, "resize at a server that the backend does not have"):
            backend.resize(unknown_server, larger)


def _extend(extend_volume: Callable[[Volume], Volume], volume: Volume) -> Volume:
    larger = extend_volume(volume)
    assert larger.size, f"extend_volume returned {larger!r}: it must have the size that the volume has now"
    return larger


def _must_resize(backend: Backend, server: Server, volume: Volume) -> None:
    with must_succeed(f"resize of volume {volume.id!r} at server {server.id!r} to {volume.size!r} bytes"):
        backend.resize(server, volume)


def _disk_size(backend: Backend, server: Server, volume: Volume) -> int | None:
    with must_succeed(f"disk_size of volume {volume.id!r} at server {server.id!r}"):
        return backend.disk_size(server, volume)


def _must_have_size(backend: Backend, server: Server, volume: Volume) -> int:
    size = _disk_size(backend, server, volume)
    assert isinstance(size, int), f"disk_size of an attached volume returned {size!r}: it must be its bytes"
    return size
