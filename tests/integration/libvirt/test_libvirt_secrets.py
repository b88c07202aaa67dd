"""Secrets of libvirt's that the backend makes for volumes: what guests see, what is left, and who can read them."""

import logging
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, Volume
from tests.integration.libvirt.real_libvirt import backend_class

LibvirtBackend = backend_class()

from os_volume_ext.backends.libvirt import secrets  # noqa: E402

PASSWORD = "hush-hush-hush"


@pytest.fixture
def backend(libvirtd):
    """Give a backend for the bus ``virtio``."""
    return LibvirtBackend({"uri": libvirtd.uri, "bus": "virtio", "operation_timeout": "60"})


@pytest.fixture
def volume(iscsi_target):
    """Give a volume of a target that requires a login."""
    return Volume(str(uuid.uuid4()), "demo", connection=iscsi_target.require_login("me", PASSWORD))


def made(libvirtd):
    """Return the UUIDs of the secrets that the backend has made, and what each is used for."""
    lines = libvirtd.virsh("secret-list").splitlines()
    found = dict(line.split(maxsplit=1) for line in lines if line.strip())
    return {identity: usage for identity, usage in found.items() if "os-volume-ext/" in usage}


def with_password(volume, password):
    return replace(volume, connection={**volume.connection, "auth_password": password})


def test_a_guest_reads_a_unit_of_a_target_that_requires_a_login(backend, libvirtd, two_guests, volume, caplog):
    machine = two_guests[0]
    with caplog.at_level(logging.DEBUG):
        backend.attach(machine.server, volume, None)
        machine.console.wait_for("/dev/vda")
        assert machine.console.run("head -c 12 /dev/vda") == "over the net"
        [(identity, usage)] = made(libvirtd).items()
        assert usage == f"iscsi os-volume-ext/{machine.id}/{volume.id}"
        documents = libvirtd.virsh("dumpxml", "--security-info", machine.name) + libvirtd.virsh(
            "secret-dumpxml", identity
        )
        assert identity in documents
        assert PASSWORD not in documents
        assert libvirtd.virsh("secret-get-value", identity, succeed=False) == ""
        backend.detach(machine.server, replace(volume, connection=None), None)
    assert made(libvirtd) == {}
    assert machine.disks() == machine.disks(inactive=True) == {}
    assert PASSWORD not in caplog.text


def test_the_disk_is_there_again_when_libvirt_and_the_machine_restart(backend, libvirtd, machine, guest, volume):
    restarted = machine("virtio", guest=guest)
    backend.attach(restarted.server, volume, None)
    restarted.stop()
    libvirtd.kill()
    libvirtd.start()
    restarted.start()
    restarted.console.wait_for("/dev/vda")
    assert restarted.console.run("head -c 12 /dev/vda") == "over the net"
    backend.detach(restarted.server, volume, None)
    assert made(libvirtd) == {}


def test_a_wrong_password_is_refused_and_leaves_nothing(backend, libvirtd, two_guests, volume, caplog):
    machine, wrong = two_guests[0], "wrong-wrong-wrong"
    with pytest.raises(AttachRefused) as refused:
        backend.attach(machine.server, with_password(volume, wrong), None)
    assert wrong not in str(refused.value) + caplog.text
    assert made(libvirtd) == {}
    assert machine.disks() == machine.disks(inactive=True) == {}
    backend.attach(machine.server, volume, None)
    backend.detach(machine.server, volume, None)


def test_a_storage_that_is_not_there_leaves_no_secret(backend, libvirtd, two_guests, volume, iscsi_target):
    iscsi_target.end()
    with pytest.raises(BackendUnavailable, match="the storage can't be reached"):
        backend.attach(two_guests[0].server, volume, None)
    assert made(libvirtd) == {}


@pytest.mark.parametrize("how", ["detach", "forget"])
def test_what_an_attach_that_was_killed_has_left_is_removed(backend, libvirtd, two_guests, volume, how):
    server = two_guests[0].server
    connection = backend_connection(libvirtd)
    secrets.define(connection, secrets.needed(server, volume), is_ephemeral=False)
    assert len(made(libvirtd)) == 1
    if how == "detach":
        backend.detach(server, replace(volume, connection=None), None)
    else:
        backend.forget(server, replace(volume, connection=None))
    assert made(libvirtd) == {}


def test_each_server_of_a_multiattach_volume_has_a_secret_of_its_own(backend, libvirtd, two_guests, volume):
    here, there = two_guests
    shared = replace(volume, multiattach=True, connection={**volume.connection, "access_mode": "ro"})
    for each in two_guests:
        backend.attach(each.server, shared, None)
    assert len(made(libvirtd)) == 2
    backend.detach(here.server, shared, None)
    [usage] = made(libvirtd).values()
    assert there.id in usage
    backend.detach(there.server, shared, None)
    assert made(libvirtd) == {}


def test_a_repeated_attach_keeps_the_secret(backend, libvirtd, two_guests, volume):
    server = two_guests[0].server
    device = backend.attach(server, volume, None)
    before = made(libvirtd)
    assert backend.attach(server, with_password(volume, "another-password"), None) == device
    assert made(libvirtd) == before != {}
    backend.detach(server, volume, None)


