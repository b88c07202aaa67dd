"""Servers whose hosts are lost: a libvirtd and a QEMU that hang, cut off in Ceph, and what they can do later."""

import contextlib
from collections.abc import Iterator

import pytest

from os_volume_ext.backends.base import AttachRefused, Backend, BackendUnavailable, Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.cli.main import main
from os_volume_ext.filter import make_filter
from os_volume_ext.registry import schema
from os_volume_ext.registry.database import Database
from tests.integration.libvirt.real_libvirt import Libvirtd, Machine, backend_class, wait_for
from tests.support.ceph import CLIENT, FENCE, POOL
from tests.support.command import restoring_loggers
from tests.support.inprocess import collection, compute_api, send_request

LibvirtBackend = backend_class()

WHOLE_HOST = "192.0.2.5:0/0"
WATCH_TIMEOUT = 60  # seconds; Ceph's own is 30


@pytest.fixture(scope="module")
def lost_libvirtd(ceph, secret) -> Iterator[Libvirtd]:
    """Give the libvirtd of the host that is lost in the tests."""
    daemon = Libvirtd()
    daemon.start()
    daemon.define_ceph_secret(ceph.key(), secret)
    yield daemon
    daemon.remove()


@pytest.fixture
def new_lost(lost_libvirtd) -> Iterator[Machine]:
    """Give ``new_lost(guest=None)``: a machine on that host, which runs until the test ends."""
    with contextlib.ExitStack() as stack:

        def make(guest=None):
            machine = lost_libvirtd.machine(bus="virtio", guest=guest).start()
            stack.callback(machine.kill)
            stack.callback(machine.hang_up)
            stack.callback(come_back, machine)
            return machine

        yield make


@pytest.fixture
def lost(new_lost, guest) -> Machine:
    """Give a machine on that host with a guest."""
    return new_lost(guest)


@pytest.fixture
def there(machine, guest) -> Machine:
    """Give a machine on the other host with a guest."""
    return machine("virtio", guest=guest)


@pytest.fixture
def options(ceph_conf) -> dict[str, str]:
    """Give the options of the backend but for the libvirtd."""
    return {"ceph_conf": str(ceph_conf), "fence": FENCE, "operation_timeout": "60"}


@pytest.fixture
def at_lost_host(lost_libvirtd, options) -> Backend:
    """Give the backend, with the libvirtd of the host that is lost."""
    return LibvirtBackend(options | {"uri": lost_libvirtd.uri})


@pytest.fixture
def elsewhere(libvirtd, options) -> Backend:
    """Give the backend, with the other libvirtd."""
    return LibvirtBackend(options | {"uri": libvirtd.uri})


def known(volume):
    """Return what is known of a volume of Cinder's when the host is lost: not where its data is."""
    return Volume(volume.id, "demo")


def image(volume):
    return f"volume-{volume.id}"


def lose(machine):
    """Stop a machine's QEMU and its libvirtd, as if the host had stopped."""
    machine.freeze()
    machine.libvirtd.freeze()


def come_back(machine):
    """Let them go on."""
    machine.libvirtd.thaw()
    machine.thaw()


def write(machine, word):
    """Write a word to a guest's disk, and return whether that succeeded."""
    return machine.console.run(f"echo {word} >/dev/vda && sync && echo done || echo failed").endswith("done")


