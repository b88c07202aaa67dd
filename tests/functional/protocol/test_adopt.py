"""Adopting a disk while it leaves its server (docs/protocol.rst, R19)."""

import pytest

from os_volume_ext.attachments.adopt import Adopter
from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.errors import NotAdopted
from os_volume_ext.models import ATTACHED
from tests.support.scripted import perform, refuse


@pytest.fixture
def adopt(harness):
    """Give ``adopt()``: add a row for the disk of volume 9 at server 1134, which the backend has."""
    harness.backend.disks["1134"]["9"] = "/dev/vdb"
    adopter = Adopter(
        registry=harness.registry, catalog=harness.catalog, compute=harness.compute.remote, executor=harness.executor
    )
    return lambda: adopter.adopt("1134", "9", device=None, root=False, project_id=None)


def test_a_disk_that_stays_is_adopted(harness, adopt):
    assert adopt().device == "/dev/vdb"
    assert harness.state() == (ATTACHED, True)


@pytest.mark.parametrize("step", ["after backend attached", "before reserve", "after reserve"])
def test_a_disk_that_leaves_meanwhile_is_not_adopted(harness, adopt, step):
    harness.at(step, lambda: harness.backend.disks["1134"].clear())
    with pytest.raises(NotAdopted, match="the disk 9 has just been detached from server 1134"):
        adopt()
    assert harness.row() is None


def test_an_adoption_that_can_not_look_again_leaves_no_row(harness, adopt):
    harness.backend.fail("attached", perform, refuse(BackendUnavailable("down")))
    with pytest.raises(BackendUnavailable):
        adopt()
    assert harness.row() is None
