"""Requests to detach disks, one at a time for each domain.

libvirt waits up to 5 seconds for the guest while it keeps other changes of the domain out. Requests that came at once
would wait there for each other, one after the other, and longer than their time limit.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..base import BackendUnavailable


class Turns:
    """The turns of one process."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, domain_id: str, timeout: float) -> Iterator[None]:
        """Wait for the turn of a domain, and keep it during the block.

        :param domain_id: the domain's UUID.
        :param timeout: seconds to wait.
        :raises BackendUnavailable: if other calls have the turn for that long.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: domain_id not in self._taken, timeout):
                raise BackendUnavailable(f"other calls are detaching disks from domain {domain_id}")
            self._taken.add(domain_id)
        try:
            yield
        finally:
            with self._changed:
                self._taken.discard(domain_id)
                self._changed.notify_all()
