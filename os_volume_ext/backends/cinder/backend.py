"""A backend that wraps another one: Cinder's attachment is made before the disk is attached, and deleted after it left.

Attach: find or create Cinder's attachment of the volume to the server, connect it, attach the disk, complete it.
Detach: detach the disk, check that it has left, delete Cinder's attachment. A call that fails in between leaves what
the next one completes. A volume counts as attached only if both sides have it.
"""

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from ...errors import RequestFailed, RequestRefused
from ...outbound.cinder import UUID, Cinder, Deadline
from ..base import (
    AttachRefused,
    Backend,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    OutcomeUnknown,
    Server,
    Volume,
    check_device,
)
from .attachments import RESERVED, CinderAttachment, CinderAttachments
from .encryption import Encryption
from .inner import inner_options, make_inner
from .refusals import refused

RPC_TIMEOUT = 60
"""Cinder's ``rpc_response_timeout``, in seconds: after that it responds itself that its volume service does not."""
MIN_TIMEOUT = 75

_UNDO = 5  # seconds of each call that are kept to delete a reservation
_ATTEMPTS, _PAUSE = 30, 0.1  # how often to connect while other calls for the same volume and server do so too; seconds


class CinderBackend(Backend):
    """Attach Cinder's volumes with another backend."""

    refuses_second_server = True

    def __init__(self, options: Mapping[str, str]) -> None:
        """Read the options, and make the other backend.

        :param options: ``inner``, the other backend's entry point, and ``inner.*``, its options; ``key_manager_conf``,
            for encrypted volumes, see :class:`KeyManager`; those of :class:`Cinder`; ``operation_timeout``. The other
            backend gets half of what is left of that beside ``RPC_TIMEOUT``.
        :raises ConfigurationError: if one is missing, unknown or invalid.
        """
        self._timeout = int(options.get("operation_timeout", 120))
        if self._timeout < MIN_TIMEOUT:
            raise ConfigurationError(
                f"operation_timeout is {self._timeout}: the backend cinder needs {MIN_TIMEOUT} or more, because Cinder "
                f"itself waits {RPC_TIMEOUT} seconds for its volume service (rpc_response_timeout)"
            )
        self._inner_timeout = (self._timeout - RPC_TIMEOUT) // 2
        self._inner = make_inner(options, self._inner_timeout)
        self.needs_host = self._inner.needs_host
        own = {name: value for name, value in options.items() if name != "inner" and not name.startswith("inner.")}
        own.pop("operation_timeout", None)
        key_manager_conf = own.pop("key_manager_conf", None)
        self._cinder = Cinder("backend.", own)
        self._attachments = CinderAttachments(self._cinder)
        self._encryption = Encryption(key_manager_conf, self._inner, self._attachments)

    def prepare(self) -> None:
        """Prepare the other backend.

        :raises ConfigurationError: if it can't be.
        """
        with inner_options():
            self._inner.prepare()

    def attach(self, server: Server, volume: Volume, device: str | None) -> str | None:
        """Attach a volume in Cinder and in the other backend; see :meth:`Backend.attach`."""
        deadline = self._deadline()
        disks = self._inner.attached(server)
        _check_ids(server, volume)
        with _unavailable():
            ours = self._attachments.of(server, volume, deadline)
        if volume.id in disks and any(each.is_attached for each in ours):
            return disks[volume.id]
        check_device(device)  # Cinder responds with 500 to one that it can't store
        known = ours or self._reserve(server, volume, deadline)
        try:
            attachment, connection = self._connect(server, volume, device, deadline, known)
            connection = self._encryption.with_passphrase(volume, connection, deadline, self._inner_timeout)
            found = self._attach_disk(server, volume, connection, device, deadline)
        except OutcomeUnknown:
            raise
        except BackendError as error:
            # An earlier call may have made it, but it is kept while it stands for a disk, or for one that is missing.
            if not ours or not (volume.id in disks or any(each.is_attached for each in ours)):
                self._cancel_all(server, volume, error)
            raise
        try:
            if found != device:  # Cinder learns the device that was chosen
                attachment, _ = self._connect(server, volume, found, deadline, [attachment])
            self._attachments.complete(attachment, deadline)
        except (BackendError, RequestFailed) as error:
            raise OutcomeUnknown(str(error)) from error
        return found

    def detach(self, server: Server, volume: Volume, device: str | None) -> None:
        """Detach a volume from the other backend, then in Cinder; see :meth:`Backend.detach`."""
        deadline = self._deadline()
        if _has_ids(server, volume):
            with _unavailable():
                self._attachments.of(server, volume, deadline)
        self._inner.detach(server, volume, device)
        try:
            has_disk = volume.id in self._inner.attached(server)
        except BackendError as error:
            raise OutcomeUnknown(f"whether the disk has left is not known: {error}") from error
        if has_disk:
            raise OutcomeUnknown(f"server {server.id} still has volume {volume.id} after it was detached")
        self._delete_attachments(server, volume, deadline)

    def forget(self, server: Server, volume: Volume) -> None:
        """Free a volume in the other backend, then in Cinder; see :meth:`Backend.forget`."""
        deadline = self._deadline()
        self._inner.forget(server, volume)
        self._delete_attachments(server, volume, deadline)

    def find_clients(self, server: Server, volume: Volume) -> Sequence[str]:
        """Find the clients in the other backend; see :meth:`Backend.find_clients`."""
        return self._inner.find_clients(server, volume)

    def cut_off(self, server: Server, volume: Volume, clients: Sequence[str]) -> None:
        """Cut a server off in the other backend, then free the volume in Cinder; see :meth:`Backend.cut_off`."""
        deadline = self._deadline()
        if _has_ids(server, volume):
            with _unavailable():
                self._attachments.of(server, volume, deadline)
        self._inner.cut_off(server, volume, clients)
        self._delete_attachments(server, volume, deadline)

    def attached(self, server: Server) -> Mapping[str, str | None]:
        """Return the volumes that both the other backend and Cinder have attached; see :meth:`Backend.attached`."""
        deadline = self._deadline()
        disks = self._inner.attached(server)
        complete = {each.volume_id for each in self._of_server(server, deadline) if each.is_attached}
        return {volume_id: device for volume_id, device in disks.items() if volume_id in complete}

    def incomplete(self, server: Server) -> Mapping[str, str]:
        """Return the volumes that only one of the two has attached; see :meth:`Backend.incomplete`."""
        deadline = self._deadline()
        disks = self._inner.attached(server)
        statuses = {each.volume_id: each.status for each in self._of_server(server, deadline)}
        only_cinder = {
            volume_id: f"Cinder has an attachment in status {status}, and the server has no disk"
            for volume_id, status in statuses.items()
            if volume_id not in disks
        }
        only_disk = {
            volume_id: f"the server has the disk, and Cinder's attachment is {statuses.get(volume_id, 'missing')}"
            for volume_id in disks
            if statuses.get(volume_id) != "attached"
        }
        return only_cinder | only_disk

    def disk_size(self, server: Server, volume: Volume) -> int | None:
        """Return what the other backend does; see :meth:`Backend.disk_size`."""
        return self._inner.disk_size(server, volume)

    def resize(self, server: Server, volume: Volume) -> None:
        """Resize the other backend's disk; see :meth:`Backend.resize`."""
        self._inner.resize(server, volume)

    def check(self) -> None:
        """Check Cinder, the service user's roles, the key manager's configuration, and the other backend.

        :raises BackendUnavailable: if one of them could not work.
        """
        with _unavailable():
            self._cinder.check(Deadline(self._timeout - self._inner_timeout))
        self._encryption.check()
        self._inner.check()

    def _deadline(self) -> Deadline:
        return Deadline(self._timeout - _UNDO)

    def _of_server(self, server: Server, deadline: Deadline) -> Sequence[CinderAttachment]:
        if not UUID.match(server.id):
            return ()
        with _unavailable():
            return self._attachments.of_server(server, deadline)

    def _delete_attachments(self, server: Server, volume: Volume, deadline: Deadline) -> None:
        if not _has_ids(server, volume):
            return
        with _outcome_unknown():
            for each in self._attachments.of(server, volume, deadline):
                self._attachments.delete(each, deadline)

    # -- steps of attach ---------------------------------------------------------------------------------

    def _reserve(self, server: Server, volume: Volume, deadline: Deadline) -> Sequence[CinderAttachment]:
        """Reserve a volume for a server; return its attachments to the server, which others may have made meanwhile."""
        for _ in range(_ATTEMPTS):
            outcome = self._try_to_reserve(server, volume, deadline)
            if isinstance(outcome, CinderAttachment):
                return [outcome]
            with _unavailable():
                holders = self._attachments.of_volume(volume, deadline)
            if ours := [each for each in holders if each.server_id == server.id]:
                return ours
            status = self._status(volume, deadline)
            if holders or status != RESERVED:
                raise refused(outcome, volume, status) from outcome
            time.sleep(_PAUSE)  # Cinder changes the status before it has the attachment
        raise AttachRefused(f"Volume {volume.id} is reserved in Cinder, by no attachment.")

    def _try_to_reserve(self, server: Server, volume: Volume, deadline: Deadline) -> CinderAttachment | RequestRefused:
        """Reserve a volume; return the exception if Cinder refuses that."""
        try:
            return self._attachments.reserve(server, volume, deadline)
        except RequestRefused as error:
            if error.status < 500:
                return error
            self._cancel_all(server, volume, error)
            raise BackendUnavailable(str(error)) from error
        except RequestFailed as error:
            self._cancel_all(server, volume, error)
            raise OutcomeUnknown(str(error)) from error  # it may yet be reserved

    def _connect(
        self,
        server: Server,
        volume: Volume,
        device: str | None,
        deadline: Deadline,
        ours: Sequence[CinderAttachment],
    ) -> tuple[CinderAttachment, Mapping[str, object]]:
        """Connect one of the attachments of a volume to a server, and delete reservations that prevent that.

        :param ours: those attachments, as last seen.
        """
        for _ in range(_ATTEMPTS):
            if not ours:
                raise BackendUnavailable(f"Cinder's attachment of volume {volume.id} was deleted meanwhile")
            chosen, *others = sorted(ours, key=lambda each: (each.status == RESERVED, each.id))
            try:
                info = self._attachments.connect(chosen, _connector(server, device), deadline)
            except RequestRefused as error:
                # 404 or 409: another call has deleted it, or reserved or connected the volume for the same server.
                status = self._status(volume, deadline)
                if error.status not in (404, 409) or "error" in str(status):
                    raise refused(error, volume, status) from error
            except RequestFailed as error:
                raise BackendUnavailable(str(error)) from error
            else:
                return chosen, _checked(volume, info)
            if chosen.status != RESERVED:
                with _unavailable():
                    for each in others:
                        self._attachments.delete(each, deadline)
            time.sleep(_PAUSE)
            with _unavailable():
                ours = self._attachments.of(server, volume, deadline)
        raise BackendUnavailable(f"other calls keep changing Cinder's attachments of volume {volume.id}")

    def _attach_disk(
        self,
        server: Server,
        volume: Volume,
        connection: Mapping[str, object],
        device: str | None,
        deadline: Deadline,
    ) -> str | None:
        if deadline.remaining() < self._inner_timeout:
            raise BackendUnavailable("Cinder took too long to connect the volume")
        path = connection.get("device_path")  # of a volume that the host has as a file or a block device
        source = str(path) if path else volume.source
        return self._inner.attach(server, replace(volume, source=source, connection=connection), device)

    def _status(self, volume: Volume, deadline: Deadline) -> str | None:
        with suppress(RequestFailed):
            return self._attachments.volume_status(volume, deadline)
        return None

    def _cancel_all(self, server: Server, volume: Volume, cause: Exception) -> None:
        """Delete what was reserved, so that nothing has changed.

        :raises OutcomeUnknown: if it may still be reserved.
        """
        deadline = Deadline(_UNDO)
        try:
            for each in self._attachments.of(server, volume, deadline):
                self._attachments.delete(each, deadline)
        except RequestFailed as error:
            raise OutcomeUnknown(f"volume {volume.id} may still be reserved: {error} ({cause})") from error