def test_a_lost_server_is_cut_off_and_comes_back_without_harm(
    at_lost_host, elsewhere, lost, there, new_volume, ceph, holders
):
    volume = new_volume()
    assert at_lost_host.attach(lost.server, volume, None) == "/dev/vda"
    lost.console.wait_for("/dev/vda")
    assert write(lost, "first")
    (address,) = ceph.watchers(image(volume))
    lose(lost)
    with pytest.raises(BackendUnavailable):
        at_lost_host.attached(lost.server)
    assert at_lost_host.find_clients(lost.server, known(volume)) == [address]
    at_lost_host.cut_off(lost.server, known(volume), [address])
    assert ceph.watchers(image(volume)) == []

    assert elsewhere.attach(there.server, volume, None) == "/dev/vda"
    assert set(holders(volume)) == {there.id}
    there.console.wait_for("/dev/vda")
    assert there.console.run("head -c 5 /dev/vda") == "first"
    assert write(there, "second")

    come_back(lost)
    assert not write(lost, "third")
    assert there.console.run("head -c 6 /dev/vda") == "second"
    assert ceph.read(image(volume), 7) == b"second\n"
    assert at_lost_host.attached(lost.server) == {volume.id: "/dev/vda"}
    at_lost_host.detach(lost.server, volume, None)
    assert set(holders(volume)) == {there.id}
    elsewhere.detach(there.server, volume, None)
    assert holders(volume) == []


def test_a_client_that_no_longer_has_the_image_open_is_cut_off_by_its_kept_address(
    at_lost_host, elsewhere, lost, there, new_volume, ceph
):
    volume = new_volume()
    at_lost_host.attach(lost.server, volume, None)  # and writes nothing, so that Ceph's own lock does not have it
    (address,) = ceph.watchers(image(volume))
    lost.console.wait_for("/dev/vda")
    lose(lost)
    wait_for("the end of the watch", lambda: ceph.watchers(image(volume)) == [], timeout=WATCH_TIMEOUT)
    assert at_lost_host.find_clients(lost.server, known(volume)) == [address]
    at_lost_host.cut_off(lost.server, known(volume), [address])
    elsewhere.attach(there.server, volume, None)
    there.console.wait_for("/dev/vda")
    assert write(there, "second")
    come_back(lost)
    assert not write(lost, "third")
    assert ceph.read(image(volume), 7) == b"second\n"
    elsewhere.detach(there.server, volume, None)


def test_a_writer_that_started_after_the_attach_is_found_when_it_no_longer_has_the_image_open(
    at_lost_host, lost, new_volume, ceph
):
    volume = new_volume()
    lost.stop()
    at_lost_host.attach(lost.server, volume, None)
    lost.start()
    lost.console.wait_for("/dev/vda")
    assert write(lost, "first")
    (address,) = ceph.watchers(image(volume))
    lose(lost)
    wait_for("the end of the watch", lambda: ceph.watchers(image(volume)) == [], timeout=WATCH_TIMEOUT)
    assert at_lost_host.find_clients(lost.server, known(volume)) == [address]


def test_a_server_that_comes_back_has_its_volume_detached_and_attached_again(
    at_lost_host, lost, new_volume, ceph, holders
):
    volume, machine = new_volume(), lost
    at_lost_host.attach(machine.server, volume, None)
    machine.console.wait_for("/dev/vda")
    for _ in range(2):  # as after a crash between this and the removal of the row
        at_lost_host.cut_off(machine.server, known(volume), [*ceph.watchers(image(volume)), *kept(ceph)])
    assert set(holders(volume)) == {machine.id}
    at_lost_host.detach(machine.server, volume, None)
    assert holders(volume) == []
    at_lost_host.attach(machine.server, volume, None)
    assert len(ceph.watchers(image(volume))) == 1
    at_lost_host.detach(machine.server, volume, None)


def kept(ceph):
    """Return the addresses on the blocklist."""
    return [line.split()[0] for line in ceph.ceph("osd", "blocklist", "ls").splitlines() if "/" in line]


def test_only_confirmed_clients_are_cut_off_and_others_that_only_the_operator_knows(
    at_lost_host, new_lost, new_volume, ceph
):
    volume, machine = new_volume(), new_lost()
    at_lost_host.attach(machine.server, volume, None)
    (address,) = ceph.watchers(image(volume))
    with pytest.raises(AttachRefused, match=f"has other clients by now: {address}"):
        at_lost_host.cut_off(machine.server, known(volume), [WHOLE_HOST])
    assert ceph.watchers(image(volume)) == [address]
    at_lost_host.cut_off(machine.server, known(volume), [address, WHOLE_HOST])
    assert {address, WHOLE_HOST} <= set(kept(ceph))


