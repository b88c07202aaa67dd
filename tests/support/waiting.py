"""Waiting for other threads and processes."""

import threading
import time
from collections.abc import Callable

TIMEOUT = 60  # seconds, far more than anything should take


def wait_until(condition: Callable[[], bool]) -> bool:
    """Poll a condition for ``TIMEOUT`` seconds at most; return its last value."""
    deadline = time.monotonic() + TIMEOUT
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def backend_calls() -> list[threading.Thread]:
    """Return the threads of this process that call a backend for a request, also for one that timed out."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("os-volume-ext-req-")]
