"""Reconciling all rows, and the disks that no row has."""

import dataclasses
import logging

import pytest

from os_volume_ext.attachments.reconcile import Finding, Outcome
from os_volume_ext.backends.base import BackendUnavailable, Volume
from os_volume_ext.errors import Conflict
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, REATTACHING
from tests.functional.protocol.cases import NOWHERE, refusals, unknown
from tests.support.harness import STALE_AFTER
from tests.support.scripted import Died, die, refuse, succeed_and_raise


def test_what_agrees_is_left_alone(harness):
    harness.attach("9")
    harness.attach("77", "1135")
    harness.backend.calls.clear()
    before = harness.snapshot()
    assert sorted(harness.reconcile(everything=True)) == [
        ("1134", "9", Outcome.CONSISTENT),
        ("1135", "77", Outcome.CONSISTENT),
    ]
    assert harness.snapshot() == before
    assert harness.backend.made("attach") == harness.backend.made("detach") == []


def test_an_attached_row_without_a_disk_is_attached_again(harness):
    harness.put(ATTACHED, device="/dev/vdq")
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == (ATTACHED, True)
    assert harness.backend.disks["1134"] == {"9": "/dev/vdq"}


def test_an_attached_row_is_claimed_before_it_is_attached_again(harness):
    seen = []
    harness.put(ATTACHED)
    harness.at("before backend attach", lambda: seen.append((harness.row().state, harness.row().request_id)))
    harness.reconcile(everything=True)
    ((state, request_id),) = seen
    assert state == REATTACHING
    assert request_id != "req-of-the-dead"


def test_an_attached_row_without_a_disk_is_named_when_the_servers_state_forbids(harness):
    harness.put(ATTACHED)
    harness.set_server(status="ERROR")
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert "status ERROR" in harness.findings[0].detail
    assert harness.state() == (ATTACHED, False)
    assert harness.backend.made("attach") == []


def test_an_attached_row_without_a_disk_is_named_while_its_server_has_a_task(harness):
    harness.put(ATTACHED)
    harness.set_server(task_state="rebuilding")
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.findings[0].detail == "the disk is missing, and the server has the pending task rebuilding"
    assert harness.backend.made("attach") == []


def test_an_attached_row_with_its_disk_agrees_whatever_task_the_server_has(harness):
    harness.attach()
    harness.set_server(task_state="rebuilding")
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.CONSISTENT)]


def test_an_attached_row_of_a_server_without_a_machine_waits_for_the_machine(harness):
    offloaded = frozenset(("OFFLOADED",))
    harness.constraints = dataclasses.replace(
        harness.constraints, server_states=harness.constraints.server_states | offloaded, offloaded_states=offloaded
    )
    harness.reconciler = harness.make_reconciler(harness.compute.remote)
    harness.attach()
    harness.set_server(status="OFFLOADED")
    del harness.backend.disks["1134"]
    assert ("1134", "9", Outcome.UNRESOLVED) in harness.reconcile(everything=True)
    assert harness.findings[0].detail == "the disk is missing, and the server has no machine until it is unshelved"
    assert harness.backend.made("attach") == [("1134", "9")]
    harness.set_server(status="ACTIVE")
    harness.backend.disks["1134"] = {}
    assert ("1134", "9", Outcome.REPAIRED) in harness.reconcile(everything=True)


def test_an_attached_row_whose_device_another_disk_took_is_attached_elsewhere(harness):
    harness.put(ATTACHED, device="/dev/vdb")
    harness.put(ATTACHED, "99", disk=True)
    assert harness.backend.disks["1134"] == {"99": "/dev/vdb"}
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.REPAIRED), ("1134", "99", Outcome.REPAIRED)]
    assert harness.backend.disks["1134"] == {"99": "/dev/vdb", "9": "/dev/vdc"}
    assert (harness.row("9").device, harness.row("99").device) == ("/dev/vdc", "/dev/vdb")


