"""libvirt's events: the loop that handles them, and those that tell what becomes of devices that are to go."""

import queue
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import libvirt

from ...perprocess import PerProcess

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


def _start_loop() -> bool:
    global _has_loop
    if _has_loop:
        return False
    _has_loop = True
    libvirt.registerErrorHandler(lambda *_: None, None)  # errors are raised too; no need to print them
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_handle_events, name="os-volume-ext-libvirt", daemon=True).start()
    return True


def _handle_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


_has_loop = False  # here, or in the process that this one was forked from

loop: PerProcess[bool] = PerProcess(_start_loop)
"""Called before the first connection is opened, it sees that events are handled, and says whether they are.

libvirt's loop is one for good: a child of a process that used it can't have another one. It does without: nothing
tells it that a connection is silent, or that a disk is gone; it looks instead.
"""
