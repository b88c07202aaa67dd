"""Volumes in Ceph, attached by what Cinder says about them: what guests see, and failures of the storage."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, OutcomeUnknown, Volume
from tests.integration.libvirt.real_libvirt import backend_class, wait_for

backend_class()

ISCSI = {
    "driver_volume_type": "iscsi",
    "target_portal": "storage:3260",
    "target_iqn": "iqn.2010-10.org.openstack:volume-1",
    "target_lun": 1,
}
NFS = {"driver_volume_type": "nfs", "export": "storage:/srv/cinder", "name": "volume-1", "format": "qcow2"}


@pytest.fixture
def backend(new_backend):
    return new_backend()


@pytest.fixture
def guest_machine(machine, guest):
    """Give a machine with a guest, which runs until the test ends."""
    return machine("virtio", guest=guest)


def image(volume):
    return f"volume-{volume.id}"


# What a guest sees


def test_a_guest_sees_the_image_and_another_one_its_bytes_later(backend, ceph, new_volume, two_guests):
    volume = new_volume()
    here, there = two_guests
    assert backend.attach(here.server, volume, None) == "/dev/vda"
    here.console.wait_for("/dev/vda")
    assert here.console.run("cat /sys/block/vda/serial /sys/block/vda/size") == f"{volume.id[:20]}8192"
    here.console.run("echo precious >/dev/vda && sync")
    assert len(ceph.watchers(image(volume))) == 1
    backend.detach(here.server, volume, "/dev/vda")
    assert here.console.run("ls /sys/block") == ""
    assert ceph.watchers(image(volume)) == []
    assert ceph.read(image(volume), 9) == b"precious\n"
    backend.attach(there.server, volume, None)
    there.console.wait_for("/dev/vda")
    assert there.console.run("head -c 8 /dev/vda") == "precious"
    backend.detach(there.server, volume, None)


def test_a_guest_sees_the_new_size_of_an_image_that_was_extended(backend, ceph, new_volume, two_guests):
    volume, machine = new_volume(), two_guests[0]
    backend.attach(machine.server, volume, None)
    machine.console.wait_for("/dev/vda")
    ceph.rbd("resize", "--no-progress", "--size", "9M", f"volumes/{image(volume)}")
    assert backend.disk_size(machine.server, volume) == 4 * 2**20
    backend.resize(machine.server, replace(volume, size=9 * 2**20))
    assert backend.disk_size(machine.server, volume) == 9 * 2**20
    machine.console.run(f"until test $(cat /sys/block/vda/size) = {9 * 2048}; do usleep 10000; done")
    assert json.loads(ceph.rbd("info", "--format=json", f"volumes/{image(volume)}"))["size"] == 9 * 2**20
    backend.detach(machine.server, volume, None)


def test_a_guest_sees_the_plain_bytes_of_an_encrypted_image(backend, ceph, secret, two_guests):
    name = ceph.encrypted_image("hush-hush")
    info = ceph.connection_info(name, secret, encrypted=True, encryption_passphrase="hush-hush")
    volume, machine = Volume(name.removeprefix("volume-"), "demo", connection=info), two_guests[0]
    backend.attach(machine.server, volume, None)
    machine.console.wait_for("/dev/vda")
    assert machine.console.run("cat /sys/block/vda/size") == str(4 * 2048)
    machine.console.run("echo precious >/dev/vda && sync && echo 3 >/proc/sys/vm/drop_caches")
    assert machine.console.run("head -c 8 /dev/vda") == "precious"
    assert ceph.read(name, 4) == b"LUKS"
    assert b"precious" not in ceph.read(name, 2**23)
    backend.detach(machine.server, replace(volume, connection=None), None)


@pytest.mark.parametrize("mode", ["access_mode", "attach_mode"])
def test_a_guest_can_not_write_to_a_read_only_volume(backend, new_volume, two_guests, mode):
    volume, machine = new_volume(**{mode: "ro"}), two_guests[0]
    backend.attach(machine.server, volume, None)
    machine.console.wait_for("/dev/vda")
    assert machine.console.run("cat /sys/block/vda/ro") == "1"
    backend.detach(machine.server, volume, None)


def test_limits_and_discard_are_in_force(backend, libvirtd, new_volume, two_guests):
    volume = new_volume(qos_specs={"total_iops_sec": "200", "read_bytes_sec": 1048576})
    machine = two_guests[0]
    backend.attach(machine.server, volume, None)
    lines = libvirtd.virsh("blkdeviotune", machine.name, "vda").splitlines()
    limits = {name.strip(): value.strip() for name, value in (line.split(":") for line in lines if ":" in line)}
    assert {name: value for name, value in limits.items() if value != "0" and name != "group_name"} == {
        "total_iops_sec": "200",
        "read_bytes_sec": "1048576",
    }
    assert "discard='unmap'" in libvirtd.virsh("dumpxml", machine.name)
    backend.detach(machine.server, volume, None)


def test_libvirt_takes_every_transport(backend, machine, new_volume):
    """Whether they are there, libvirt sees when the machine starts."""
    stopped = machine("virtio")
    stopped.stop()
    volumes = [new_volume(), *(Volume(str(uuid.uuid4()), "demo", connection=info) for info in (ISCSI, NFS))]
    for volume in volumes:
        backend.attach(stopped.server, volume, None)
    assert list(stopped.blocks().values()) == [
        f"volumes/{image(volumes[0])}",
        "iqn.2010-10.org.openstack:volume-1/1",
        "/srv/cinder/volume-1",
    ]


def test_a_volume_is_detached_without_its_connection_info(backend, ceph, new_volume, two_guests):
    volume, machine = new_volume(), two_guests[0]
    backend.attach(machine.server, volume, None)
    backend.detach(machine.server, Volume(volume.id, "demo"), None)
    assert machine.disks() == machine.disks(inactive=True) == {}
    assert ceph.watchers(image(volume)) == []


# What is refused


def test_a_secret_that_the_host_does_not_have_is_named_as_the_reason(backend, new_volume, two_guests):
    with pytest.raises(AttachRefused, match="libvirt secret"):
        backend.attach(two_guests[0].server, new_volume(secret_uuid=str(uuid.uuid4())), None)
    assert two_guests[0].disks() == two_guests[0].disks(inactive=True) == {}


def test_a_wrong_key_is_refused_and_the_guest_goes_on(backend, ceph, new_secret, new_volume, two_guests):
    machine, other_key = two_guests[0], ceph.ceph("auth", "print-key", "client.admin").strip()
    with pytest.raises(AttachRefused):
        backend.attach(machine.server, new_volume(secret_uuid=new_secret(other_key)), None)
    assert machine.console.run("echo alive") == "alive"
    assert machine.disks() == machine.disks(inactive=True) == {}


def test_an_image_that_is_not_there_is_refused(backend, new_volume, two_guests):
    with pytest.raises(AttachRefused):
        backend.attach(two_guests[0].server, new_volume(name="volumes/no-such-image"), None)
    assert two_guests[0].disks() == two_guests[0].disks(inactive=True) == {}


# Failures of the storage


def test_an_address_without_a_monitor_never_reaches_the_guest(new_backend, new_volume, two_guests, free_port):
    machine, backend = two_guests[0], new_backend(probe_timeout="2")
    with pytest.raises(BackendUnavailable, match=f"127.0.0.1 port {free_port}"):
        backend.attach(machine.server, new_volume(ports=[str(free_port)]), None)
    assert machine.console.run("echo alive") == "alive"
    assert machine.disks() == machine.disks(inactive=True) == {}


def test_one_monitor_of_several_suffices(backend, ceph, new_volume, two_guests, free_port):
    volume = new_volume(hosts=["127.0.0.1", "127.0.0.1"], ports=[str(free_port), str(ceph.port)])
    assert backend.attach(two_guests[0].server, volume, None) == "/dev/vda"
    backend.detach(two_guests[0].server, volume, None)


def test_an_untested_monitor_that_is_not_there_is_refused_after_cephs_time_limit(
    new_backend, new_volume, two_guests, free_port
):
    machine, backend = two_guests[0], new_backend(probe_timeout="0")
    with pytest.raises(AttachRefused):
        backend.attach(machine.server, new_volume(ports=[str(free_port)]), None)
    assert machine.console.run("echo alive") == "alive"
    assert machine.disks() == machine.disks(inactive=True) == {}


def test_nothing_changes_while_ceph_is_down_and_all_works_afterwards(backend, ceph, new_volume, guest_machine):
    attached, other = new_volume(), new_volume()
    backend.attach(guest_machine.server, attached, None)
    guest_machine.console.wait_for("/dev/vda")
    ceph.kill()
    with pytest.raises(BackendUnavailable):
        backend.attach(guest_machine.server, other, None)
    assert backend.attached(guest_machine.server) == {attached.id: "/dev/vda"}
    ceph.restart()
    guest_machine.console.run("echo later >/dev/vda && sync")
    assert ceph.read(image(attached), 6) == b"later\n"
    backend.attach(guest_machine.server, other, None)
    assert backend.attached(guest_machine.server) == {attached.id: "/dev/vda", other.id: "/dev/vdb"}


def test_a_disk_whose_storage_is_down_counts_as_attached_until_it_is_gone(new_backend, ceph, new_volume, guest_machine):
    backend, volume = new_backend(detach_timeout="2"), new_volume()
    backend.attach(guest_machine.server, volume, None)
    guest_machine.console.wait_for("/dev/vda")
    guest_machine.console.write("echo lost >/dev/vda; sync")
    ceph.osd.kill()
    guest_machine.console.write("echo lost >/dev/vda; sync")
    try:
        backend.detach(guest_machine.server, volume, None)
    except OutcomeUnknown:
        assert guest_machine.blocks()
    else:
        assert not guest_machine.blocks()
    ceph.restart()
    wait_for("the detach", lambda: _is_detached(backend, guest_machine, volume))
    assert guest_machine.blocks() == {}


def test_a_detach_during_an_attach_that_is_stuck_in_ceph_is_refused_until_that_ends(
    new_backend, ceph, new_volume, guest_machine
):
    backend, volume = new_backend(detach_timeout="2"), new_volume()
    with ThreadPoolExecutor(1) as pool:
        with ceph.osd.hanging():
            attach = pool.submit(backend.attach, guest_machine.server, volume, None)
            wait_for("the attach", lambda: "occupied" in guest_machine.control_state())
            with pytest.raises(BackendUnavailable, match="another call is changing the domain"):
                backend.detach(guest_machine.server, volume, None)
            assert not attach.done()
        assert attach.result() == "/dev/vda"
    backend.detach(guest_machine.server, volume, None)
    assert guest_machine.blocks() == {}


def _is_detached(backend, machine, volume):
    try:
        backend.detach(machine.server, volume, None)
    except (OutcomeUnknown, BackendUnavailable):
        return False
    return True