@pytest.mark.parametrize(
    "step", ["after claim", "before backend attach", "after backend attach", "before confirm", "after confirm"]
)
def test_an_attachment_stays_attached_if_reconcile_dies_while_reattaching_it(harness, step):
    harness.put(ATTACHED)
    harness.at(step, die)
    with pytest.raises(Died):
        harness.reconcile(everything=True)
    assert harness.get().volume_id == "9"
    assert [row.volume_id for row in harness.list()] == ["9"]
    harness.pass_time(STALE_AFTER + 1)
    harness.reconcile(everything=True)
    assert harness.state() == (ATTACHED, True)


@unknown
@pytest.mark.parametrize("happened", [False, True])
def test_an_attachment_stays_attached_if_the_outcome_of_reattaching_is_unknown(harness, error, happened):
    harness.put(ATTACHED)
    harness.backend.fail("attach", succeed_and_raise(error) if happened else refuse(error))
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.state() == (REATTACHING, happened)
    assert harness.get().volume_id == "9"
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == (ATTACHED, True)


@refusals
def test_what_was_being_attached_again_and_can_not_be_is_attached_still(harness, error, response):
    harness.put(REATTACHING, stale=True)
    harness.backend.fail("attach", refuse(error))
    assert harness.reconcile() == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.state() == (ATTACHED, False)


def test_what_is_being_attached_again_is_neither_attached_nor_detached_by_others(harness):
    harness.put(REATTACHING)
    with pytest.raises(Conflict, match="9 is being attached again to server 1134") as raised:
        harness.attach()
    assert raised.value.retryable
    with pytest.raises(Conflict, match="9 is being attached again to server 1134") as raised:
        harness.detach()
    assert raised.value.retryable
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.CONSISTENT)]
    assert harness.backend.made("attach") == harness.backend.made("detach") == []


def test_what_was_being_attached_again_long_ago_can_be_detached_but_not_attached(harness):
    harness.put(REATTACHING, disk=True, stale=True)
    with pytest.raises(Conflict) as raised:
        harness.attach()
    assert not raised.value.retryable
    harness.detach()
    assert harness.state() == NOWHERE


def test_what_was_being_attached_again_goes_with_its_server(harness):
    harness.put(REATTACHING, stale=True)
    harness.delete_server()
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.row() is None


def test_a_volume_reattaching_to_a_deleted_server_can_be_attached_elsewhere(harness):
    harness.put(REATTACHING, stale=True)
    harness.delete_server()
    harness.attach(server_id="1135")
    assert harness.state(server_id="1135") == (ATTACHED, True)
    assert harness.row() is None


def test_a_dry_run_tells_of_what_was_being_attached_again_and_leaves_it(harness):
    harness.put(REATTACHING, stale=True, disk=True)
    harness.put(REATTACHING, "99", "1135", stale=True)
    harness.reconcile(dry_run=True)
    assert [each.detail for each in harness.findings] == ["an operation did not complete", "the disk is missing"]
    assert (harness.state()[0], harness.state("99", "1135")[0]) == (REATTACHING, REATTACHING)
    assert harness.backend.made("attach") == []


@refusals
def test_an_attached_row_that_can_not_be_attached_again_is_attached_still(harness, error, response):
    harness.put(ATTACHED)
    harness.backend.fail("attach", refuse(error))
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.state() == (ATTACHED, False)
    assert str(error) in harness.findings[0].detail


def test_an_attached_row_of_a_deleted_server_goes(harness):
    harness.put(ATTACHED, root=True)
    harness.delete_server()
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.REPAIRED)]
    assert harness.row() is None


def test_an_attached_row_of_a_deleted_server_whose_disk_is_there_stays_and_is_named(harness):
    harness.attach()
    harness.compute.delete("1134")
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.state() == (ATTACHED, True)


def test_an_attached_row_of_a_server_that_only_the_backend_does_not_have_stays(harness):
    harness.put(ATTACHED)
    del harness.backend.disks["1134"]
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.row().state == ATTACHED


def test_a_device_that_differs_is_put_right(harness):
    harness.put(ATTACHED, device="/dev/vdb")
    harness.backend.disks["1134"]["9"] = "/dev/vdc"
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.REPAIRED)]
    assert harness.row().device == "/dev/vdc"
    assert harness.row().state == ATTACHED


