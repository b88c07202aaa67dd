"""Connections to libvirt: opened on first use, shared by all threads, noticed when they are lost, opened again."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import libvirt

from ...perprocess import PerProcess
from ...threadpool import DaemonThreadPool
from ..base import BackendUnavailable
from . import events
from .errors import looking

LOG = logging.getLogger(__name__)

T = TypeVar("T")


class Connections:
    """One connection for each URI in each process."""

    def __init__(self, timeout: float) -> None:
        """:param timeout: seconds to wait for a connection to open, and for one that does not answer any more."""
        self.removals = events.Removals()
        self._timeout = timeout
        self._lock = PerProcess(threading.Lock)
        self._opened: PerProcess[dict[str, Future[libvirt.virConnect]]] = PerProcess(dict)

    def ask(self, uri: str, question: Callable[[libvirt.virConnect], T]) -> T:
        """Return what a connection answers; the question changes nothing, and may be asked twice.

        :raises BackendUnavailable, ServerNotFound: if there is no answer.
        """
        with looking():
            connection = self._connection(uri)
            try:
                return question(connection)
            except libvirt.libvirtError:
                if _is_alive(connection):
                    raise
            # It was lost before, and the question was the first to notice.
            return question(self._connection(uri))

    def _connection(self, uri: str) -> libvirt.virConnect:
        with self._lock():
            opened = self._opened().get(uri)
            if opened is None or _is_lost(opened):
                # libvirt sets itself no time limit here.
                opened = self._opened()[uri] = DaemonThreadPool().submit(f"os-volume-ext-{uri}", self._open, uri)
        try:
            return opened.result(self._timeout)
        except TimeoutError as error:
            raise BackendUnavailable(f"{uri} does not answer within {self._timeout:g} seconds") from error

    def _open(self, uri: str) -> libvirt.virConnect:
        has_events = events.loop()
        connection = libvirt.open(uri)
        if has_events:
            # Two pings may stay unanswered; at the third it is lost.
            connection.setKeepAlive(max(1, round(self._timeout / 3)), 2)
            self.removals.listen(connection)
        LOG.info("connected to %s", uri)
        return connection


def _is_lost(opened: "Future[libvirt.virConnect]") -> bool:
    return opened.done() and (opened.exception() is not None or not _is_alive(opened.result()))


def _is_alive(connection: libvirt.virConnect) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False
