"""Removing: rows of disks that servers do not have, where reconcile can't decide."""

from ..compute.remote import RemoteComputeAPI
from ..context import new_request_id
from ..errors import AttachmentMissing, NotRemoved, ServerMissing
from ..models import ATTACHED, Attachment, Server
from ..registry.attachments import Registry
from .claims import Claims
from .executor import BackendExecutor


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
        :raises NotRemoved: if the server has the disk, or the row changes.
        :raises BackendError: if the backend fails.
        :raises ComputeUnavailable: if the compute API fails.
        :raises Overloaded: if no slot is free.
        """
        row = self._registry.get(server_id, volume_id)
        if row is None:
            raise AttachmentMissing(server_id, volume_id)
        if row.state != ATTACHED and not self._claims.is_stale(row):
            raise NotRemoved(f"an operation on volume {volume_id} is in progress; retry later")
        with self._executor.slot(new_request_id()) as slot:
            disks = slot.disks(self._server(row)) or {}
        if volume_id in disks:
            raise NotRemoved(f"server {server_id} has the disk {volume_id}; detach the volume instead")
        # Without a claim: if this ends early, reconcile must not take it for a detach.
        if not self._registry.remove(row):
            raise NotRemoved("the attachment was modified concurrently; retry")

    def _server(self, row: Attachment) -> Server:
        """Return the server as it is, or as it was when the volume was attached."""
        if self._compute is None:
            return row.server
        try:
            return row.with_host(self._compute.server(row.server_id))
        except ServerMissing:
            return row.server
