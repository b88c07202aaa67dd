"""What observers hear of operations: each once, when it begins and when it has ended, whatever it ends in."""

import logging
from types import SimpleNamespace

import pytest
from scripted import Died, House, refuse

from os_volume_ext.backends.base import BackendUnavailable, OutcomeUnknown, ServerNotFound
from os_volume_ext.errors import Conflict, ServerMissing, VolumeInUse
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING
from os_volume_ext.observers import base
from os_volume_ext.observers.base import Observer, Observers


@pytest.fixture
def house(database, monkeypatch):
    return House(database, monkeypatch)


@pytest.fixture
def heard(house):
    return house.listener.heard


def test_an_attach_and_a_detach_begin_and_end(house, heard):
    house.attach()
    house.detach()
    assert heard == [
        ("begun", "attach", "9", "1134", ""),
        ("done", "attach", "9", "1134", "/dev/vdb"),
        ("begun", "detach", "9", "1134", "/dev/vdb"),
        ("done", "detach", "9", "1134", "/dev/vdb"),
    ]


def test_an_operation_is_its_callers_and_of_the_servers_project(house):
    house.attach(project_id="admins", is_admin=True)
    (operation,) = house.listener.operations
    assert (operation.caller.project_id, operation.project_id) == ("admins", "demo")
    assert operation.request_id == operation.caller.request_id == house.row().request_id


def test_the_row_is_there_when_an_attach_begins_and_the_disk_when_it_ends(house, monkeypatch):
    seen = []
    monkeypatch.setattr(house.listener, "_hear", lambda *_: seen.append(house.state()))
    house.attach()
    assert seen == [(ATTACHING, False), (ATTACHED, True)]


def test_what_is_refused_before_it_begins_only_ends(house, heard):
    house.attach()
    del heard[:]
    with pytest.raises(VolumeInUse):
        house.attach(server_id="1135")
    house.set_server(status="BUILD")
    with pytest.raises(Conflict):
        house.detach()
    assert heard == [("VolumeInUse", "attach", "9", "1135", ""), ("Conflict", "detach", "9", "1134", "")]
    assert not any(operation.started for operation in house.listener.operations[1:])


def test_what_fails_ends_in_what_its_caller_gets(house, heard):
    house.backend.fail("attach", refuse(BackendUnavailable("down")))
    with pytest.raises(BackendUnavailable):
        house.attach()
    assert heard == [("begun", "attach", "9", "1134", ""), ("BackendUnavailable", "attach", "9", "1134", "")]


def test_what_ends_the_process_is_not_told_as_done(house, heard):
    def die():
        raise Died

    house.at("before confirm", die)
    with pytest.raises(Died):
        house.attach()
    assert [what for what, *_ in heard] == ["begun", "Died"]


def test_reading_tells_nothing(house, heard):
    house.attach()
    del heard[:]
    house.list()
    house.get()
    assert heard == []


def test_a_volume_that_is_taken_from_a_deleted_server_is_a_detach_within_the_attach(house, heard):
    house.put(ATTACHED, device="/dev/vdc")
    house.delete_server()
    house.attach(server_id="1135")
    assert heard == [
        ("begun", "detach", "9", "1134", "/dev/vdc"),
        ("done", "detach", "9", "1134", "/dev/vdc"),
        ("begun", "attach", "9", "1135", ""),
        ("done", "attach", "9", "1135", "/dev/vdb"),
    ]
    assert [operation.caller is None for operation in house.listener.operations] == [True, False]


@pytest.mark.parametrize(
    ("state", "disk", "action"),
    [
        (ATTACHING, True, "attach"),
        (ATTACHING, False, "detach"),
        (DETACHING, True, "detach"),
        (ATTACHED, False, "attach"),
    ],
)
def test_what_reconcile_attaches_and_detaches_is_told(house, heard, state, disk, action):
    house.put(state, disk=disk, stale=True, device="/dev/vdb")
    house.reconcile(everything=True)
    assert heard == [(what, action, "9", "1134", "/dev/vdb") for what in ("begun", "done")]
    (operation,) = house.listener.operations
    assert (operation.caller, operation.project_id) == (None, "demo")


def test_what_agrees_with_the_backend_is_not_told(house, heard):
    house.put(ATTACHED, disk=True, device="/dev/vdb")
    house.reconcile(everything=True)
    assert heard == []


def test_each_call_of_the_backend_is_told_with_what_it_ended_in(house):
    house.backend.fail("attach", refuse(ServerNotFound("none")), refuse(RuntimeError("a bug")))
    for error in (ServerMissing, OutcomeUnknown):
        with pytest.raises(error):
            house.attach()
    calls = house.listener.calls
    assert [(method, type(error)) for method, error in calls] == [
        ("attach", ServerNotFound),
        ("attach", OutcomeUnknown),
    ]


def test_an_operation_without_a_place_is_told_as_overload(database, monkeypatch):
    house = House(database, monkeypatch, patience=0.02, places=1)
    house.overload()
    assert house.listener.overloads == 1
    assert house.listener.heard[-1] == ("Overloaded", "attach", "99", "1134", "")


class Broken(Observer):
    def _fail(self, *_):
        raise RuntimeError("a bug in an observer")

    begun = ended = backend_called = overloaded = close = _fail


def test_an_observer_that_fails_breaks_nothing_and_the_others_hear_all(house, heard, caplog):
    house.observers._observers = (Broken(), house.listener)
    house.attach()
    house.detach()
    house.observers.overloaded()
    house.observers.close()
    assert [what for what, *_ in heard] == ["begun", "done", "begun", "done"]
    assert house.listener.overloads == 1
    told = (logging.ERROR, "the observer Broken failed; what it observes goes on")
    assert {(record.levelno, record.getMessage()) for record in caplog.records} == {told}
    assert len(caplog.records) == 8


def test_seconds_are_those_from_the_call_to_its_end(monkeypatch):
    moments = iter([10.0, 10.25])
    monkeypatch.setattr(base, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    told = []

    class Clock(Observer):
        def backend_called(self, method, seconds, error):
            told.append((method, seconds, error))

    with Observers(Clock()).backend_call("attach"):
        pass
    assert told == [("attach", 0.25, None)]
