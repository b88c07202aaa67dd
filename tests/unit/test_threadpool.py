import gc
import itertools
import sys
import threading
import time
import weakref
from functools import partial
from queue import Empty, SimpleQueue

import pytest

from os_volume_ext import threadpool as module
from os_volume_ext.threadpool import DaemonThreadPool, PendingCall
from tests.support.waiting import TIMEOUT, wait_until


@pytest.fixture
def threads():
    return DaemonThreadPool()


@pytest.fixture
def lasting_threads(threads, monkeypatch):
    """Threads that do not end, and forget everything by that, before a test gives up."""
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 10 * TIMEOUT)
    return threads


@pytest.fixture
def hang():
    """Give what hangs until the test has ended."""
    free = threading.Event()
    yield free.wait
    free.set()


def interrupt(function, line, other):
    """Call a function of the module and, before its line of that number or at the end, another one."""
    lines = itertools.count()

    def trace(frame, event, argument):
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line" and next(lines) == line:
            other()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    if next(lines) <= line:
        other()


def result_of(call):
    assert call.is_done_within(TIMEOUT)
    return call.result()


class Argument(Exception):
    """What a call gets, and returns or raises."""


def give_back(argument):
    return argument


def give_back_by_raising(argument):
    raise argument


def is_forgotten(threads, function):
    """Return whether nothing of a call is kept once it has ended."""
    argument = Argument()
    gone = weakref.ref(argument)
    threads.submit("one", function, argument).exception()
    del argument

    def is_gone():
        gc.collect()  # an exception and its traceback's frames refer to each other
        return gone() is None

    return wait_until(is_gone)


def test_a_call_returns_or_raises_what_the_function_does(threads):
    def fail():
        raise ZeroDivisionError

    assert result_of(threads.submit("one", divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        result_of(threads.submit("two", fail))


def test_a_thread_is_called_as_the_call_that_it_makes(threads):
    for name in ("one", "two"):
        assert result_of(threads.submit(name, lambda: threading.current_thread().name)) == name


def test_a_thread_is_named_idle_after_the_callbacks_of_its_call(threads):
    go_on, called, names = threading.Event(), threading.Event(), []

    def note(call):
        names.append(call.result().name)
        called.set()

    def wait():
        assert go_on.wait(TIMEOUT)
        return threading.current_thread()

    call = threads.submit("one", wait)
    call.add_done_callback(note)
    go_on.set()
    assert called.wait(TIMEOUT)
    assert names == ["one"]
    assert wait_until(lambda: call.result().name == module.IDLE)


def test_all_who_wait_for_a_call_learn_of_its_end(threads):
    free = threading.Event()
    call = threads.submit("one", free.wait, TIMEOUT)
    waiting = [threads.submit("waiting", call.is_done_within, 10 * TIMEOUT) for _ in range(3)]
    code = PendingCall.is_done_within.__code__
    assert wait_until(lambda: sum(frame.f_code is code for frame in sys._current_frames().values()) >= len(waiting))
    free.set()
    assert all(result_of(each) for each in waiting)


@pytest.mark.parametrize("line", range(20))
@pytest.mark.parametrize("is_end_interrupted", [True, False], ids=["end", "add_done_callback"])
def test_a_callback_that_comes_while_its_call_ends_is_called_once(line, is_end_interrupted):
    call, called = PendingCall(), []
    steps = [partial(call.end, None), partial(call.add_done_callback, called.append)]
    first, second = steps if is_end_interrupted else reversed(steps)
    interrupt(first, line, second)
    assert called == [call]


def test_callbacks_are_called_in_order_even_if_one_fails(threads, caplog):
    go_on, called = threading.Event(), SimpleQueue()
    call = threads.submit("one", go_on.wait, TIMEOUT)
    for callback in (lambda _: called.put("first"), lambda _: 1 / 0, lambda _: called.put("third")):
        call.add_done_callback(callback)
    go_on.set()
    assert [called.get(timeout=TIMEOUT) for _ in range(2)] == ["first", "third"]
    assert "the callback of a call failed" in caplog.text


def test_an_exception_keeps_nothing_of_the_calls_after_it(lasting_threads):
    error = lasting_threads.submit("one", lambda: 1 / 0).exception()
    assert is_forgotten(lasting_threads, give_back)
    assert isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("function", [threading.get_ident, lambda: 1 / 0], ids=["responses", "raises"])
def test_a_thread_that_is_free_makes_the_next_call(threads, function):
    first = result_of(threads.submit("one", threading.get_ident))
    threads.submit("two", function).exception()
    assert result_of(threads.submit("three", threading.get_ident)) == first


def test_a_call_that_hangs_keeps_no_other_from_being_made(threads, hang):
    hung = [threads.submit("hung", hang) for _ in range(3)]
    assert result_of(threads.submit("other", lambda: "made")) == "made"
    assert not any(call.done() for call in hung)


def test_a_thread_that_hung_makes_the_next_call_when_it_is_free(threads):
    free = threading.Event()

    def hang():
        free.wait(TIMEOUT)
        return threading.get_ident()

    hung = threads.submit("hung", hang)
    free.set()
    was = result_of(hung)
    assert result_of(threads.submit("next", threading.get_ident)) == was


def test_calls_at_once_have_a_thread_each(threads):
    together = threading.Barrier(8)

    def meet():
        together.wait(TIMEOUT)
        return threading.get_ident()

    calls = [threads.submit("meet", meet) for _ in range(8)]
    assert len({result_of(call) for call in calls}) == 8


@pytest.mark.parametrize("function", [give_back, give_back_by_raising])
def test_a_thread_that_is_free_keeps_nothing_of_its_last_call(lasting_threads, function):
    assert is_forgotten(lasting_threads, function)


def test_a_thread_that_is_free_for_long_ends(threads, monkeypatch):
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.01)
    first = result_of(threads.submit("one", threading.current_thread))
    first.join(TIMEOUT)
    assert not first.is_alive()
    assert result_of(threads.submit("two", threading.current_thread)) is not first


def test_a_call_that_comes_when_a_thread_is_about_to_end_is_made(threads, monkeypatch):
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.0002)
    for number in range(500):
        assert result_of(threads.submit("call", abs, -number)) == number
        time.sleep(0.0002)


def test_a_thread_that_was_taken_when_it_was_about_to_end_does_not(threads, monkeypatch):
    gets, second = itertools.count(1), SimpleQueue()

    class Calls(SimpleQueue):
        """Its second ``get`` times out just after another call has taken the thread."""

        def get(self, timeout):
            if next(gets) == 2:
                second.put(threads.submit("two", threading.current_thread))
                raise Empty
            return super().get(timeout=timeout)

    monkeypatch.setattr(module, "SimpleQueue", Calls)
    first = result_of(threads.submit("one", threading.current_thread))
    assert result_of(second.get(timeout=TIMEOUT)) is first
