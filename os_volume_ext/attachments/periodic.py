"""Periodic reconciliation: one thread in each process, of which one at a time reconciles.

A lease in the database, which lasts for one interval, decides which one. Each thread tries to acquire it once per
interval or a little later, so a worker that can't do the work, or that has ended, blocks the others no longer than
that.
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
PAUSES = 1, 1.2  # intervals: not before the lease expires, and not all workers at once


class PeriodicReconciler:
    """Repairs stale rows at an interval, unless another worker does."""

    def __init__(self, *, reconciler: Reconciler, leases: Leases, interval: float) -> None:
        """Make the thread of this process.

        :param leases: shared by all workers.
        :param interval: seconds between two runs of all workers together.
        """
        # A host and a pid are not enough: hosts may be containers, and an application may have two filters.
        self.holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._reconciler = reconciler
        self._leases = leases
        self._interval = interval
        self._announced = False
        self._last_error: type[Exception] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)

    def start(self) -> None:
        """Start the thread; the first run follows after a pause."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait until its current row is repaired or left to others."""
        self._stopped.set()
        self._thread.join()

    def run_once(self) -> None:
        """Repair stale rows if the lease can be acquired. An error is logged when it first occurs and when it ends."""
        try:
            has_lease = self._reconcile()
        except Exception as error:
            self._report(error)
            return
        # Without the lease this run has only shown that the database responds.
        if has_lease or (self._last_error and issubclass(self._last_error, RegistryUnavailable)):
            self._report(None)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval * random.uniform(*PAUSES)):  # noqa: S311
            self.run_once()

    def _reconcile(self) -> bool:
        """Repair stale rows while this worker holds the lease, and return whether it got it."""
        renew_at = self._acquire()
        if renew_at is None:
            return False
        self._announce()
        for finding in self._reconciler.reconcile_stale():
            finding.log()
            if self._stopped.is_set():
                break
            if time.monotonic() >= renew_at:
                renew_at = self._acquire()
            if renew_at is None:
                LOG.info("%s lost the reconcile lease to another worker, which continues", self.holder)
                break
        return True

    def _acquire(self) -> float | None:
        """Acquire or renew the lease; return when to renew it, None if another worker holds it."""
        renew_at = time.monotonic() + self._interval / 2
        return renew_at if self._leases.acquire(LEASE, self.holder, self._interval) else None

    def _announce(self) -> None:
        if not self._announced:
            LOG.info("%s acquired the reconcile lease; the interval is %g seconds", self.holder, self._interval)
            self._announced = True

    def _report(self, error: Exception | None) -> None:
        before, self._last_error = self._last_error, type(error) if error else None
        if self._last_error is before:
            return
        if error is None:
            LOG.info("reconcile works again")
        elif isinstance(error, RegistryUnavailable):
            LOG.warning("reconcile failed: %s; it is retried every %g seconds", error, self._interval)
        else:
            LOG.error("reconcile failed; it is retried every %g seconds", self._interval, exc_info=error)
