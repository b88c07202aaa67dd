"""Test whether the storage can be reached, before QEMU tries to.

While QEMU connects to a storage that does not respond, the guest is frozen: for Ceph up to five minutes.
"""

import queue
import socket
import time
from collections.abc import Sequence

from ...perprocess import PerProcess
from ...threadpool import DaemonThreadPool
from ..base import BackendUnavailable

MAX_ENDPOINTS = 16
"""How many hosts and ports are tried at once."""

_threads = PerProcess(DaemonThreadPool)


def check(endpoints: Sequence[tuple[str, int]], timeout: float) -> None:
    """Check that one of several hosts accepts a TCP connection.

    :param endpoints: the hosts and ports; nothing is checked if there are none.
    :param timeout: seconds for all of them, the resolution of names included; nothing is checked if it is 0.
    :raises BackendUnavailable: if none does.
    """
    if not endpoints or not timeout:
        return
    results: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    tried = endpoints[:MAX_ENDPOINTS]
    deadline = time.monotonic() + timeout
    try:
        for host, port in tried:
            _threads().submit("os-volume-ext-probe", _try, results, host, port, timeout)
    except RuntimeError as error:
        raise BackendUnavailable(f"no thread could be started: {error}") from error
    reasons = []
    for _ in tried:
        try:
            reason = results.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            reasons.append(f"no response within {timeout:g} seconds")
            break
        if reason is None:
            return
        reasons.append(reason)
    raise BackendUnavailable(
        f"the storage can't be reached: {'; '.join(reasons)}. If only the hypervisors can reach it, set "
        "backend.probe_timeout to 0."
    )


def _try(results: "queue.SimpleQueue[str | None]", host: str, port: int, timeout: float) -> None:
    """Connect to a host, and put the reason why that failed, or None."""
    try:
        socket.create_connection((host, port), timeout).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: the name is too long for a resolver
        results.put(f"{host} port {port}: {error}")
    else:
        results.put(None)
