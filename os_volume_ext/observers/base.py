"""What operations tell of themselves.

Who carries one out says to the observers when it begins and how it ends, and does not know who they are.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..context import RequestContext
from ..models import Attachment

LOG = logging.getLogger(__name__)

ATTACH, DETACH = "attach", "detach"


@dataclass(slots=True)
class Operation:
    """An attach or a detach, as far as it has come.

    ``caller`` is who asked for it; None where reconcile does it, or another operation that needs it done.
    It has ``begun`` when its row is claimed. ``project_id`` is the caller's before that, the row's from then on.
    ``error`` is what it ended in, None if it was done, and ``seconds`` how long it took.
    """

    action: str
    request_id: str
    server_id: str
    volume_id: str
    project_id: str | None = None
    device: str | None = None
    caller: RequestContext | None = None
    started: bool = False
    error: BaseException | None = None
    seconds: float = 0.0


class Observer:
    """Hears of operations, in the thread that carries them out. What it raises is logged, and goes no further."""

    def started(self, operation: Operation) -> None:
        """Hear that an operation has claimed its row and goes on to the backend."""

    def finished(self, operation: Operation) -> None:
        """Hear how an operation ended, whether it had begun or was refused before."""

    def backend_called(self, method: str, seconds: float, error: BaseException | None) -> None:
        """Hear of a call of the backend. :param error: what its caller was told; None if it was done."""

    def overloaded(self) -> None:
        """Hear that an operation found no place among those under way."""

    def close(self) -> None:
        """Finish what is left to do: there is no more to come."""


class Observers:
    """Those who are told."""

    def __init__(self, *observers: Observer) -> None:
        """:param observers: each is told, in this order."""
        self._observers = observers

    @contextmanager
    def operation(self, action: str, context: RequestContext, server_id: str, volume_id: str) -> Iterator[Operation]:
        """Tell of what a caller asked for, until it has ended; who carries it out tells when it begins."""
        operation = Operation(action, context.request_id, server_id, volume_id, context.project_id, caller=context)
        with _timed(lambda seconds, error: self._end(operation, seconds, error)):
            yield operation

    @contextmanager
    def claimed(self, action: str, row: Attachment) -> Iterator[Operation]:
        """Tell of what nobody asked for, which begins with the claim on a row."""
        operation = Operation(action, row.request_id, row.server_id, row.volume_id)
        with _timed(lambda seconds, error: self._end(operation, seconds, error)):
            self.start(operation, row)
            yield operation

    def start(self, operation: Operation, row: Attachment) -> None:
        """Tell that an operation begins. :param row: as it claimed it."""
        operation.started = True
        operation.project_id = row.project_id
        operation.device = row.device
        self._notify(lambda observer: observer.started(operation))

    @contextmanager
    def backend_call(self, method: str) -> Iterator[None]:
        """Tell of a call of the backend."""
        with _timed(lambda seconds, error: self._notify(lambda each: each.backend_called(method, seconds, error))):
            yield

    def overloaded(self) -> None:
        """Tell that an operation found no place."""
        self._notify(lambda observer: observer.overloaded())

    def close(self) -> None:
        """Tell that there is no more to come."""
        self._notify(lambda observer: observer.close())

    def _end(self, operation: Operation, seconds: float, error: BaseException | None) -> None:
        operation.seconds, operation.error = seconds, error
        self._notify(lambda observer: observer.finished(operation))

    def _notify(self, what: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                what(observer)
            except Exception:
                LOG.exception("the observer %s failed; what it observes goes on", type(observer).__name__)


@contextmanager
def _timed(then: Callable[[float, BaseException | None], None]) -> Iterator[None]:
    """Call ``then`` with the seconds that it took, and with what it raised."""
    start = time.monotonic()
    try:
        yield
    except BaseException as error:
        then(time.monotonic() - start, error)
        raise
    then(time.monotonic() - start, None)


NO_OBSERVERS = Observers()
