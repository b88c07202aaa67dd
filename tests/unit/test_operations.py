"""Backend calls: their time limit, their places, and what their exceptions become."""

import logging
import subprocess
import sys
import threading

import pytest

from os_volume_ext.attachments.executor import BackendExecutor
from os_volume_ext.backends.base import (
    AttachRefused,
    BackendUnavailable,
    DeviceInUse,
    OutcomeUnknown,
    ServerNotFound,
    TooManyAttachments,
)
from os_volume_ext.errors import Overloaded
from tests.support.waiting import TIMEOUT


class Died(BaseException):
    """The thread was told to end."""


class Hung:
    """A call that ends when it is told to."""

    def __init__(self):
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.go_on.wait(TIMEOUT)
        return "late"


@pytest.fixture
def hung():
    call = Hung()
    yield call
    call.go_on.set()


@pytest.fixture
def operations():
    return BackendExecutor(TIMEOUT, 2)


@pytest.fixture
def impatient():
    return BackendExecutor(0.02, 2)


def raising(error):
    def call():
        raise error

    return call


def test_a_call_returns_what_the_backend_returns(operations):
    with operations.slot("req-1") as slot:
        assert slot.call(lambda a, b: a + b, 4, 5) == 9


def test_calls_in_one_place_are_made_one_after_the_other(operations):
    with operations.slot("req-1") as slot:
        assert [slot.call(str, number) for number in range(3)] == ["0", "1", "2"]


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
def test_what_a_backend_may_raise_arrives_unchanged(operations, error):
    with operations.slot("req-1") as slot, pytest.raises(type(error)) as raised:
        slot.call(raising(error))
    assert raised.value is error


def test_anything_else_is_an_unknown_outcome(operations):
    with operations.slot("req-1") as slot, pytest.raises(OutcomeUnknown):
        slot.call(raising(RuntimeError("a bug")))


def test_a_time_out_of_the_backends_own_is_an_unknown_outcome_that_it_has_told(operations, caplog):
    with operations.slot("req-1") as slot, pytest.raises(OutcomeUnknown, match="the backend failed"):
        slot.call(raising(TimeoutError("its socket")))
    assert "its socket" in caplog.text
    assert "req-1" in caplog.text


def test_anything_else_is_logged_with_its_traceback_and_the_methods_name(operations, caplog):
    with operations.slot("req-1") as slot, pytest.raises(OutcomeUnknown):
        slot.call(raising(RuntimeError("a bug")))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "raising.<locals>.call" in record.getMessage()
    assert "RuntimeError: a bug" in caplog.text


def test_a_call_that_takes_too_long_is_an_unknown_outcome_that_names_the_limit(impatient, hung):
    with impatient.slot("req-1") as slot, pytest.raises(OutcomeUnknown, match=r"no answer within 0\.02 seconds"):
        slot.call(hung)


@pytest.mark.parametrize("ending", ["late", "a late failure"])
def test_how_a_call_ended_that_was_given_up_is_logged(impatient, caplog, ending):
    go_on, logged = threading.Event(), threading.Event()

    def call():
        assert go_on.wait(TIMEOUT)
        if ending == "late":
            return ending
        raise BackendUnavailable(ending)

    with impatient.slot("req-1") as slot, pytest.raises(OutcomeUnknown):
        slot.call(call)
    slot.when_idle(logged.set)
    go_on.set()
    assert logged.wait(TIMEOUT)
    assert "req-1" in caplog.text
    assert f"given up and has ended now: {ending!r}" in caplog.text or f"BackendUnavailable({ending!r})" in caplog.text


def test_what_tells_a_thread_to_end_is_passed_on(operations):
    with pytest.raises(Died), operations.slot("req-1") as slot:
        slot.call(raising(Died()))


def test_more_calls_than_may_be_are_refused_at_once(operations):
    with operations.slot("req-1"), operations.slot("req-1"), pytest.raises(Overloaded), operations.slot("req-1"):
        pytest.fail("there are two places")


def test_a_place_is_free_again_when_its_work_is_done(operations):
    for _ in range(5):
        with operations.slot("req-1") as slot:
            assert slot.call(str) == ""


def test_a_place_is_free_again_when_its_work_failed(operations):
    for _ in range(5):
        with pytest.raises(Died), operations.slot("req-1"):
            raise Died
    with operations.slot("req-1"), operations.slot("req-1"):
        pass


def test_a_call_that_nobody_waits_for_any_more_keeps_its_place_until_it_ends(hung):
    operations = BackendExecutor(0.02, 1)
    with operations.slot("req-1") as slot, pytest.raises(OutcomeUnknown):
        slot.call(hung)
    free = threading.Event()
    slot.when_idle(free.set)
    with pytest.raises(Overloaded), operations.slot("req-1"):
        pytest.fail("its place is taken")
    assert not free.is_set()
    hung.go_on.set()
    assert free.wait(TIMEOUT)
    with operations.slot("req-1") as slot:
        assert slot.call(str) == ""


def test_a_place_is_given_back_once_after_a_call_that_was_given_up(hung):
    operations = BackendExecutor(0.02, 1)
    with operations.slot("req-1") as slot, pytest.raises(OutcomeUnknown):
        slot.call(hung)
    free = threading.Event()
    slot.when_idle(free.set)
    hung.go_on.set()
    assert free.wait(TIMEOUT)
    # One place, not two: BoundedSemaphore would have raised, and a second one would be given here.
    with operations.slot("req-1"), pytest.raises(Overloaded), operations.slot("req-1"):
        pytest.fail("there is one place")


def test_calls_in_different_places_are_made_at_once(operations):
    both = threading.Barrier(2)

    def work():
        with operations.slot("req-1") as slot:
            slot.call(both.wait, TIMEOUT)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert not both.broken


def test_no_thread_is_started_before_a_call_is_made():
    before = threading.active_count()
    operations = BackendExecutor(TIMEOUT, 4)
    with operations.slot("req-1"):
        assert threading.active_count() == before


def test_a_call_is_made_in_a_thread_that_is_called_by_the_request(operations):
    with operations.slot("req-1") as slot:
        assert slot.call(lambda: threading.current_thread().name) == "os-volume-ext-req-1"


def test_where_there_can_be_no_more_threads_nothing_happened_and_nothing_happens_later(operations, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    called = []
    with operations.slot("req-1") as slot:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(BackendUnavailable, match="no thread"):
                slot.call(called.append, "refused")
        slot.call(called.append, "made")
    assert called == ["made"]


def test_a_process_ends_while_a_call_hangs():
    """As long as the call hung, the process would hang too."""
    program = """if True:
        import threading
        from os_volume_ext.backends.base import OutcomeUnknown
        from os_volume_ext.operations import BackendExecutor

        with BackendExecutor(0.02, 1).slot("req-1") as slot:
            try:
                slot.call(threading.Event().wait)
            except OutcomeUnknown:
                print("given up")
    """
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "given up\n", "")
