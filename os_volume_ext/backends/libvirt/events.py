"""libvirt's events: the loop that handles them, and those that tell what becomes of devices that are to go."""

import logging
import os
import queue
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import libvirt

from ...perprocess import PerProcess

LOG = logging.getLogger(__name__)

REMOVED = libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED
REMOVAL_FAILED = libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED

Events = queue.SimpleQueue[int]


class Removals:
    """Tells those who wait for it that a device is gone or stays. An event is lost while its connection is."""

    def __init__(self) -> None:
        """No one waits yet."""
        self._watches: set[tuple[str, str, Events]] = set()

    def listen(self, connection: libvirt.virConnect) -> None:
        """Pass on a connection's events from now on; once, for libvirt tells all of a process as one."""
        for event in (REMOVED, REMOVAL_FAILED):
            connection.domainEventRegisterAny(None, event, self._note, event)

    @contextmanager
    def watch(self, domain_id: str, aliases: Collection[str]) -> Iterator[Events]:
        """Give what happens meanwhile to devices of a domain: REMOVED, REMOVAL_FAILED."""
        events: Events = queue.SimpleQueue()
        watches = {(domain_id, alias, events) for alias in aliases}
        self._watches |= watches
        try:
            yield events
        finally:
            self._watches -= watches

    def _note(self, connection: libvirt.virConnect, domain: libvirt.virDomain, alias: str, event: int) -> None:
        for domain_id, watched, events in list(self._watches):
            if (domain_id, watched) == (domain.UUIDString(), alias):
                events.put(event)


class _Loop:
    """libvirt's event loop, in a thread of its own, which rests while the process forks.

    What it has locked within libvirt and GLib would otherwise stay locked in the child, which could then open no
    connection. (For the same reason no other thread should be in a call to libvirt when the process forks.)
    """

    NEVER, AT_ONCE = -1, 0  # milliseconds, as libvirt's timers count them
    PATIENCE = 10.0  # seconds that a fork waits for what the loop does, which should take none

    def __init__(self) -> None:
        self._is_used = False  # here, or in the process that this one was forked from
        self.forget()

    def forget(self) -> None:
        self._fork = threading.Lock()  # held by who forks, so that the loop begins no other turn
        self._turn = threading.Lock()  # held by the loop while it waits for events and handles them; then by who forks
        self._rests = False
        self._alarm: int | None = None  # the timer that wakes the loop

    def start(self) -> bool:
        if self._is_used:
            return False
        self._is_used = True
        libvirt.registerErrorHandler(lambda *_: None, None)  # errors are raised too; no need to print them
        with self._fork:
            libvirt.virEventRegisterDefaultImpl()
            self._alarm = libvirt.virEventAddTimeout(self.NEVER, lambda *_: None, None)
        threading.Thread(target=self._run, name="os-volume-ext-libvirt", daemon=True).start()
        return True

    def _run(self) -> None:
        while True:
            with self._fork:
                pass
            with self._turn:
                libvirt.virEventRunDefaultImpl()

    def rest(self) -> None:
        self._fork.acquire()
        self._wake(self.AT_ONCE)
        self._rests = self._turn.acquire(timeout=self.PATIENCE)

    def go_on(self) -> None:
        if self._rests:
            self._turn.release()
        else:
            LOG.warning("libvirt's event loop did not rest: a forked process may be unable to connect to libvirt")
        self._wake(self.NEVER)
        self._fork.release()

    def _wake(self, when: int) -> None:
        if self._alarm is not None:
            libvirt.virEventUpdateTimeout(self._alarm, when)


_loop = _Loop()

os.register_at_fork(before=_loop.rest, after_in_parent=_loop.go_on, after_in_child=_loop.forget)

loop: PerProcess[bool] = PerProcess(_loop.start)
"""Called before the first connection is opened, it sees that events are handled, and says whether they are.

libvirt's loop is one for good: a child of a process that used it can't have another one. It does without: nothing
tells it that a connection is silent, or that a disk is gone; it looks instead.
"""