@pytest.mark.parametrize("is_transient", [False, True])
def test_only_a_persistent_machine_keeps_the_secret_on_the_hosts_disk(
    backend, libvirtd, machine, guest, volume, is_transient
):
    running = machine("virtio", guest=guest)
    if is_transient:
        libvirtd.virsh("undefine", running.name)
    backend.attach(running.server, volume, None)
    [identity] = made(libvirtd)
    ephemeral = "yes" if is_transient else "no"
    assert f"<secret ephemeral='{ephemeral}' private='yes'>" in libvirtd.virsh("secret-dumpxml", identity)
    running.console.wait_for("/dev/vda")
    backend.detach(running.server, volume, None)
    assert made(libvirtd) == {}


@pytest.mark.parametrize("volume_id", ["\udcff", "a\0b", "a/../b"])
def test_a_hostile_volume_id_makes_and_removes_no_secret(backend, libvirtd, two_guests, volume, volume_id):
    server, hostile = two_guests[0].server, replace(volume, id=volume_id)
    with pytest.raises(AttachRefused):
        backend.attach(server, hostile, None)
    backend.detach(server, hostile, None)
    backend.forget(server, hostile)
    assert made(libvirtd) == {}


# Encrypted data


@pytest.fixture
def encrypted(libvirtd):
    """Give a volume that is a file in LUKS format."""
    path = libvirtd.encrypted_image(PASSWORD)
    info = {"driver_volume_type": "local", "device_path": str(path), "encrypted": True}
    return Volume(str(uuid.uuid4()), "demo", connection={**info, "encryption_passphrase": PASSWORD})


def test_a_guest_sees_plain_bytes_and_the_storage_encrypted_ones(backend, libvirtd, two_guests, encrypted, caplog):
    path = Path(encrypted.connection["device_path"])
    here, there = two_guests
    with caplog.at_level(logging.DEBUG):
        backend.attach(here.server, encrypted, None)
        here.console.wait_for("/dev/vda")
        assert here.console.run("cat /sys/block/vda/size") == str(4 * 2048)
        here.console.run("echo precious >/dev/vda && sync")
        [(identity, usage)] = made(libvirtd).items()
        assert usage == f"volume os-volume-ext/{here.id}/{encrypted.id}"
        documents = libvirtd.virsh("dumpxml", "--security-info", here.name)
        documents += libvirtd.virsh("secret-dumpxml", identity)
        assert PASSWORD not in documents
        assert libvirtd.virsh("secret-get-value", identity, succeed=False) == ""
        backend.detach(here.server, Volume(encrypted.id, "demo"), None)
    assert made(libvirtd) == {}
    assert path.read_bytes().startswith(b"LUKS")
    assert b"precious" not in path.read_bytes()
    backend.attach(there.server, encrypted, None)
    there.console.wait_for("/dev/vda")
    assert there.console.run("head -c 8 /dev/vda") == "precious"
    backend.detach(there.server, encrypted, None)
    assert PASSWORD not in caplog.text


def test_a_guest_reads_an_encrypted_unit_of_a_target_that_requires_a_login(
    backend, libvirtd, two_guests, volume, iscsi_target, encrypted
):
    machine = two_guests[0]
    with iscsi_target.image.open("r+b") as unit:
        unit.write(Path(encrypted.connection["device_path"]).read_bytes())
    members = {"encrypted": True, "encryption_passphrase": PASSWORD}
    both = replace(volume, connection={**volume.connection, **members})
    backend.attach(machine.server, both, None)
    machine.console.wait_for("/dev/vda")
    machine.console.run("echo precious >/dev/vda && sync")
    assert iscsi_target.image.read_bytes().startswith(b"LUKS")
    assert b"precious" not in iscsi_target.image.read_bytes()
    assert {usage.split()[0] for usage in made(libvirtd).values()} == {"iscsi", "volume"}
    backend.detach(machine.server, both, None)
    assert made(libvirtd) == {}


def test_a_wrong_passphrase_is_refused_and_leaves_nothing(backend, libvirtd, two_guests, encrypted):
    machine = two_guests[0]
    wrong = replace(encrypted, connection={**encrypted.connection, "encryption_passphrase": "another"})
    with pytest.raises(AttachRefused):
        backend.attach(machine.server, wrong, None)
    assert made(libvirtd) == {}
    assert machine.disks() == machine.disks(inactive=True) == {}


def test_the_size_of_an_encrypted_disk_is_not_compared(backend, two_guests, encrypted):
    machine = two_guests[0]
    backend.attach(machine.server, encrypted, None)
    assert backend.disk_size(machine.server, encrypted) is None
    before = Path(encrypted.connection["device_path"]).stat().st_size
    backend.resize(machine.server, replace(encrypted, size=2 * before))
    assert Path(encrypted.connection["device_path"]).stat().st_size == before
    backend.detach(machine.server, encrypted, None)


def backend_connection(libvirtd):
    """Open a connection as another process has it."""
    import libvirt

    return libvirt.open(libvirtd.uri)
