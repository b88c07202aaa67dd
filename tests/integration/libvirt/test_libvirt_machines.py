"""The libvirt backend beyond the contract: what guests see, and failures of guests and libvirtd."""

import multiprocessing
import os
import socket
import subprocess
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from os_volume_ext.backends.base import (
    AttachRefused,
    BackendUnavailable,
    OutcomeUnknown,
    ServerNotFound,
    TooManyAttachments,
    Volume,
)
from tests.integration.libvirt.real_libvirt import ROOM, backend_class, wait_for
from tests.support.waiting import TIMEOUT

LibvirtBackend = backend_class()

MIB = 2**20
READ_ONLY = {"driver_volume_type": "local", "access_mode": "ro"}

import libvirt  # noqa: E402


@pytest.fixture
def new_backend(libvirtd):
    """Give ``new_backend(bus, **options)``."""

    def make(bus="scsi", **options):
        return LibvirtBackend({"uri": libvirtd.uri, "bus": bus, "operation_timeout": "60", **options})

    return make


@pytest.fixture
def backend(new_backend):
    return new_backend()


@pytest.fixture
def stubborn(machine):
    """Give a machine that never releases a virtio disk: it has no operating system that could."""
    return machine("virtio")


@pytest.fixture
def callbacks(monkeypatch):
    """Give what the last connection registered with libvirt: ``{event: (connection, callback)}``."""
    registered, register = {}, libvirt.virConnect.domainEventRegisterAny

    def remember(connection, domain, event, callback, opaque):
        registered[event] = (connection, callback)
        return register(connection, domain, event, callback, opaque)

    monkeypatch.setattr(libvirt.virConnect, "domainEventRegisterAny", remember)
    return registered


# What a guest sees


def test_a_guest_sees_the_disk_and_its_bytes_stay_when_it_goes(new_backend, libvirtd, two_guests):
    backend, volume = new_backend("virtio"), libvirtd.volume()
    here, there = two_guests
    assert backend.attach(here.server, volume, None) == "/dev/vda"
    here.console.wait_for("/dev/vda")
    assert here.console.run("cat /sys/block/vda/serial") == volume.id[:20]
    here.console.run("echo precious >/dev/vda && sync")
    backend.detach(here.server, volume, "/dev/vda")
    assert here.console.run("ls /sys/block") == ""
    assert Path(volume.source).read_bytes()[:9] == b"precious\n"
    backend.attach(there.server, volume, "/dev/vdc")
    assert there.blocks() == {"vdc": volume.source}
    there.console.wait_for("/dev/vda")
    assert there.console.run("cat /sys/block/vda/serial; head -c 9 /dev/vda") == f"{volume.id[:20]}precious"
    backend.detach(there.server, volume, "/dev/vdc")
    assert there.blocks() == {}


def test_a_guest_reads_a_qcow2_image(new_backend, libvirtd, two_guests):
    backend, machine = new_backend("virtio"), two_guests[0]
    volume = libvirtd.volume(source=str(libvirtd.image("qcow2", "9M")), format="qcow2")
    backend.attach(machine.server, volume, None)
    machine.console.wait_for("/dev/vda")
    assert machine.console.run("cat /sys/block/vda/size") == str(9 * 2048)
    backend.detach(machine.server, volume, None)


@pytest.mark.parametrize("file_format", ["raw", "qcow2"])
def test_a_guest_sees_the_new_size_of_a_volume_and_its_bytes(new_backend, libvirtd, two_guests, file_format):
    backend, machine = new_backend("virtio"), two_guests[0]
    volume = libvirtd.volume(source=str(libvirtd.image(file_format)), format=file_format)
    backend.attach(machine.server, volume, None)
    machine.console.wait_for("/dev/vda")
    machine.console.run("echo precious >/dev/vda && sync")
    if file_format == "raw":
        os.truncate(volume.source, 9 * MIB)
    assert backend.disk_size(machine.server, volume) == 4 * MIB
    backend.resize(machine.server, replace(volume, size=9 * MIB))
    assert backend.disk_size(machine.server, volume) == 9 * MIB
    machine.console.run(f"until test $(cat /sys/block/vda/size) = {9 * 2048}; do usleep 10000; done")
    assert machine.console.run("head -c 8 /dev/vda; echo end | dd of=/dev/vda bs=1M seek=8 2>/dev/null") == "precious"
    assert backend.attached(machine.server) == {volume.id: "/dev/vda"}
    backend.detach(machine.server, volume, None)


