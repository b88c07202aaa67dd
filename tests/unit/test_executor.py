"""Backend calls: their time limit, their slots, and what their exceptions become."""

import logging
import os
import subprocess
import sys
import threading
import warnings
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace

import pytest

from os_volume_ext.attachments.executor import BackendExecutor
from os_volume_ext.attachments.slots import MAX_WITHOUT_SLOT
from os_volume_ext.backends.base import (
    AttachRefused,
    BackendUnavailable,
    DeviceInUse,
    OutcomeUnknown,
    Server,
    ServerNotFound,
    TooManyAttachments,
    Volume,
)
from os_volume_ext.errors import CatalogUnavailable, Overloaded, RegistryUnavailable, VolumeAttached, VolumeNotFound
from os_volume_ext.observers.base import Observers
from os_volume_ext.threadpool import PendingCall
from tests.support.scripted import Listener
from tests.support.waiting import TIMEOUT, wait_until

SERVER = Server("1134", "demo", "ACTIVE")


class ScriptedBackend:
    """A backend whose ``attached`` calls the function that it gets in place of a server."""

    def attached(self, function):
        return function()


def make_executor(timeout, max_concurrent, *observers):
    return BackendExecutor(
        backend=ScriptedBackend(), timeout=timeout, max_concurrent=max_concurrent, observers=Observers(*observers)
    )


class Died(BaseException):
    """The thread must end."""


class Hung:
    """A call that ends when the test lets it."""

    def __init__(self):
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.go_on.wait(TIMEOUT)
        return {}


@pytest.fixture
def hung():
    call = Hung()
    yield call
    call.go_on.set()


@pytest.fixture
def executor():
    return make_executor(TIMEOUT, 2)


@pytest.fixture
def short_timeout():
    return make_executor(0.02, 2)


def is_free(executor, project_id=None):
    """Return whether a call of a project can be made now."""
    try:
        with executor.slot("req-0", project_id) as slot:
            return slot.attached(dict) == {}
    except Overloaded:
        return False


def time_out(executor, call, project_id="demo"):
    """Let a call time out, and return its slot."""
    with executor.slot("req-1", project_id) as slot, pytest.raises(OutcomeUnknown):
        slot.attached(call)
    return slot


@contextmanager
def hanging_calls(executor, hung, count, project_id="demo"):
    """Meanwhile, calls of a project are waited for; give the list of their results, complete afterwards."""
    results, started = [], threading.Semaphore(0)

    def call():
        with executor.slot("req-1", project_id) as slot:
            results.append(slot.attached(lambda: started.release() or hung()))

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        assert all(started.acquire(timeout=TIMEOUT) for _ in threads)
        yield results
    finally:
        hung.go_on.set()
        for thread in threads:
            thread.join(TIMEOUT)


def raising(error):
    def call():
        raise error

    return call


def test_a_call_returns_what_the_backend_returns(executor):
    with executor.slot("req-1") as slot:
        assert slot.attached(lambda: {"9": "/dev/vdb"}) == {"9": "/dev/vdb"}


@pytest.mark.parametrize("method", ["attach", "detach"])
def test_attach_and_detach_are_called_with_their_arguments(method):
    calls = []
    backend = SimpleNamespace(**{method: lambda *arguments: calls.append(arguments)})
    with BackendExecutor(backend=backend, timeout=TIMEOUT, max_concurrent=1).slot("req-1") as slot:
        getattr(slot, method)(SERVER, "a volume", "/dev/vdb")
    assert calls == [(SERVER, "a volume", "/dev/vdb")]


def test_the_disks_of_a_server_that_the_backend_does_not_have_are_none(executor):
    with executor.slot("req-1") as slot:
        assert slot.disks(raising(ServerNotFound("1134"))) is None
        assert slot.disks(lambda: {"9": "/dev/vdb"}) == {"9": "/dev/vdb"}
        with pytest.raises(BackendUnavailable):
            slot.disks(raising(BackendUnavailable("down")))


