"""The libvirt backend keeps the backend contract, on both buses, with a libvirtd and a QEMU that are real."""

import os
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from os_volume_ext.backends.base import PASSPHRASE, Server, Volume
from os_volume_ext.testing import Absent, BackendContract
from tests.integration.libvirt.real_libvirt import ROOM, backend_class

LibvirtBackend = backend_class()


class LibvirtContract(BackendContract):
    """What holds for both buses."""

    backend_class = LibvirtBackend
    limit = ROOM
    reports_devices = True
    multiattach = True
    short_timeout = 12  # libvirt itself waits for a guest for 5 seconds

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
    def wrong_options(self):
        return [
            ("uri", "qemu:///{no_such_field}"),
            ("domain", ""),
            ("bus", "floppy"),
            ("connect_timeout", "0"),
            ("detach_timeout", "60"),
        ]

    @pytest.fixture
    def unusable_volume(self):
        return Volume("9", "demo", "/nowhere/disk.img")

    @pytest.fixture
    def unreachable_backend(self, libvirtd):
        uri = libvirtd.uri.replace("libvirt-sock", "no-sock")
        return LibvirtBackend({"uri": uri, "bus": self.bus, "operation_timeout": str(self.short_timeout)})

    @pytest.fixture
    def stubborn_server(self, machine):
        # It has no operating system: it releases a SCSI disk all the same, and a virtio disk never.
        if self.bus == "scsi":
            return Absent("a machine without an operating system releases each SCSI disk")
        return machine(self.bus).server

    @pytest.fixture
    def stopped_server(self, libvirtd):
        machine = libvirtd.machine(bus=self.bus)
        yield machine.server
        machine.remove()

    @pytest.fixture
    def extend_volume(self):
        def extend(volume):
            size = 2 * Path(volume.source).stat().st_size
            os.truncate(volume.source, size)
            return replace(volume, size=size)

        return extend

    @pytest.fixture
    def encrypted_volume(self, libvirtd):
        path = libvirtd.encrypted_image("of the volume")
        info = {"driver_volume_type": "local", "device_path": str(path), "encrypted": True}
        return Volume(str(uuid.uuid4()), "demo", connection={**info, PASSPHRASE: "of the volume"})

    @pytest.fixture
    def attach_by_hand(self, machines):
        def attach(server, volume):
            return _machine(machines, server).plug(self.other_target, source=volume.source, serial=volume.id)

        return attach

    @pytest.fixture
    def attach_other_disk(self, machines, libvirtd):
        used = []

        def attach(server):
            used.append(_machine(machines, server))
            return used[-1].plug(self.other_target, source=libvirtd.image())

        yield attach
        for machine in used:
            machine.unplug(self.other_target)


def _machine(machines, server):
    return next(each for each in machines if each.id == server.id)


class TestSCSI(LibvirtContract):
    """A machine without an operating system releases such a disk at once."""

    bus = "scsi"
    requestable_device = "/dev/sdf"
    other_target = "sdc"

    @pytest.fixture
    def machines(self, two_machines):
        return two_machines


class TestVirtio(LibvirtContract):
    """A guest has to release such a disk."""

    bus = "virtio"
    requestable_device = "/dev/vdf"
    other_target = "vdc"

    @pytest.fixture
    def machines(self, two_guests):
        return two_guests
