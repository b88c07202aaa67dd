"""Removing: rows of disks that servers do not have, where reconcile can't decide."""

from collections.abc import Mapping

from ..compute.remote import RemoteComputeAPI
from ..context import new_request_id
from ..errors import AttachmentMissing, BackendUnavailable, NotRemoved, ServerMissing
from ..models import Attachment, Server
from ..registry.attachments import Registry
from .claims import Claims
from .executor import BackendExecutor, Slot


class Remover:
    """Removes rows at an operator's command. The volume stays, whatever ``delete_on_termination`` is."""

    def __init__(
        self, *, registry: Registry, claims: Claims, executor: BackendExecutor, compute: RemoteComputeAPI | None
    ) -> None:
        """Take the collaborators.

        :param compute: None where ``compute.url`` is not set.
        """
        self._registry = registry
        self._claims = claims
        self._executor = executor
        self._compute = compute

    def remove(self, server_id: str, volume_id: str) -> None:
        """Remove the row of a disk that the backend does not have there (docs/protocol.rst, R29).

        :raises AttachmentMissing: if there is no row.
        :raises NotRemoved: if the server has the disk, it is not known whether it has, or the row changes.
        :raises BackendError: if the backend fails.
        :raises ComputeUnavailable: if the compute API fails.
        :raises Overloaded: if no slot is free.
        """
        row = find_row(self._registry, self._claims, server_id, volume_id, NotRemoved)
        with self._executor.slot(new_request_id()) as slot:
            disks = _disks(slot, find_server(self._compute, row))
        if volume_id in disks:
            raise NotRemoved(f"server {server_id} has the disk {volume_id}; detach the volume instead")
        # Without a claim: if this ends early, reconcile must not take it for a detach.
        if not self._registry.remove(row):
            raise NotRemoved("the attachment was modified concurrently; retry")


def find_row(
    registry: Registry, claims: Claims, server_id: str, volume_id: str, refusal: type[Exception]
) -> Attachment:
    """Return the row that an operator's command is about.

    :param refusal: raised if an operation on the volume is in progress.
    :raises AttachmentMissing: if there is no row.
    """
    row = registry.get(server_id, volume_id)
    if row is None:
        raise AttachmentMissing(server_id, volume_id)
    if claims.is_in_progress(row):
        raise refusal(f"an operation on volume {volume_id} is in progress; retry later")
    return row


def find_server(compute: RemoteComputeAPI | None, row: Attachment) -> Server:
    """Return the server of a row as it is, or as it was when the volume was attached.

    :param compute: None where ``compute.url`` is not set.
    :raises ComputeUnavailable: if the compute API fails.
    """
    if compute is None:
        return row.server
    try:
        return row.with_host(compute.server(row.server_id))
    except ServerMissing:
        return row.server


def _disks(slot: Slot, server: Server) -> Mapping[str, str | None]:
    try:
        return slot.disks(server) or {}
    except BackendUnavailable as error:
        raise NotRemoved(
            f"it is not known whether server {server.id} has the disk: {error}; if its host is lost, see attachment "
            "force-detach"
        ) from error
