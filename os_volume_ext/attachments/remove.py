"""Removing: rows of disks that servers do not have, where reconcile can't decide."""

from ..compute.remote import RemoteComputeAPI
from ..context import new_request_id
from ..errors import AttachmentMissing, NotRemoved, ServerMissing
from ..models import ATTACHED, Attachment, Server
from ..registry.attachments import Registry
from .claims import Claim, Claims


class Remover:
    """Removes rows at an operator's command. The volume stays, whatever ``delete_on_termination`` is."""

    def __init__(self, *, registry: Registry, claims: Claims, compute: RemoteComputeAPI | None) -> None:
        """Take the collaborators.

        :param compute: None where ``compute.url`` is not set.
        """
        self._registry = registry
        self._claims = claims
        self._compute = compute

    def remove(self, server_id: str, volume_id: str) -> None:
        """Remove the row of a disk that the backend does not have there (docs/protocol.rst, R29).

        :raises AttachmentMissing: if there is no row.
        :raises NotRemoved: if the server has the disk, or another operation is in progress.
        :raises BackendError: if the backend fails; the row stays as it was.
        :raises ComputeUnavailable: if the compute API fails.
        :raises OperationIncomplete: if the row was modified concurrently.
        :raises Overloaded: if no slot is free.
        """
        row = self._registry.get(server_id, volume_id)
        if row is None:
            raise AttachmentMissing(server_id, volume_id)
        server = self._server(row)
        if row.state != ATTACHED and not self._claims.is_stale(row):
            raise NotRemoved(f"an operation on volume {volume_id} is in progress; retry later")
        claim = self._claims.acquire_for_caller(row, new_request_id())
        if claim is None:
            raise NotRemoved("the attachment was modified concurrently; retry")
        if self._has_disk(claim, server):
            self._claims.release(claim)
            raise NotRemoved(f"server {server_id} has the disk {volume_id}; detach the volume instead")
        self._claims.remove(claim)

    def _server(self, row: Attachment) -> Server:
        """Return the server as it is, or as it was when the volume was attached."""
        if self._compute is None:
            return row.server
        try:
            return self._compute.server(row.server_id)
        except ServerMissing:
            return row.server

    def _has_disk(self, claim: Claim, server: Server) -> bool:
        with self._claims.slot(claim) as slot:
            try:
                disks = slot.disks(server) or {}
            except Exception:
                self._claims.release(claim)
                raise
        return claim.row.volume_id in disks