def test_files_and_volumes_without_a_fence_are_refused(at_lost_host, new_backend, new_lost, lost_libvirtd, new_volume):
    machine, volume, other = new_lost(), lost_libvirtd.volume(), new_volume()
    at_lost_host.attach(machine.server, volume, None)
    with pytest.raises(AttachRefused, match="neither its fence nor the catalog names an image of Ceph's"):
        at_lost_host.find_clients(machine.server, volume)
    with pytest.raises(AttachRefused, match="neither its fence nor the catalog"):
        at_lost_host.find_clients(machine.server, known(other))
    with pytest.raises(AttachRefused, match=r"backend\.fence is not set"):
        new_backend().cut_off(machine.server, other, ["192.0.2.5:0/11"])


# The command

PASTE = """\
[filter:volumes]
use = egg:os-volume-ext
dialect = openstack
database.url = {url}
backend = libvirt
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture
def volume_id(ceph, secret, url) -> str:
    """Give the id of a volume that the catalog has."""
    name = ceph.image()
    source = f"rbd://127.0.0.1:{ceph.port}/{POOL}/{name}?user={CLIENT}&secret={secret}"
    database = Database({"url": url})
    schema.upgrade(database)
    SQLCatalog({}, database).create(Volume(name.removeprefix("volume-"), "demo", source))
    database.dispose()
    return name.removeprefix("volume-")


@pytest.fixture
def new_app(url, options):
    """Give ``new_app(machine)``: a filter in front of a compute API, with the libvirtd of that machine."""
    given = {f"backend.{name}": value for name, value in options.items() if name != "operation_timeout"}
    with contextlib.ExitStack() as stack:

        def make(machine):
            given["backend.uri"] = machine.libvirtd.uri
            app = make_filter(
                compute_api({machine.id}), dialect="openstack", backend="libvirt", **{"database.url": url}, **given
            )
            return stack.enter_context(contextlib.closing(app))

        yield make


@pytest.fixture
def command(tmp_path, url, options, lost_libvirtd, capsys):
    """Give ``command(*arguments)``: status and output of a command about the host that is lost."""
    paste = tmp_path / "api-paste.ini"
    given = {**options, "uri": lost_libvirtd.uri, "connect_timeout": "2"}
    del given["operation_timeout"]
    lines = [f"backend.{name} = {value}\n" for name, value in given.items()]
    paste.write_text(PASTE.replace("{url}", url) + "".join(lines))

    def run(*arguments):
        with restoring_loggers():
            status = main([*arguments, "--paste", str(paste)])
        return status, "".join(capsys.readouterr())

    return run


def test_the_command_frees_a_volume_for_another_server(command, new_app, new_lost, there, volume_id, ceph):
    machine = new_lost()
    body = {"volumeAttachment": {"volumeId": volume_id}}
    assert send_request(new_app(machine), "POST", collection(machine.id), body)[0] == 200
    refused = command("attachment", "force-detach", machine.id, volume_id, "--yes")
    assert refused[0] == 1
    assert f"the host of server {machine.id} responds" in refused[1]
    (address,) = ceph.watchers(f"volume-{volume_id}")
    lose(machine)
    status, shown = command("attachment", "remove", machine.id, volume_id)
    assert (status, "if its host is lost, see attachment force-detach" in shown) == (1, True)
    status, shown = command("attachment", "force-detach", machine.id, volume_id, "--yes")
    assert status == 0
    assert f"Client {address}: it will be cut off from the storage" in shown
    assert ceph.watchers(f"volume-{volume_id}") == []
    assert send_request(new_app(there), "POST", collection(there.id), body)[0] == 200
    there.console.wait_for("/dev/vda")
    assert write(there, "second")
    assert ceph.read(f"volume-{volume_id}", 7) == b"second\n"