def _has_ids(server: Server, volume: Volume) -> bool:
    return bool(UUID.match(server.id) and UUID.match(volume.id))


def _check_ids(server: Server, volume: Volume) -> None:
    if not _has_ids(server, volume):
        raise AttachRefused(
            "Cinder attaches volumes to servers whose ids are UUIDs, and has volumes with such ids only."
        )


def _connector(server: Server, device: str | None) -> Mapping[str, object]:
    """Return what Cinder knows of the host that gets the volume."""
    connector = {"host": server.host or socket.gethostname(), "platform": "x86_64", "os_type": "linux"}
    return connector | {"multipath": False} | ({"mountpoint": device} if device else {})


def _checked(volume: Volume, info: Mapping[str, object]) -> Mapping[str, object]:
    """Check that there is a connection, and one that can be used."""
    if not info:
        raise BackendUnavailable(f"Cinder returned no connection for volume {volume.id}: see cinder-volume's log")
    return info


@contextmanager
def _unavailable() -> Iterator[None]:
    """Translate failures of requests that change nothing."""
    try:
        yield
    except RequestFailed as error:
        raise BackendUnavailable(str(error)) from error


@contextmanager
def _outcome_unknown() -> Iterator[None]:
    """Translate failures of requests after a change."""
    try:
        yield
    except RequestFailed as error:
        raise OutcomeUnknown(str(error)) from error
