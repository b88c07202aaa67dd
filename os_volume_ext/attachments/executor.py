"""Backend calls: each with a time limit, and no more than so many under way in one process.

The end of the process does not wait for them: a backend that hangs must not keep a worker that is told to end. What
was under way then is left as after a crash, for ``reconcile``.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import BackendError, BackendUnavailable, OutcomeUnknown, Overloaded
from ..observers.base import NO_OBSERVERS, Observers
from ..perprocess import PerProcess
from ..threadpool import DaemonThreadPool

LOG = logging.getLogger(__name__)

T = TypeVar("T")


class BackendExecutor:
    """The places for backend calls of one process."""

    def __init__(self, timeout: float, most: int, observers: Observers = NO_OBSERVERS) -> None:
        """Set the limits.

        :param timeout: seconds that a caller waits for a call.
        :param most: how many calls may be under way; one that nobody waits for any more counts until it ends.
        :param observers: are told of each call, and when there is no place for one.
        """
        self._timeout = timeout
        self._observers = observers
        self._threads = PerProcess(DaemonThreadPool)
        self._places = PerProcess(lambda: threading.BoundedSemaphore(most))

    @contextmanager
    def slot(self, request_id: str) -> Iterator["Slot"]:
        """Give a place in which to make backend calls, one after the other.

        :param request_id: on whose behalf, for the log.
        :raises Overloaded: if no place is free.
        """
        places = self._places()
        if not places.acquire(blocking=False):
            self._observers.overloaded()
            raise Overloaded
        slot = Slot(self._threads(), self._timeout, request_id, self._observers)
        try:
            yield slot
        finally:
            slot.when_idle(places.release)


class Slot:
    """One place; see ``BackendExecutor.slot``."""

    def __init__(self, threads: DaemonThreadPool, timeout: float, request_id: str, observers: Observers) -> None:
        """Take what makes the calls, the seconds to wait for each, whose they are, and who is told of them."""
        self._threads = threads
        self._observers = observers
        self._timeout = timeout
        self.request_id = request_id
        self._running: Future[Any] | None = None

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a backend's method and return its answer.

        :raises BackendError: as the method does; OutcomeUnknown after the time limit and for any other exception.
        """
        with self._observers.backend_call(_name(function).rpartition(".")[2]):
            return self._call(function, *arguments)

    def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            future = self._threads.submit(f"os-volume-ext-{self.request_id}", function, *arguments)
        except RuntimeError as error:
            raise BackendUnavailable(f"there is no thread to call it in: {error}") from error
        self._running = future
        try:
            return future.result(self._timeout)
        except BackendError:
            raise
        except Exception as error:
            if not future.done():
                future.add_done_callback(lambda late: self._log_late(function, late))
                raise OutcomeUnknown(f"no answer within {self._timeout:g} seconds") from error
            LOG.exception("%s %s raised what no backend should", self.request_id, _name(function))
            raise OutcomeUnknown("the backend failed") from error

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call ``then`` when no call is under way here."""
        if self._running is None:
            then()
        else:
            self._running.add_done_callback(lambda _: then())

    def _log_late(self, function: Callable[..., Any], late: Future[Any]) -> None:
        ended = late.exception() or late.result()
        LOG.warning("%s %s was given up and has ended now: %r", self.request_id, _name(function), ended)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
