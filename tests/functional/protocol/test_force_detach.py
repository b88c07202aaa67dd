"""Detaching a volume from a server whose host is lost, by the operator's command (docs/protocol.rst, R31)."""

import logging
import re

import pytest

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import AttachRefused, Backend, BackendUnavailable, OutcomeUnknown
from os_volume_ext.errors import AttachmentMissing, ComputeUnavailable, NotForceDetached, OperationIncomplete
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, REATTACHING
from tests.support.harness import OPERATION_TIMEOUT, STALE_AFTER
from tests.support.scripted import Died, die, refuse, succeed_and_raise

CLIENTS = ["192.0.2.5:0/11", "192.0.2.5:0/12"]
STEPS = (
    "before claim",
    "after claim",
    "before backend attached",
    "before backend cut_off",
    "after backend cut_off",
    "before remove",
)


@pytest.fixture
def detacher(harness):
    """Give a force-detacher; the host of server 1134 is lost."""
    harness.backend.lost.add("1134")
    harness.backend.clients["1134"] = CLIENTS
    return harness.force_detacher


@pytest.fixture
def force_detach(detacher):
    """Give ``force_detach()``: detach volume 9 from server 1134."""

    def detach():
        plan = detacher.plan("1134", "9")
        detacher.carry_out(plan, plan.clients)

    return detach


@pytest.mark.parametrize("state", [ATTACHING, ATTACHED, REATTACHING, DETACHING])
def test_the_volume_of_a_lost_server_is_free_for_another_one(harness, force_detach, state):
    harness.put(state, disk=True, stale=True, delete_on_termination=True)
    force_detach()
    assert harness.row() is None
    assert harness.backend.cut == {("1134", "9")}
    assert harness.catalog.deleted == []
    assert harness.attach(server_id="1135").device == "/dev/vdb"
    assert harness.backend.violations == []


def test_a_plan_says_why_the_server_is_lost_and_changes_nothing(harness, detacher):
    harness.put(ATTACHED, disk=True, host="node-1")
    before = harness.row()
    plan = detacher.plan("1134", "9")
    assert (plan.server.host, plan.reason) == ("node-1", "the host of 1134 does not respond")
    assert plan.clients == CLIENTS
    after = harness.row()
    assert (after.state, after.claim_id) == (ATTACHED, before.claim_id)
    assert harness.backend.made("cut_off") == []


def test_the_server_is_looked_for_at_the_host_where_it_is_now(harness, detacher):
    harness.put(ATTACHED, disk=True, host="node-1")
    harness.set_server(host="node-2")
    assert detacher.plan("1134", "9").server.host == "node-2"


@pytest.mark.parametrize("state", [ATTACHED, DETACHING])
def test_a_server_that_the_compute_api_no_longer_has_is_cut_off_too(harness, force_detach, state):
    harness.put(state, disk=True, stale=True, host="node-1", delete_on_termination=state == ATTACHED)
    harness.compute.delete("1134")
    force_detach()
    assert harness.row() is None
    assert harness.backend.cut == {("1134", "9")}
    assert harness.catalog.deleted == []


def test_a_server_with_a_pending_task_or_of_another_project_is_cut_off_too(harness, force_detach):
    harness.put(ATTACHED, disk=True)
    harness.set_server(status="ERROR", task_state="powering-off", project_id="other")
    force_detach()
    assert harness.row() is None


def test_clients_that_only_the_operator_knows_are_cut_off_too(harness, detacher):
    harness.put(ATTACHED, disk=True)
    seen = []
    harness.backend.cut_off = lambda server, volume, clients: seen.append(clients)
    detacher.carry_out(detacher.plan("1134", "9"), [*CLIENTS, "192.0.2.9:0/0"])
    assert seen == [[*CLIENTS, "192.0.2.9:0/0"]]


@pytest.mark.parametrize("step", STEPS)
def test_a_force_detach_that_ends_early_is_completed_by_the_same_command(harness, force_detach, detacher, step):
    harness.put(ATTACHED, disk=True, delete_on_termination=True)
    plan = detacher.plan("1134", "9")
    harness.at(step, die)
    with pytest.raises(Died):
        detacher.carry_out(plan, plan.clients)
    assert harness.row().state == (ATTACHED if step == "before claim" else DETACHING)
    harness.pass_time(STALE_AFTER + 1)
    force_detach()
    assert harness.row() is None
    assert harness.backend.cut == {("1134", "9")}
    assert harness.catalog.deleted == []


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_force_detach_that_ends_early_is_completed_by_reconcile_when_the_host_is_back(harness, detacher, step):
    harness.put(ATTACHED, disk=True, delete_on_termination=True)
    plan = detacher.plan("1134", "9")
    harness.at(step, die)
    with pytest.raises(Died):
        detacher.carry_out(plan, plan.clients)
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.UNRESOLVED)]
    harness.pass_time(STALE_AFTER + 1)
    harness.backend.lost.clear()
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == (None, False)
    assert harness.catalog.deleted == []


def test_the_disk_of_a_server_that_comes_back_is_reported_as_unmanaged(harness, force_detach):
    harness.put(ATTACHED, disk=True)
    force_detach()
    harness.backend.lost.clear()
    assert ("1134", "9", Outcome.UNRESOLVED) in harness.reconcile(everything=True)
    assert "unmanaged disk" in harness.findings[-1].detail


# What is refused