def test_what_a_file_has_beyond_the_volumes_size_is_not_cut_off(backend, libvirtd, two_machines):
    volume, machine = libvirtd.volume(), two_machines[0]
    backend.attach(machine.server, volume, None)
    with Path(volume.source).open("ab") as file:
        file.write(b"precious".ljust(8 * MIB))
    backend.resize(machine.server, replace(volume, size=8 * MIB))
    assert backend.disk_size(machine.server, volume) == 12 * MIB
    assert Path(volume.source).read_bytes()[4 * MIB :].startswith(b"precious")
    backend.detach(machine.server, volume, None)


def test_a_disk_that_qemu_can_not_resize_is_refused_and_stays(backend, libvirtd, two_machines):
    volume, machine = libvirtd.volume(), two_machines[0]
    volume = replace(volume, connection={**READ_ONLY, "device_path": volume.source})
    backend.attach(machine.server, volume, None)
    with pytest.raises(AttachRefused):
        backend.resize(machine.server, replace(volume, size=8 * MIB))
    assert backend.disk_size(machine.server, volume) == 4 * MIB
    backend.detach(machine.server, volume, None)


def test_a_guest_reads_an_image_of_an_nbd_server(new_backend, libvirtd, two_guests, free_port):
    backend, machine = new_backend("virtio"), two_guests[0]
    image = libvirtd.image()
    image.write_bytes(b"over the net".ljust(4096))
    command = ["qemu-nbd", "--persistent", "--bind=127.0.0.1", f"--port={free_port}", "--export-name=disk"]
    server = subprocess.Popen([*command, "--format=raw", image])
    try:
        volume = Volume("nbd-1", "demo", f"nbd://127.0.0.1:{free_port}/disk")
        wait_for("the NBD server", lambda: attached(backend, machine, volume))
        machine.console.wait_for("/dev/vda")
        assert machine.console.run("head -c 12 /dev/vda") == "over the net"
        backend.detach(machine.server, volume, None)
    finally:
        server.terminate()
        server.wait()


def attached(backend, machine, volume):
    try:
        return backend.attach(machine.server, volume, None)
    except BackendUnavailable:
        return None


def test_a_guest_reads_a_unit_of_an_iscsi_target_that_cinder_describes(new_backend, iscsi_target, two_guests):
    backend, machine = new_backend("virtio"), two_guests[0]
    volume = Volume(str(uuid.uuid4()), "demo", connection=iscsi_target.connection_info | {"access_mode": "ro"})
    backend.attach(machine.server, volume, None)
    machine.console.wait_for("/dev/vda")
    assert machine.console.run("head -c 12 /dev/vda; cat /sys/block/vda/ro") == "over the net1"
    backend.detach(machine.server, volume, None)


@pytest.mark.parametrize("bus", ["scsi", "virtio"])
def test_libvirt_takes_every_kind_of_source(new_backend, libvirtd, machine, bus):
    """Whether they are there, libvirt sees when the machine starts."""
    backend, stopped = new_backend(bus), machine(bus)
    stopped.stop()
    login = f"user=cinder&secret={uuid.uuid4()}"
    sources = {
        "rbd:volumes/1": "volumes/1",
        f"rbd://mon1:6789,[fd00::2]/volumes/2?{login}": "volumes/2",
        f"iscsi://storage:3260/iqn.2026-01.com.example:disk/1?{login}": "iqn.2026-01.com.example:disk/1",
        "nbd://storage/disk": "disk",
        "/dev/null": "/dev/null",
    }
    for number, source in enumerate(sources):
        backend.attach(stopped.server, Volume(str(number), "demo", source), None)
    assert list(stopped.blocks().values()) == list(sources.values())


# What lasts


