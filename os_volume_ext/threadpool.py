"""Threads for calls that may hang. Unlike those of ``concurrent.futures``, they never delay the end of the process."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

LOG = logging.getLogger(__name__)

IDLE_TIMEOUT = 60.0  # seconds that an idle thread waits for a call before it ends
IDLE = "os-volume-ext-idle"  # its name meanwhile


class PendingCall(Generic[T]):
    """A call in another thread: what it returned or raised, once it has ended.

    A ``Future`` wakes the one who waits while it still holds the lock that he needs, so that he sleeps twice: 96
    microseconds for a call by an idle thread, 54 by this lock, which the thread holds until the call has ended.
    """

    def __init__(self) -> None:
        self._running = threading.Lock()
        self._running.acquire()
        self._callbacks: list[Callable[[PendingCall[T]], None]] = []
        self._is_done = False
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Return whether the call has ended."""
        return self._is_done

    def is_done_within(self, seconds: float) -> bool:
        """Wait for the end of the call and return whether it ended in time.

        :param seconds: how long to wait.
        """
        if not self._is_done and self._running.acquire(timeout=seconds):
            self._running.release()
        return self._is_done

    def exception(self) -> BaseException | None:
        """Wait for the end of the call and return what it raised."""
        if not self._is_done:
            with self._running:
                pass
        return self._error

    def result(self) -> T:
        """Wait for the end of the call and return what it returned, or raise what it raised."""
        error = self.exception()
        if error is None:
            result: T = self._result
            return result
        try:
            raise error
        finally:
            del error  # its traceback has this frame

    def add_done_callback(self, callback: Callable[["PendingCall[T]"], None]) -> None:
        """Call a function with this call when it has ended: in its thread, or now."""
        self._callbacks.append(callback)
        if self._is_done:
            self._call_back()

    def end(self, result: Any, error: BaseException | None = None) -> None:
        """Note what the call returned or raised."""
        self._result, self._error = result, error
        self._is_done = True
        self._running.release()
        if self._callbacks:
            self._call_back()

    def _call_back(self) -> None:
        # The thread of the call and that of add_done_callback may both be here: each takes what it calls.
        with suppress(IndexError):
            while True:
                self._notify(self._callbacks.pop(0))

    def _notify(self, callback: Callable[["PendingCall[T]"], None]) -> None:
        try:
            callback(self)
        except Exception:
            LOG.exception("the callback of a call failed")


Call = tuple[str, PendingCall[Any], Callable[..., Any], tuple[Any, ...]]


class DaemonThreadPool:
    """As many threads as there are concurrent calls. An idle thread is reused, which is faster than starting one."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Call]] = []

    def submit(self, name: str, function: Callable[..., T], *arguments: Any) -> PendingCall[T]:
        """Call a function in a thread.

        :param name: the thread's name during the call, for debugging a process that hangs.
        :raises RuntimeError: if no more threads can be started; the function is not called.
        """
        call: PendingCall[T] = PendingCall()
        try:
            calls = self._idle.pop()
        except IndexError:
            calls = SimpleQueue()
            threading.Thread(target=self._work, args=(calls,), name=name, daemon=True).start()
        calls.put((name, call, function, arguments))
        return call

    def _work(self, calls: "SimpleQueue[Call]") -> None:
        # All in one function, which takes 3 percent off an attach: a caller waits for each step, and the caches of a
        # processor that was idle are empty.
        thread = threading.current_thread()
        while True:
            try:
                name, call, function, arguments = calls.get(timeout=IDLE_TIMEOUT)
            except Empty:
                with suppress(ValueError):  # no longer idle: a call is about to arrive
                    self._idle.remove(calls)
                    return
                continue
            thread.name = name
            result: Any = None
            error: BaseException | None = None
            try:
                result = function(*arguments)
            except BaseException as raised:
                error = raised
            self._idle.append(calls)  # before the call ends: the caller may submit its next call at once
            call.end(result, error)
            del call, function, arguments, result, error  # this frame would keep them alive
            thread.name = IDLE
