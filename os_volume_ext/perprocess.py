"""Things that must not cross a fork, made on first use in each process."""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_everyone: "weakref.WeakSet[PerProcess[Any]]" = weakref.WeakSet()

# Kept here for good, and never used: to finalize a connection in a child would end it for the parent too.
_left_by_parent: list[Any] = []


class PerProcess(Generic[T]):
    """A value that each process makes for itself when it first asks for it."""

    def __init__(self, make: Callable[[], T]) -> None:
        """:param make: called once in each process that needs the value."""
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []
        _everyone.add(self)

    def __call__(self) -> T:
        """Return this process's value, making it if need be."""
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
        _left_by_parent.extend(self._made)
        self._made = []
        self._lock = threading.Lock()


def _after_fork() -> None:
    for each in list(_everyone):
        each._forget()


os.register_at_fork(after_in_child=_after_fork)