def test_two_disks_at_one_device_are_undecided(harness):
    harness.put(ATTACHED, device="/dev/vdb")
    harness.put(ATTACHED, "99", device="/dev/vdc")
    harness.backend.disks["1134"] = {"9": "/dev/vdc", "99": "/dev/vdc"}
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED), ("1134", "99", Outcome.CONSISTENT)]
    assert harness.row().device == "/dev/vdb"


def test_an_unmanaged_disk_is_named_and_left(harness):
    harness.backend.disks["1135"]["4711"] = "/dev/vdx"
    assert harness.reconcile(everything=True) == [("1135", "4711", Outcome.UNRESOLVED)]
    assert "/dev/vdx" in harness.findings[0].detail
    assert harness.backend.disks["1135"] == {"4711": "/dev/vdx"}


def test_an_unmanaged_disk_of_a_server_missing_in_compute_is_named(harness):
    harness.put(ATTACHED, disk=True)
    harness.backend.disks["1134"]["4711"] = None
    harness.compute.delete("1134")
    assert ("1134", "4711", Outcome.UNRESOLVED) in harness.reconcile(everything=True)


def test_a_disk_whose_row_is_being_removed_just_now_is_not_named(harness):
    harness.backend.disks["1135"]["9"] = "/dev/vdb"

    def detach_between():
        harness.backend.disks["1135"].pop("9", None)

    # The servers are looked at one after the other: 1134, 1135, and 1135 once more.
    harness.at("after backend attached", lambda: None, detach_between)
    assert harness.reconcile(everything=True) == []


def test_a_disk_with_a_row_in_whatever_state_is_known(harness):
    harness.put(DETACHING, disk=True)
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.CONSISTENT)]


def test_servers_that_cannot_be_listed_are_reported(harness):
    harness.attach()
    harness.compute_is_down()
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED), ("", "", Outcome.UNRESOLVED)]
    assert harness.state() == (ATTACHED, True)


def test_a_backend_that_does_not_respond_leaves_all_unresolved(harness):
    harness.attach()
    harness.backend.fail("attached", refuse(BackendUnavailable("down")))
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.findings[0].detail == "down"
    assert harness.state() == (ATTACHED, True)


def test_a_server_whose_disks_can_not_be_seen_is_not_passed_over_in_silence(harness):
    harness.backend.disks["1135"]["4711"] = "/dev/vdx"
    harness.backend.fail("attached", *[refuse(BackendUnavailable("down"))] * 3)
    found = harness.reconcile(everything=True)
    assert found == [
        ("1134", "", Outcome.UNRESOLVED),
        ("1135", "", Outcome.UNRESOLVED),
        ("2001", "", Outcome.UNRESOLVED),
    ]
    assert harness.reconcile(everything=True) == [("1135", "4711", Outcome.UNRESOLVED)]


def test_reconcile_continues_after_a_row_that_fails(harness):
    harness.put(DETACHING, "9", disk=True)
    harness.put(DETACHING, "99", disk=True, device="/dev/vdc", stale=True)
    harness.backend.fail("detach", refuse(BackendUnavailable("down")))
    assert harness.reconcile() == [("1134", "9", Outcome.UNRESOLVED), ("1134", "99", Outcome.REPAIRED)]


