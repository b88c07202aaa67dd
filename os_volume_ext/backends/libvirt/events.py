"""libvirt's events: the thread that handles them, and the events of devices that are being removed."""

import logging
import os
import queue
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import libvirt

from ...perprocess import PerProcess

LOG = logging.getLogger(__name__)

PAUSE_TIMEOUT = 10.0  # seconds that a fork waits for an event handler to end

REMOVED = libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED
REMOVAL_FAILED = libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED

Events = queue.SimpleQueue[int]


class Removals:
    """Deliver the removal events of devices to the threads that wait for them.

    Events that occur while the connection is lost are not delivered.
    """

    def __init__(self) -> None:
        self._watches: set[tuple[str, str, Events]] = set()

    def register(self, connection: libvirt.virConnect) -> None:
        """Deliver a connection's events from now on. Call it once for each connection."""
        for event in (REMOVED, REMOVAL_FAILED):
            connection.domainEventRegisterAny(None, event, self._deliver, event)

    @contextmanager
    def watch(self, domain_id: str, aliases: Collection[str]) -> Iterator[Events]:
        """Provide a queue of the events, REMOVED and REMOVAL_FAILED, of a domain's devices.

        :param domain_id: the domain's UUID.
        :param aliases: the devices' aliases.
        """
        events: Events = queue.SimpleQueue()
        watches = {(domain_id, alias, events) for alias in aliases}
        self._watches |= watches
        try:
            yield events
        finally:
            self._watches -= watches

    def _deliver(self, connection: libvirt.virConnect, domain: libvirt.virDomain, alias: str, event: int) -> None:
        for domain_id, watched, events in list(self._watches):
            if (domain_id, watched) == (domain.UUIDString(), alias):
                events.put(event)


class _Loop:
    """libvirt's event loop, in its own thread, paused while the process forks.

    A lock that the loop holds within libvirt or GLib would stay locked in the child, which could then open no
    connection. (For the same reason no other thread should be in a call to libvirt when the process forks.)
    """

    NEVER, NOW = -1, 0  # milliseconds, as libvirt's timers count them

    def __init__(self) -> None:
        self._is_used = False  # in this process, or in the one that it was forked from
        self.reset()

    def reset(self) -> None:
        self._forking = threading.Lock()  # held during a fork, so that the loop does not start another iteration
        self._iterating = threading.Lock()  # held during an iteration: while the loop waits for and handles events
        self._is_paused = False
        self._timer: int | None = None  # ends the loop's wait for events

    def start(self) -> bool:
        if self._is_used:
            return False
        libvirt.registerErrorHandler(lambda *_: None, None)  # errors are raised too, and need not be printed
        with self._forking:
            libvirt.virEventRegisterDefaultImpl()
            self._timer = libvirt.virEventAddTimeout(self.NEVER, lambda *_: None, None)
        threading.Thread(target=self._run, name="os-volume-ext-libvirt", daemon=True).start()
        self._is_used = True  # not before: if the thread can't be started, the next call tries again
        return True

    def _run(self) -> None:
        while True:
            with self._forking:
                pass
            with self._iterating:
                libvirt.virEventRunDefaultImpl()

    def pause(self) -> None:
        self._forking.acquire()
        self._set_timer(self.NOW)
        self._is_paused = self._iterating.acquire(timeout=PAUSE_TIMEOUT)

    def resume(self) -> None:
        if self._is_paused:
            self._iterating.release()
        else:
            LOG.warning(
                "libvirt's event loop was busy for %g seconds and not paused during a fork: "
                "the forked process may be unable to connect to libvirt",
                PAUSE_TIMEOUT,
            )
        self._set_timer(self.NEVER)
        self._forking.release()

    def _set_timer(self, milliseconds: int) -> None:
        if self._timer is not None:
            libvirt.virEventUpdateTimeout(self._timer, milliseconds)


_loop = _Loop()

os.register_at_fork(before=_loop.pause, after_in_parent=_loop.resume, after_in_child=_loop.reset)

loop: PerProcess[bool] = PerProcess(_loop.start)
"""Start the event loop; return whether this process has one. Call it before the first connection is opened.

libvirt can have one event loop only: a child of a process that has used it can't start another. Such a child does not
receive events or notice that a connection is silent; it polls instead.
"""
