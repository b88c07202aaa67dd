"""Backends whose volumes are images of Ceph, and fences."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from os_volume_ext.backends.base import Backend, Server, Volume
from tests.integration.libvirt.real_libvirt import Libvirtd, backend_class
from tests.support import ceph as real_ceph


@pytest.fixture
def new_backend(libvirtd: Libvirtd, ceph_conf: Path) -> Callable[..., Backend]:
    """Give ``new_backend(bus, **options)``."""

    def make(bus: str = "virtio", **options: str) -> Backend:
        given = {"uri": libvirtd.uri, "bus": bus, "operation_timeout": "60", "ceph_conf": str(ceph_conf)}
        return backend_class()(given | options)

    return make


@pytest.fixture
def new_volume(ceph: real_ceph.Ceph, secret: str) -> Callable[..., Volume]:
    """Give ``new_volume(**members)``: a volume with an image, and other members of its connection_info."""

    def make(**members: object) -> Volume:
        image = ceph.image()
        connection = ceph.connection_info(image, secret) | members
        return Volume(image.removeprefix("volume-"), "demo", connection=connection)

    return make


@pytest.fixture
def holders(ceph: real_ceph.Ceph) -> Callable[[Volume], list[str]]:
    """Give ``holders(volume)``: the servers that a volume is fenced for, one for each fence."""
    return lambda volume: ceph.holders(f"os-volume-ext.{volume.id}")


@pytest.fixture
def leave_fence(ceph: real_ceph.Ceph) -> Callable[[Server, Volume], None]:
    """Give ``leave_fence(server, volume)``: fence a volume as an attach does that is killed then."""

    def leave(server: Server, volume: Volume) -> None:
        options = (f"--lock-tag={server.id}", "--lock-type=shared", f"--lock-cookie={uuid.uuid4()}")
        ceph.rados("lock", "get", f"os-volume-ext.{volume.id}", "os-volume-ext", *options)

    return leave
