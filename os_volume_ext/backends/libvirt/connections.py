"""Connections to libvirt: opened on first use, shared by all threads, and reopened when they are lost."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import libvirt

from ...outbound import hide_password
from ...perprocess import PerProcess
from ...threadpool import DaemonThreadPool
from ..base import BackendUnavailable
from . import events
from .errors import translate_read_errors

LOG = logging.getLogger(__name__)

T = TypeVar("T")


class Connections:
    """One connection for each URI in each process."""

    def __init__(self, timeout: float) -> None:
        """Set the time limit.

        :param timeout: seconds to wait for a connection to open, and after which one that does not respond is lost.
        """
        self.removals = events.Removals()
        self._timeout = timeout
        self._lock = PerProcess(threading.Lock)
        self._opened: PerProcess[dict[str, Future[libvirt.virConnect]]] = PerProcess(dict)

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
        with self._lock():
            opened = self._opened().get(uri)
            if opened is None or _is_lost(opened):
                # In a thread, because libvirt.open has no time limit.
                opened = self._opened()[uri] = DaemonThreadPool().submit(
                    f"os-volume-ext-{hide_password(uri)}", self._open, uri
                )
        try:
            return opened.result(self._timeout)
        except TimeoutError as error:
            raise BackendUnavailable(
                f"{hide_password(uri)} did not respond within {self._timeout:g} seconds"
            ) from error

    def _open(self, uri: str) -> libvirt.virConnect:
        has_events = events.loop()
        connection = libvirt.open(uri)
        if has_events:
            # After two unanswered pings, the connection is closed when a third is due.
            connection.setKeepAlive(max(1, round(self._timeout / 3)), 2)
            self.removals.register(connection)
        LOG.info("connected to %s", hide_password(uri))
        return connection


def _is_lost(opened: "Future[libvirt.virConnect]") -> bool:
    return opened.done() and (opened.exception() is not None or not _is_alive(opened.result()))


def _is_alive(connection: libvirt.virConnect) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False
