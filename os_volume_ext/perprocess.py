"""Objects that must not cross a fork, made on first use in each process."""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_instances: "weakref.WeakSet[PerProcess[Any]]" = weakref.WeakSet()

# Kept forever and never used: finalizing a connection in a child would close it for the parent too.
_parents_objects: list[Any] = []


class PerProcess(Generic[T]):
    """A value that each process makes when it first needs it."""

    def __init__(self, make: Callable[[], T]) -> None:
        """Make nothing yet.

        :param make: called once in each process that needs the value.
        """
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []
        _instances.add(self)

    def __call__(self) -> T:
        """Return this process's value, made on the first call."""
        if self._made:
            return self._made[0]
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    def made(self) -> T | None:
        """Return this process's value if it has been made."""
        return self._made[0] if self._made else None

    def _forget(self) -> None:
        _parents_objects.extend(self._made)
        self._made = []
        self._lock = threading.Lock()


def _after_fork() -> None:
    for each in list(_instances):
        each._forget()


os.register_at_fork(after_in_child=_after_fork)
