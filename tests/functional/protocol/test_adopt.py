"""Adopting a disk while it leaves its server (docs/protocol.rst, R19)."""

import pytest

from os_volume_ext.attachments.adopt import Adopter
from os_volume_ext.backends.base import BackendUnavailable, Volume
from os_volume_ext.errors import NotAdopted, VolumeNotFound
from os_volume_ext.models import ATTACHED
from tests.support.scripted import perform, refuse


def make_adopter(harness, compute):
    return Adopter(registry=harness.registry, catalog=harness.catalog, compute=compute, executor=harness.executor)


@pytest.fixture
def adopt(harness):
    """Give ``adopt(project_id=None)``: add a row for the disk of volume 9 at server 1134, which the backend has."""
    harness.backend.disks["1134"]["9"] = "/dev/vdb"
    adopter = make_adopter(harness, harness.compute.remote)
    return lambda project_id=None: adopter.adopt("1134", "9", device=None, root=False, project_id=project_id)


def test_a_disk_that_stays_is_adopted(harness, adopt):
    assert adopt().device == "/dev/vdb"
    assert harness.state() == (ATTACHED, True)


def test_without_compute_url_the_backend_gets_a_server_of_unknown_status(harness):
    harness.put(ATTACHED, "99")
    seen, adopter = [], make_adopter(harness, None)
    harness.backend.attached = lambda server: seen.append(server) or {"9": "/dev/vdb"}
    adopter.adopt("1134", "9", device=None, root=False, project_id=None)
    # The same as what other operations pass to the backend without compute.url.
    assert seen == [harness.row("99").server] * 2
    assert seen[0].status == "UNKNOWN"


@pytest.mark.parametrize("step", ["after backend attached", "before reserve", "after reserve"])
def test_a_disk_that_leaves_meanwhile_is_not_adopted(harness, adopt, step):
    harness.at(step, lambda: harness.backend.disks["1134"].clear())
    with pytest.raises(NotAdopted, match=r"^the disk 9 has just been detached from server 1134$"):
        adopt()
    assert harness.row() is None


def test_an_adoption_that_can_not_look_again_leaves_no_row(harness, adopt):
    harness.backend.fail("attached", perform, refuse(BackendUnavailable("down")))
    with pytest.raises(BackendUnavailable):
        adopt()
    assert harness.row() is None


def test_a_disk_of_another_projects_volume_is_not_adopted(harness, adopt):
    harness.catalog.known["9"] = Volume("9", "other")
    with pytest.raises(NotAdopted, match=r"^volume 9 belongs to project other, not to demo$"):
        adopt()
    assert harness.row() is None


def test_a_disk_is_not_adopted_for_another_project_than_its_servers(harness, adopt):
    with pytest.raises(NotAdopted, match=r"^server 1134 belongs to project demo, not to typo$"):
        adopt(project_id="typo")
    assert harness.row() is None


@pytest.mark.parametrize("step", ["before reserve", "after reserve", "before recheck"])
def test_a_disk_whose_volume_is_deleted_meanwhile_is_not_adopted(harness, adopt, step):
    harness.at(step, lambda: harness.catalog.known.pop("9"))
    with pytest.raises(VolumeNotFound):
        adopt()
    assert harness.row() is None


def test_a_disk_whose_volume_is_modified_meanwhile_is_not_adopted(harness, adopt):
    harness.at("after reserve", lambda: harness.catalog.add(Volume("9", "demo", multiattach=True)))
    with pytest.raises(NotAdopted, match=r"^volume 9 was modified concurrently; retry$"):
        adopt()
    assert harness.row() is None


def test_an_exclusive_volume_is_not_adopted_beside_another_row(harness, adopt):
    harness.put(ATTACHED, server_id="1135", exclusive=False)
    with pytest.raises(NotAdopted, match=r"^volume 9 has a row of server 1135$"):
        adopt()
    assert harness.row() is None