@pytest.mark.parametrize("bus", ["scsi", "virtio"])
def test_a_disk_is_there_again_when_the_machine_restarts(new_backend, libvirtd, machine, bus):
    backend, restarted, volume = new_backend(bus), machine(bus), libvirtd.volume()
    device = backend.attach(restarted.server, volume, None)
    restarted.stop()
    assert backend.attached(restarted.server) == {volume.id: device}
    restarted.start()
    assert restarted.disks() == {volume.id: device.removeprefix("/dev/")}


@pytest.mark.parametrize("bus", ["scsi", "virtio"])
def test_disks_come_and_go_while_the_machine_is_shut_off(new_backend, libvirtd, machine, bus):
    backend, stopped, volumes = new_backend(bus), machine(bus), [libvirtd.volume(), libvirtd.volume()]
    stopped.stop()
    devices = {volume.id: backend.attach(stopped.server, volume, None) for volume in volumes}
    assert backend.attached(stopped.server) == devices
    backend.detach(stopped.server, volumes[0], devices[volumes[0].id])
    stopped.start()
    assert list(stopped.disks()) == [volumes[1].id]


def test_a_disk_that_is_half_there_is_completed(backend, libvirtd, machine):
    half, volume = machine("scsi"), libvirtd.volume()
    device = backend.attach(half.server, volume, "/dev/sdc")
    libvirtd.virsh("detach-disk", half.name, "sdc", "--config")
    assert backend.attached(half.server) == {volume.id: device}
    assert backend.attach(half.server, volume, None) == device
    assert half.disks() == half.disks(inactive=True) == {volume.id: "sdc"}


def test_a_disk_that_is_half_there_and_has_an_invalid_source_is_an_unknown_outcome(backend, libvirtd, machine):
    half, volume = machine("scsi"), libvirtd.volume()
    backend.attach(half.server, volume, "/dev/sdc")
    libvirtd.virsh("detach-disk", half.name, "sdc", "--config")
    with pytest.raises(OutcomeUnknown):
        backend.attach(half.server, replace(volume, source="nowhere"), None)
    assert half.disks() == {volume.id: "sdc"}


def test_a_disk_attached_by_others_is_recognized_by_its_serial_number(backend, libvirtd, machine):
    theirs, volume = machine("scsi"), libvirtd.volume()
    libvirtd.virsh("attach-disk", theirs.name, volume.source, "sdd", "--serial", volume.id, "--persistent")
    assert backend.attached(theirs.server) == {volume.id: "/dev/sdd"}
    assert backend.attach(theirs.server, volume, None) == "/dev/sdd"
    backend.detach(theirs.server, volume, None)
    assert theirs.blocks() == theirs.disks(inactive=True) == {}


def test_a_transient_machine_has_a_disk_while_it_lasts(backend, libvirtd, machine):
    transient, volume = machine("scsi"), libvirtd.volume()
    libvirtd.virsh("undefine", transient.name)
    device = backend.attach(transient.server, volume, None)
    assert transient.disks() == {volume.id: device.removeprefix("/dev/")}
    backend.detach(transient.server, volume, device)
    assert transient.disks() == {}


# Names


def test_a_domain_is_found_by_what_its_name_is_made_of(new_backend, libvirtd, machine):
    named, volume = machine("scsi"), libvirtd.volume()
    prefix, number = named.name[:4], named.name[4:]
    server = type(named.server)(number, "demo", "ACTIVE", instance_name=named.name)
    for template in (f"{prefix}{{id}}", "{instance_name}"):
        backend = new_backend(domain=template)
        device = backend.attach(server, volume, None)
        assert named.disks() == {volume.id: device.removeprefix("/dev/")}
        backend.detach(server, volume, device)


def test_a_host_in_the_uri_is_the_servers(libvirtd, machine):
    hosted = machine("scsi")
    backend = LibvirtBackend({"uri": libvirtd.uri.replace("libvirt-sock", "{host}")})
    assert backend.needs_host
    server = hosted.server
    assert backend.attached(type(server)(server.id, "demo", "ACTIVE", host="libvirt-sock")) == {}
    for host in (None, "", "../x", "a?command=b", "-x", "a b"):
        with pytest.raises(BackendUnavailable):
            backend.attached(type(server)(server.id, "demo", "ACTIVE", host=host))
    backend.check()


