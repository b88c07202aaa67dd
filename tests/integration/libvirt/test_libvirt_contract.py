"""The libvirt backend keeps the backend contract, on both buses, with a libvirtd and a QEMU that are real."""

import uuid

import pytest

from os_volume_ext.backends.base import Server, Volume
from os_volume_ext.testing import BackendContract
from tests.integration.libvirt.real_libvirt import ROOM, backend_class

LibvirtBackend = backend_class()


class LibvirtContract(BackendContract):
    """What holds for both buses."""

    backend_class = LibvirtBackend
    limit = ROOM
    reports_devices = True
    multiattach = True

    @pytest.fixture
    def options(self, libvirtd):
        return {"uri": libvirtd.uri, "bus": self.bus}

    @pytest.fixture
    def server(self, machines):
        yield machines[0].server
        machines[0].clear()

    @pytest.fixture
    def other_server(self, machines):
        yield machines[1].server
        machines[1].clear()

    @pytest.fixture
    def unknown_server(self):
        return Server(str(uuid.uuid4()), "demo", "ACTIVE")

    @pytest.fixture
    def new_volume(self, libvirtd):
        return libvirtd.volume

    @pytest.fixture
    def unusable_volume(self):
        return Volume("9", "demo", "/nowhere/disk.img")

    @pytest.fixture
    def unreachable_backend(self, libvirtd):
        return LibvirtBackend({"uri": libvirtd.uri.replace("libvirt-sock", "no-sock"), "bus": self.bus})

    @pytest.fixture
    def stubborn_server(self, machine):
        # It has no operating system: it releases a SCSI disk all the same, and a virtio disk never.
        return machine(self.bus).server if self.bus == "virtio" else None


class TestSCSI(LibvirtContract):
    """A machine without an operating system releases such a disk at once."""

    bus = "scsi"
    requestable_device = "/dev/sdf"

    @pytest.fixture
    def machines(self, two_machines):
        return two_machines


class TestVirtio(LibvirtContract):
    """A guest has to release such a disk."""

    bus = "virtio"
    requestable_device = "/dev/vdf"

    @pytest.fixture
    def machines(self, two_guests):
        return two_guests
