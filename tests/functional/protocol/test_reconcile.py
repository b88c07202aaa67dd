"""Reconciling stale rows; without a compute API; twice, and beside other operations."""

import dataclasses

import pytest

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import Server, Volume
from os_volume_ext.errors import Conflict
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, REATTACHING
from tests.functional.protocol.cases import NOWHERE
from tests.support.harness import STALE_AFTER

# -- stale rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("disk", [False, True])
def test_a_stale_attach_is_attached_if_the_disk_is_there_and_goes_if_not(harness, disk):
    harness.put(ATTACHING, disk=disk, stale=True)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == ((ATTACHED, True) if disk else NOWHERE)
    # By a call of its own, whatever it read: the dead worker's may have come later.
    assert harness.backend.made("attach" if disk else "detach") == [("1134", "9")]


@pytest.mark.parametrize("disk", [False, True])
def test_a_stale_detach_is_detached_and_goes(harness, disk):
    harness.put(DETACHING, disk=disk, stale=True)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == NOWHERE
    assert harness.backend.made("detach") == [("1134", "9")]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("disk", [False, True])
@pytest.mark.parametrize("state", [ATTACHING, DETACHING, REATTACHING])
def test_a_stale_row_of_a_server_with_a_pending_task_is_left_unresolved(harness, state, disk, dry_run):
    harness.put(state, disk=disk, stale=True)
    harness.set_server(task_state="rebuilding")
    assert harness.reconcile(dry_run=dry_run) == [("1134", "9", Outcome.UNRESOLVED)]
    reason = "an operation did not complete, and the server has the pending task rebuilding"
    has_no_disk = "the disk is missing, and the server has the pending task rebuilding"
    assert harness.findings[0].detail == (has_no_disk if state == REATTACHING and not disk else reason)
    assert harness.state() == (state, disk)
    assert harness.backend.made("attach") == harness.backend.made("detach") == []
    harness.set_server(task_state=None)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_stale_row_of_a_server_without_a_machine_goes(harness, state):
    harness.constraints = dataclasses.replace(harness.constraints, offloaded_states=frozenset(("OFFLOADED",)))
    harness.put(state, stale=True)
    harness.set_server(status="OFFLOADED")
    del harness.backend.disks["1134"]
    reconciler = harness.make_reconciler(harness.compute.remote)
    assert [each.outcome for each in reconciler.reconcile_stale()] == [Outcome.REPAIRED]
    assert harness.row() is None


def test_a_late_disk_that_came_after_reconcile_looked_does_not_stay(harness):
    harness.put(ATTACHING, stale=True)

    def come_late():
        harness.backend.disks["1134"]["9"] = "/dev/vdb"

    harness.at("after backend attached", come_late)
    harness.reconcile()
    assert harness.state() == NOWHERE


def test_reconcile_claims_a_row_before_it_looks(harness):
    seen = []
    harness.put(ATTACHING, stale=True)
    harness.at("before backend attached", lambda: seen.append(harness.row().request_id))
    harness.reconcile()
    assert seen
    assert seen[0] != "req-of-the-dead"


def test_reconcile_that_comes_second_leaves_the_row(harness):
    harness.put(ATTACHING, stale=True)
    harness.at("before claim", harness.take_over)
    assert harness.reconcile() == [("1134", "9", Outcome.CONSISTENT)]
    assert harness.backend.calls == []


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_stale_row_of_a_deleted_server_goes(harness, state):
    harness.put(state)
    harness.delete_server()
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.findings[0].detail == "detached, row removed"
    assert harness.row() is None


# -- without a compute API ---------------------------------------------------------------------------


@pytest.fixture
def alone(harness):
    harness.reconciler = harness.make_reconciler(None)
    return harness


@pytest.mark.parametrize(("state", "disk"), [(ATTACHING, True), (ATTACHING, False), (DETACHING, True)])
def test_without_a_compute_api_the_backend_decides_about_stale_rows(alone, state, disk):
    alone.put(state, disk=disk, stale=True)
    assert alone.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert alone.is_consistent()


@pytest.mark.parametrize("state", [ATTACHING, ATTACHED, DETACHING])
def test_without_compute_url_a_server_that_the_backend_does_not_have_is_gone(alone, state):
    alone.put(state)
    alone.delete_server()
    alone.pass_time(STALE_AFTER + 1)
    assert alone.reconcile(everything=True) == [("1134", "9", Outcome.REPAIRED)]
    assert alone.row() is None


