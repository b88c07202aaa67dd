"""The operations on attachments, in the order that lets a crash lose nothing.

Attach: reserve a row, attach the disk, confirm the row. Detach: claim the row, detach the disk, remove the row.
``claims`` has what makes concurrent operations, crashes and ``reconcile`` safe; docs/protocol.rst has the rules.
"""

import datetime
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from ..catalog.base import VolumeCatalog
from ..compute.wrapped import ComputeAPI
from ..context import RequestContext
from ..errors import (
    AttachmentMissing,
    Conflict,
    DeviceInUse,
    RegistryUnavailable,
    RootVolume,
    ServerMissing,
    ServerNotFound,
    TransactionAborted,
    VolumeNotFound,
)
from ..models import (
    ATTACHED,
    ATTACHING,
    Attachment,
    AttachmentDetail,
    AttachmentSummary,
    AttachRequest,
    Constraints,
    Projection,
    Server,
    Volume,
)
from ..observers.base import ATTACH, DETACH, NO_OBSERVERS, Observers, Operation
from ..registry.attachments import Registry
from ..registry.compiled import Row
from .checks import (
    authorize,
    authorize_by_rows,
    belongs_to,
    check_deletes,
    check_supported,
    check_takes_disks,
    listed_project,
    no_machine,
)
from .claims import Claim, Claims
from .gone import GoneServers
from .reservations import Reservations, device_in_use, new_row, operations_in_progress

LOG = logging.getLogger(__name__)


