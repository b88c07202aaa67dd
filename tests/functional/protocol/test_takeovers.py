"""Operations that take over stale rows, and workers whose row was changed concurrently."""

import dataclasses
import threading

import pytest

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import BackendUnavailable, Volume
from os_volume_ext.errors import AttachmentMissing, Conflict, OperationIncomplete, VolumeInUse
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, AttachRequest
from os_volume_ext.registry.attachments import Registry
from tests.functional.protocol.cases import NOWHERE, refusals
from tests.support.harness import OPERATION_TIMEOUT, STALE_AFTER
from tests.support.scripted import Died, die, refuse
from tests.support.waiting import TIMEOUT

# -- take-overs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
@pytest.mark.parametrize("age", [0, OPERATION_TIMEOUT + 1, STALE_AFTER - 5])
def test_what_is_under_way_is_a_conflict_that_passes(harness, state, age):
    harness.put(state, disk=state == DETACHING)
    harness.pass_time(age)
    before = harness.snapshot()
    operation = {ATTACHING: "attached to", DETACHING: "detached from"}[state]
    for send_request in (harness.attach, lambda: harness.attach(server_id="1135"), harness.detach):
        with pytest.raises(Conflict, match=rf"^Volume 9 is being {operation} server 1134\.$") as raised:
            send_request()
        assert raised.value.retryable
        assert not isinstance(raised.value, VolumeInUse)
    assert harness.reconcile() == [("1134", "9", Outcome.CONSISTENT)]
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.CONSISTENT)]
    assert harness.snapshot() == before
    assert harness.backend.made("attach") == harness.backend.made("detach") == []


@pytest.mark.parametrize("disk", [False, True])
def test_a_repeated_attach_takes_over_a_stale_one(harness, disk):
    harness.put(ATTACHING, disk=disk, stale=True)
    assert harness.attach().device == "/dev/vdb"
    assert harness.row().request_id == "req-1"
    assert harness.is_consistent()


def test_a_take_over_makes_the_claim_its_own_before_it_calls_the_backend(harness):
    seen = []
    harness.put(ATTACHING, stale=True)
    harness.at(
        "before backend attach", lambda: seen.append((harness.row().request_id, harness.row().age < STALE_AFTER))
    )
    harness.attach()
    assert seen == [("req-1", True)]


def test_an_attach_does_not_take_over_a_stale_detach(harness):
    harness.put(DETACHING, disk=True, stale=True)
    with pytest.raises(Conflict, match=r"^Volume 9 is being detached from server 1134\.$") as raised:
        harness.attach()
    assert not raised.value.retryable
    assert harness.state() == (DETACHING, True)


def test_an_attach_elsewhere_does_not_take_over_a_stale_attach(harness):
    harness.put(ATTACHING, stale=True)
    with pytest.raises(Conflict, match=r"^Volume 9 is being attached to server 1134\.$"):
        harness.attach(server_id="1135")
    assert harness.row().request_id == "req-of-the-dead"


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
@pytest.mark.parametrize("disk", [False, True])
def test_a_detach_takes_over_what_is_stale(harness, state, disk):
    harness.put(state, disk=disk, stale=True)
    harness.detach()
    assert harness.state() == NOWHERE
    assert harness.backend.made("detach") == [("1134", "9")]


@refusals
def test_a_certain_failure_after_a_repeated_attach_keeps_the_row(harness, error, response):
    harness.put(ATTACHING, disk=True, stale=True)
    harness.backend.fail("attach", refuse(error))
    with pytest.raises(OperationIncomplete):
        harness.attach()
    assert harness.state() == (ATTACHING, True)
    assert harness.row().request_id == "req-1"


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_certain_failure_after_a_repeated_detach_keeps_the_row(harness, state):
    harness.put(state, disk=True, stale=True)
    harness.backend.fail("detach", refuse(BackendUnavailable("down")))
    with pytest.raises(OperationIncomplete):
        harness.detach()
    assert harness.state() == (DETACHING, True)


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_certain_failure_of_reconcile_keeps_the_row(harness, state):
    harness.put(state, disk=True, stale=True)
    harness.backend.fail("attach" if state == ATTACHING else "detach", refuse(BackendUnavailable("down")))
    assert harness.reconcile() == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.state() == (state, True)
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.is_consistent()