def test_a_difference_is_looked_at_again_before_it_is_reported(harness):
    harness.put(ATTACHED)
    harness.set_server(status="ERROR")
    harness.at("after backend attached", harness.take_over)
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.CONSISTENT)]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("reason", ["the volume is another one", "only the compute API has lost the server"])
def test_a_stale_reattaching_row_that_can_not_be_resolved_becomes_attached(harness, reason, dry_run):
    harness.put(REATTACHING, stale=True, disk=reason.startswith("only"))
    if reason.startswith("only"):
        harness.compute.delete("1134")
    else:
        harness.catalog.known["9"] = Volume("9", "demo", multiattach=True)
    expected = [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.reconcile(everything=True, dry_run=dry_run) == expected
    assert harness.row().state == (REATTACHING if dry_run else ATTACHED)
    assert harness.reconcile(everything=True) == expected


def test_a_stale_reattaching_row_waits_for_a_pending_task(harness):
    harness.put(REATTACHING, stale=True)
    harness.set_server(task_state="rebuilding")
    assert harness.reconcile() == [("1134", "9", Outcome.UNRESOLVED)]
    harness.set_server(task_state=None)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == (ATTACHED, True)


# -- what is reported ----------------------------------------------------------------------------------


def details(harness, **arguments):
    """Reconcile all rows, and return the details of the findings."""
    harness.reconcile(everything=True, **arguments)
    return [finding.detail for finding in harness.findings]


def test_a_row_that_agrees_or_is_in_progress_is_reported_as_that(harness):
    harness.attach("9")
    harness.put(DETACHING, "99")
    assert details(harness) == ["attached", "in progress"]


def test_a_row_that_another_worker_changes_meanwhile_is_reported_as_that(harness):
    harness.put(ATTACHED)
    harness.at("before claim", harness.take_over)
    assert details(harness) == ["modified concurrently"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_missing_disk_is_reported_with_what_was_done(harness, dry_run):
    harness.put(ATTACHED)
    assert details(harness, dry_run=dry_run) == [
        "the disk is missing" if dry_run else "the disk was missing: attached again"
    ]
    assert harness.state() == (ATTACHED, not dry_run)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("state", [ATTACHING, REATTACHING])
def test_a_stale_row_whose_disk_is_there_is_reported_with_what_was_done(harness, state, dry_run):
    harness.put(state, disk=True, stale=True)
    assert details(harness, dry_run=dry_run) == [
        "an operation did not complete" if dry_run else "the disk is there: marked attached"
    ]
    assert harness.state() == (state if dry_run else ATTACHED, True)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_stale_detach_is_reported_with_what_was_done(harness, dry_run):
    harness.put(DETACHING, disk=True, stale=True)
    assert details(harness, dry_run=dry_run) == [
        "an operation did not complete" if dry_run else "detached, row removed"
    ]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(("device", "shown"), [("/dev/vdb", "/dev/vdb"), (None, "no device")])
def test_a_device_that_differs_is_reported_with_both_devices(harness, device, shown, dry_run):
    harness.put(ATTACHED, device=device)
    harness.backend.disks["1134"]["9"] = "/dev/vdc"
    harness.reconcile(everything=True, dry_run=dry_run)
    (finding,) = harness.findings
    assert finding.detail == f"the disk is at /dev/vdc, the row had {shown}"
    assert finding.outcome is (Outcome.NEEDS_REPAIR if dry_run else Outcome.REPAIRED)
    assert harness.row().device == (device if dry_run else "/dev/vdc")


def test_a_device_that_changes_while_it_is_put_right_is_left_to_others(harness):
    harness.put(ATTACHED, device="/dev/vdb")
    harness.backend.disks["1134"]["9"] = "/dev/vdc"
    harness.at("before confirm", harness.take_over)
    assert details(harness) == ["modified concurrently"]


def test_a_disk_whose_device_the_backend_does_not_know_agrees(harness):
    harness.put(ATTACHED, device="/dev/vdb")
    harness.backend.disks["1134"]["9"] = None
    assert details(harness) == ["attached"]
    assert harness.row().device == "/dev/vdb"


def test_two_disks_at_one_device_are_reported_with_the_device(harness):
    harness.put(ATTACHED, device="/dev/vdb")
    harness.put(ATTACHED, "99", device="/dev/vdc")
    harness.backend.disks["1134"] = {"9": "/dev/vdc", "99": "/dev/vdc"}
    assert details(harness) == ["the backend reports /dev/vdc for this disk and for another one", "attached"]


def test_a_deleted_server_is_reported_with_what_was_done(harness):
    harness.put(ATTACHED)
    harness.delete_server()
    assert details(harness, dry_run=True) == ["the server is deleted"]
    assert details(harness) == ["the server is deleted: row removed"]


def test_a_server_that_only_the_backend_has_is_reported(harness):
    harness.attach()
    harness.compute.delete("1134")
    assert details(harness) == ["the compute API has no such server, but the backend still has the disk there"]


def test_a_status_that_forbids_a_missing_disk_is_reported(harness):
    harness.put(ATTACHED)
    harness.set_server(status="ERROR")
    (detail,) = details(harness)
    assert detail.startswith("the disk is missing, and the server ")
    assert detail.endswith("status ERROR")


def test_a_volume_that_is_not_as_it_was_is_reported(harness):
    harness.put(ATTACHED)
    del harness.catalog.known["9"]
    assert details(harness) == ["the disk is missing, and the catalog no longer has the volume as it was"]


def test_an_unmanaged_disk_is_reported_with_its_device_and_the_remedy(harness):
    harness.backend.disks["1134"]["4711"] = "/dev/vdx"
    harness.backend.disks["1135"]["4712"] = None
    assert details(harness) == [
        "unmanaged disk at /dev/vdx: see attachment adopt",
        "unmanaged disk at an unknown device: see attachment adopt",
    ]
    assert [finding.state for finding in harness.findings] == ["", ""]


def test_servers_that_cannot_be_listed_are_reported_with_the_reason(harness):
    harness.compute_is_down()
    harness.reconcile(everything=True)
    assert harness.findings == [
        Finding("", "", "", Outcome.UNRESOLVED, "the servers can't be listed: it does not respond")
    ]


def test_a_server_whose_disks_can_not_be_listed_is_reported_with_the_reason(harness):
    harness.backend.fail("attached", refuse(BackendUnavailable("down")))
    harness.reconcile(everything=True)
    reason = "its disks can't be listed: BackendUnavailable('down')"
    assert harness.findings == [Finding("1134", "", "", Outcome.UNRESOLVED, reason)]


def test_a_plugin_that_raises_anything_is_reported_and_logged(harness, caplog):
    harness.put(ATTACHED)
    harness.put(ATTACHED, "99", "1135", disk=True, device="/dev/vdb")
    look_up, errors = harness.compute.remote.server, [ZeroDivisionError("a bug")]

    def fail_first(server_id):
        if errors:
            raise errors.pop()
        return look_up(server_id)

    harness.compute.remote.server = fail_first
    assert details(harness) == ["unexpected exception ZeroDivisionError: see the log", "attached"]
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == "volume 9, server 1134: unexpected exception"


def test_a_backend_without_a_free_slot_is_reported(small):
    small.put(ATTACHED)
    with small.executor.slot("req-of-another"):
        assert details(small)[0] == "too many backend calls are in progress"


@pytest.mark.parametrize("method", ["reconcile_all", "reconcile_stale"])
def test_one_servers_rows_are_reconciled_alone(harness, method):
    harness.put(DETACHING, "9", stale=True)
    harness.put(ATTACHED, "99", disk=True)
    harness.put(DETACHING, "77", "1135", stale=True)
    found = list(getattr(harness.reconciler, method)("1134"))
    expected = ["9", "99"] if method == "reconcile_all" else ["9"]
    assert [finding.volume_id for finding in found] == expected
    assert (harness.row(), harness.row("77", "1135").state) == (None, DETACHING)


def test_one_servers_unmanaged_disks_are_reported_alone(harness):
    harness.backend.disks["1134"]["4711"] = harness.backend.disks["1135"]["4712"] = "/dev/vdx"
    assert [finding.volume_id for finding in harness.reconciler.reconcile_all("1134")] == ["4711"]
    harness.compute.delete("1134")
    assert list(harness.reconciler.reconcile_all("1134")) == []


def test_all_but_consistent_rows_are_logged_by_their_outcome(caplog):
    caplog.set_level(logging.DEBUG)
    for outcome in Outcome:
        Finding("1134", "9", ATTACHED, outcome, "a reason").log()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "volume 9, server 1134: repaired: a reason"),
        ("INFO", "volume 9, server 1134: needs repair: a reason"),
        ("WARNING", "volume 9, server 1134: unresolved: a reason"),
    ]
