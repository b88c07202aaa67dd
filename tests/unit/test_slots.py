"""Who gets a slot, who loses it, and what goes on without one."""

import logging
import sys
import threading
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from os_volume_ext.attachments.slots import MAX_WITHOUT_SLOT, Slots
from os_volume_ext.errors import Overloaded
from os_volume_ext.observers.base import Observer, Observers
from tests.support.waiting import TIMEOUT

NUMBERS = [1, 2, 3, 4, 5, 8]
OPERATOR = None


def half_of(number):
    return max(1, number // 2)


def acquire_all(slots, project_id):
    """Acquire for a project until that is refused; return the grants."""
    grants = []
    while True:
        try:
            grants.append(slots.acquire(project_id))
        except Overloaded:
            return grants


def time_out_calls(slots, count, project_id="demo"):
    """Let calls of a project time out, one after the other; return their grants."""
    grants = []
    for _ in range(count):
        grants.append(slots.acquire(project_id))
        slots.time_out(grants[-1])
    return grants


def hanging_slots():
    """Return four slots, with as many calls without a slot as may be running, and their grants."""
    slots = Slots(4)
    return slots, time_out_calls(slots, MAX_WITHOUT_SLOT * 4)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_project_that_is_alone_gets_all_slots_and_no_more(number):
    slots = Slots(number)
    assert len(acquire_all(slots, "demo")) == number
    assert (slots.held_by("demo"), slots.without_slot) == (number, 0)


@pytest.mark.parametrize("number", NUMBERS)
def test_another_project_gets_its_half_of_slots_that_are_all_in_use(number):
    slots = Slots(number)
    acquire_all(slots, "demo")
    beyond_half = number - half_of(number)
    assert len(acquire_all(slots, "other")) == min(half_of(number), beyond_half)
    assert slots.held_by("demo") + slots.held_by("other") == number
    assert slots.without_slot == min(half_of(number), beyond_half)


def test_the_only_slot_is_not_taken_from_a_project():
    slots = Slots(1)
    slots.acquire("demo")
    with pytest.raises(Overloaded):
        slots.acquire("other")
    assert (slots.held_by("demo"), slots.without_slot) == (1, 0)


def test_no_slot_is_taken_from_a_project_that_has_half():
    slots = Slots(4)
    for project_id in ("demo", "demo", "other", "other"):
        slots.acquire(project_id)
    with pytest.raises(Overloaded):
        slots.acquire("a third one")
    assert slots.without_slot == 0


def test_a_project_that_has_half_gets_no_slot_of_another_one():
    slots = Slots(5)
    for project_id in ("demo", "demo", "demo", "other", "other"):
        slots.acquire(project_id)
    with pytest.raises(Overloaded):
        slots.acquire("other")
    assert (slots.held_by("demo"), slots.without_slot) == (3, 0)


@pytest.mark.parametrize("number", NUMBERS)
def test_operator_work_gets_half_of_the_slots_even_when_all_are_free(number):
    slots = Slots(number)
    assert len(acquire_all(slots, OPERATOR)) == half_of(number)
    assert slots.without_slot == 0


def test_operator_work_gets_half_of_slots_that_are_all_in_use_and_keeps_it():
    slots = Slots(8)
    acquire_all(slots, "demo")
    assert len(acquire_all(slots, OPERATOR)) == 4
    assert acquire_all(slots, "other") == []
    assert (slots.held_by(OPERATOR), slots.held_by("demo")) == (4, 4)


def test_a_call_that_lost_its_slot_gets_the_next_free_one():
    slots = Slots(2)
    acquire_all(slots, "demo")
    other = slots.acquire("other")
    assert (slots.held_by("demo"), slots.without_slot) == (1, 1)
    slots.release(other)
    assert (slots.held_by("demo"), slots.without_slot) == (2, 0)


def test_a_call_that_lost_its_slot_and_ends_leaves_the_slots_alone():
    slots = Slots(2)
    oldest, _ = acquire_all(slots, "demo")
    slots.acquire("other")
    slots.release(oldest)
    assert (slots.held_by("demo"), slots.held_by("other"), slots.without_slot) == (1, 1, 0)


def test_a_call_that_lost_its_slot_and_times_out_gets_none_back():
    slots = Slots(2)
    oldest, _ = acquire_all(slots, "demo")
    other = slots.acquire("other")
    slots.time_out(oldest)
    slots.release(other)
    assert (slots.held_by("demo"), slots.without_slot) == (1, 1)
    slots.release(oldest)
    assert slots.without_slot == 0


def test_a_call_that_times_out_frees_its_slot_and_is_counted_until_it_ends():
    slots = Slots(1)
    (grant,) = time_out_calls(slots, 1)
    assert (slots.held_by("demo"), slots.without_slot) == (0, 1)
    slots.release(slots.acquire("demo"))
    slots.release(grant)
    assert slots.without_slot == 0


def test_a_grant_is_released_once():
    slots = Slots(1)
    grant = slots.acquire("demo")
    slots.release(grant)
    with pytest.raises(ValueError, match="not in list"):
        slots.release(grant)


def test_too_many_calls_without_a_slot_keep_all_out_until_one_ends():
    slots, grants = hanging_slots()
    for project_id in ("demo", "other", OPERATOR):
        with pytest.raises(Overloaded):
            slots.acquire(project_id)
    slots.release(grants.pop())
    for project_id in ("demo", "other", OPERATOR):
        slots.release(slots.acquire(project_id))


def test_operator_work_that_hangs_reaches_half_of_the_bound_only():
    slots = Slots(2)
    hanging = time_out_calls(slots, MAX_WITHOUT_SLOT, OPERATOR)
    assert acquire_all(slots, OPERATOR) == []
    slots.release(slots.acquire("demo"))
    slots.release(hanging.pop())
    slots.release(slots.acquire(OPERATOR))


def test_too_many_calls_without_a_slot_are_logged_once_with_number_and_remedy(caplog):
    slots, _ = hanging_slots()
    for _ in range(3):
        with pytest.raises(Overloaded):
            slots.acquire("demo")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "32 backend calls are running without a slot, so no more are started: the backend hangs. "
        "Repair it; if the calls do not end then, restart this process"
    )