def test_of_two_that_take_over_a_stale_row_one_does(harness):
    harness.put(ATTACHING, stale=True)
    harness.at("before claim", harness.attach)
    with pytest.raises(VolumeInUse):
        harness.attach()
    assert harness.backend.made("attach") == [("1134", "9")]
    assert harness.is_consistent()


# -- late workers, and rows that were changed concurrently -------------------------------------------


def test_a_worker_that_comes_too_late_starts_no_attach(harness):
    harness.at("after reserve", lambda: harness.pass_time(OPERATION_TIMEOUT))
    with pytest.raises(OperationIncomplete):
        harness.attach()
    assert harness.backend.calls == []
    assert harness.state() == (ATTACHING, False)


def test_a_worker_that_comes_too_late_starts_no_detach(harness):
    harness.attach()
    harness.at("after claim", lambda: harness.pass_time(OPERATION_TIMEOUT))
    with pytest.raises(OperationIncomplete):
        harness.detach()
    assert harness.backend.made("detach") == []
    assert harness.state() == (DETACHING, True)


def test_a_worker_whose_claim_took_long_is_late_though_the_row_is_young(harness):
    harness.at("before reserve", lambda: harness.pass_time(OPERATION_TIMEOUT))
    with pytest.raises(OperationIncomplete):
        harness.attach()
    assert harness.row().age < OPERATION_TIMEOUT
    assert harness.backend.calls == []


def test_a_worker_that_detached_from_a_deleted_server_too_late_starts_no_attach(harness):
    harness.put(ATTACHED)
    harness.delete_server()
    harness.at("after transfer", lambda: harness.pass_time(OPERATION_TIMEOUT))
    with pytest.raises(OperationIncomplete):
        harness.attach(server_id="1135")
    assert harness.backend.made("attach") == []
    assert harness.row(server_id="1135").state == ATTACHING


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_an_attach_that_finds_its_row_changed_leaves_all_alone(harness, state):
    harness.at("before confirm", lambda: harness.take_over(state))
    with pytest.raises(OperationIncomplete):
        harness.attach()
    assert harness.backend.made("detach") == []
    assert harness.state() == (state, True)
    assert harness.row().request_id == "req-of-another"


def test_an_attach_that_finds_its_row_gone_leaves_all_alone(harness):
    harness.at("before confirm", lambda: Registry(harness.database).remove(harness.row()))
    with pytest.raises(OperationIncomplete):
        harness.attach()
    assert harness.backend.made("detach") == []
    assert harness.state() == (None, True)


def test_an_attach_that_failed_and_finds_its_row_changed_leaves_it(harness):
    harness.backend.fail("attach", refuse(BackendUnavailable("down")))
    harness.at("before remove", harness.take_over)
    with pytest.raises(OperationIncomplete):
        harness.attach()
    assert harness.row().request_id == "req-of-another"


def test_a_detach_that_finds_its_row_changed_leaves_it(harness):
    harness.attach()
    harness.at("before remove", harness.take_over)
    with pytest.raises(OperationIncomplete):
        harness.detach()
    assert harness.row().request_id == "req-of-another"


def test_a_detach_that_finds_its_row_gone_is_done(harness):
    harness.attach()
    harness.at("before remove", lambda: Registry(harness.database).remove(harness.row()))
    harness.detach()
    assert harness.state() == NOWHERE


def test_a_detach_that_failed_and_finds_its_row_changed_leaves_it(harness):
    harness.attach()
    harness.backend.fail("detach", refuse(BackendUnavailable("down")))
    harness.at("before restore", harness.take_over)
    with pytest.raises(OperationIncomplete):
        harness.detach()
    assert (harness.row().state, harness.row().request_id) == (DETACHING, "req-of-another")


def test_a_detach_whose_row_went_before_it_was_claimed_is_missing(harness):
    harness.attach()
    harness.at("before claim", harness.detach)
    with pytest.raises(AttachmentMissing):
        harness.detach()


