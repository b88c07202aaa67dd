"""The operations, and the order in which things must happen so that a crash loses nothing.

Attach: reserve a row, attach the disk, confirm the row. Detach: claim the row, detach the disk, remove
the row. ``claims`` has the rules by which several of these, crashes and ``reconcile`` get along.
"""

import datetime
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from ..backends.base import Backend
from ..catalog.base import VolumeCatalog
from ..compute.wrapped import ComputeAPI
from ..context import RequestContext
from ..errors import (
    AttachmentMissing,
    Conflict,
    DeviceInUse,
    RootVolume,
    ServerMissing,
    ServerNotFound,
    Unsupported,
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
from .claims import Claim, Claims
from .executor import BackendExecutor, Slot
from .reservations import Reservations, device_in_use

LOG = logging.getLogger(__name__)


class AttachmentManager:
    """The operations. Ids are canonical strings here; device is "" where there is none to show."""

    def __init__(
        self,
        compute: ComputeAPI,
        catalog: VolumeCatalog,
        registry: Registry,
        backend: Backend,
        claims: Claims,
        operations: BackendExecutor,
        max_attachments: int | None,
        observers: Observers = NO_OBSERVERS,
    ) -> None:
        """Take the rooms below, each of which has one job.

        :param max_attachments: how many a server may have; None: as many as the backend takes.
        :param observers: are told of operations.
        """
        self._compute = compute
        self._catalog = catalog
        self._registry = registry
        self._claims = claims
        self._reservations = Reservations(compute, registry, backend, claims, max_attachments, observers)
        self._operations = operations
        self._observers = observers

    def list(
        self,
        context: RequestContext,
        server_id: str,
        since: datetime.datetime | None,
        limit: int,
        offset: int,
        form: Projection = AttachmentSummary,
    ) -> Sequence[Any]:
        """Return a server's attachments, oldest first, each in a form.

        :raises ServerMissing, ComputeRefused, ComputeUnavailable, RegistryUnavailable: if they can't be shown.
        """
        project_id = self._project(context, "index", server_id)
        rows = self._registry.list(server_id, since, limit, offset, form)
        if project_id is None and rows and not context.can("index", rows[0].project_id):
            raise ServerMissing(server_id)
        return rows

    def get(self, context: RequestContext, server_id: str, volume_id: str, form: Projection = AttachmentSummary) -> Any:
        """Return one attachment in a form.

        :raises AttachmentMissing: if the volume is not attached there. The rest as ``list``.
        """
        project_id = self._project(context, "show", server_id)
        row = self._registry.show(volume_id, server_id, form)
        if project_id is None and row and not context.can("show", row.project_id):
            raise ServerMissing(server_id)
        if row is None:
            raise AttachmentMissing(server_id, volume_id)
        return row

    def attach(
        self, context: RequestContext, rules: Constraints, server_id: str, wanted: AttachRequest
    ) -> AttachmentDetail:
        """Attach a volume to a server.

        :raises ServerMissing, VolumeNotFound: if the caller knows of no such server or volume.
        :raises Unsupported: if the rules allow no such volume, or the catalog could not delete it.
        :raises Conflict, VolumeInUse, TooManyAttachments: if something is in the way.
        :raises BackendError, OperationIncomplete, Overloaded: see there. The rest as ``list``.
        """
        with self._observers.operation(ATTACH, context, server_id, wanted.volume_id) as operation:
            server = self._server(context, "create", server_id)
            volume = self._volume(context, server, wanted.volume_id)
            self._check_supported(rules, volume, wanted.delete_on_termination)
            _check_takes_disks(context, rules, server)
            with self._operations.slot(context.request_id) as slot:
                claim = self._reservations.for_attach(context, slot, _row(context, server, volume, wanted))
                row = claim.row
                self._observers.start(operation, row)
                device = operation.device = self._attach_disk(claim, slot, server, volume)
            return AttachmentDetail(
                volume.id, server_id, device, row.project_id, row.tag, row.delete_on_termination, row.id
            )

    def update(self, context: RequestContext, server_id: str, volume_id: str, members: Mapping[str, Any]) -> None:
        """Change what callers say of an attachment, which is its ``delete_on_termination``.

        :param members: of the attachment, by Nova's names; those that can't change may be given as they are.
        :raises Unsupported: if one is given otherwise, or the catalog could not delete the volume.
        :raises Conflict: if another operation is under way. The rest as ``get``.
        """
        self._server(context, "update", server_id)
        row = self._shown(server_id, volume_id)
        fixed = {"id": volume_id, "serverId": server_id, "device": row.device, "tag": row.tag}
        for name, value in fixed.items():
            if members.get(name, value) != value:
                raise Unsupported(f"The {name} property is not mutable.")
        if "delete_on_termination" in members:
            self._describe(context, row, members["delete_on_termination"])

    def swap(self, context: RequestContext, server_id: str, volume_id: str) -> NoReturn:
        """Refuse to put another volume in an attachment's place, which Nova does for a volume that is migrating.

        :raises Conflict: always, if there is such an attachment. The rest as ``get``.
        """
        self._server(context, "swap", server_id)
        self._shown(server_id, volume_id)
        raise Conflict(f"Volume {volume_id} is not migrating; only the block-storage service should ask for this.")

    def detach(self, context: RequestContext, rules: Constraints, server_id: str, volume_id: str) -> None:
        """Detach a volume from a server, which the compute API need not have any more.

        :raises ServerMissing, AttachmentMissing: if the caller knows of no such server or attachment.
        :raises RootVolume, Conflict: if it can't be detached (now).
        :raises BackendError, OperationIncomplete, Overloaded: see there. The rest as ``list``.
        """
        with self._observers.operation(DETACH, context, server_id, volume_id) as operation:
            self._detach(context, rules, operation)

    def _detach(self, context: RequestContext, rules: Constraints, operation: Operation) -> None:
        server_id, volume_id = operation.server_id, operation.volume_id
        server = self._server_if_there(context, server_id)
        row = self._registry.get(volume_id, server_id)
        if server is None and not (row and context.can("delete", row.project_id)):
            raise ServerMissing(server_id)
        if row is None:
            raise AttachmentMissing(server_id, volume_id)
        if row.root:
            raise RootVolume(f"Volume {volume_id} is the root volume of server {server_id}: it can't be detached.")
        if server is not None:
            _check_takes_disks(context, rules, server)
        with self._operations.slot(context.request_id) as slot:
            claim = self._reservations.for_detach(context, row)
            self._observers.start(operation, claim.row)
            self._claims.detach(claim, slot, server or row.server, lambda: self._is_gone(context, server_id))

    # -- who may, and what is there --------------------------------------------------------------------

    def _project(self, context: RequestContext, action: str, server_id: str) -> str | None:
        project_id = self._compute.project(context, server_id)
        if project_id is not None and not context.can(action, project_id):
            raise ServerMissing(server_id)
        return project_id

    def _server(self, context: RequestContext, action: str, server_id: str) -> Server:
        server = self._compute.server(context, server_id)
        if not context.can(action, server.project_id):
            raise ServerMissing(server_id)
        return server

    def _server_if_there(self, context: RequestContext, server_id: str) -> Server | None:
        try:
            return self._server(context, "delete", server_id)
        except ServerMissing:
            return None

    def _is_gone(self, context: RequestContext, server_id: str) -> bool:
        try:
            self._compute.server(context, server_id)
        except ServerMissing:
            return True
        return False

    def _volume(self, context: RequestContext, server: Server, volume_id: str) -> Volume:
        volume = self._catalog.volume(context, volume_id)
        if volume.project_id != server.project_id:
            raise VolumeNotFound(volume_id)
        return volume

    def _shown(self, server_id: str, volume_id: str) -> Attachment:
        row = self._registry.get(volume_id, server_id)
        if row is None or row.state == ATTACHING:
            raise AttachmentMissing(server_id, volume_id)
        return row

    def _describe(self, context: RequestContext, row: Attachment, delete_on_termination: bool) -> None:
        if delete_on_termination:
            self._check_deletes()
        # With the request's id: who has seen the row as it was, such as reconcile, must look again.
        seen = replace(row, state=ATTACHED)
        if not self._registry.describe(seen, context.request_id, row.tag, delete_on_termination):
            raise Conflict(f"Other operations on volume {row.volume_id} are under way.", retryable=True)
        LOG.info(
            "%s volume %s of server %s: delete_on_termination is %s",
            context.request_id, row.volume_id, row.server_id, delete_on_termination,
        )  # fmt: skip

    def _check_deletes(self) -> None:
        if not self._catalog.can_delete:
            raise Unsupported("delete_on_termination is not supported: volumes can't be deleted here.")

    def _check_supported(self, rules: Constraints, volume: Volume, delete_on_termination: bool) -> None:
        if volume.multiattach and not rules.multiattach:
            raise Unsupported("Multiattach volumes are only supported starting with compute API version 2.60.")
        if delete_on_termination:
            self._check_deletes()

    def _attach_disk(self, claim: Claim, slot: Slot, server: Server, volume: Volume) -> str:
        try:
            return self._claims.attach(claim, slot, server, volume)
        except ServerNotFound as error:
            raise ServerMissing(server.id) from error
        except DeviceInUse as error:
            raise device_in_use(claim.row) from error


def _check_takes_disks(context: RequestContext, rules: Constraints, server: Server) -> None:
    if server.locked and not context.is_admin:
        raise Conflict(f"Server {server.id} is locked.")
    if server.status not in rules.server_states:
        passes = server.status in rules.transient_states
        raise Conflict(f"Server {server.id} is in the state {server.status}, which forbids it.", retryable=passes)


def _row(context: RequestContext, server: Server, volume: Volume, wanted: AttachRequest) -> Attachment:
    return Attachment(
        volume_id=volume.id,
        server_id=server.id,
        project_id=server.project_id,
        exclusive=not volume.multiattach,
        device=wanted.device,
        root=False,
        state=ATTACHING,
        request_id=context.request_id,
        host=server.host,
        instance_name=server.instance_name,
        source=volume.source,
        format=volume.format,
        tag=wanted.tag,
        delete_on_termination=wanted.delete_on_termination,
    )