@pytest.mark.parametrize("error", [None, BackendUnavailable("down")])
def test_observers_are_notified_of_each_backend_call_by_the_methods_name(error):
    def respond(*_):
        if error:
            raise error
        return {} if method == "attached" else None

    listener = Listener()
    backend = SimpleNamespace(attach=respond, detach=respond, attached=respond)
    executor = BackendExecutor(backend=backend, timeout=TIMEOUT, max_concurrent=1, observers=Observers(listener))
    arguments = {"attach": (SERVER, "a volume", None), "detach": (SERVER, "a volume", None), "attached": (SERVER,)}
    for method in arguments:
        with suppress(BackendUnavailable), executor.slot("req-1") as slot:
            getattr(slot, method)(*arguments[method])
    assert listener.calls == [("attach", error), ("detach", error), ("attached", error)]


class ScriptedCatalog:
    """A catalog whose methods raise an error, or record the call."""

    def __init__(self, error=None):
        self.error, self.calls = error, []

    def volume(self, context, volume_id):
        self.calls.append((context.can("create", "any project"), volume_id))
        return self.respond("a volume")

    def delete(self, **named):
        self.calls.append(named)
        return self.respond(None)

    def respond(self, found):
        if self.error:
            raise self.error
        return found


DELETED = {"volume_id": "9", "server_id": "1134", "project_id": "demo"}


def test_a_volume_is_looked_up_in_the_catalog_with_an_operators_rights(executor):
    catalog = ScriptedCatalog()
    with executor.slot("req-1") as slot:
        assert slot.volume(catalog, "9") == "a volume"
    assert catalog.calls == [(True, "9")]


def test_a_volume_is_deleted_from_the_catalog_for_its_server_and_project(executor):
    catalog = ScriptedCatalog()
    with executor.slot("req-1") as slot:
        slot.delete(catalog, **DELETED)
    assert catalog.calls == [DELETED]


@pytest.mark.parametrize(
    "error",
    [CatalogUnavailable("down"), RegistryUnavailable("down"), VolumeAttached("9"), VolumeNotFound("9")],
    ids=repr,
)
def test_what_a_catalog_may_raise_arrives_unchanged(executor, error):
    with executor.slot("req-1") as slot:
        with pytest.raises(type(error)) as raised:
            slot.volume(ScriptedCatalog(error), "9")
        assert raised.value is error
        with pytest.raises(type(error)) as raised:
            slot.delete(ScriptedCatalog(error), **DELETED)
        assert raised.value is error


def test_anything_else_from_a_catalog_is_an_unknown_outcome_and_logged(executor, caplog):
    catalog = ScriptedCatalog(BackendUnavailable("not a catalog's"))
    with executor.slot("req-1") as slot:
        with pytest.raises(OutcomeUnknown):
            slot.volume(catalog, "9")
        with pytest.raises(OutcomeUnknown):
            slot.delete(catalog, **DELETED)
    assert [record.getMessage() for record in caplog.records] == [
        "req-1 backend catalog volume raised an unexpected exception",
        "req-1 backend catalog delete raised an unexpected exception",
    ]


def test_calls_in_one_slot_are_made_one_after_the_other(executor):
    with executor.slot("req-1") as slot:
        found = [{str(number): None} for number in range(3)]
        assert [slot.attached(lambda disks=disks: disks) for disks in found] == found