# What is refused, and leaves nothing


def refuses(backend, machine, volume, kind=AttachRefused):
    before = machine.disks(), machine.disks(inactive=True)
    with pytest.raises(kind) as refused:
        backend.attach(machine.server, volume, None)
    assert (machine.disks(), machine.disks(inactive=True)) == before
    return str(refused.value)


@pytest.mark.parametrize("runs", [True, False], ids=["running", "shut off"])
def test_a_source_that_does_not_exist_is_refused_without_its_path(backend, machine, runs):
    without = machine("scsi")
    if not runs:
        without.stop()
    reason = refuses(backend, without, Volume("9", "demo", "/nowhere/disk.img"))
    assert reason.startswith("The server's host can't open the volume's source;")


def test_an_image_of_another_format_is_refused(backend, libvirtd, machine):
    refuses(backend, machine("scsi"), libvirtd.volume(format="qcow2"))


def test_an_image_that_another_machine_has_is_refused(backend, libvirtd, machine):
    here, there, volume = machine("scsi"), machine("scsi"), libvirtd.volume()
    backend.attach(here.server, volume, None)
    refuses(backend, there, volume)


def test_a_machine_without_a_scsi_controller_is_refused_a_disk(backend, libvirtd, machine):
    assert "scsi controller" in refuses(backend, machine("virtio"), libvirtd.volume())


def test_a_full_bus_is_reported_with_its_limit(new_backend, libvirtd, stubborn):
    backend = new_backend("virtio")
    for _ in range(ROOM):
        backend.attach(stubborn.server, libvirtd.volume(), None)
    assert (
        refuses(backend, stubborn, libvirtd.volume(), TooManyAttachments)
        == f"A server can have at most {ROOM} attached volumes."
    )


def test_a_machine_that_is_saved_to_a_file_is_left_alone(backend, libvirtd, machine):
    saved, volume = machine("scsi"), libvirtd.volume()
    backend.attach(saved.server, volume, None)
    libvirtd.virsh("managedsave", saved.name)
    assert "saved" in refuses(backend, saved, libvirtd.volume())
    with pytest.raises(AttachRefused, match="saved"):
        backend.detach(saved.server, volume, None)
    saved.start()
    assert list(saved.disks()) == [volume.id]


def test_a_machine_that_is_suspended_is_left_alone(new_backend, libvirtd, machine, guest):
    backend, asleep, volume = new_backend("virtio"), machine("virtio", guest=guest), libvirtd.volume()
    backend.attach(asleep.server, volume, None)
    asleep.sleep()
    assert "suspended" in refuses(backend, asleep, libvirtd.volume())
    with pytest.raises(AttachRefused, match="suspended"):
        backend.detach(asleep.server, volume, None)
    assert asleep.disks() == asleep.disks(inactive=True) != {}


def test_a_machine_that_is_gone_is_not_found(backend, libvirtd, machine):
    gone = machine("scsi")
    gone.remove()
    with pytest.raises(ServerNotFound):
        backend.attach(gone.server, libvirtd.volume(), None)


# Guests that do not release a disk


def test_a_disk_that_the_guest_keeps_is_an_unknown_outcome(new_backend, libvirtd, stubborn):
    backend, volume = new_backend("virtio", detach_timeout="6"), libvirtd.volume()
    device = backend.attach(stubborn.server, volume, None)
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="did not release"):
        backend.detach(stubborn.server, volume, device)
    assert 6 <= time.monotonic() - began < 20
    assert backend.attached(stubborn.server) == {volume.id: device}
    assert stubborn.disks(inactive=True) == {}
    stubborn.stop()
    assert backend.attached(stubborn.server) == {}


def test_a_repeated_detach_continues(new_backend, libvirtd, two_guests):
    backend, slow, volume = new_backend("virtio", detach_timeout="1"), two_guests[0], libvirtd.volume()
    backend.attach(slow.server, volume, None)
    libvirtd.virsh("suspend", slow.name)
    with pytest.raises(OutcomeUnknown):
        backend.detach(slow.server, volume, None)
    libvirtd.virsh("resume", slow.name)
    backend.detach(slow.server, volume, None)
    assert slow.disks() == {}


