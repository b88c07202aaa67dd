"""Removing a row by the operator's command (docs/protocol.rst, R29)."""

import pytest

from os_volume_ext.attachments.remove import Remover
from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.errors import AttachmentMissing, ComputeUnavailable, NotRemoved
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, REATTACHING
from tests.support.scripted import Died, die, refuse


@pytest.fixture
def remove(harness):
    """Give ``remove()``: remove the row of volume 9 at server 1134."""
    remover = Remover(
        registry=harness.registry, claims=harness.claims, executor=harness.executor, compute=harness.compute.remote
    )
    return lambda: remover.remove("1134", "9")


@pytest.mark.parametrize("state", [ATTACHING, ATTACHED, REATTACHING, DETACHING])
def test_a_row_whose_disk_the_server_does_not_have_is_removed(harness, remove, state):
    harness.put(state, stale=True, delete_on_termination=True)
    remove()
    assert harness.row() is None
    assert harness.catalog.deleted == []
    assert harness.backend.made("detach") == []


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_row_of_a_server_that_the_backend_does_not_have_is_removed(harness, remove, is_gone):
    harness.put(ATTACHED)
    del harness.backend.disks["1134"]
    if is_gone:
        harness.compute.delete("1134")
    remove()
    assert harness.row() is None


def test_a_row_of_an_earlier_server_is_removed(harness, remove):
    harness.put(ATTACHED)
    harness.set_server(project_id="other")
    remove()
    assert harness.row() is None


@pytest.mark.parametrize("state", [ATTACHED, DETACHING])
def test_a_row_whose_disk_the_server_has_stays_as_it_was(harness, remove, state):
    harness.put(state, disk=True, stale=True, delete_on_termination=True)
    before = harness.row()
    with pytest.raises(NotRemoved, match=r"^server 1134 has the disk 9; detach the volume instead$"):
        remove()
    after = harness.row()
    assert (after.state, after.delete_on_termination, after.updated_at) == (state, True, before.updated_at)


def test_a_disk_is_looked_for_at_the_host_where_the_server_is_now(harness, remove):
    harness.put(ATTACHED, host="node-1")
    harness.set_server(host="node-2")
    seen = []
    harness.backend.attached = lambda server: seen.append(server.host) or {}
    remove()
    assert seen == ["node-2"]


def test_a_row_in_progress_is_not_removed(harness, remove):
    harness.put(DETACHING)
    with pytest.raises(NotRemoved, match=r"^an operation on volume 9 is in progress; retry later$"):
        remove()
    assert harness.row().state == DETACHING


def test_a_row_that_does_not_exist_is_reported(harness, remove):
    with pytest.raises(AttachmentMissing):
        remove()


def test_a_row_that_is_claimed_meanwhile_is_not_removed(harness, remove):
    harness.put(ATTACHED)
    harness.at("before remove", harness.take_over)
    with pytest.raises(NotRemoved, match=r"^the attachment was modified concurrently; retry$"):
        remove()
    assert harness.row().state == ATTACHED


@pytest.mark.parametrize("step", ["before backend attached", "after backend attached", "before remove"])
def test_a_removal_that_ends_early_lets_reconcile_detach_nothing(harness, remove, step):
    harness.put(ATTACHED, disk=True, root=True)
    if step == "before remove":
        harness.backend.disks["1134"].clear()
    harness.at(step, die)
    with pytest.raises(Died):
        remove()
    assert harness.row().state == ATTACHED
    harness.pass_time(1000)
    assert harness.reconcile() == []


def test_a_disk_is_looked_for_at_the_host_that_an_offloaded_server_had(harness, remove):
    harness.put(ATTACHED, host="node-1")
    harness.set_server(status="SHELVED_OFFLOADED", host=None)
    seen = []
    harness.backend.attached = lambda server: seen.append(server.host) or {}
    remove()
    assert seen == ["node-1"]


def test_a_backend_that_can_not_tell_leaves_the_row_as_it_was(harness, remove):
    harness.put(ATTACHED)
    harness.backend.fail("attached", refuse(BackendUnavailable("down")))
    with pytest.raises(
        NotRemoved,
        match=r"^it is not known whether server 1134 has the disk: down; if its host is lost, see attachment force-",
    ):
        remove()
    assert harness.row().state == ATTACHED


def test_a_compute_api_that_is_down_leaves_the_row_as_it_was(harness, remove):
    harness.put(ATTACHED)
    harness.compute_is_down()
    with pytest.raises(ComputeUnavailable):
        remove()
    assert harness.row().state == ATTACHED
