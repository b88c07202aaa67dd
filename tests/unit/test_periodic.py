"""Reconciling by itself: when a round is made, when it ends, and what is said of it; with time and leases scripted."""

import logging
import os
import socket
import threading
from types import SimpleNamespace

import pytest

from os_volume_ext.attachments import periodic as module
from os_volume_ext.attachments.periodic import PeriodicReconciler
from os_volume_ext.attachments.reconcile import Finding, Outcome
from os_volume_ext.errors import RegistryUnavailable
from tests.support.waiting import TIMEOUT, wait_until

INTERVAL = 300


class World:
    """A reconciler with as many findings as one likes, each of which takes some time, and leases as one says."""

    def __init__(self):
        self.now = 1000.0
        self.findings = 3
        self.takes = 0.0  # seconds, each finding
        self.settled = []
        self.taken = []
        self.answers = []  # of the leases; when there are no more: True
        self.trouble = []  # what the next rounds raise, None for nothing
        self.after_each = lambda: None

    def acquire(self, name, holder, seconds):
        self.taken.append((name, holder, seconds))
        return self.answers.pop(0) if self.answers else True

    def reconcile_stale(self):
        error = self.trouble.pop(0) if self.trouble else None
        if error:
            raise error
        for number in range(self.findings):
            self.now += self.takes
            self.settled.append(number)
            self.after_each()
            yield Finding("1134", str(number), "attaching", Outcome.REPAIRED, "marked attached")


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: world.now))
    return world


@pytest.fixture
def background(world, caplog):
    caplog.set_level(logging.INFO)
    return PeriodicReconciler(reconciler=world, leases=world, interval=INTERVAL)


def stop(background):
    stopping = threading.Thread(target=background.stop, daemon=True)
    stopping.start()
    stopping.join(TIMEOUT)
    assert not stopping.is_alive()


def messages(caplog):
    return [(record.levelname, record.getMessage(), bool(record.exc_info)) for record in caplog.records]


def test_who_has_the_lease_settles_all_and_logs_what_was_found(world, background, caplog):
    background.run_once()
    assert world.settled == [0, 1, 2]
    assert world.taken == [("reconcile", background.holder, INTERVAL)]
    settled = [message for _, message, _ in messages(caplog) if "repaired: marked attached" in message]
    assert len(settled) == 3


def test_who_has_it_not_looks_at_nothing_and_says_nothing(world, background, caplog):
    world.answers = [False]
    background.run_once()
    assert world.settled == []
    assert caplog.records == []


def test_it_is_renewed_between_two_rows_when_half_of_it_has_gone_and_not_before(world, background):
    world.takes, world.findings = INTERVAL / 4, 5
    seen = []
    world.after_each = lambda: seen.append(len(world.taken))
    background.run_once()
    assert world.settled == [0, 1, 2, 3, 4]
    assert seen == [1, 1, 2, 2, 3]


def test_who_has_lost_it_stops(world, background, caplog):
    world.takes, world.findings = INTERVAL, 5
    world.answers = [True, True, False]
    background.run_once()
    assert world.settled == [0, 1]
    assert "lost the reconcile lease to another worker" in caplog.text


def test_a_round_after_a_lost_lease_begins_anew(world, background):
    world.takes, world.answers = INTERVAL, [True, False, True]
    background.run_once()
    world.takes = 0
    background.run_once()
    assert world.settled == [0, 0, 1, 2]


def test_who_reconciles_is_said_once(world, background, caplog):
    world.findings, world.answers = 0, [False, True, False, True]
    for _ in range(4):
        background.run_once()
    said = f"{background.holder} acquired the reconcile lease; the interval is 300 seconds"
    assert messages(caplog) == [("INFO", said, False)]


def test_a_holder_is_called_by_host_and_process_and_yet_differs_from_others_there(world):
    holders = {PeriodicReconciler(reconciler=world, leases=world, interval=INTERVAL).holder for _ in range(10)}
    assert len(holders) == 10
    assert all(holder.startswith(f"{socket.gethostname()}-{os.getpid()}-") for holder in holders)
    assert all(len(holder) <= 255 for holder in holders)


def test_trouble_is_said_when_it_begins_changes_and_ends(world, background, caplog):
    world.findings = 0
    background.run_once()
    caplog.clear()
    away, bug = RegistryUnavailable("connection refused"), ZeroDivisionError("a bug")
    world.trouble = [away, RegistryUnavailable("still"), away, bug, bug, None, None, away]
    for _ in range(8):
        background.run_once()
    assert messages(caplog) == [
        ("WARNING", "reconcile failed: connection refused; it is retried every 300 seconds", False),
        ("ERROR", "reconcile failed; it is retried every 300 seconds", True),
        ("INFO", "reconcile works again", False),
        ("WARNING", "reconcile failed: connection refused; it is retried every 300 seconds", False),
    ]


def test_a_fault_is_not_over_because_another_worker_has_its_turn(world, background, caplog):
    world.answers, bug = [True, False, True, False, True], ZeroDivisionError("a bug")
    world.trouble = [bug, bug]
    for _ in range(4):
        background.run_once()
    assert [level for level, message, _ in messages(caplog) if message.startswith("reconcile ")] == ["ERROR"]
    background.run_once()
    assert messages(caplog)[-1] == ("INFO", "reconcile works again", False)


def test_a_database_is_back_when_it_says_that_another_has_the_lease(world, background, caplog):
    world.answers, world.trouble = [True, False, False], [RegistryUnavailable("connection refused")]
    for _ in range(3):
        background.run_once()
    assert [level for level, *_ in messages(caplog)] == ["INFO", "WARNING", "INFO"]


def test_it_goes_on_after_trouble_and_ends_when_it_is_stopped(world):
    world.findings, world.trouble = 1, [RuntimeError("first"), RegistryUnavailable("second")]
    done = threading.Event()
    world.after_each = done.set
    background = PeriodicReconciler(reconciler=world, leases=world, interval=0.001)
    background.start()
    assert done.wait(TIMEOUT)
    stop(background)
    assert module.THREAD not in [thread.name for thread in threading.enumerate()]


def test_one_that_pauses_is_stopped_at_once_and_has_done_nothing(world):
    background = PeriodicReconciler(reconciler=world, leases=world, interval=10**6)
    background.start()
    stop(background)
    assert (world.taken, world.settled) == ([], [])


def test_one_that_is_stopped_within_a_round_leaves_the_rest_to_others(world):
    world.findings, started = 1000, threading.Event()
    background = PeriodicReconciler(reconciler=world, leases=world, interval=0.001)
    world.after_each = lambda: (started.set(), threading.Event().wait(0.01))
    background.start()
    assert started.wait(TIMEOUT)
    stop(background)
    assert len(world.settled) < world.findings


def test_workers_try_only_after_the_lease_can_have_expired_and_not_all_at_once(world, monkeypatch):
    pauses = []

    class Stopped(threading.Event):
        """Set after 20 pauses, none of which takes any time."""

        def wait(self, seconds):
            pauses.append(seconds)
            return len(pauses) > 20

    monkeypatch.setattr(module, "threading", SimpleNamespace(Event=Stopped, Thread=threading.Thread))
    background = PeriodicReconciler(reconciler=world, leases=world, interval=INTERVAL)
    background.start()
    assert wait_until(lambda: len(pauses) > 20)
    stop(background)
    assert all(INTERVAL <= pause <= 1.2 * INTERVAL for pause in pauses)
    assert len(set(pauses)) > 1
    assert len(world.taken) == 20
