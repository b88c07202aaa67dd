"""A backend that fails: for certain, with an unknown outcome, or by hanging; and slots."""

from contextlib import ExitStack, contextmanager

import pytest

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, OutcomeUnknown
from os_volume_ext.errors import Overloaded, RegistryUnavailable
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING
from tests.functional.protocol.cases import NOWHERE, SLOTS, refusals, unknown
from tests.support.harness import STALE_AFTER
from tests.support.scripted import Died, die, refuse, succeed_and_raise

# -- certain failures --------------------------------------------------------------------------------


@refusals
def test_an_attach_that_definitely_failed_leaves_nothing_and_is_explained(harness, error, response):
    harness.backend.fail("attach", refuse(error))
    with pytest.raises(response) as raised:
        harness.attach()
    assert raised.value is error or raised.value.__cause__ is error
    assert harness.state() == NOWHERE
    harness.attach()
    assert harness.is_consistent()


@pytest.mark.parametrize("error", [BackendUnavailable("down"), AttachRefused("busy")], ids=["unavailable", "refused"])
def test_a_detach_that_definitely_failed_leaves_the_volume_attached(harness, error):
    harness.attach()
    before = harness.row()
    harness.backend.fail("detach", refuse(error))
    with pytest.raises(type(error)):
        harness.detach()
    assert harness.state() == (ATTACHED, True)
    assert (harness.row().device, harness.row().created_at) == (before.device, before.created_at)
    harness.detach()
    assert harness.state() == NOWHERE


# -- unknown outcomes --------------------------------------------------------------------------------


@unknown
@pytest.mark.parametrize("happened", [False, True], ids=["nothing happened", "it happened"])
def test_an_attach_of_unknown_outcome_keeps_its_row_until_reconciled(harness, error, happened):
    harness.backend.fail("attach", (succeed_and_raise if happened else refuse)(error))
    with pytest.raises(OutcomeUnknown):
        harness.attach()
    assert harness.state() == (ATTACHING, happened)
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == ((ATTACHED, True) if happened else NOWHERE)


@unknown
@pytest.mark.parametrize("happened", [False, True], ids=["nothing happened", "it happened"])
def test_a_detach_of_unknown_outcome_keeps_its_row_until_reconciled(harness, error, happened):
    harness.attach()
    harness.backend.fail("detach", (succeed_and_raise if happened else refuse)(error))
    with pytest.raises(OutcomeUnknown):
        harness.detach()
    assert harness.state() == (DETACHING, not happened)
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == NOWHERE


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("after reserve", (ATTACHING, False)),
        ("before backend attach", (ATTACHING, False)),
        ("after backend attach", (ATTACHING, True)),
        ("before confirm", (ATTACHING, True)),
        ("after confirm", (ATTACHED, True)),
    ],
)
def test_reconcile_repairs_what_a_worker_that_dies_in_attach_leaves(harness, step, left):
    harness.at(step, die)
    with pytest.raises(Died):
        harness.attach()
    assert harness.state() == left
    harness.pass_time(STALE_AFTER + 1)
    harness.reconcile()
    assert harness.is_consistent()
    assert harness.state()[1] is left[1]


@pytest.mark.parametrize("step", ["after claim", "before backend detach", "after backend detach", "before remove"])
def test_reconcile_repairs_what_a_worker_that_dies_in_detach_leaves(harness, step):
    harness.attach()
    harness.at(step, die)
    with pytest.raises(Died):
        harness.detach()
    assert harness.row().state == DETACHING
    harness.pass_time(STALE_AFTER + 1)
    harness.reconcile()
    assert harness.state() == NOWHERE


@pytest.mark.parametrize("step", ["before reserve", "before confirm"])
def test_a_registry_that_goes_away_ends_the_work_and_nothing_is_undone(harness, step):
    def go_away():
        raise RegistryUnavailable("gone")

    harness.at(step, go_away)
    with pytest.raises(RegistryUnavailable):
        harness.attach()
    happened = step == "before confirm"
    assert harness.state() == ((ATTACHING, True) if happened else NOWHERE)
    assert harness.backend.made("detach") == []


# -- slots -------------------------------------------------------------------------------------------


def test_a_call_that_hangs_is_an_unknown_outcome(small, hung):
    started = hung("attach")
    with pytest.raises(OutcomeUnknown):
        small.attach()
    assert started.is_set()
    assert small.state() == (ATTACHING, False)


def test_when_all_slots_are_in_use_only_reads_succeed(small):
    small.attach("77")
    before = small.snapshot()
    with all_slots(small):
        with pytest.raises(Overloaded):
            small.attach("9")
        with pytest.raises(Overloaded):
            small.detach("77")
        assert small.snapshot() == before
        assert small.get("77").volume_id == "77"
        assert [row.volume_id for row in small.list()] == ["77"]
    small.attach("9")
    assert small.state("9") == (ATTACHED, True)


def test_when_a_project_has_all_slots_another_one_attaches_and_detaches(small):
    with all_slots(small):
        small.attach("200", "2001", project_id="other")
        assert small.state("200", "2001") == (ATTACHED, True)
        small.detach("200", "2001", project_id="other")
        assert small.state("200", "2001") == NOWHERE


def test_when_a_project_has_all_slots_reconcile_repairs(small):
    small.put(DETACHING, "77", disk=True, stale=True)
    with all_slots(small):
        assert small.reconcile() == [("1134", "77", Outcome.REPAIRED)]
    assert small.state("77") == NOWHERE


def test_calls_that_timed_out_leave_their_slots_to_others(small, hung):
    for volume_id in ("9", "99"):
        hung("attach")
        with pytest.raises(OutcomeUnknown):
            small.attach(volume_id)
    small.attach("77")
    assert small.state("77") == (ATTACHED, True)


def test_reconcile_without_a_slot_leaves_the_row_unresolved(small):
    small.put(DETACHING, "77", disk=True, stale=True)
    with small.executor.slot("req-of-another"):
        assert small.reconcile() == [("1134", "77", Outcome.UNRESOLVED)]
    assert small.row("77").request_id == "req-of-the-dead"


@contextmanager
def all_slots(small):
    """Let calls of the project demo have all slots."""
    with ExitStack() as slots:
        for _ in range(SLOTS):
            slots.enter_context(small.executor.slot("req-of-another", "demo"))
        yield
