"""Volumes that are fenced in Ceph before a server has them."""

import configparser
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, OutcomeUnknown, Server, ServerNotFound
from tests.integration.libvirt.real_libvirt import backend_class
from tests.integration.libvirt.test_libvirt_contract import LibvirtContract
from tests.support.ceph import FENCE
from tests.support.paths import DOCS

LibvirtBackend = backend_class()


@pytest.fixture
def new_fenced(new_backend):
    """Give ``new_fenced(**options)``: a backend with a fence."""
    return lambda **options: new_backend("scsi", fence=FENCE, **options)


@pytest.fixture
def backend(new_fenced):
    return new_fenced()


class TestFenced(LibvirtContract):
    """The contract holds with a fence too, which adds that attach refuses a second server."""

    bus = "scsi"
    requestable_device = "/dev/sdf"
    other_target = "sdc"

    @pytest.fixture
    def machines(self, two_machines):
        return two_machines

    @pytest.fixture
    def options(self, libvirtd, ceph_conf):
        return {"uri": libvirtd.uri, "bus": self.bus, "ceph_conf": str(ceph_conf), "fence": FENCE}


# Whose a volume is


def test_a_volume_is_claimed_while_a_server_has_it(backend, libvirtd, two_machines, holders):
    volume, (here, there) = libvirtd.volume(), two_machines
    backend.attach(here.server, volume, None)
    assert holders(volume) == [here.id]
    with pytest.raises(AttachRefused, match=f"Volume {volume.id} is fenced in the storage for server {here.id}"):
        backend.attach(there.server, volume, None)
    assert backend.attached(there.server) == {}
    backend.detach(here.server, volume, None)
    assert holders(volume) == []
    backend.attach(there.server, volume, None)
    assert holders(volume) == [there.id]
    backend.detach(there.server, volume, None)


def test_the_fence_does_not_depend_on_the_process_or_the_state_of_the_server(new_fenced, libvirtd, machine, holders):
    volume, here, there = libvirtd.volume(), machine("scsi"), machine("scsi")
    here.stop()
    there.stop()
    new_fenced().attach(here.server, volume, None)
    with pytest.raises(AttachRefused):
        new_fenced().attach(there.server, volume, None)
    new_fenced().detach(here.server, volume, None)
    assert holders(volume) == []


def test_a_volume_for_several_servers_is_not_fenced(backend, libvirtd, two_machines, holders):
    volume, (here, there) = libvirtd.volume(multiattach=True), two_machines
    for each in (here, there):
        backend.attach(each.server, volume, None)
    assert holders(volume) == []
    for each in (here, there):
        backend.detach(each.server, volume, None)


def test_a_server_goes_on_with_its_own_fence(backend, libvirtd, two_machines, holders, leave_fence):
    volume, (here, there) = libvirtd.volume(), two_machines
    leave_fence(here.server, volume)
    with pytest.raises(AttachRefused):
        backend.attach(there.server, volume, None)
    backend.attach(here.server, volume, None)
    backend.detach(here.server, volume, None)
    assert holders(volume) == []


def test_an_attach_that_changes_nothing_leaves_no_fence(backend, libvirtd, two_machines, holders):
    volume = libvirtd.volume(source="/nowhere/disk.img")
    with pytest.raises(AttachRefused):
        backend.attach(two_machines[0].server, volume, None)
    assert holders(volume) == []


def test_a_failed_attach_leaves_the_fence_of_an_earlier_one(backend, libvirtd, two_machines, holders, leave_fence):
    volume = libvirtd.volume(source="/nowhere/disk.img")
    leave_fence(two_machines[0].server, volume)
    with pytest.raises(AttachRefused):
        backend.attach(two_machines[0].server, volume, None)
    assert holders(volume) == [two_machines[0].id]
    backend.detach(two_machines[0].server, volume, None)
    assert holders(volume) == []


def test_a_detach_removes_the_fence_of_an_attach_that_was_killed(backend, libvirtd, two_machines, holders, leave_fence):
    volume, (here, there) = libvirtd.volume(), two_machines
    leave_fence(here.server, volume)
    backend.detach(there.server, volume, None)
    assert holders(volume) == [here.id]
    backend.detach(here.server, volume, None)
    assert holders(volume) == []


def test_the_fence_of_a_server_without_a_domain_stays_until_the_server_is_known_to_be_gone(
    backend, libvirtd, holders, leave_fence
):
    volume, gone = libvirtd.volume(), Server(str(uuid.uuid4()), "demo", "ACTIVE")
    leave_fence(gone, volume)
    with pytest.raises(ServerNotFound):
        backend.detach(gone, volume, None)
    assert holders(volume) == [gone.id]
    backend.forget(gone, volume)
    assert holders(volume) == []


