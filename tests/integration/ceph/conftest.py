"""A Ceph cluster, and virtual machines whose libvirtd has the secret of its client."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from os_volume_ext.backends.base import Backend, Server, Volume
from tests.integration.libvirt.conftest import guest, libvirtd, machine, two_guests, two_machines  # noqa: F401
from tests.integration.libvirt.real_libvirt import Libvirtd, backend_class
from tests.support import ceph as real_ceph
from tests.support.paths import DOCS

FENCE = f"rados:{real_ceph.POOL}?user={real_ceph.CLIENT}"
DOCUMENTED_SECRET = "5ecae0b2-7f0f-4c6f-8a36-9a1c0b7d3e21"


@pytest.fixture(scope="session")
def ceph() -> Iterator[real_ceph.Ceph]:
    """Give the cluster, to be left running."""
    with real_ceph.running() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def new_secret(libvirtd: Libvirtd) -> Callable[[str], str]:  # noqa: F811 - the fixture that is imported
    """Give ``new_secret(key)``: define a secret of libvirt's and return its UUID."""

    def define(key: str) -> str:
        identity = str(uuid.uuid4())
        path = libvirtd.directory / f"{identity}.xml"
        documented = (DOCS / "ceph" / "secret.xml").read_text()
        path.write_text(documented.replace(DOCUMENTED_SECRET, identity).replace("client.cinder", identity))
        libvirtd.virsh("secret-define", str(path))
        libvirtd.virsh("secret-set-value", identity, key)
        return identity

    return define


@pytest.fixture(scope="session")
def secret(ceph: real_ceph.Ceph, new_secret: Callable[[str], str]) -> str:
    """Give the UUID of the secret with the key of Cinder's user."""
    return new_secret(ceph.key())


@pytest.fixture(scope="session")
def ceph_conf(libvirtd: Libvirtd, ceph: real_ceph.Ceph) -> Path:  # noqa: F811
    """Give the file that QEMU and the fence read: the one of the page, with the cluster's address and keyring."""
    lines = (DOCS / "ceph" / "ceph.conf").read_text().splitlines()
    values = {"mon host": f"v1:127.0.0.1:{ceph.port}", "keyring": str(ceph.keyring())}
    names = [line.partition(" = ")[0] for line in lines]
    assert values.keys() <= set(names)
    path = libvirtd.directory / "ceph.conf"
    path.write_text(
        "".join(
            f"{name} = {values[name]}\n" if name in values else f"{line}\n"
            for name, line in zip(names, lines, strict=True)
        )
    )
    return path


@pytest.fixture
def new_backend(libvirtd: Libvirtd, ceph_conf: Path) -> Callable[..., Backend]:  # noqa: F811
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