def test_a_detach_ends_when_the_guest_releases_the_disk_late(new_backend, libvirtd, two_guests):
    backend, slow, volume = new_backend("virtio"), two_guests[0], libvirtd.volume()
    backend.attach(slow.server, volume, None)
    libvirtd.virsh("suspend", slow.name)
    # Later than libvirt itself would wait.
    threading.Timer(7, lambda: libvirtd.virsh("resume", slow.name)).start()
    backend.detach(slow.server, volume, None)
    assert slow.disks() == {}


def test_a_refusal_by_the_guest_is_reported_at_once(new_backend, libvirtd, stubborn, callbacks):
    backend, volume = new_backend("virtio", detach_timeout="30"), libvirtd.volume()
    backend.attach(stubborn.server, volume, None)
    # No guest can be made to refuse on this machine type: so it is libvirt's event alone that is not real.
    event = libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED
    connection, callback = callbacks[event]
    domain = connection.lookupByName(stubborn.name)
    threading.Timer(6, lambda: callback(connection, domain, f"ua-{volume.id}", event)).start()
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="refused to release"):
        backend.detach(stubborn.server, volume, None)
    assert time.monotonic() - began < 20


def test_other_disks_are_attached_while_a_guest_keeps_one(new_backend, libvirtd, stubborn):
    backend, going, coming = new_backend("virtio", detach_timeout="7"), libvirtd.volume(), libvirtd.volume()
    backend.attach(stubborn.server, going, None)
    with ThreadPoolExecutor(1) as pool:
        detached = pool.submit(backend.detach, stubborn.server, going, None)
        backend.attach(stubborn.server, coming, None)
        assert not detached.done()
        with pytest.raises(OutcomeUnknown):
            detached.result(TIMEOUT)
    assert set(stubborn.disks()) == {going.id, coming.id}


# Connections


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_detaches_without_events(new_backend, libvirtd, two_guests):
    backend, there, volume = new_backend("virtio"), two_guests[0], libvirtd.volume()
    backend.attach(there.server, volume, None)
    libvirtd.virsh("suspend", there.name)
    threading.Timer(6, lambda: libvirtd.virsh("resume", there.name)).start()
    child = multiprocessing.get_context("fork").Process(target=backend.detach, args=(there.server, volume, None))
    child.start()
    child.join(TIMEOUT)
    assert child.exitcode == 0
    assert backend.attached(there.server) == {}


def test_a_lost_connection_is_reopened(backend, libvirtd, machine):
    there, volume = machine("scsi"), libvirtd.volume()
    backend.attach(there.server, volume, None)
    libvirtd.kill()
    with pytest.raises(BackendUnavailable):
        backend.attached(there.server)
    with pytest.raises(BackendUnavailable):
        backend.check()
    libvirtd.start()
    assert list(backend.attached(there.server)) == [volume.id]


def test_a_silent_connection_is_closed_and_reopened(new_backend, libvirtd, machine):
    backend, there = new_backend(connect_timeout="1"), machine("scsi")
    assert backend.attached(there.server) == {}
    with ThreadPoolExecutor(1) as pool:
        libvirtd.freeze()
        try:
            for _ in range(2):  # the one that is open, and one that does not open
                with pytest.raises(BackendUnavailable):
                    pool.submit(backend.attached, there.server).result(15)
        finally:
            libvirtd.thaw()
    wait_for("libvirtd's response", lambda: responses(backend))
    assert backend.attached(there.server) == {}


def test_a_host_whose_first_connection_never_opened_is_reached_later(libvirtd, machine):
    there, path = machine("scsi"), libvirtd.directory / "silent"
    uri = libvirtd.uri.replace(str(libvirtd.socket), str(path))
    backend = LibvirtBackend({"uri": uri, "bus": "scsi", "operation_timeout": "60", "connect_timeout": "1"})
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(BackendUnavailable, match="did not respond"):
            backend.attached(there.server)
        path.unlink()
        path.symlink_to(libvirtd.socket)
        assert backend.attached(there.server) == {}


def responses(backend):
    try:
        backend.check()
    except BackendUnavailable:
        return False
    return True