class AttachmentManager:
    """Lists, attaches, updates and detaches. Ids are canonical strings."""

    def __init__(
        self,
        *,
        compute: ComputeAPI,
        catalog: VolumeCatalog,
        registry: Registry,
        claims: Claims,
        reservations: Reservations,
        gone: GoneServers,
        observers: Observers = NO_OBSERVERS,
    ) -> None:
        self._compute = compute
        self._catalog = catalog
        self._registry = registry
        self._claims = claims
        self._reservations = reservations
        self._gone = gone
        self._observers = observers

    def list_attachments(
        self,
        context: RequestContext,
        server_id: str,
        *,
        since: datetime.datetime | None,
        limit: int,
        offset: int,
        projection: Projection = AttachmentSummary,
    ) -> Sequence[Row]:
        """Return a server's attachments, oldest first, each with the projection's fields in order.

        Where all are of one project, the last field is missing.

        :param since: only those created at that time or later.
        :raises ServerMissing: if there is no such server, or policy hides it.
        :raises ComputeRefused: if the compute API refuses to show the server.
        :raises ComputeUnavailable: if the compute API fails.
        :raises RegistryUnavailable: if the database fails.
        """
        server = self._find_server(context, "index", server_id)
        project_id = listed_project(context, server)
        rows = self._registry.list_visible(
            server_id,
            project_id=project_id,
            since=since,
            limit=limit,
            offset=offset,
            projection=projection,
        )
        return rows if server else authorize_by_rows(context, "index", server_id, rows, project_id)

    def get(
        self, context: RequestContext, server_id: str, volume_id: str, projection: Projection = AttachmentSummary
    ) -> Any:
        """Return one attachment as a row of the projection.

        :raises AttachmentMissing: if the volume is not attached to the server.
        :raises ServerMissing: as ``list_attachments``, and so are its other exceptions.
        """
        server = self._find_server(context, "show", server_id)
        row = self._registry.get_visible(server_id, volume_id, projection)
        if server is None:
            authorize_by_rows(context, "show", server_id, [row] if row else [])
        if row is None or not belongs_to(row, server):
            raise AttachmentMissing(server_id, volume_id)
        return row

    def attach(
        self, context: RequestContext, constraints: Constraints, server_id: str, request: AttachRequest
    ) -> AttachmentDetail:
        """Attach a volume to a server.

        :raises ServerMissing: if there is no such server, or policy hides it.
        :raises VolumeNotFound: if the server's project has no such volume.
        :raises Unsupported: if the constraints exclude the volume, or the catalog could not delete it later.
        :raises Conflict: if the state of the server, of the volume or of the device forbids it, or the volume has been
            modified meanwhile.
        :raises TooManyAttachments: if the backend takes no more disks for the server.
        :raises AttachmentLimitReached: if the server has ``max_attachments``.
        :raises BackendError: if the backend call failed.
        :raises OperationIncomplete: if the claim was lost or expired.
        :raises Overloaded: if no slot is free.
        """
        with self._observers.operation(ATTACH, context, server_id, request.volume_id) as operation:
            server = self._server(context, "create", server_id)
            volume = self._volume(context, server, request.volume_id)
            check_supported(constraints, self._catalog, volume, request)
            check_takes_disks(context, constraints, server, "attach a volume to")
            if server.status in constraints.offloaded_states:
                raise no_machine(server, volume, request)
            claim = self._reservations.for_attach(context, new_row(server, volume, request, context.request_id))
            row = claim.row
            self._recheck(context, claim, volume)
            device = operation.device = self._attach_disk(operation, claim, server, volume)
            return AttachmentDetail(
                volume.id, server_id, device, row.tag, row.delete_on_termination, row.id, row.project_id
            )

    def find_for_update(self, context: RequestContext, server_id: str, volume_id: str) -> Attachment:
        """Return the row of an attachment that the caller may update.

        :raises AttachmentMissing: if the volume is not attached to the server.
        :raises ServerMissing: as ``list_attachments``, and so are its other exceptions.
        """
        return self._find(context, "update", server_id, volume_id)

    def set_delete_on_termination(self, context: RequestContext, row: Attachment, value: bool) -> None:
        """Change whether the volume is deleted with its server (docs/protocol.rst, R18).

        :param row: as ``find_for_update`` returned it.
        :raises Unsupported: if the catalog could not delete the volume.
        :raises Conflict: if another operation is in progress.
        """
        if value:
            check_deletes(self._catalog)
        # A claim, so that code that read the row before, such as reconcile, must read it again.
        seen = replace(row, state=ATTACHED)
        if not self._registry.claim(seen, seen.claimed(ATTACHED, context.request_id, delete_on_termination=value)):
            raise operations_in_progress(row.volume_id)
        LOG.info(
            "%s volume %s of server %s: delete_on_termination set to %s",
            context.request_id, row.volume_id, row.server_id, value,
        )  # fmt: skip

    def swap(self, context: RequestContext, server_id: str, volume_id: str) -> NoReturn:
        """Refuse to replace an attachment's volume, which Nova does only for a volume that is migrating.

        :raises Conflict: always, if there is such an attachment.
        :raises AttachmentMissing: if the volume is not attached to the server.
        :raises ServerMissing: as ``list_attachments``, and so are its other exceptions.
        """
        self._find(context, "swap", server_id, volume_id)
        raise Conflict(f"Volume {volume_id} is not migrating; only the block-storage service may swap volumes.")

    def detach(self, context: RequestContext, constraints: Constraints, server_id: str, volume_id: str) -> None:
        """Detach a volume from a server, or from one that is gone and was the caller's project's.

        :raises ServerMissing: if there is no such server, or policy hides it.
        :raises AttachmentMissing: if the volume is not attached to the server.
        :raises RootVolume: if the server boots from the volume.
        :raises Conflict: if the state of the server or another operation forbids it.
        :raises BackendError: if the backend call failed.
        :raises OperationIncomplete: if the claim was lost or expired.
        :raises Overloaded: if no slot is free.
        """
        with self._observers.operation(DETACH, context, server_id, volume_id) as operation:
            self._detach(context, constraints, operation)

    def _detach(self, context: RequestContext, constraints: Constraints, operation: Operation) -> None:
        server_id, volume_id = operation.server_id, operation.volume_id
        server = self._server_unless_missing(context, server_id)
        if server is not None:
            authorize(context, "delete", server_id, server.project_id, server.user_id)
        row = self._registry.get(server_id, volume_id)
        if server is None:
            self._check_gone(context, server_id, row)
        if row is None or not belongs_to(row, server):
            raise AttachmentMissing(server_id, volume_id)
        if row.root:
            raise RootVolume(f"Volume {volume_id} is the root volume of server {server_id} and can't be detached.")
        if server is not None:
            check_takes_disks(context, constraints, server, "detach a volume from")
        claim = self._reservations.for_detach(context, row)
        self._detach_disk(context, constraints, operation, claim, server)

    def _check_gone(self, context: RequestContext, server_id: str, row: Attachment | None) -> None:
        """Check that the caller may detach a volume from a server that the compute API does not show to the caller.

        :raises ServerMissing: unless it is gone, the row is of the caller's project, and policy allows it.
        """
        if row is None or row.project_id != context.project_id:
            raise ServerMissing(server_id)
        if not context.can("delete", row.project_id):
            context.log_denied("delete")
            raise ServerMissing(server_id)
        if not self._gone.is_gone(context.request_id, row.server):
            raise ServerMissing(server_id)

    # -- servers and volumes -----------------------------------------------------------------------------

    def _find_server(self, context: RequestContext, action: str, server_id: str) -> Server | None:
        server = self._compute.find(context, server_id)
        if server is not None:
            authorize(context, action, server_id, server.project_id, server.user_id)
        return server

    def _server(self, context: RequestContext, action: str, server_id: str) -> Server:
        server = self._compute.server(context, server_id)
        authorize(context, action, server_id, server.project_id, server.user_id)
        return server

    def _server_unless_missing(self, context: RequestContext, server_id: str) -> Server | None:
        """Return a server; None if the compute API does not show it, or shows that it is deleted."""
        try:
            server = self._compute.server(context, server_id)
        except ServerMissing:
            return None
        return None if server.is_deleted else server

    def _has_no_machine(self, context: RequestContext, constraints: Constraints, server_id: str) -> bool:
        """Return whether a server that the backend does not have is gone, or has no machine at the moment."""
        server = self._server_unless_missing(context, server_id)
        if server is None:
            return self._gone.is_confirmed(server_id)
        return server.status in constraints.offloaded_states and server.task_state is None

    def _volume(self, context: RequestContext, server: Server, volume_id: str) -> Volume:
        volume = self._catalog.volume(context, volume_id)
        if volume.project_id != server.project_id:
            raise VolumeNotFound(volume_id)
        return volume

    def _find(self, context: RequestContext, action: str, server_id: str, volume_id: str) -> Attachment:
        server = self._server(context, action, server_id)
        if server.is_deleted:
            raise ServerMissing(server_id)
        row = self._registry.get(server_id, volume_id)
        if row is None or row.state == ATTACHING or not belongs_to(row, server):
            raise AttachmentMissing(server_id, volume_id)
        return row

    # -- after the reservation ---------------------------------------------------------------------------

    def _recheck(self, context: RequestContext, claim: Claim, volume: Volume) -> None:
        """Check that the volume has not changed until its row was committed (docs/protocol.rst, R21)."""
        try:
            self._reservations.check_alone(claim.row)
            found = self._catalog.recheck(context, volume.id)
            if found.project_id != volume.project_id:
                raise VolumeNotFound(volume.id)
            if found != volume or found.multiattach == claim.row.exclusive:
                raise Conflict(f"Volume {volume.id} was modified concurrently. Retry later.", retryable=True)
        except Exception as error:
            # Where the database did not respond, to release the claim would take as long again to fail; the row stays
            # (docs/protocol.rst, R10).
            if isinstance(error, TransactionAborted) or not isinstance(error, RegistryUnavailable):
                self._claims.release(claim)
            raise

    def _attach_disk(self, operation: Operation, claim: Claim, server: Server, volume: Volume) -> str | None:
        try:
            with self._claims.slot(claim) as slot:
                self._observers.start(operation, claim.row)
                return self._claims.attach(claim, slot, server, volume, claim.row.device)
        except ServerNotFound as error:
            raise ServerMissing(server.id) from error
        except DeviceInUse as error:
            raise device_in_use(claim.row) from error

    def _detach_disk(
        self,
        context: RequestContext,
        constraints: Constraints,
        operation: Operation,
        claim: Claim,
        server: Server | None,
    ) -> None:
        row = claim.row
        known_server = server or row.server
        if known_server.status in constraints.offloaded_states:
            known_server = row.with_host(known_server)
        has_no_machine = partial(self._has_no_machine, context, constraints, row.server_id)
        try:
            with self._claims.slot(claim) as slot:
                self._observers.start(operation, row)
                self._claims.detach(claim, slot, known_server, has_no_machine)
        except ServerNotFound as error:
            raise Conflict(
                f"Cannot detach volume {row.volume_id} from server {row.server_id}: the backend has no such server."
            ) from error
