"""What calls leave behind: open descriptors and threads."""

import threading
import time
from collections.abc import Callable, Mapping

from .running import open_descriptors

ROUNDS = 15
"""How often a call is repeated, and how many things left behind are then too many."""

SETTLE_TIMEOUT = 2
"""The seconds in which what a call has left behind may still be closed, such as by a server in this process."""


def assert_leaves_nothing(call: Callable[[], object], what: str, rounds: int = ROUNDS) -> None:
    """Check that the number of open files, connections and threads does not grow with the number of calls.

    :param call: what to repeat.
    :param what: what it does, for the message.
    :param rounds: how often to repeat it.
    """
    for _ in range(2):
        call()  # opens the connections that later calls use again
    before = _count()
    for _ in range(rounds):
        call()
    deadline = time.monotonic() + SETTLE_TIMEOUT
    while (left := _growth(before, rounds)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"after {rounds} rounds of {what} there are {' and '.join(left)} more than before"


def _count() -> Mapping[str, int]:
    return {"files or connections": len(open_descriptors()), "threads": threading.active_count()}


def _growth(before: Mapping[str, int], rounds: int) -> list[str]:
    return [f"{count - before[what]} {what}" for what, count in _count().items() if count - before[what] >= rounds]