@pytest.mark.parametrize("state", [ATTACHED, DETACHING])
def test_without_compute_url_the_backend_is_queried_once_for_a_row(alone, state):
    alone.put(state, disk=True, stale=True)
    alone.reconcile(everything=state == ATTACHED)
    # With all rows, once more for the disks of the server that have no row.
    assert len(alone.backend.made("attached")) == (2 if state == ATTACHED else 1)


def test_without_a_compute_api_an_attached_row_without_a_disk_is_undecided(alone):
    alone.put(ATTACHED)
    assert alone.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    reason = "the disk is missing, and without compute.url it is unknown if the server exists"
    assert alone.findings[0].detail == reason
    assert alone.state() == (ATTACHED, False)


def test_without_a_compute_api_unmanaged_disks_are_found_on_servers_with_rows(alone):
    alone.attach()
    alone.backend.disks["1134"]["4711"] = "/dev/vdx"
    assert alone.reconcile(everything=True) == [("1134", "9", Outcome.CONSISTENT), ("1134", "4711", Outcome.UNRESOLVED)]


# -- twice, and side by side -------------------------------------------------------------------------


def leave_one_of_each(harness):
    """Leave one of everything that reconcile can settle."""
    harness.compute.add(Server("1136", "demo", "ACTIVE"))
    harness.backend.disks["1136"] = {}
    volumes = [Volume(str(number), "demo") for number in range(10, 17)]
    harness.catalog.add(*volumes)
    harness.put(ATTACHING, "10", disk=True, device="/dev/vdb")
    harness.put(ATTACHING, "11")
    harness.put(DETACHING, "12", disk=True, device="/dev/vdc")
    harness.put(DETACHING, "13")
    harness.put(ATTACHED, "14")
    harness.put(ATTACHED, "15", "1136")
    harness.put(ATTACHED, "16", "1135", disk=True, device="/dev/vdb")
    harness.delete_server("1136")
    harness.pass_time(STALE_AFTER + 1)


def test_reconcile_twice_changes_nothing(harness):
    leave_one_of_each(harness)
    harness.reconcile(everything=True)
    assert harness.is_consistent()
    before = harness.snapshot()
    calls = len(harness.backend.calls)
    assert {outcome for _, _, outcome in harness.reconcile(everything=True)} == {Outcome.CONSISTENT}
    assert harness.snapshot() == before
    assert {call[0] for call in harness.backend.calls[calls:]} == {"attached", "disk_size"}


@pytest.mark.parametrize("step", ["before claim", "after claim", "before backend attach", "before confirm"])
@pytest.mark.parametrize("skip", range(4))
def test_two_reconciles_side_by_side_do_what_one_does(harness, step, skip):
    leave_one_of_each(harness)
    other = harness.make_reconciler(harness.compute.remote)
    harness.at(step, *[lambda: None] * skip, lambda: list(other.reconcile_all()))
    harness.reconcile(everything=True)
    harness.reconcile(everything=True)
    assert harness.is_consistent()
    assert harness.snapshot()[0] == {
        ("1134", "10", ATTACHED, "/dev/vdb"),
        ("1134", "14", ATTACHED, harness.row("14").device),
        ("1135", "16", ATTACHED, "/dev/vdb"),
    }


def test_reconcile_beside_an_attach_leaves_it_alone(harness):
    harness.at("after reserve", lambda: harness.reconcile(everything=True))
    harness.at("before confirm", lambda: harness.reconcile(everything=True))
    harness.attach()
    assert harness.is_consistent()
    assert harness.backend.made("attach") == [("1134", "9")]


def test_a_request_beside_reconcile_of_a_stale_row_is_a_conflict_that_passes(harness):
    harness.put(ATTACHING, stale=True)
    responses = []

    def attach():
        with pytest.raises(Conflict) as raised:
            harness.attach()
        responses.append(raised.value.retryable)

    harness.at("after claim", attach)
    harness.reconcile()
    assert responses == [True]
    assert harness.is_consistent()


def test_findings_tell_what_was_done(harness, caplog):
    harness.put(DETACHING, disk=True, stale=True)
    harness.reconcile()
    (finding,) = harness.findings
    assert dataclasses.astuple(finding) == ("1134", "9", DETACHING, Outcome.REPAIRED, "detached, row removed")


def test_a_caller_may_do_all_in_its_own_project_only(harness):
    # The policy that the tests above rely on.
    assert harness.caller().can("create", "demo")
    assert not harness.caller().can("create", "other")
