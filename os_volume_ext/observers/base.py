"""Operations as observers see them. The code that carries one out reports its start and its end to all observers."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from ..context import RequestContext
from ..models import Attachment

LOG = logging.getLogger(__name__)

T = TypeVar("T")

ATTACH, DETACH = "attach", "detach"


@dataclass(slots=True)
class Operation:
    """An attach or a detach in progress."""

    action: str
    """``ATTACH`` or ``DETACH``."""
    request_id: str
    server_id: str
    volume_id: str
    project_id: str | None = None
    """The caller's until the operation has started, then the row's."""
    device: str | None = None
    """The requested device, then the one that the disk got; None where it is unknown."""
    caller: RequestContext | None = None
    """Who requested it; None where reconcile, or another operation that needs it done, carries it out."""
    started: bool = False
    """Whether its row has been claimed."""
    error: BaseException | None = None
    """What it ended in; None if it succeeded."""
    seconds: float = 0.0
    """How long it took."""


class Observer:
    """Called in the thread that carries out the operation. An exception is logged and has no other effect."""

    def started(self, operation: Operation) -> None:
        """Handle an operation that has claimed its row and is about to call the backend."""

    def finished(self, operation: Operation) -> None:
        """Handle the end of an operation, also of one that was refused before it started."""

    def backend_called(self, method: str, seconds: float, error: BaseException | None) -> None:
        """Handle the end of a backend call.

        :param method: ``attach``, ``detach`` or ``attached``.
        :param error: what the caller of the method got; None if it succeeded.
        """

    def overloaded(self) -> None:
        """Handle an operation that found no free slot."""

    def timed_out(self) -> None:
        """Handle a call that ran into its time limit."""

    def without_slot(self, change: int) -> None:
        """Handle a change of the number of calls that are running without a slot.

        :param change: 1 or -1.
        """

    def close(self) -> None:
        """Finish pending work; nothing follows."""


_EVENTS = tuple([name for name in vars(Observer) if not name.startswith("_")])


class Observers:
    """Notifies several observers."""

    def __init__(self, *observers: Observer) -> None:
        # Only of those that handle the event: the empty methods take 1 percent of the instructions of an attach.
        self._handlers = {event: _handlers(observers, event) for event in _EVENTS}
        self._backend_called = partial(self._notify, "backend_called")

    def operation(self, action: str, context: RequestContext, server_id: str, volume_id: str) -> "_Timed[Operation]":
        """Observe what a caller requested, until it has finished; the code that carries it out calls ``start``."""
        operation = Operation(action, context.request_id, server_id, volume_id, context.project_id, caller=context)
        return _Timed(operation, self._finish)

    def claimed(self, action: str, row: Attachment) -> "_Timed[Operation]":
        """Observe an operation that no caller requested, which starts with the claim on a row."""
        operation = Operation(action, row.request_id, row.server_id, row.volume_id)
        timed = _Timed(operation, self._finish)
        self.start(operation, row)
        return timed

    def start(self, operation: Operation, row: Attachment) -> None:
        """Report that an operation has started.

        :param row: as it was claimed.
        """
        operation.started = True
        operation.project_id = row.project_id
        operation.device = row.device
        self._notify("started", operation)

    def backend_call(self, method: str) -> "_Timed[str]":
        """Observe a call of a backend's method."""
        return _Timed(method, self._backend_called)

    def overloaded(self) -> None:
        """Report that an operation found no free slot."""
        self._notify("overloaded")

    def timed_out(self) -> None:
        """Report that a call ran into its time limit."""
        self._notify("timed_out")

    def without_slot(self, change: int) -> None:
        """Report a change of the number of calls that are running without a slot."""
        self._notify("without_slot", change)

    def close(self) -> None:
        """Close all observers."""
        self._notify("close")

    def _finish(self, operation: Operation, seconds: float, error: BaseException | None) -> None:
        operation.seconds, operation.error = seconds, error
        self._notify("finished", operation)

    def _notify(self, event: str, *subject: object) -> None:
        for handle in self._handlers[event]:
            try:
                handle(*subject)
            except Exception:
                LOG.exception("observer %s failed", type(handle.__self__).__name__)


def _handlers(observers: tuple[Observer, ...], event: str) -> list[Any]:
    """Return the methods that handle an event, of the observers that have one of their own."""
    inherited = getattr(Observer, event)
    return [getattr(each, event) for each in observers if getattr(type(each), event) is not inherited]


class _Timed(Generic[T]):
    """Provides something to a block, at the end of which it calls back with the elapsed seconds and the exception.

    A class takes 0.4 microseconds, a generator 1.1; an attach and a detach need four.
    """

    def __init__(self, subject: T, callback: Callable[[T, float, BaseException | None], None]) -> None:
        self.subject = subject
        self._callback = callback
        self._start = time.monotonic()

    def __enter__(self) -> T:
        return self.subject

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._callback(self.subject, time.monotonic() - self._start, error)


NO_OBSERVERS = Observers()
