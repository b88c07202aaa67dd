"""Reconcile with a real libvirtd: what guests see afterwards."""

import contextlib
import os
from dataclasses import replace

import pytest

from os_volume_ext.assembly import assemble
from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.attachments.reservations import new_row
from os_volume_ext.catalog.base import VolumeCatalog, VolumeNotFound
from os_volume_ext.models import ATTACHED, AttachRequest
from os_volume_ext.registry import schema
from os_volume_ext.settings import Settings
from tests.integration.libvirt.real_libvirt import backend_class

backend_class()
MIB = 2**20


class Catalog(VolumeCatalog):
    """Has the volumes that it is given."""

    def __init__(self, options=(), database=None):
        self.known = {}

    def volume(self, context, volume_id):
        if volume_id not in self.known:
            raise VolumeNotFound(volume_id)
        return self.known[volume_id]


@pytest.fixture
def catalog():
    return Catalog()


@pytest.fixture
def assembly(libvirtd, catalog, tmp_path):
    options = {
        "backend": "libvirt",
        "backend.uri": libvirtd.uri,
        "backend.bus": "virtio",
        "database.url": f"sqlite:///{tmp_path}/registry.db",
        "dialect": "openstack",
    }
    with contextlib.closing(assemble(Settings.parse(options), catalog=catalog)) as assembly:
        schema.upgrade(assembly.database)
        yield assembly


def test_a_guest_sees_the_new_size_of_a_volume_that_was_extended(assembly, catalog, libvirtd, two_guests):
    machine, volume = two_guests[0], libvirtd.volume(size=4 * MIB)
    catalog.known[volume.id] = volume
    device = assembly.backend.attach(machine.server, volume, None)
    row = replace(new_row(machine.server, volume, AttachRequest(volume.id), "req-1"), state=ATTACHED, device=device)
    assembly.registry.reserve(row)

    def reconcile(**options):
        [finding] = assembly.reconciler().reconcile_all(machine.id, **options)
        return finding.outcome, finding.detail

    assert reconcile() == (Outcome.CONSISTENT, "attached")
    os.truncate(volume.source, 9 * MIB)
    catalog.known[volume.id] = replace(volume, size=9 * MIB)
    sizes = f"the disk has {4 * MIB} bytes, the volume {9 * MIB}"
    assert reconcile(dry_run=True) == (Outcome.NEEDS_REPAIR, sizes)
    assert reconcile() == (Outcome.REPAIRED, f"the disk had {4 * MIB} bytes: resized to {9 * MIB}")
    machine.console.run(f"until test $(cat /sys/block/vda/size) = {9 * 2048}; do usleep 10000; done")
    assert reconcile() == (Outcome.CONSISTENT, "attached")
    assert assembly.registry.get(machine.id, volume.id).state == ATTACHED
    assembly.backend.detach(machine.server, volume, device)