@pytest.mark.parametrize("has_server", [True, False])
def test_a_server_whose_host_responds_is_refused(harness, force_detach, has_server):
    harness.put(ATTACHED, disk=True)
    harness.backend.lost.clear()
    if not has_server:
        del harness.backend.disks["1134"]
    with pytest.raises(NotForceDetached, match=r"^the host of server 1134 responds; detach the volume, or use"):
        force_detach()
    assert harness.row().state == ATTACHED
    assert harness.backend.made("find_clients") == []


@pytest.mark.parametrize("state", [ATTACHING, ATTACHED, REATTACHING, DETACHING])
def test_a_host_that_comes_back_before_the_confirmation_ends_it(harness, detacher, state):
    harness.put(state, disk=True, stale=True, delete_on_termination=True)
    plan, before = detacher.plan("1134", "9"), harness.row()
    harness.backend.lost.clear()
    with pytest.raises(NotForceDetached, match="responds"):
        detacher.carry_out(plan, plan.clients)
    after = harness.row()
    assert (after.state, after.delete_on_termination, after.updated_at) == (state, True, before.updated_at)
    assert harness.backend.made("cut_off") == []


def test_a_row_in_progress_is_refused(harness, force_detach):
    harness.put(DETACHING, disk=True)
    with pytest.raises(NotForceDetached, match=r"^an operation on volume 9 is in progress; retry later$"):
        force_detach()


def test_a_row_that_does_not_exist_is_reported(harness, force_detach):
    with pytest.raises(AttachmentMissing):
        force_detach()


def test_a_row_that_is_claimed_before_the_confirmation_is_left_alone(harness, detacher):
    harness.put(ATTACHED, disk=True)
    plan = detacher.plan("1134", "9")
    harness.take_over(DETACHING)
    with pytest.raises(NotForceDetached, match=r"^the attachment was modified concurrently; retry$"):
        detacher.carry_out(plan, plan.clients)
    assert harness.row().request_id == "req-of-another"
    assert harness.backend.made("cut_off") == []


def test_a_backend_that_can_not_cut_off_says_what_to_do(harness, force_detach):
    harness.put(ATTACHED, disk=True)
    harness.backend.find_clients = lambda server, volume: Backend.find_clients(harness.backend, server, volume)
    with pytest.raises(AttachRefused, match=r"can't cut a lost server off .* use attachment remove"):
        force_detach()
    assert harness.row().state == ATTACHED


def test_a_host_that_may_respond_is_not_lost(harness, force_detach):
    harness.put(ATTACHED, disk=True)
    harness.backend.fail("attached", refuse(RuntimeError("a bug")))
    with pytest.raises(OutcomeUnknown):
        force_detach()
    assert harness.row().state == ATTACHED


def test_a_compute_api_that_is_down_leaves_the_row_as_it_was(harness, force_detach):
    harness.put(ATTACHED, disk=True)
    harness.compute_is_down()
    with pytest.raises(ComputeUnavailable):
        force_detach()
    assert harness.row().state == ATTACHED


# Failures


@pytest.mark.parametrize("error", [AttachRefused("others by now"), BackendUnavailable("no storage")])
def test_a_cut_off_that_changed_nothing_restores_the_row(harness, force_detach, error):
    harness.put(ATTACHED, disk=True, delete_on_termination=True)
    harness.backend.fail("cut_off", refuse(error))
    with pytest.raises(type(error)):
        force_detach()
    assert (harness.row().state, harness.row().delete_on_termination) == (ATTACHED, True)


def test_a_cut_off_of_unknown_outcome_leaves_a_row_that_the_same_command_completes(harness, force_detach):
    harness.put(ATTACHED, disk=True)
    harness.backend.fail("cut_off", succeed_and_raise(OutcomeUnknown("it stopped in the middle")))
    with pytest.raises(OutcomeUnknown):
        force_detach()
    assert harness.row().state == DETACHING
    harness.pass_time(STALE_AFTER + 1)
    force_detach()
    assert harness.row() is None


def test_after_a_takeover_a_failure_restores_nothing(harness, force_detach):
    harness.put(DETACHING, disk=True, stale=True)
    harness.backend.fail("cut_off", refuse(BackendUnavailable("no storage")))
    with pytest.raises(OperationIncomplete):
        force_detach()
    assert harness.row().state == DETACHING


def test_nothing_is_cut_off_after_the_deadline(harness, detacher):
    harness.put(ATTACHED, disk=True)
    plan = detacher.plan("1134", "9")
    harness.at("before backend attached", lambda: harness.pass_time(OPERATION_TIMEOUT + 1))
    with pytest.raises(OperationIncomplete):
        detacher.carry_out(plan, plan.clients)
    assert harness.row().state == DETACHING
    assert harness.backend.made("cut_off") == []


def test_a_claim_that_is_lost_during_the_cut_off_leaves_the_row(harness, force_detach):
    harness.put(ATTACHED, disk=True)
    harness.at("after backend cut_off", harness.take_over)
    with pytest.raises(OperationIncomplete):
        force_detach()
    assert harness.row().request_id == "req-of-another"


# What others notice


def test_a_force_detach_is_observed_as_a_detach_and_logged(harness, force_detach, caplog):
    harness.put(ATTACHED, disk=True)
    with caplog.at_level(logging.WARNING):
        force_detach()
    assert [event[:4] for event in harness.listener.events] == [
        ("begun", "detach", "9", "1134"),
        ("done", "detach", "9", "1134"),
    ]
    (message,) = [each for each in caplog.messages if "lost" in each]
    request_id, _, rest = message.partition(" ")
    assert re.fullmatch("req-[0-9a-f-]{36}", request_id)
    assert rest == (
        "volume 9 was detached from server 1134, which is lost (the host of 1134 does not respond); "
        f"cut off: {', '.join(CLIENTS)}"
    )
