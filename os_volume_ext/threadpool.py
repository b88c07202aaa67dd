"""DaemonThreadPool for calls that may hang: the end of the process does not wait for them, as it would for an executor's."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

IDLE_TIMEOUT = 60.0  # seconds that a free thread waits for a call before it ends
IDLE = "os-volume-ext-free"  # its name meanwhile

Call = tuple[Future[Any], str, Callable[..., Any], tuple[Any, ...]]


class DaemonThreadPool:
    """As many threads as there are calls at once; a free one makes the next call, which is faster than to start one."""

    def __init__(self) -> None:
        """Start none yet."""
        self._free: list[SimpleQueue[Call]] = []

    def submit(self, name: str, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in a thread.

        :param name: of the thread meanwhile, for whoever looks at where a process hangs.
        :raises RuntimeError: if there can be no more threads; the function is not called.
        """
        outcome: Future[T] = Future()
        try:
            calls = self._free.pop()
        except IndexError:
            calls = SimpleQueue()
            threading.Thread(target=self._make_calls, args=(calls,), name=name, daemon=True).start()
        calls.put((outcome, name, function, arguments))
        return outcome

    def _make_calls(self, calls: "SimpleQueue[Call]") -> None:
        while (call := self._next(calls)) is not None:
            self._make(calls, *call)
            del call  # and with it what the backend was given, which may be much
            threading.current_thread().name = IDLE

    def _next(self, calls: "SimpleQueue[Call]") -> Call | None:
        while True:
            try:
                return calls.get(timeout=IDLE_TIMEOUT)
            except Empty:
                with suppress(ValueError):  # it is not free any more: a call is about to come
                    self._free.remove(calls)
                    return None

    def _make(
        self,
        calls: "SimpleQueue[Call]",
        outcome: Future[Any],
        name: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> None:
        threading.current_thread().name = name
        # Free before the caller hears of it, whose next call may come at once.
        try:
            answer = function(*arguments)
        except BaseException as error:
            self._free.append(calls)
            outcome.set_exception(error)
        else:
            self._free.append(calls)
            outcome.set_result(answer)
