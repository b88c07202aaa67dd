"""What calls leave behind: open descriptors and threads."""

import gc
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROUNDS = 15
"""How often a call is repeated."""

SETTLE_TIMEOUT = 2
"""The seconds in which what a call has left behind may still be closed, such as by a server in this process."""

_DESCRIPTORS = Path("/proc/self/fd")

Descriptor = tuple[str, int, int]
"""The number of an open file or connection, and the device and inode of what is open."""


def assert_leaves_nothing(call: Callable[[], object], what: str, rounds: int = ROUNDS, calls: int = 1) -> None:
    """Check that there are not as many new files and connections, or new threads, as there were calls.

    Numbers of before and after do not tell: what earlier tests have left, such as a thread that waits for its next
    call, may end meanwhile.

    :param call: what to repeat.
    :param what: what it does, for the message.
    :param rounds: how often to repeat it.
    :param calls: how many calls it makes, at once.
    """
    for _ in range(2):
        call()  # opens the connections that later calls use again
    descriptors, threads = open_descriptors(), set(threading.enumerate())

    def left() -> list[str]:
        new = {"files or connections": opened_since(descriptors), "threads": set(threading.enumerate()) - threads}
        return [f"{len(each)} new {kind}" for kind, each in new.items() if len(each) >= rounds * calls]

    for _ in range(rounds):
        call()
    deadline = time.monotonic() + SETTLE_TIMEOUT
    while (found := left()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not found, f"after {rounds} rounds of {what} there are {' and '.join(found)}"


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
