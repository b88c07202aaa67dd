"""Servers whose hosts are lost: a libvirtd and a QEMU that hang, cut off in Ceph, and what they can do later."""

import os
import signal
from collections.abc import Iterator

import pytest

from os_volume_ext.backends.base import Backend, BackendUnavailable, Volume
from tests.integration.ceph.conftest import FENCE, define_secret
from tests.integration.libvirt.real_libvirt import Libvirtd, Machine, backend_class, wait_for

LibvirtBackend = backend_class()

FOREIGN = "192.0.2.5:0/3141592"
WATCH_TIMEOUT = 60  # seconds; Ceph's own is 30


@pytest.fixture(scope="module")
def lost_libvirtd(ceph) -> Iterator[Libvirtd]:
    """Give the libvirtd of the host that is lost in the tests."""
    daemon = Libvirtd()
    daemon.start()
    yield daemon
    daemon.thaw()
    daemon.remove()


@pytest.fixture(scope="module")
def lost_secret(lost_libvirtd, ceph) -> str:
    return define_secret(lost_libvirtd, ceph.key())


@pytest.fixture
def lost(lost_libvirtd, guest) -> Iterator[Machine]:
    """Give a machine on that host, which runs a guest until the test ends."""
    machine = lost_libvirtd.machine(bus="virtio", guest=guest).start()
    yield machine
    signal_qemu(machine, signal.SIGCONT)
    lost_libvirtd.thaw()
    machine.hang_up()
    machine.kill()


@pytest.fixture
def there(machine, guest) -> Machine:
    """Give a machine on the other host."""
    return machine("virtio", guest=guest)


@pytest.fixture
def at_lost_host(lost_libvirtd, ceph_conf) -> Backend:
    """Give the backend, with the libvirtd of the host that is lost."""
    return LibvirtBackend(
        {"uri": lost_libvirtd.uri, "ceph_conf": str(ceph_conf), "fence": FENCE, "operation_timeout": "60"}
    )


@pytest.fixture
def elsewhere(new_backend) -> Backend:
    """Give the backend, with the other libvirtd."""
    return new_backend(fence=FENCE)


@pytest.fixture
def volume(ceph, lost_secret, secret) -> Volume:
    """Give a volume as the host that is lost gets it."""
    image = ceph.image()
    return Volume(image.removeprefix("volume-"), "demo", connection=ceph.connection_info(image, lost_secret))


@pytest.fixture
def attached(at_lost_host, lost, volume) -> Volume:
    """Give a volume that is attached at the host and written to."""
    assert at_lost_host.attach(lost.server, volume, None) == "/dev/vda"
    lost.console.wait_for("/dev/vda")
    lost.console.run("echo first >/dev/vda && sync")
    return volume


def known(volume):
    """Return what is known of a volume when its host is lost: not where its data is."""
    return Volume(volume.id, "demo")


def elsewhere_as(volume, ceph, secret):
    return Volume(volume.id, "demo", connection=ceph.connection_info(image(volume), secret))


def image(volume):
    return f"volume-{volume.id}"


def signal_qemu(machine, number):
    pid = machine.libvirtd.directory / "run" / "libvirt" / "qemu" / "run" / f"{machine.name}.pid"
    os.kill(int(pid.read_text()), number)


def lose(machine):
    """Stop a machine's QEMU and its libvirtd, as if the host had stopped."""
    signal_qemu(machine, signal.SIGSTOP)
    machine.libvirtd.freeze()


def come_back(machine):
    machine.libvirtd.thaw()
    signal_qemu(machine, signal.SIGCONT)


def blocklist(ceph):
    return ceph.ceph("osd", "blocklist", "ls")


def test_a_lost_server_is_cut_off_and_comes_back_without_harm(
    at_lost_host, elsewhere, lost, there, attached, ceph, secret, holders
):
    (address,) = ceph.watchers(image(attached))
    lose(lost)
    with pytest.raises(BackendUnavailable):
        at_lost_host.attached(lost.server)
    clients = at_lost_host.find_clients(lost.server, known(attached))
    assert clients == [address]
    at_lost_host.cut_off(lost.server, known(attached), clients)
    assert address in blocklist(ceph)
    assert ceph.watchers(image(attached)) == []

    moved = elsewhere_as(attached, ceph, secret)
    assert elsewhere.attach(there.server, moved, None) == "/dev/vda"
    assert set(holders(attached)) == {there.id}
    there.console.wait_for("/dev/vda")
    assert there.console.run("head -c 5 /dev/vda") == "first"
    there.console.run("echo second >/dev/vda && sync")

    come_back(lost)
    assert lost.console.run("echo third >/dev/vda && sync || echo failed").endswith("failed")
    assert there.console.run("head -c 6 /dev/vda") == "second"
    assert ceph.read(image(attached), 7) == b"second\n"
    assert at_lost_host.attached(lost.server) == {attached.id: "/dev/vda"}
    elsewhere.detach(there.server, moved, None)
    assert holders(attached) == []


def test_a_client_that_no_longer_has_the_image_open_is_cut_off_by_its_kept_address(
    at_lost_host, elsewhere, lost, there, volume, ceph, secret
):
    at_lost_host.attach(lost.server, volume, None)  # and writes nothing, so that Ceph's own lock does not have it
    (address,) = ceph.watchers(image(volume))
    lost.console.wait_for("/dev/vda")
    lose(lost)
    wait_for("the end of the watch", lambda: ceph.watchers(image(volume)) == [], timeout=WATCH_TIMEOUT)
    assert at_lost_host.find_clients(lost.server, known(volume)) == [address]
    at_lost_host.cut_off(lost.server, known(volume), [address])
    moved = elsewhere_as(volume, ceph, secret)
    elsewhere.attach(there.server, moved, None)
    there.console.wait_for("/dev/vda")
    there.console.run("echo second >/dev/vda && sync")
    come_back(lost)
    assert lost.console.run("echo third >/dev/vda && sync || echo failed").endswith("failed")
    assert ceph.read(image(volume), 7) == b"second\n"
    elsewhere.detach(there.server, moved, None)
