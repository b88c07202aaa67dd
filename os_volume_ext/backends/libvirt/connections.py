"""Connections to libvirt: opened on first use, shared by all threads, and reopened when they are lost."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import libvirt

from ...outbound.urls import hide_password
from ...perprocess import PerProcess
from ...threadpool import DaemonThreadPool, PendingCall
from ..base import BackendUnavailable
from . import events
from .errors import translate_read_errors

LOG = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""How many attempts to connect to one URI can be in progress in one process. Each one that hangs keeps a thread."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt to open a connection, and the connection that it opened."""

    opened: "PendingCall[libvirt.virConnect]"
    started: float

    def is_connected(self) -> bool:
        return self.opened.done() and self.opened.exception() is None and _is_alive(self.opened.result())


class Connections:
    """One connection for each URI in each process."""

    def __init__(self, timeout: float) -> None:
        """Set the time limit.

        :param timeout: seconds to wait for a connection to open, and after which one that does not respond is lost.
        """
        self.removals = events.Removals()
        self._timeout = timeout
        self._lock = PerProcess(threading.Lock)
        self._threads = PerProcess(DaemonThreadPool)  # one for all attempts: each thread waits a while for another call
        self._attempts: PerProcess[dict[str, list[_Attempt]]] = PerProcess(dict)

    def call(self, uri: str, function: Callable[[libvirt.virConnect], T]) -> T:
        """Return what ``function`` returns for a connection.

        :param uri: libvirt's URI.
        :param function: makes read-only calls; it is called again if the connection turns out to be lost.
        :raises BackendUnavailable: if libvirt can't be reached.
        :raises ServerNotFound: if ``function`` looked up a domain that does not exist.
        """
        with translate_read_errors():
            connection = self._connection(uri)
            try:
                return function(connection)
            except libvirt.libvirtError:
                if _is_alive(connection):
                    raise
            # The connection was lost earlier, and this call was the first to notice.
            return function(self._connection(uri))

    def _connection(self, uri: str) -> libvirt.virConnect:
        try:
            with self._lock():
                attempt = self._current_attempt(uri)
            if not attempt.opened.is_done_within(self._timeout):
                raise BackendUnavailable(f"{hide_password(uri)} did not respond within {self._timeout:g} seconds")
            return attempt.opened.result()
        except RuntimeError as error:  # for the attempt, or for libvirt's events
            raise BackendUnavailable(f"no thread could be started: {error}") from error

    def _current_attempt(self, uri: str) -> _Attempt:
        """Return the attempt that connected, or else one that may still do so in time.

        libvirt.open has no time limit and can't be cancelled. If an attempt hangs, the next call makes another one:
        the first may never end, although the host works again. One that ends late is used from then on.
        """
        attempts = self._attempts().setdefault(uri, [])
        attempts[:] = [each for each in attempts if not each.opened.done() or each.is_connected()]
        for each in attempts:
            if each.opened.done():
                return each
        now = time.monotonic()
        for each in attempts:
            if now - each.started < self._timeout:
                return each
        if len(attempts) >= MAX_ATTEMPTS:
            raise BackendUnavailable(
                f"{hide_password(uri)} does not respond: {len(attempts)} attempts to connect are in progress; "
                "if the host works again, restart this process"
            )
        if attempts:
            LOG.warning("%s does not respond; connecting again", hide_password(uri))
        opened = self._threads().submit(f"os-volume-ext-{hide_password(uri)}", self._open, uri)
        attempts.append(_Attempt(opened, now))
        return attempts[-1]

    def _open(self, uri: str) -> libvirt.virConnect:
        has_events = events.loop()
        connection = libvirt.open(uri)
        if has_events:
            # After two unanswered pings, the connection is closed when a third is due.
            connection.setKeepAlive(max(1, round(self._timeout / 3)), 2)
            self.removals.register(connection)
        LOG.info("connected to %s", hide_password(uri))
        return connection


def _is_alive(connection: libvirt.virConnect) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False
