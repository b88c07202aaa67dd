"""Threads for calls that may hang. Unlike those of ``concurrent.futures``, they never delay the end of the process."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

IDLE_TIMEOUT = 60.0  # seconds that an idle thread waits for a call before it ends
IDLE = "os-volume-ext-idle"  # its name meanwhile

Call = tuple[Future[Any], str, Callable[..., Any], tuple[Any, ...]]


class DaemonThreadPool:
    """As many threads as there are concurrent calls. An idle thread is reused, which is faster than starting one."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Call]] = []

    def submit(self, name: str, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in a thread.

        :param name: the thread's name during the call, for debugging a process that hangs.
        :raises RuntimeError: if no more threads can be started; the function is not called.
        """
        outcome: Future[T] = Future()
        try:
            calls = self._idle.pop()
        except IndexError:
            calls = SimpleQueue()
            threading.Thread(target=self._work, args=(calls,), name=name, daemon=True).start()
        calls.put((outcome, name, function, arguments))
        return outcome

    def _work(self, calls: "SimpleQueue[Call]") -> None:
        while (call := self._next(calls)) is not None:
            self._run(calls, *call)
            del call  # a reference would keep the call's arguments and result alive
            threading.current_thread().name = IDLE

    def _next(self, calls: "SimpleQueue[Call]") -> Call | None:
        while True:
            try:
                return calls.get(timeout=IDLE_TIMEOUT)
            except Empty:
                with suppress(ValueError):  # no longer idle: a call is about to arrive
                    self._idle.remove(calls)
                    return None

    def _run(
        self,
        calls: "SimpleQueue[Call]",
        outcome: Future[Any],
        name: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> None:
        threading.current_thread().name = name
        # Idle before the outcome is set: the caller may submit its next call at once.
        try:
            result = function(*arguments)
        except BaseException as error:
            self._idle.append(calls)
            outcome.set_exception(error)
        else:
            self._idle.append(calls)
            outcome.set_result(result)


def is_done_within(outcome: Future[Any], seconds: float) -> bool:
    """Wait for a call and return whether it ended in time.

    A ``TimeoutError`` from ``Future.result`` could also have been raised by the call itself.

    :param seconds: how long to wait.
    """
    try:
        outcome.exception(seconds)  # returns the call's exception, so a TimeoutError is that of the wait
    except TimeoutError:
        return False
    return True