def test_more_calls_without_a_slot_after_the_bound_are_not_logged_again(caplog):
    slots = Slots(2)
    last = [slots.acquire("demo"), slots.acquire("demo")]
    slots.release(last.pop())
    time_out_calls(slots, 2 * MAX_WITHOUT_SLOT)
    slots.time_out(last.pop())
    assert slots.without_slot == 2 * MAX_WITHOUT_SLOT + 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_the_bound_is_logged_again_after_it_was_left(caplog):
    slots, grants = hanging_slots()
    slots.release(grants.pop())
    time_out_calls(slots, 1)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING, logging.ERROR]
    left = "31 backend calls are running without a slot: calls are started again"
    assert caplog.records[1].getMessage() == left


class Gauge(Observer):
    """Adds up the changes that it is notified of."""

    def __init__(self):
        self.changes = []

    def without_slot(self, change):
        self.changes.append(change)

    @property
    def value(self):
        return sum(self.changes)


def test_observers_are_notified_of_each_change_outside_the_lock():
    class Reader(Gauge):
        def without_slot(self, change):
            super().without_slot(change)
            slots.release(slots.acquire("another"))  # would block for good

    reader = Reader()
    slots = Slots(4, Observers(reader))
    slots.release(*time_out_calls(slots, 1))
    assert reader.changes == [1, -1]


