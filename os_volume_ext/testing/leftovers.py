"""What calls leave behind: open descriptors and threads."""

import gc
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROUNDS = 15
"""How often a call is repeated, and how many things left behind are then too many."""

SETTLE_TIMEOUT = 2
"""The seconds in which what a call has left behind may still be closed, such as by a server in this process."""

_DESCRIPTORS = Path("/proc/self/fd")

Descriptor = tuple[str, int, int]
"""The number of an open file or connection, and the device and inode of what is open."""


def assert_leaves_nothing(call: Callable[[], object], what: str, rounds: int = ROUNDS) -> None:
    """Check that the number of open files, connections and threads does not grow with the number of calls.

    What was there before the first call is not counted: of what earlier tests have left, such as a thread that waits
    for its next call, some may end meanwhile.

    :param call: what to repeat.
    :param what: what it does, for the message.
    :param rounds: how often to repeat it.
    """
    descriptors, threads = open_descriptors(), set(threading.enumerate())

    def count() -> Mapping[str, int]:
        new_threads = set(threading.enumerate()) - threads
        return {"files or connections": len(opened_since(descriptors)), "threads": len(new_threads)}

    for _ in range(2):
        call()  # opens the connections that later calls use again
    before = count()
    for _ in range(rounds):
        call()
    deadline = time.monotonic() + SETTLE_TIMEOUT
    while (left := _growth(before, count(), rounds)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"after {rounds} rounds of {what} there are {' and '.join(left)} more than before"


def _growth(before: Mapping[str, int], now: Mapping[str, int], rounds: int) -> list[str]:
    return [f"{now[kind] - before[kind]} {kind}" for kind in before if now[kind] - before[kind] >= rounds]


def open_descriptors() -> Mapping[Descriptor, str]:
    """Return what this process has open, in words; skip the test where descriptors are not listed."""
    if not _DESCRIPTORS.is_dir():
        pytest.skip(f"{_DESCRIPTORS} does not exist: open files and connections can't be counted")
    gc.collect()  # what is closed by its finalizer, such as a file that the traceback of an exception refers to
    return dict(each for path in _DESCRIPTORS.iterdir() if (each := _descriptor(path)))


def opened_since(before: Mapping[Descriptor, str]) -> list[str]:
    """Return what this process has opened since ``open_descriptors``, and not closed, in words."""
    return [what for descriptor, what in open_descriptors().items() if descriptor not in before]


def _descriptor(path: Path) -> tuple[Descriptor, str] | None:
    try:
        status = path.stat()
        return (path.name, status.st_dev, status.st_ino), f"{path.name} -> {path.readlink()}"
    except OSError:  # closed meanwhile, such as the one that listed the directory
        return None