def test_a_detach_whose_row_changed_before_it_was_claimed_looks_again(harness):
    harness.attach()

    def detach_and_attach():
        harness.detach()
        harness.attach()

    harness.at("before claim", detach_and_attach)
    harness.detach()
    assert harness.state() == NOWHERE


def test_a_detach_whose_row_keeps_changing_is_a_conflict_that_passes(harness):
    harness.attach()
    for number in range(3):
        harness.at("before claim", lambda number=number: take_over_as(harness, f"req-of-{number}"))
    with pytest.raises(Conflict, match=r"^Other operations on volume 9 are in progress\. Retry later\.$") as raised:
        harness.detach()
    assert raised.value.retryable
    assert harness.backend.made("detach") == []


def take_over_as(harness, request_id):
    assert Registry(harness.database).claim(harness.row(), harness.row().claimed(ATTACHED, request_id))


def test_an_attach_whose_obstacle_went_meanwhile_tries_again(harness):
    harness.put(ATTACHED, server_id="1135", disk=True)
    harness.at("before find_conflicting", lambda: harness.detach(server_id="1135"))
    harness.attach()
    assert harness.is_consistent()
    assert harness.state() == (ATTACHED, True)


def obstruct(harness, times):
    """Let another operation reserve and release the volume whenever an attach tries to reserve it."""

    def come():
        harness.put(ATTACHING, server_id="1135")

    def go():
        assert Registry(harness.database).remove(harness.row(server_id="1135"))

    harness.at("before reserve", *[come] * times)
    harness.at("before find_conflicting", *[go] * times)


def test_an_attach_whose_obstacles_come_and_go_twice_succeeds(harness):
    obstruct(harness, 2)
    harness.attach()
    assert harness.state() == (ATTACHED, True)


def test_an_attach_whose_obstacles_come_and_go_is_a_conflict_that_passes(harness):
    obstruct(harness, 3)
    with pytest.raises(Conflict, match=r"^Other operations on volume 9 are in progress\. Retry later\.$") as raised:
        harness.attach()
    assert raised.value.retryable
    assert harness.snapshot() == (set(), {"1134": {}, "1135": {}, "2001": {}})


def test_two_attaches_to_different_servers_have_one_winner(harness):
    harness.at("before reserve", lambda: harness.attach(server_id="1135"))
    with pytest.raises(VolumeInUse, match=r"^Volume 9 is attached to server 1135\.$"):
        harness.attach()
    assert harness.state(server_id="1135") == (ATTACHED, True)
    assert harness.backend.violations == []


def test_of_many_threads_that_attach_one_volume_one_wins(harness):
    outcomes = []
    start = threading.Barrier(8)
    callers = [harness.caller() for _ in range(8)]

    def attach(number):
        start.wait(TIMEOUT)
        try:
            harness.manager.attach(
                callers[number], harness.constraints, ("1134", "1135")[number % 2], AttachRequest("9")
            )
            outcomes.append("done")
        except (Conflict, OperationIncomplete) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=attach, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(outcomes) == 8
    assert outcomes.count("done") == 1
    assert set(outcomes) <= {"done", "VolumeInUse", "Conflict"}
    assert harness.backend.violations == []
    assert harness.is_consistent()


def test_a_takeover_asks_for_the_device_that_it_was_asked_for(harness):
    harness.put(ATTACHING, stale=True, device="/dev/vdd")
    harness.attach(device="/dev/vde", tag="new", delete_on_termination=True)
    row = harness.row()
    assert (row.device, row.tag, row.delete_on_termination) == ("/dev/vde", "new", True)
    assert harness.backend.devices("1134") == {"9": "/dev/vde"}


def test_a_takeover_describes_server_and_volume_as_they_are_now(harness):
    harness.put(ATTACHING, stale=True, source="/old", format="qcow2", host="node-1", instance_name="i-1")
    harness.set_server(host="node-2", instance_name="i-2")
    before = harness.row()
    harness.attach()
    row = harness.row()
    assert (row.source, row.format, row.host, row.instance_name) == ("/a/file", "raw", "node-2", "i-2")
    assert (row.id, row.created_at) == (before.id, before.created_at)