@pytest.mark.parametrize(
    "error",
    [
        BackendUnavailable("down"),
        OutcomeUnknown("no word"),
        ServerNotFound("no server"),
        DeviceInUse("taken"),
        TooManyAttachments(3),
        AttachRefused("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_backend_may_raise_arrives_unchanged(executor, error):
    with executor.slot("req-1") as slot, pytest.raises(type(error)) as raised:
        slot.attached(raising(error))
    assert raised.value is error


@pytest.mark.parametrize("error", [RuntimeError("a bug"), VolumeNotFound("9")], ids=lambda error: type(error).__name__)
def test_anything_else_is_an_unknown_outcome(executor, error):
    with executor.slot("req-1") as slot, pytest.raises(OutcomeUnknown):
        slot.attached(raising(error))


def test_a_timeout_error_of_the_backend_is_an_unknown_outcome_and_logged(executor, caplog):
    with executor.slot("req-1") as slot, pytest.raises(OutcomeUnknown, match=r"^the backend failed$"):
        slot.attached(raising(TimeoutError("its socket")))
    assert "its socket" in caplog.text
    assert "req-1" in caplog.text


def test_anything_else_is_logged_with_its_traceback_and_the_methods_name(executor, caplog):
    with executor.slot("req-1") as slot, pytest.raises(OutcomeUnknown):
        slot.attached(raising(RuntimeError("a bug")))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "req-1 backend attached raised an unexpected exception"
    assert "RuntimeError: a bug" in caplog.text


def test_a_call_that_takes_too_long_is_an_unknown_outcome_that_names_the_limit(short_timeout, hung):
    with (
        short_timeout.slot("req-1") as slot,
        pytest.raises(OutcomeUnknown, match=r"^no response within 0\.02 seconds$"),
    ):
        slot.attached(hung)


@pytest.mark.parametrize("ending", ["late", "a late failure"])
def test_how_a_call_ended_that_was_timed_out_is_logged(short_timeout, caplog, ending):
    go_on, logged = threading.Event(), threading.Event()

    def late():
        assert go_on.wait(TIMEOUT)
        if ending == "late":
            return ending
        raise BackendUnavailable(ending)

    with short_timeout.slot("req-1") as slot, pytest.raises(OutcomeUnknown):
        slot.attached(late)
    slot.when_idle(logged.set)
    go_on.set()
    assert logged.wait(TIMEOUT)
    result = repr(ending) if ending == "late" else f"BackendUnavailable({ending!r})"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"req-1 timed-out backend call attached finished late: {result}")
    ]


def test_what_tells_a_thread_to_end_is_passed_on(executor):
    with pytest.raises(Died), executor.slot("req-1") as slot:
        slot.attached(raising(Died()))


def test_more_calls_than_may_be_are_refused_at_once(executor):
    with executor.slot("req-1", "demo"), executor.slot("req-1", "demo"):
        assert not is_free(executor, "demo")


def test_a_slot_is_free_again_when_its_work_is_done(executor):
    for _ in range(5):
        with executor.slot("req-1") as slot:
            assert slot.attached(dict) == {}


def test_a_slot_is_free_again_when_its_work_failed(executor):
    for _ in range(5):
        with pytest.raises(Died), executor.slot("req-1", "demo"):
            raise Died
    with executor.slot("req-1", "demo"), executor.slot("req-1", "demo"):
        pass


def test_a_call_that_timed_out_gives_its_slot_back_at_once(hung):
    executor = make_executor(0.02, 1)
    time_out(executor, hung)
    assert is_free(executor)


def test_a_call_that_timed_out_frees_one_slot_whenever_it_ends(hung):
    executor = make_executor(0.02, 1)
    slot = time_out(executor, hung)
    ended = threading.Event()
    slot.when_idle(ended.set)
    hung.go_on.set()
    assert ended.wait(TIMEOUT)
    with executor.slot("req-1"), pytest.raises(Overloaded), executor.slot("req-1"):
        pytest.fail("there is one slot")


def test_a_request_whose_call_timed_out_makes_no_more_calls(short_timeout, hung):
    called = []
    with short_timeout.slot("req-1") as slot:
        with pytest.raises(OutcomeUnknown):
            slot.attached(hung)
        with pytest.raises(OutcomeUnknown, match=r"^an earlier call of the request timed out$"):
            slot.attached(lambda: called.append("a second call") or {})
    assert called == []


def test_hanging_calls_of_one_project_leave_another_projects_calls_half_of_the_slots(hung):
    executor = make_executor(TIMEOUT, 8)
    with hanging_calls(executor, hung, 8):
        assert not is_free(executor, "demo")
        for _ in range(3):  # one after the other
            with executor.slot("req-2", "other") as slot:
                assert slot.attached(dict) == {}
        with ExitStack() as four:
            for _ in range(4):
                four.enter_context(executor.slot("req-2", "other"))
            assert not is_free(executor, "other")
    assert is_free(executor, "demo")


def test_hanging_calls_of_one_project_leave_reconcile_half_of_the_slots(hung):
    executor = make_executor(TIMEOUT, 8)
    with hanging_calls(executor, hung, 8), ExitStack() as four:
        for _ in range(4):
            assert four.enter_context(executor.slot("req-2")).attached(dict) == {}
        assert not is_free(executor)


def test_hanging_calls_of_reconcile_leave_the_projects_half_of_the_slots(hung):
    executor = make_executor(TIMEOUT, 8)
    with hanging_calls(executor, hung, 4, project_id=None):
        assert not is_free(executor)
        with ExitStack() as four:
            for _ in range(4):
                assert four.enter_context(executor.slot("req-2", "demo")).attached(dict) == {}


def test_a_call_that_lost_its_slot_still_returns_its_result(hung):
    executor = make_executor(TIMEOUT, 2)
    with hanging_calls(executor, hung, 2) as results, executor.slot("req-2", "other"):
        hung.go_on.set()
    assert results == [{}, {}]


def test_too_many_hanging_calls_refuse_all_others_and_are_logged_once(hung, caplog):
    listener = Listener()
    executor = make_executor(0.02, 1, listener)
    for _ in range(MAX_WITHOUT_SLOT):
        time_out(executor, hung)
    assert not is_free(executor)
    assert not is_free(executor, "demo")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert listener.overloads == 2
    assert (listener.timeouts, sum(listener.without_slot_changes)) == (MAX_WITHOUT_SLOT, MAX_WITHOUT_SLOT)
    hung.go_on.set()
    assert wait_until(lambda: sum(listener.without_slot_changes) == 0)
    assert is_free(executor, "demo")
    assert is_free(executor)
    assert listener.timeouts == MAX_WITHOUT_SLOT


def test_a_call_whose_caller_was_interrupted_gives_its_slot_back(hung, monkeypatch):
    """A signal handler may raise in the thread that waits for a call."""

    def be_interrupted(*_):
        raise Died

    listener = Listener()
    executor = make_executor(TIMEOUT, 1, listener)
    with monkeypatch.context() as patch:
        patch.setattr(PendingCall, "is_done_within", be_interrupted)
        with pytest.raises(Died), executor.slot("req-1", "demo") as slot:
            slot.attached(hung)
    assert is_free(executor)
    assert (listener.timeouts, listener.without_slot_changes) == (0, [1])
    hung.go_on.set()
    assert wait_until(lambda: listener.without_slot_changes == [1, -1])


def test_a_forked_child_has_all_slots_whatever_hangs_in_its_parent(hung):
    executor = make_executor(0.02, 1)
    for _ in range(MAX_WITHOUT_SLOT):
        time_out(executor, hung)
    assert not is_free(executor)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(0 if is_free(executor) and is_free(executor, "demo") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not is_free(executor)


def test_calls_in_different_slots_are_made_at_once(executor):
    both = threading.Barrier(2)

    def work():
        with executor.slot("req-1", "demo") as slot:
            slot.attached(lambda: {str(both.wait(TIMEOUT)): None})

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert not both.broken


def test_no_thread_is_started_before_a_call_is_made():
    before = set(threading.enumerate())
    executor = make_executor(TIMEOUT, 4)
    with executor.slot("req-1"):
        assert set(threading.enumerate()) <= before


def test_a_call_is_made_in_a_thread_that_is_called_by_the_request(executor):
    with executor.slot("req-1") as slot:
        assert slot.attached(lambda: {threading.current_thread().name: None}) == {"os-volume-ext-req-1": None}


def test_where_there_can_be_no_more_threads_nothing_happened_and_nothing_happens_later(executor, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    called = []
    with executor.slot("req-1") as slot:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(
                BackendUnavailable, match=r"^no thread could be started for the call: can't start new thread$"
            ):
                slot.attached(lambda: called.append("refused") or {})
        slot.attached(lambda: called.append("made") or {})
    assert called == ["made"]


def test_calls_for_which_no_thread_can_be_started_leave_the_slots_free(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    executor = make_executor(TIMEOUT, 1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(BackendUnavailable), executor.slot("req-1", "demo") as slot:
                slot.attached(dict)
    assert is_free(executor, "demo")


def test_a_process_ends_while_a_call_hangs():
    """As long as the call hung, the process would hang too."""
    program = """if True:
        import threading
        from types import SimpleNamespace
        from os_volume_ext.attachments.executor import BackendExecutor
        from os_volume_ext.backends.base import OutcomeUnknown

        backend = SimpleNamespace(attached=lambda server: threading.Event().wait())
        with BackendExecutor(backend=backend, timeout=0.02, max_concurrent=1).slot("req-1") as slot:
            try:
                slot.attached(None)
            except OutcomeUnknown:
                print("timed out")
    """
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "timed out\n", "")


@pytest.mark.parametrize(
    "device", ["", "vdb", 5, b"/dev/vdb", "/dev/" + "v" * 251, "/dev/vd\0b", "/dev/vdb\n", "/dev/v b", "/dev/"]
)
def test_an_invalid_device_of_a_backend_is_an_unknown_outcome_and_logged(device, caplog):
    backend = SimpleNamespace(attach=lambda *_: device)
    with BackendExecutor(backend=backend, timeout=TIMEOUT, max_concurrent=1).slot("req-1") as slot:
        with pytest.raises(OutcomeUnknown, match=r"^the backend returned an invalid value$"):
            slot.attach(SERVER, "a volume", None)
        backend.attached = lambda _: {"9": "/dev/vda", "99": device}
        with pytest.raises(OutcomeUnknown, match=r"^the backend returned an invalid value$"):
            slot.attached(SERVER)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]
    assert [record.getMessage() for record in caplog.records] == [
        f"req-1 backend types.SimpleNamespace.attach returned an invalid value: {device!r:.300}",
        f"req-1 backend types.SimpleNamespace.attached returned an invalid value: {backend.attached(SERVER)!r:.300}",
    ]


@pytest.mark.parametrize("disks", [None, [], ["9"], {9: "/dev/vdb"}, {None: None}, "9"])
def test_invalid_disks_of_a_backend_are_an_unknown_outcome(executor, disks):
    with executor.slot("req-1") as slot, pytest.raises(OutcomeUnknown) as raised:
        slot.attached(lambda: disks)
    assert str(raised.value) == "the backend returned an invalid value"


class Unreadable(dict):
    """A mapping of a plugin's own, such as one that reads a file."""

    def keys(self):
        raise ZeroDivisionError

    __iter__ = items = keys


@pytest.mark.parametrize("method", ["attached", "incomplete"])
def test_a_mapping_that_can_not_be_read_is_an_unknown_outcome(method):
    backend = SimpleNamespace(**{method: lambda _: Unreadable({"9": "/dev/vdb"})})
    executor = BackendExecutor(backend=backend, timeout=TIMEOUT, max_concurrent=1)
    with executor.slot("req-1") as slot, pytest.raises(OutcomeUnknown, match=r"^the backend failed$"):
        getattr(slot, method)(SERVER)


@pytest.mark.parametrize("found", [None, 7, "192.0.2.5:0/11", [1], ["a\nb"], Unreadable({"9": "/dev/vdb"})])
def test_invalid_clients_are_an_unknown_outcome(found):
    backend = SimpleNamespace(find_clients=lambda *_: found)
    executor = BackendExecutor(backend=backend, timeout=TIMEOUT, max_concurrent=1)
    with executor.slot("req-1") as slot, pytest.raises(OutcomeUnknown, match=r"^the backend (failed|returned an)"):
        slot.find_clients(SERVER, Volume("9", "demo"))


@pytest.mark.parametrize("found", [None, [], {9: "why"}, {"9": None}, "9"])
def test_an_invalid_description_of_what_is_incomplete_is_an_unknown_outcome(found):
    backend = SimpleNamespace(incomplete=lambda _: found)
    executor = BackendExecutor(backend=backend, timeout=TIMEOUT, max_concurrent=1)
    with (
        executor.slot("req-1") as slot,
        pytest.raises(OutcomeUnknown, match=r"^the backend returned an invalid value$"),
    ):
        slot.incomplete(SERVER)


@pytest.mark.parametrize("size", [0, -1, True, 2.5, "4096"])
def test_an_invalid_size_of_a_disk_is_an_unknown_outcome(size):
    backend = SimpleNamespace(disk_size=lambda *_: size)
    executor = BackendExecutor(backend=backend, timeout=TIMEOUT, max_concurrent=1)
    with (
        executor.slot("req-1") as slot,
        pytest.raises(OutcomeUnknown, match=r"^the backend returned an invalid value$"),
    ):
        slot.disk_size(SERVER, "a volume")


@pytest.mark.parametrize("device", [None, "/dev/vdb", "/dev/disk/by-id/x", "/dev/" + "v" * 250])
def test_a_valid_device_of_a_backend_is_returned(device):
    backend = SimpleNamespace(attach=lambda *_: device)
    with BackendExecutor(backend=backend, timeout=TIMEOUT, max_concurrent=1).slot("req-1") as slot:
        assert slot.attach(SERVER, "a volume", None) == device