def test_of_many_attaches_at_once_those_of_one_server_succeed(new_fenced, libvirtd, two_machines, holders):
    volume, backends = libvirtd.volume(), [new_fenced() for _ in range(8)]
    start = threading.Barrier(len(backends))

    def attach(number):
        start.wait()
        try:
            backends[number].attach(two_machines[number % 2].server, volume, None)
        except AttachRefused:
            return None
        return two_machines[number % 2].id

    with ThreadPoolExecutor(len(backends)) as pool:
        served = set(pool.map(attach, range(len(backends)))) - {None}
    having = [each for each in two_machines if backends[0].attached(each.server)]
    assert len(served) <= 1
    assert {each.id for each in having} == served
    for each in two_machines:
        backends[0].detach(each.server, volume, None)
    assert holders(volume) == []


def test_no_fence_is_removed_while_an_attach_may_still_succeed(new_fenced, libvirtd, machine, holders):
    stuck, backend = machine("scsi"), new_fenced(detach_timeout="1")
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as pool:
        volume = libvirtd.volume(source=f"nbd://127.0.0.1:{silent.getsockname()[1]}/disk")
        attach = pool.submit(backend.attach, stuck.server, volume, None)
        with silent.accept()[0], silent.accept()[0]:  # the first is of the backend, the second of QEMU
            with pytest.raises(BackendUnavailable, match="another call is changing the domain"):
                backend.detach(stuck.server, volume, None)
            assert holders(volume) == [stuck.id]
        with pytest.raises(AttachRefused):
            attach.result()
    assert holders(volume) == []


# A storage that does not respond


def test_nothing_changes_while_the_storage_does_not_respond(new_fenced, ceph, libvirtd, two_machines, holders):
    backend, volume = new_fenced(operation_timeout="24"), libvirtd.volume()
    with ceph.osd.hanging():
        started = time.monotonic()
        with pytest.raises(BackendUnavailable):
            backend.attach(two_machines[0].server, volume, None)
        assert time.monotonic() - started < 24
    assert backend.attached(two_machines[0].server) == {}
    assert holders(volume) == []


def test_a_fence_that_can_not_be_removed_is_left_to_the_next_detach(new_fenced, ceph, libvirtd, two_machines, holders):
    backend, volume, server = new_fenced(operation_timeout="24"), libvirtd.volume(), two_machines[0].server
    backend.attach(server, volume, None)
    with ceph.osd.hanging(), pytest.raises(OutcomeUnknown):
        backend.detach(server, volume, None)
    assert backend.attached(server) == {}
    assert holders(volume) == [server.id]
    backend.detach(server, volume, None)
    assert holders(volume) == []


@pytest.mark.parametrize("fence", ["rados:nowhere?user=cinder", "rados:volumes?user=nobody"])
def test_a_pool_or_a_user_that_is_not_there_is_reported_by_check(new_backend, fence):
    with pytest.raises(BackendUnavailable, match="rados lock info failed"):
        new_backend("scsi", fence=fence).check()


def test_check_passes_and_makes_no_object(backend, ceph):
    backend.check()
    assert "os-volume-ext.check" not in ceph.rados("ls").split()


def test_the_options_of_the_page_are_those_of_the_backend():
    documented = configparser.ConfigParser()
    documented.read(DOCS / "ceph" / "api-ceph.ini")
    section = documented["filter:volumes"]
    options = {name.removeprefix("backend."): section[name] for name in section if name.startswith("backend.")}
    backend = LibvirtBackend(options | {"operation_timeout": "60"})
    assert backend.needs_host
    assert backend.refuses_second_server


def test_a_fence_survives_a_crash_of_ceph(backend, ceph, libvirtd, two_machines, holders, leave_fence):
    volume, (here, there) = libvirtd.volume(), two_machines
    leave_fence(here.server, volume)
    ceph.restart()
    with pytest.raises(AttachRefused):
        backend.attach(there.server, volume, None)
    backend.detach(here.server, volume, None)
    assert holders(volume) == []


# Files have locks of QEMU's


@pytest.mark.parametrize("file_format", ["raw", "qcow2"])
def test_qemu_refuses_a_file_that_another_machine_has_open(new_backend, libvirtd, two_machines, file_format):
    backend, (here, there) = new_backend("scsi"), two_machines
    volume = libvirtd.volume(source=str(libvirtd.image(file_format)), format=file_format)
    backend.attach(here.server, volume, None)
    with pytest.raises(AttachRefused):
        backend.attach(there.server, volume, None)
    assert backend.attached(there.server) == {}
    backend.detach(here.server, volume, None)
    backend.attach(there.server, volume, None)
    backend.detach(there.server, volume, None)


def test_qemu_does_not_refuse_an_image_of_ceph_and_the_fence_does(
    new_backend, new_fenced, new_volume, two_machines, holders
):
    volume, (here, there) = new_volume(), two_machines
    new_fenced().attach(here.server, volume, None)
    with pytest.raises(AttachRefused):
        new_fenced().attach(there.server, volume, None)
    unfenced = new_backend("scsi")
    unfenced.attach(there.server, volume, None)
    unfenced.detach(there.server, volume, None)
    assert set(holders(volume)) == {here.id}
    new_fenced().detach(here.server, volume, None)
