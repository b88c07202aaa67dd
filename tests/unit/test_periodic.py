"""Periodic reconciliation: when it runs, when it ends, and what it logs; with time and leases scripted."""

import logging
import os
import re
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
    """A reconciler with a given number of findings, each of which takes a given time, and given leases."""

    def __init__(self):
        self.now = 1000.0
        self.findings = 3
        self.duration = 0.0  # seconds, each finding
        self.repaired = []
        self.acquired = []
        self.responses = []  # of the leases; when there are no more: True
        self.failures = []  # what the next rounds raise, None for nothing
        self.after_each = lambda: None

    def acquire(self, name, holder, seconds):
        self.acquired.append((name, holder, seconds))
        return self.responses.pop(0) if self.responses else True

    def reconcile_stale(self):
        error = self.failures.pop(0) if self.failures else None
        if error:
            raise error
        for number in range(self.findings):
            self.now += self.duration
            self.repaired.append(number)
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


def test_with_the_lease_all_rows_are_repaired_and_logged(world, background, caplog):
    background.run_once()
    assert world.repaired == [0, 1, 2]
    assert world.acquired == [("reconcile", background.holder, INTERVAL)]
    repaired = [message for _, message, _ in messages(caplog) if "repaired: marked attached" in message]
    assert len(repaired) == 3


def test_without_the_lease_nothing_is_read_or_logged(world, background, caplog):
    world.responses = [False]
    background.run_once()
    assert world.repaired == []
    assert caplog.records == []


@pytest.mark.parametrize(("part", "expected"), [(1 / 4, [1, 1, 2, 2, 3]), (1 / 5, [1, 1, 1, 2, 2])])
def test_it_is_renewed_between_two_rows_when_half_of_it_has_gone_and_not_before(world, background, part, expected):
    world.duration, world.findings = INTERVAL * part, 5
    seen = []
    world.after_each = lambda: seen.append(len(world.acquired))
    background.run_once()
    assert world.repaired == [0, 1, 2, 3, 4]
    assert seen == expected


def test_a_lost_lease_ends_the_run(world, background, caplog):
    world.duration, world.findings = INTERVAL, 5
    world.responses = [True, True, False]
    background.run_once()
    assert world.repaired == [0, 1]
    lost = f"{background.holder} lost the reconcile lease to another worker, which continues"
    assert messages(caplog)[-1] == ("INFO", lost, False)


def test_the_run_after_a_lost_lease_starts_again(world, background):
    world.duration, world.responses = INTERVAL, [True, False, True]
    background.run_once()
    world.duration = 0
    background.run_once()
    assert world.repaired == [0, 0, 1, 2]


def test_the_first_acquired_lease_is_logged_once(world, background, caplog):
    world.findings, world.responses = 0, [False, True, False, True]
    for _ in range(4):
        background.run_once()
    message = f"{background.holder} acquired the reconcile lease; the interval is 300 seconds"
    assert messages(caplog) == [("INFO", message, False)]


def test_a_holder_is_called_by_host_and_process_and_yet_differs_from_others_there(world):
    holders = {PeriodicReconciler(reconciler=world, leases=world, interval=INTERVAL).holder for _ in range(10)}
    assert len(holders) == 10
    here = re.escape(f"{socket.gethostname()}-{os.getpid()}-")
    assert all(re.fullmatch(f"{here}[0-9a-f]{{8}}", holder) for holder in holders)
    assert all(len(holder) <= 255 for holder in holders)


def test_an_error_is_logged_when_it_starts_changes_and_ends(world, background, caplog):
    world.findings = 0
    background.run_once()
    caplog.clear()
    away, bug = RegistryUnavailable("connection refused"), ZeroDivisionError("a bug")
    world.failures = [away, RegistryUnavailable("still"), away, bug, bug, None, None, away]
    for _ in range(8):
        background.run_once()
    assert messages(caplog) == [
        ("WARNING", "reconcile failed: connection refused; it is retried every 300 seconds", False),
        ("ERROR", "reconcile failed; it is retried every 300 seconds", True),
        ("INFO", "reconcile works again", False),
        ("WARNING", "reconcile failed: connection refused; it is retried every 300 seconds", False),
    ]


def test_a_fault_is_not_over_because_another_worker_has_its_turn(world, background, caplog):
    world.responses, bug = [True, False, True, False, True], ZeroDivisionError("a bug")
    world.failures = [bug, bug]
    for _ in range(4):
        background.run_once()
    assert [level for level, message, _ in messages(caplog) if message.startswith("reconcile ")] == ["ERROR"]
    background.run_once()
    assert messages(caplog)[-1] == ("INFO", "reconcile works again", False)


def test_a_refused_lease_shows_that_the_database_is_back(world, background, caplog):
    world.responses, world.failures = [True, False, False], [RegistryUnavailable("connection refused")]
    for _ in range(3):
        background.run_once()
    assert [level for level, *_ in messages(caplog)] == ["INFO", "WARNING", "INFO"]


def test_it_continues_after_errors_and_ends_when_it_is_stopped(world):
    world.findings, world.failures = 1, [RuntimeError("first"), RegistryUnavailable("second")]
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
    assert (world.acquired, world.repaired) == ([], [])


def test_its_thread_has_a_name_and_does_not_keep_the_process_from_ending(world):
    background = PeriodicReconciler(reconciler=world, leases=world, interval=10**6)
    background.start()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "os-volume-ext-reconcile"]
    assert thread.daemon
    stop(background)


def test_one_that_is_stopped_within_a_round_leaves_the_rest_to_others(world):
    world.findings, started = 1000, threading.Event()
    background = PeriodicReconciler(reconciler=world, leases=world, interval=0.001)
    world.after_each = lambda: (started.set(), threading.Event().wait(0.01))
    background.start()
    assert started.wait(TIMEOUT)
    stop(background)
    assert len(world.repaired) < world.findings


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
    assert len(world.acquired) == 20
