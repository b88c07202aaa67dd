"""Adopting: rows for disks that were attached before this extension was installed."""

from collections.abc import Mapping
from dataclasses import replace

from ..catalog.base import VolumeCatalog
from ..compute.remote import RemoteComputeAPI
from ..context import new_request_id, operator_context
from ..errors import AlreadyReserved, NotAdopted, ServerMissing, VolumeNotFound
from ..models import ATTACHED, Attachment, AttachRequest, Server, Volume
from ..registry.attachments import Registry
from .executor import BackendExecutor
from .reservations import new_row


class Adopter:
    """Adds rows for disks that servers already have."""

    def __init__(
        self,
        *,
        registry: Registry,
        catalog: VolumeCatalog,
        compute: RemoteComputeAPI | None,
        executor: BackendExecutor,
    ) -> None:
        """Take the collaborators.

        :param compute: None where ``compute.url`` is not set.
        """
        self._registry = registry
        self._catalog = catalog
        self._compute = compute
        self._executor = executor

    def adopt(
        self, server_id: str, volume_id: str, *, device: str | None, root: bool, project_id: str | None
    ) -> Attachment:
        """Add a row for a disk that a server has, and return it (docs/protocol.rst, R19).

        :param device: None for what the backend reports.
        :param root: whether the server boots from it, so that it can't be detached.
        :param project_id: None for the server's, as the compute API knows it, or else the volume's.
        :raises NotAdopted: if the server has no such disk, it has a row already, its project is unknown, or server and
            volume are of different projects.
        """
        server, volume = self._server(server_id), self._volume(volume_id)
        owner = project_id or next((known.project_id for known in (server, volume) if known), None)
        if owner is None:
            raise NotAdopted("neither the compute API nor the catalog knows its project; give --project")
        for known, what in ((server, f"server {server_id}"), (volume, f"volume {volume_id}")):
            if known is not None and known.project_id != owner:
                raise NotAdopted(f"{what} belongs to project {known.project_id}, not to {owner}")
        server = server or Server(server_id, owner, "UNKNOWN")
        request_id = new_request_id()
        disks = self._disks(request_id, server)
        if volume_id not in disks:
            raise NotAdopted(f"server {server_id} has no disk {volume_id}")
        row = new_row(
            replace(server, project_id=owner),
            volume or Volume(volume_id, owner),
            AttachRequest(volume_id, device or disks[volume_id]),
            request_id,
            state=ATTACHED,
            root=root,
        )
        try:
            self._registry.reserve(row)
        except AlreadyReserved as error:
            raise NotAdopted(f"volume {volume_id} or the device {row.device} has a row already") from error
        try:
            self._check_again(server, volume, row)
        except Exception:
            self._registry.remove(row)
            raise
        return row

    def _check_again(self, server: Server, volume: Volume | None, row: Attachment) -> None:
        """Check that disk and volume are still as they were before the row was written (docs/protocol.rst, R21)."""
        other = self._registry.find_excluding(row)
        if other is not None:
            raise NotAdopted(f"volume {row.volume_id} has a row of server {other.server_id}")
        if volume is not None and self._catalog.recheck(operator_context(), volume.id) != volume:
            raise NotAdopted(f"volume {volume.id} was modified concurrently; retry")
        if row.volume_id not in self._disks(row.request_id, server):
            raise NotAdopted(f"the disk {row.volume_id} has just been detached from server {server.id}")

    def _disks(self, request_id: str, server: Server) -> Mapping[str, str | None]:
        with self._executor.slot(request_id) as slot:
            return slot.attached(server)

    def _server(self, server_id: str) -> Server | None:
        if self._compute is None:
            return None
        try:
            return self._compute.server(server_id)
        except ServerMissing as error:
            raise NotAdopted(str(error)) from error

    def _volume(self, volume_id: str) -> Volume | None:
        try:
            return self._catalog.volume(operator_context(), volume_id)
        except VolumeNotFound:
            return None