@pytest.mark.parametrize("multiattach", [False, True])
def test_a_takeover_of_a_volume_that_was_switched_takes_its_word_of_today(harness, multiattach):
    harness.put(ATTACHING, stale=True, exclusive=multiattach)
    harness.catalog.known["9"] = Volume("9", "demo", "/a/file", "raw", multiattach)
    harness.attach()
    assert harness.row().exclusive is not multiattach
    assert harness.is_consistent()


def test_a_takeover_of_a_volume_that_became_exclusive_does_not_exclude_others(harness):
    harness.put(ATTACHING, stale=True, exclusive=False)
    harness.put(ATTACHED, server_id="1135", disk=True)
    with pytest.raises(Conflict, match=r"^Other operations on volume 9 are in progress\. Retry later\.$"):
        harness.attach()
    assert harness.state(server_id="1135") == (ATTACHED, True)
    assert harness.backend.made("attach") == []


def test_a_takeover_for_a_device_in_use_is_a_conflict_and_leaves_the_row(harness):
    harness.put(ATTACHING, stale=True)
    harness.put(ATTACHED, "99", device="/dev/vde", disk=True)
    before = harness.row()
    with pytest.raises(Conflict, match=r"^Device /dev/vde of server 1134 is in use by another volume\.$"):
        harness.attach(device="/dev/vde")
    assert harness.row().claim_id == before.claim_id
    assert harness.backend.made("attach") == []


def test_a_takeover_that_dies_after_its_claim_leaves_nothing_of_the_earlier_request(harness):
    harness.put(ATTACHING, stale=True, tag="old", delete_on_termination=True)
    harness.at("after claim", die)
    with pytest.raises(Died):
        harness.attach(tag="new")
    assert (harness.row().tag, harness.row().delete_on_termination) == ("new", False)


def test_two_claims_of_one_request_id_are_told_apart(harness):
    """An outer filter may take the request id from the client."""
    harness.attach()
    harness.at("before backend detach", lambda: harness.take_over(DETACHING, request_id=harness.row().request_id))
    with pytest.raises(OperationIncomplete, match="modified concurrently"):
        harness.detach()
    assert harness.row().state == DETACHING


# -- clocks that were set back -----------------------------------------------------------------------


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_claim_from_before_the_clock_was_set_back_becomes_stale(harness, state):
    harness.put(state)
    harness.pass_time(-86400)
    with pytest.raises(Conflict):
        harness.detach()
    assert harness.reconcile(dry_run=True) == [("1134", "9", Outcome.NEEDS_REPAIR)]
    assert harness.row().age < 0
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.reconcile() == [("1134", "9", Outcome.CONSISTENT)]
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.row() is None


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("age", "detail"),
    [
        (-1, "in progress"),
        (-1.001, "the claim is 1 seconds later than the database's clock"),
        (-86400, "the claim is 86400 seconds later than the database's clock"),
    ],
)
def test_a_claim_more_than_a_second_later_than_the_clock_is_reported(harness, age, detail, dry_run):
    harness.put(DETACHING)
    harness.pass_time(10)
    row = dataclasses.replace(harness.row(), age=age)
    harness.registry.walk = lambda **_: iter([row])
    harness.reconcile(dry_run=dry_run)
    restamped = age < -1 and not dry_run
    assert harness.findings[0].detail == (f"{detail}: set to now" if restamped else detail)
    assert (harness.row().updated_at != row.updated_at) is restamped


def test_a_claim_that_is_restamped_is_still_its_workers(harness):
    harness.at("before backend attach", lambda: harness.pass_time(-86400))
    harness.at("after backend attach", lambda: assert_restamped(harness))
    harness.attach()
    assert harness.state() == (ATTACHED, True)


def assert_restamped(harness):
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]


def test_a_claim_that_changes_while_it_is_restamped_is_left_alone(harness):
    harness.put(DETACHING)
    harness.pass_time(-86400)
    harness.at("before restamp", harness.take_over)
    assert harness.reconcile() == [("1134", "9", Outcome.CONSISTENT)]
