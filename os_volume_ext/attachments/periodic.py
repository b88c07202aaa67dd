"""Reconcile by itself: a thread in each process comes round again and again, and one at a time finds work.

Which one says a lease in the database, which lasts for one interval. Each thread comes round every interval or a
little later, and the first to find that the lease has run out takes it. So all have their turns, one that can't do
the work keeps it from the others for no longer than that, and one that has ended is missed by nobody.
"""

import logging
import os
import random
import socket
import threading
import time
import uuid

from ..errors import RegistryUnavailable
from ..registry.leases import Leases
from .reconcile import Reconciler

LOG = logging.getLogger(__name__)

LEASE = "reconcile"
THREAD = "os-volume-ext-reconcile"
PAUSES = 1, 1.2  # intervals: no sooner than the lease runs out, and not all at once


class PeriodicReconciler:
    """Settles what is unfinished, every so many seconds, unless another worker does."""

    def __init__(self, reconciler: Reconciler, leases: Leases, interval: float) -> None:
        """Make the thread of this process.

        :param leases: what it shares with the other workers.
        :param interval: seconds between two rounds of all workers together.
        """
        # Neither is a pid enough where hosts are containers, nor a host and a pid where an application has two filters.
        self.holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._reconciler = reconciler
        self._leases = leases
        self._interval = interval
        self._introduced = False
        self._trouble: type[Exception] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._come_round, name=THREAD, daemon=True)

    def start(self) -> None:
        """Come round from now on, after a first pause."""
        self._thread.start()

    def stop(self) -> None:
        """Come round no more. When this returns, what was being settled is settled or left for others."""
        self._stopped.set()
        self._thread.join()

    def run_once(self) -> None:
        """Settle what is unfinished, if the lease is to be had. Trouble is logged when it begins and when it ends."""
        try:
            has_lease = self._reconcile()
        except Exception as error:
            self._tell(error)
            return
        # Who had not the lease has seen that the database answers, and no more.
        if has_lease or (self._trouble and issubclass(self._trouble, RegistryUnavailable)):
            self._tell(None)

    def _come_round(self) -> None:
        while not self._stopped.wait(self._interval * random.uniform(*PAUSES)):  # noqa: S311
            self.run_once()

    def _reconcile(self) -> bool:
        """Settle what is unfinished, if the lease is to be had, and for as long as it is. Say whether it was."""
        renew_at = self._take()
        if renew_at is None:
            return False
        self._introduce()
        for finding in self._reconciler.reconcile_stale():
            finding.log()
            if self._stopped.is_set():
                break
            if time.monotonic() >= renew_at:
                renew_at = self._take()
            if renew_at is None:
                LOG.info("%s has lost the lease to another worker, which goes on in its place", self.holder)
                break
        return True

    def _take(self) -> float | None:
        """Take or renew the lease; return when to renew it, None if another has it."""
        renew_at = time.monotonic() + self._interval / 2
        return renew_at if self._leases.take(LEASE, self.holder, self._interval) else None

    def _introduce(self) -> None:
        if not self._introduced:
            LOG.info("%s reconciles; of all workers one at a time does, every %g seconds", self.holder, self._interval)
            self._introduced = True

    def _tell(self, error: Exception | None) -> None:
        before, self._trouble = self._trouble, type(error) if error else None
        if self._trouble is before:
            return
        if error is None:
            LOG.info("reconcile works again")
        elif isinstance(error, RegistryUnavailable):
            LOG.warning("reconcile failed: %s; it is tried again every %g seconds", error, self._interval)
        else:
            LOG.error("reconcile failed; it is tried again every %g seconds", self._interval, exc_info=error)
