"""What observers are notified of: each operation once at its start and once at its end, however it ends."""

import logging
from types import SimpleNamespace

import pytest

from os_volume_ext.backends.base import BackendUnavailable, OutcomeUnknown, ServerNotFound
from os_volume_ext.errors import Conflict, ServerMissing, VolumeInUse
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING
from os_volume_ext.observers import base
from os_volume_ext.observers.base import Observer, Observers
from tests.support.harness import SHORT_TIMEOUT, Harness
from tests.support.scripted import Died, refuse


@pytest.fixture
def harness(database, monkeypatch):
    return Harness(database, monkeypatch)


@pytest.fixture
def reported(harness):
    return harness.listener.events


def test_an_attach_and_a_detach_begin_and_end(harness, reported):
    harness.attach()
    harness.detach()
    assert reported == [
        ("begun", "attach", "9", "1134", None),
        ("done", "attach", "9", "1134", "/dev/vdb"),
        ("begun", "detach", "9", "1134", "/dev/vdb"),
        ("done", "detach", "9", "1134", "/dev/vdb"),
    ]


def test_an_operation_is_its_callers_and_of_the_servers_project(harness):
    harness.attach(project_id="admins", is_admin=True)
    (operation,) = harness.listener.operations
    assert (operation.caller.project_id, operation.project_id) == ("admins", "demo")
    assert operation.request_id == operation.caller.request_id == harness.row().request_id


def test_the_row_is_there_when_an_attach_begins_and_the_disk_when_it_ends(harness, monkeypatch):
    seen = []
    monkeypatch.setattr(harness.listener, "record", lambda *_: seen.append(harness.state()))
    harness.attach()
    assert seen == [(ATTACHING, False), (ATTACHED, True)]


def test_what_is_refused_before_it_begins_only_ends(harness, reported):
    harness.attach()
    del reported[:]
    with pytest.raises(VolumeInUse):
        harness.attach(server_id="1135")
    harness.set_server(status="BUILD")
    with pytest.raises(Conflict):
        harness.detach()
    assert reported == [("VolumeInUse", "attach", "9", "1135", None), ("Conflict", "detach", "9", "1134", None)]
    assert not any(operation.started for operation in harness.listener.operations[1:])


def test_what_fails_ends_in_what_its_caller_gets(harness, reported):
    harness.backend.fail("attach", refuse(BackendUnavailable("down")))
    with pytest.raises(BackendUnavailable):
        harness.attach()
    assert reported == [("begun", "attach", "9", "1134", None), ("BackendUnavailable", "attach", "9", "1134", None)]


def test_an_exception_that_ends_the_process_is_not_reported_as_success(harness, reported):
    def die():
        raise Died

    harness.at("before confirm", die)
    with pytest.raises(Died):
        harness.attach()
    assert [what for what, *_ in reported] == ["begun", "Died"]


def test_reading_tells_nothing(harness, reported):
    harness.attach()
    del reported[:]
    harness.list()
    harness.get()
    assert reported == []


def test_a_volume_that_is_taken_from_a_deleted_server_is_a_detach_within_the_attach(harness, reported):
    harness.put(ATTACHED, device="/dev/vdc")
    harness.delete_server()
    harness.attach(server_id="1135")
    assert reported == [
        ("begun", "detach", "9", "1134", "/dev/vdc"),
        ("done", "detach", "9", "1134", "/dev/vdc"),
        ("begun", "attach", "9", "1135", None),
        ("done", "attach", "9", "1135", "/dev/vdb"),
    ]
    assert [operation.caller is None for operation in harness.listener.operations] == [True, False]


@pytest.mark.parametrize(
    ("state", "disk", "action"),
    [
        (ATTACHING, True, "attach"),
        (ATTACHING, False, "detach"),
        (DETACHING, True, "detach"),
        (ATTACHED, False, "attach"),
    ],
)
def test_what_reconcile_attaches_and_detaches_is_reported(harness, reported, state, disk, action):
    harness.put(state, disk=disk, stale=True, device="/dev/vdb")
    harness.reconcile(everything=True)
    assert reported == [(what, action, "9", "1134", "/dev/vdb") for what in ("begun", "done")]
    (operation,) = harness.listener.operations
    assert (operation.caller, operation.project_id) == (None, "demo")


def test_what_agrees_with_the_backend_is_not_reported(harness, reported):
    harness.put(ATTACHED, disk=True, device="/dev/vdb")
    harness.reconcile(everything=True)
    assert reported == []


def test_each_backend_call_is_reported_with_its_outcome(harness):
    harness.backend.fail("attach", refuse(ServerNotFound("none")), refuse(RuntimeError("a bug")))
    for error in (ServerMissing, OutcomeUnknown):
        with pytest.raises(error):
            harness.attach()
    calls = harness.listener.calls
    assert [(method, type(error)) for method, error in calls] == [
        ("attach", ServerNotFound),
        ("attach", OutcomeUnknown),
    ]


def test_an_operation_without_a_free_slot_is_reported_as_overload(database, monkeypatch):
    harness = Harness(database, monkeypatch, timeout=SHORT_TIMEOUT, max_concurrent=1)
    harness.overload()
    assert harness.listener.overloads == 1
    assert harness.listener.events[-1] == ("Overloaded", "attach", "99", "1134", None)


class Broken(Observer):
    def _fail(self, *_):
        raise RuntimeError("a bug in an observer")

    started = finished = backend_called = overloaded = timed_out = without_slot = close = _fail


def test_an_observer_that_fails_breaks_nothing_and_the_others_hear_all(database, monkeypatch, caplog):
    harness = Harness(database, monkeypatch, observers=(Broken(),))
    harness.attach()
    harness.detach()
    harness.observers.overloaded()
    harness.observers.timed_out()
    harness.observers.without_slot(1)
    harness.observers.close()
    assert [what for what, *_ in harness.listener.events] == ["begun", "done", "begun", "done"]
    assert (harness.listener.overloads, harness.listener.timeouts) == (1, 1)
    assert harness.listener.without_slot_changes == [1]
    expected = (logging.ERROR, "observer Broken failed")
    assert {(record.levelno, record.getMessage()) for record in caplog.records} == {expected}
    assert len(caplog.records) == 10


def test_seconds_are_those_from_the_call_to_its_end(monkeypatch):
    moments = iter([10.0, 10.25])
    monkeypatch.setattr(base, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    calls = []

    class Clock(Observer):
        def backend_called(self, method, seconds, error):
            calls.append((method, seconds, error))

    with Observers(Clock()).backend_call("attach"):
        pass
    assert calls == [("attach", 0.25, None)]
