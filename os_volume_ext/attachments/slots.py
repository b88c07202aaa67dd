"""The slots of one process: who may make backend calls, so that no project and no hang keeps the others out."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..errors import Overloaded
from ..observers.base import NO_OBSERVERS, Observers

LOG = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WITHOUT_SLOT = 8
"""How many calls without a slot may be running in a process for each slot that it has."""


@dataclass(slots=True, eq=False)
class Grant:
    """The right of one request to make backend calls, one after the other, until it is released."""

    project_id: str | None
    """The server's project; None for the work of an operator."""


class Slots:
    """Grants slots, and counts the calls that go on without one (docs/protocol.rst, R17). It never blocks.

    A grant has a slot until it is released, times out, or loses its slot to another project. In the last case it gets
    the next slot that becomes free; so the calls that have lost their slots are never more than the slots beyond half.
    """

    def __init__(self, number: int, observers: Observers = NO_OBSERVERS) -> None:
        """Provide slots.

        :param number: how many there are.
        :param observers: notified of each change of ``without_slot``.
        """
        self._number = number
        self._half = max(1, number // 2)
        self._max_without_slot = MAX_WITHOUT_SLOT * number
        self._observers = observers
        self._lock = threading.Lock()
        # The oldest first.
        self._with_slot: list[Grant] = []
        self._displaced: list[Grant] = []
        self._timed_out: list[Grant] = []
        self.without_slot = 0
        """How many grants have no slot, because they lost it or timed out."""

    def held_by(self, project_id: str | None) -> int:
        """Return how many slots a project has.

        :param project_id: None for the work of an operator.
        """
        return _count(self._with_slot, project_id)

    def acquire(self, project_id: str | None) -> Grant:
        """Return a new grant, which has a slot.

        :param project_id: the server's project; None for the work of an operator.
        :raises Overloaded: if there is no slot for it.
        """
        grant = Grant(project_id)
        if not self._change(self._add, grant):
            raise Overloaded
        return grant

    def time_out(self, grant: Grant) -> None:
        """Take the slot of a grant whose call ran into its time limit; the grant counts until it is released."""
        self._change(self._move_to_timed_out, grant)

    def release(self, grant: Grant) -> None:
        """End a grant, all calls of which have ended."""
        self._change(self._remove, grant)

    def _add(self, grant: Grant) -> bool:
        is_granted = self._may_have_slot(grant.project_id) and self._make_room(grant.project_id)
        if is_granted:
            self._with_slot.append(grant)
        return is_granted

    def _move_to_timed_out(self, grant: Grant) -> None:
        self._remove(grant)
        self._timed_out.append(grant)

    def _may_have_slot(self, project_id: str | None) -> bool:
        if self.without_slot >= self._max_without_slot:
            return False
        if project_id is not None:
            return True
        # Reconcile tries the same rows again and again: the calls that hang in one host must not fill the process.
        hanging = _count(self._timed_out, None)
        return self.held_by(None) < self._half and hanging < self._max_without_slot // 2

    def _make_room(self, project_id: str | None) -> bool:
        """Return whether there is a slot for a project, after one beyond another project's half was taken if needed."""
        if len(self._with_slot) < self._number:
            return True
        if self.held_by(project_id) >= self._half:
            return False
        ((largest, held),) = Counter(each.project_id for each in self._with_slot).most_common(1)
        if held <= self._half:
            return False
        oldest = next(each for each in self._with_slot if each.project_id == largest)
        self._with_slot.remove(oldest)
        self._displaced.append(oldest)
        return True

    def _remove(self, grant: Grant) -> None:
        if grant in self._displaced:
            self._displaced.remove(grant)
        elif grant in self._timed_out:
            self._timed_out.remove(grant)
        else:
            self._with_slot.remove(grant)
            if self._displaced:
                self._with_slot.append(self._displaced.pop(0))

    def _change(self, change: Callable[[Grant], T], grant: Grant) -> T:
        """Hold the lock; after it is released, report how the number of calls without a slot has changed."""
        with self._lock:
            before = self.without_slot
            result = change(grant)
            after = self.without_slot = len(self._displaced) + len(self._timed_out)
        if after != before:
            self._report(before, after)
        return result

    def _report(self, before: int, after: int) -> None:
        self._observers.without_slot(after - before)
        limit = self._max_without_slot
        if before < limit <= after:
            LOG.error(
                "%d backend calls are running without a slot, so no more are started: the backend hangs. "
                "Repair it; if the calls do not end then, restart this process",
                after,
            )
        elif after < limit <= before:
            LOG.warning("%d backend calls are running without a slot: calls are started again", after)


def _count(grants: list[Grant], project_id: str | None) -> int:
    return sum(grant.project_id == project_id for grant in grants)
