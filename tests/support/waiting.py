"""Waiting for other threads and processes."""

import time
from collections.abc import Callable

TIMEOUT = 60  # seconds, far more than anything should take


def wait_until(condition: Callable[[], bool]) -> bool:
    """Poll a condition for ``TIMEOUT`` seconds at most; return its last value."""
    deadline = time.monotonic() + TIMEOUT
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value