@pytest.fixture
def switching_often():
    """Let threads take turns so often that a missing lock shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("switching_often")
def test_threads_that_acquire_time_out_and_release_leave_nothing():
    gauge = Gauge()
    slots = Slots(3, Observers(gauge))
    start = threading.Barrier(8)

    def work(project_id):
        start.wait(TIMEOUT)
        for number in range(1000):
            try:
                grant = slots.acquire(project_id)
            except Overloaded:
                continue
            if number % 3 == 0:
                slots.time_out(grant)
            slots.release(grant)

    threads = [threading.Thread(target=work, args=(project,)) for project in ("demo", "other", "third", OPERATOR) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert slots.without_slot == gauge.value == 0
    assert [slots.held_by(project) for project in ("demo", "other", "third", OPERATOR)] == [0, 0, 0, 0]
    assert len(acquire_all(slots, "demo")) == 3


class Accounting(RuleBasedStateMachine):
    """Acquire, time out and release in any order."""

    PROJECTS = ("a", "b", "c", OPERATOR)
    in_time = Bundle("in_time")
    timed_out = Bundle("timed_out")

    @initialize(number=st.sampled_from(NUMBERS))
    def begin(self, number):
        self.number, self.half = number, half_of(number)
        self.gauge = Gauge()
        self.slots = Slots(number, Observers(self.gauge))
        self.active = []  # grants whose calls are within their time limit
        self.late = []

    def held(self):
        return {project: self.slots.held_by(project) for project in self.PROJECTS}

    @rule(target=in_time, project=st.sampled_from(PROJECTS))
    def acquire(self, project):
        return self.request(project)

    @rule(target=in_time, project=st.sampled_from(PROJECTS))
    def acquire_as_many_as_possible(self, project):
        grants = []
        while grant := self.request(project):
            grants.append(grant)
        return multiple(*grants)

    def request(self, project):
        before = self.held()
        bound = MAX_WITHOUT_SLOT * self.number
        at_bound = self.slots.without_slot >= bound
        try:
            grant = self.slots.acquire(project)
        except Overloaded:
            assert self.held() == before
            self.check_refusal(project, before, at_bound)
            return None
        assert not at_bound
        assert self.held()[project] == before[project] + 1
        self.active.append(grant)
        return grant

    def check_refusal(self, project, held, at_bound):
        if at_bound or (project is OPERATOR and self.operator_is_at_its_limit(held)):
            return
        assert sum(held.values()) == self.number
        others = [held[each] for each in self.PROJECTS if each != project]
        assert held[project] >= self.half or max(others) <= self.half

    def operator_is_at_its_limit(self, held):
        hanging = sum(grant.project_id is OPERATOR for grant in self.late)
        return held[OPERATOR] >= self.half or hanging >= MAX_WITHOUT_SLOT * self.number // 2

    @rule(target=timed_out, grant=consumes(in_time))
    def time_out(self, grant):
        if grant is not None:
            self.active.remove(grant)
            self.late.append(grant)
            self.slots.time_out(grant)
        return grant

    @rule(target=timed_out, project=st.sampled_from(PROJECTS))
    def time_out_as_many_as_possible(self, project):
        grants = []
        while grant := self.request(project):
            grants.append(self.time_out(grant))
        return multiple(*grants)

    @rule(grant=consumes(in_time))
    def release(self, grant):
        if grant is not None:
            self.active.remove(grant)
            self.slots.release(grant)

    @rule(grant=consumes(timed_out))
    def end_late(self, grant):
        if grant is not None:
            self.late.remove(grant)
            self.slots.release(grant)

    @invariant()
    def every_grant_is_counted_once(self):
        held = sum(self.held().values())
        assert held == min(self.number, len(self.active))
        assert self.slots.without_slot == len(self.active) - held + len(self.late)
        assert self.gauge.value == self.slots.without_slot

    @invariant()
    def no_project_has_more_slots_than_calls(self):
        active = Counter(grant.project_id for grant in self.active)
        assert all(held <= active[project] for project, held in self.held().items())

    @invariant()
    def operator_work_has_at_most_half_and_loses_none(self):
        held = self.slots.held_by(OPERATOR)
        assert held <= self.half
        assert held == sum(grant.project_id is OPERATOR for grant in self.active)

    @invariant()
    def the_calls_that_are_running_are_bounded(self):
        assert len(self.active) <= self.number + self.number - self.half
        assert len(self.active) + len(self.late) <= (MAX_WITHOUT_SLOT + 1) * self.number

    def teardown(self):
        for grant in [*self.active, *self.late]:
            self.slots.release(grant)
        assert set(self.held().values()) == {0}
        assert self.slots.without_slot == self.gauge.value == 0


def test_the_accounting_holds_in_any_order_of_events():
    run_state_machine_as_test(
        Accounting, settings=settings(max_examples=200, stateful_step_count=60, deadline=None, database=None)
    )
