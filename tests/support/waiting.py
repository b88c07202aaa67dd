"""Waiting for what another thread or process is about to do."""

import time
from collections.abc import Callable

TIMEOUT = 60  # seconds for a start, a request, or whatever else is waited for


def wait_until(true: Callable[[], bool]) -> bool:
    """Ask again and again, for ``TIMEOUT`` seconds at most; return the last answer."""
    deadline = time.monotonic() + TIMEOUT
    while not (answer := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer
