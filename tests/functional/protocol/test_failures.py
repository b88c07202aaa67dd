"""A backend that fails: for certain, with an unknown outcome, or by hanging until no slot is free."""

import pytest

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, OutcomeUnknown, Volume
from os_volume_ext.errors import Overloaded, RegistryUnavailable
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING
from tests.functional.protocol.cases import NOWHERE, refusals, unknown
from tests.support.harness import STALE_AFTER
from tests.support.scripted import Died, die, refuse, succeed_and_raise
from tests.support.waiting import backend_calls, wait_until

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


def test_when_all_slots_are_in_use_only_reads_succeed(small, hung):
    small.attach("77")
    for volume_id in ("9", "99"):
        hung("attach")
        with pytest.raises(OutcomeUnknown):
            small.attach(volume_id)
    small.catalog.add(Volume("100", "demo"))
    before = small.snapshot()
    with pytest.raises(Overloaded):
        small.attach("100")
    with pytest.raises(Overloaded):
        small.detach("77")
    assert small.snapshot() == before
    assert small.get("77").volume_id == "77"
    assert [row.volume_id for row in small.list()] == ["77"]


def test_a_hung_call_keeps_its_place_until_it_ends(small, hung):
    for volume_id in ("9", "99"):
        hung("attach")
        with pytest.raises(OutcomeUnknown):
            small.attach(volume_id)
    with pytest.raises(Overloaded):
        small.attach("77")
    hung.resume.set()
    assert wait_until(lambda: not backend_calls())
    small.attach("77")
    assert small.state("77") == (ATTACHED, True)


def test_reconcile_that_finds_no_place_leaves_the_row_undecided(small, hung):
    small.put(DETACHING, "77", disk=True, stale=True)
    for volume_id in ("9", "99"):
        hung("attach")
        with pytest.raises(OutcomeUnknown):
            small.attach(volume_id)
    assert ("1134", "77", Outcome.UNRESOLVED) in small.reconcile()
    assert small.row("77").request_id == "req-of-the-dead"
