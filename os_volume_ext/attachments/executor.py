"""Backend calls: each with a time limit, and a limited number of them at once in one process.

The process may end while calls are in progress: a backend that hangs must not keep a worker from stopping. Such
calls leave what a crash leaves, which ``reconcile`` repairs.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from ..backends.base import Backend
from ..catalog.base import VolumeCatalog
from ..context import operator_context
from ..errors import (
    BackendError,
    BackendUnavailable,
    CatalogUnavailable,
    OutcomeUnknown,
    Overloaded,
    RegistryUnavailable,
    ServerNotFound,
    VolumeAttached,
    VolumeNotFound,
)
from ..models import Server, Volume, is_size
from ..observers.base import NO_OBSERVERS, Observers
from ..perprocess import PerProcess
from ..threadpool import DaemonThreadPool, PendingCall
from .slots import Grant, Slots

LOG = logging.getLogger(__name__)

T = TypeVar("T")

_Exceptions = type[Exception] | tuple[type[Exception], ...]
_OF_CATALOG = (CatalogUnavailable, RegistryUnavailable, VolumeAttached, VolumeNotFound)

_DEVICE = re.compile(r"/dev/[!-~]{1,250}\Z")  # at most what the column holds


class BackendExecutor:
    """The slots for backend calls of one process."""

    def __init__(
        self, *, backend: Backend, timeout: float, max_concurrent: int, observers: Observers = NO_OBSERVERS
    ) -> None:
        """Set the limits.

        :param timeout: seconds that a caller waits for a call.
        :param max_concurrent: how many slots there are.
        """
        self._backend = backend
        self._timeout = timeout
        self._observers = observers
        self._threads = PerProcess(DaemonThreadPool)
        self._slots = PerProcess(lambda: Slots(max_concurrent, observers))

    def slot(self, request_id: str, project_id: str | None = None) -> "Slot":
        """Return a slot for backend calls, one after the other, to be used as a context manager.

        See docs/protocol.rst, R17.

        :param request_id: the request that the calls are made for; it appears in the log and in thread names.
        :param project_id: the server's project; None for the work of an operator, such as reconcile.
        :raises Overloaded: if there is no slot for that project.
        """
        slots = self._slots()
        try:
            grant = slots.acquire(project_id)
        except Overloaded:
            self._observers.overloaded()
            raise
        return Slot(
            backend=self._backend,
            threads=self._threads(),
            timeout=self._timeout,
            request_id=request_id,
            observers=self._observers,
            slots=slots,
            grant=grant,
        )


class Slot:
    """Calls the backend with a time limit; see ``BackendExecutor.slot``.

    As a context manager it ends with the block; if a call is in progress then, that goes on without a slot.

    Each method raises what the backend's method of the same name raises, and OutcomeUnknown after the time limit or
    for an exception that is not a BackendError.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        threads: DaemonThreadPool,
        timeout: float,
        request_id: str,
        observers: Observers,
        slots: Slots,
        grant: Grant,
    ) -> None:
        self._backend = backend
        self._threads = threads
        self._observers = observers
        self._timeout = timeout
        self.request_id = request_id
        self._slots = slots
        self._grant = grant
        self._running: PendingCall[Any] | None = None
        self._is_timed_out = False

    def __enter__(self) -> "Slot":
        return self

    def __exit__(self, *error: object) -> None:
        if self._running is not None and not self._running.done() and not self._is_timed_out:
            self._time_out()  # the wait for the call was interrupted
        self.when_idle(lambda: self._slots.release(self._grant))

    def attach(self, server: Server, volume: Volume, device: str | None) -> str | None:
        """Attach a volume and return its device."""
        found = self._call("attach", self._backend.attach, server, volume, device)
        self._check(_is_device(found), "attach", found)
        return found

    def detach(self, server: Server, volume: Volume, device: str | None) -> None:
        """Detach a volume."""
        self._call("detach", self._backend.detach, server, volume, device)

    def attached(self, server: Server) -> Mapping[str, str | None]:
        """Return the device of each volume that the server has."""
        found = self._call("attached", _copied, self._backend.attached, server)
        self._check(_is_disks(found), "attached", found)
        return found

    def forget(self, server: Server, volume: Volume) -> None:
        """Free a volume of a server that is gone or has no machine."""
        self._call("forget", self._backend.forget, server, volume)

    def find_clients(self, server: Server, volume: Volume) -> Sequence[str]:
        """Return the clients of the storage through which a server can write to a volume."""
        found = self._call("find_clients", _listed, self._backend.find_clients, server, volume)
        is_valid = isinstance(found, list) and all(isinstance(each, str) and each.isprintable() for each in found)
        self._check(is_valid, "find_clients", found)
        return found

    def cut_off(self, server: Server, volume: Volume, clients: Sequence[str]) -> None:
        """Cut a server whose host is lost off from a volume."""
        self._call("cut_off", self._backend.cut_off, server, volume, clients)

    def incomplete(self, server: Server) -> Mapping[str, str]:
        """Return a description of each volume that is attached to a server in part."""
        found = self._call("incomplete", _copied, self._backend.incomplete, server)
        is_valid = isinstance(found, Mapping) and all(isinstance(text, str) for pair in found.items() for text in pair)
        self._check(is_valid, "incomplete", found)
        return found

    def disk_size(self, server: Server, volume: Volume) -> int | None:
        """Return the bytes of a volume's disk; None if they are not known."""
        found = self._call("disk_size", self._backend.disk_size, server, volume)
        self._check(is_size(found), "disk_size", found)
        return found

    def resize(self, server: Server, volume: Volume) -> None:
        """Make a volume's disk as large as the volume."""
        self._call("resize", self._backend.resize, server, volume)

    def disks(self, server: Server) -> Mapping[str, str | None] | None:
        """Return the same as ``attached``; None if the backend has no such server."""
        try:
            return self.attached(server)
        except ServerNotFound:
            return None

    def volume(self, catalog: VolumeCatalog, volume_id: str) -> Volume:
        """Look a volume up for the operator, with the time limit of backend calls."""
        look_up = partial(catalog.volume, operator_context(), volume_id)
        return self._call_within_timeout("catalog volume", _OF_CATALOG, look_up)

    def delete(self, catalog: VolumeCatalog, *, volume_id: str, server_id: str, project_id: str) -> None:
        """Delete a volume, with the time limit of backend calls."""
        delete = partial(catalog.delete, volume_id=volume_id, server_id=server_id, project_id=project_id)
        self._call_within_timeout("catalog delete", _OF_CATALOG, delete)

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` as soon as no call is in progress in this slot."""
        if self._running is None or self._running.done():
            callback()
        else:
            self._running.add_done_callback(lambda _: callback())

    def _call(self, name: str, method: Callable[..., T], *arguments: Any) -> T:
        with self._observers.backend_call(name):
            return self._call_within_timeout(name, BackendError, method, *arguments)

    def _call_within_timeout(self, name: str, documented: _Exceptions, method: Callable[..., T], *arguments: Any) -> T:
        """Call a plugin's method; ``documented`` are the exceptions of which it says what happened."""
        if self._is_timed_out:
            raise OutcomeUnknown("an earlier call of the request timed out")
        try:
            call = self._threads.submit(f"os-volume-ext-{self.request_id}", method, *arguments)
        except RuntimeError as error:
            raise BackendUnavailable(f"no thread could be started for the call: {error}") from error
        self._running = call
        if not call.is_done_within(self._timeout):
            self._time_out()
            self._observers.timed_out()
            call.add_done_callback(lambda late: self._log_late(name, late))
            raise OutcomeUnknown(f"no response within {self._timeout:g} seconds")
        try:
            return call.result()
        except documented:
            raise
        except (Exception, SystemExit) as error:  # sys.exit of a plugin ends neither this thread nor the process
            LOG.exception("%s backend %s raised an unexpected exception", self.request_id, name)
            raise OutcomeUnknown("the backend failed") from error

    def _time_out(self) -> None:
        self._is_timed_out = True
        self._slots.time_out(self._grant)

    def _check(self, is_valid: bool, name: str, value: Any) -> None:
        """Check what a plugin returned (docs/protocol.rst, R23)."""
        if not is_valid:
            backend = type(self._backend)
            where = f"{backend.__module__}.{backend.__qualname__}"
            LOG.error("%s backend %s.%s returned an invalid value: %.300r", self.request_id, where, name, value)
            raise OutcomeUnknown("the backend returned an invalid value")

    def _log_late(self, name: str, late: PendingCall[Any]) -> None:
        result = late.exception() or late.result()
        LOG.warning("%s timed-out backend call %s finished late: %r", self.request_id, name, result)


def _copied(read: Callable[[Server], Mapping[str, T]], server: Server) -> Mapping[str, T]:
    """Return what a plugin returns, as a mapping of our own: reading the plugin's may raise anything too."""
    found = read(server)
    return dict(found) if isinstance(found, Mapping) else found


def _listed(read: Callable[[Server, Volume], Sequence[str]], server: Server, volume: Volume) -> Sequence[str]:
    """Return what a plugin returns, as a list of our own."""
    found = read(server, volume)
    return found if isinstance(found, str) else list(found)


def _is_device(value: Any) -> bool:
    return value is None or (isinstance(value, str) and _DEVICE.match(value) is not None)


def _is_disks(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(id_, str) and _is_device(value[id_]) for id_ in value)
