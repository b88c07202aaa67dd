"""The four operations, and the order in which things must happen so that a crash loses nothing.

Attach: reserve a row, attach the disk, confirm the row. Detach: claim the row, detach the disk, remove
the row. ``claims`` has the rules by which several of these, crashes and ``reconcile`` get along.
"""

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from .backends.base import (
    AttachRefused,
    Backend,
    DeviceInUse,
    Server,
    ServerNotFound,
    TooManyAttachments,
    Volume,
)
from .catalog.base import VolumeCatalog, VolumeNotFound
from .claims import Claim, Claims, Unfinished
from .compute import ComputeAPI, ComputeRefused, ComputeUnavailable, ServerMissing
from .context import RequestContext
from .operations import Operations, Slot
from .registry.attachments import ATTACHED, ATTACHING, DETACHING, Attachment, Listed, Registry, Taken

LOG = logging.getLogger(__name__)

ATTEMPTS = 3  # how often a row that comes and goes while it is looked at is tried for


class AttachmentMissing(Exception):
    """The volume is not attached to that server."""

    def __init__(self, server_id: str, volume_id: str) -> None:
        """:param server_id, volume_id: the ids that were asked for."""
        super().__init__(f"Volume {volume_id} is not attached to server {server_id}.")


class Conflict(Exception):
    """The server or the volume is in a state that forbids the operation."""

    def __init__(self, message: str, passes: bool = False) -> None:
        """:param message: what is in the way. :param passes: whether it will be gone by itself soon."""
        super().__init__(message)
        self.passes = passes


class VolumeInUse(Conflict):
    """The volume is attached."""


class RootVolume(Conflict):
    """The volume is the one that the server started from; it can't be detached."""


@dataclass(frozen=True)
class Rules:
    """What servers may take disks.

    ``server_states`` are the statuses in which they may, ``passing_states`` those that will be over by
    themselves, ``max_attachments`` how many a server may have (None: as many as the backend takes).
    """

    server_states: frozenset[str]
    passing_states: frozenset[str]
    max_attachments: int | None = None


class AttachmentManager:
    """List, get, attach, detach. Ids are canonical strings here; device is "" where there is none to show."""

    def __init__(
        self,
        compute: ComputeAPI,
        catalog: VolumeCatalog,
        registry: Registry,
        backend: Backend,
        claims: Claims,
        operations: Operations,
        rules: Rules,
    ) -> None:
        """Take the rooms below, each of which has one job."""
        self._compute = compute
        self._catalog = catalog
        self._registry = registry
        self._backend = backend
        self._claims = claims
        self._operations = operations
        self._rules = rules

    def list(
        self, context: RequestContext, server_id: str, since: datetime.datetime | None, limit: int, offset: int
    ) -> Sequence[Listed]:
        """Return a server's attachments, oldest first.

        :raises ServerMissing, ComputeRefused, ComputeUnavailable, RegistryUnavailable: if they can't be shown.
        """
        project_id = self._project(context, "index", server_id)
        rows = self._registry.list(server_id, since, limit, offset)
        if project_id is None and rows and not context.can("index", rows[0].project_id):
            raise ServerMissing(server_id)
        return rows

    def get(self, context: RequestContext, server_id: str, volume_id: str) -> Listed:
        """Return one attachment.

        :raises AttachmentMissing: if the volume is not attached there. The rest as ``list``.
        """
        project_id = self._project(context, "show", server_id)
        row = self._registry.show(volume_id, server_id)
        if project_id is None and row and not context.can("show", row.project_id):
            raise ServerMissing(server_id)
        if row is None:
            raise AttachmentMissing(server_id, volume_id)
        return row

    def attach(self, context: RequestContext, server_id: str, volume_id: str, device: str | None = None) -> Listed:
        """Attach a volume to a server.

        :param device: the one asked for, such as ``/dev/vdb``; None leaves it to the backend.
        :raises ServerMissing, VolumeNotFound: if the caller knows of no such server or volume.
        :raises Conflict, VolumeInUse, TooManyAttachments: if something is in the way.
        :raises BackendError, Unfinished, Overloaded: see there. The rest as ``list``.
        """
        server = self._server(context, "create", server_id)
        volume = self._volume(context, server, volume_id)
        self._check_takes_disks(context, server)
        with self._operations.slot(context.request_id) as slot:
            claim = self._reserve(context, slot, server, volume, device)
            device = self._attach_disk(claim, slot, server, volume)
        LOG.info("%s attached volume %s to server %s at %r", context.request_id, volume_id, server_id, device)
        return Listed(volume_id, server_id, device, server.project_id)

    def detach(self, context: RequestContext, server_id: str, volume_id: str) -> None:
        """Detach a volume from a server, which the compute API need not have any more.

        :raises ServerMissing, AttachmentMissing: if the caller knows of no such server or attachment.
        :raises RootVolume, Conflict: if it can't be detached (now).
        :raises BackendError, Unfinished, Overloaded: see there. The rest as ``list``.
        """
        server = self._server_if_there(context, server_id)
        row = self._registry.get(volume_id, server_id)
        if server is None and not (row and context.can("delete", row.project_id)):
            raise ServerMissing(server_id)
        if row is None:
            raise AttachmentMissing(server_id, volume_id)
        if row.root:
            raise RootVolume(f"Volume {volume_id} is the root volume of server {server_id}: it can't be detached.")
        if server is not None:
            self._check_takes_disks(context, server)
        with self._operations.slot(context.request_id) as slot:
            claim = self._claim_detach(context, row)
            self._claims.detach(claim, slot, server or row.server, lambda: self._is_gone(context, server_id))
        LOG.info("%s detached volume %s from server %s", context.request_id, volume_id, server_id)

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

    def _check_takes_disks(self, context: RequestContext, server: Server) -> None:
        if server.locked and not context.is_admin:
            raise Conflict(f"Server {server.id} is locked.")
        if server.status not in self._rules.server_states:
            passes = server.status in self._rules.passing_states
            raise Conflict(f"Server {server.id} is in the state {server.status}, which forbids it.", passes)

    # -- attach: the way to a claim --------------------------------------------------------------------

    def _reserve(
        self, context: RequestContext, slot: Slot, server: Server, volume: Volume, device: str | None
    ) -> Claim:
        row = Attachment(
            volume_id=volume.id,
            server_id=server.id,
            project_id=server.project_id,
            exclusive=not volume.multiattach,
            device=device,
            root=False,
            state=ATTACHING,
            request_id=context.request_id,
            host=server.host,
            instance_name=server.instance_name,
            source=volume.source,
            format=volume.format,
        )
        for _ in range(ATTEMPTS):
            try:
                return self._claims.reserve(row, self._rules.max_attachments)
            except Taken:
                other = self._registry.in_the_way(row)
            except TooManyAttachments:
                other = self._registry.get(volume.id, server.id)
                if other is None:
                    raise
            claim = other and self._claim_from(context, slot, row, other)
            if claim:
                return claim
        raise Conflict(f"Other operations on volume {volume.id} are under way.", passes=True)

    def _attach_disk(self, claim: Claim, slot: Slot, server: Server, volume: Volume) -> str:
        try:
            return self._claims.attach(claim, slot, server, volume)
        except ServerNotFound as error:
            raise ServerMissing(server.id) from error
        except DeviceInUse as error:
            raise _device_in_use(claim.row) from error

    def _claim_from(self, context: RequestContext, slot: Slot, row: Attachment, other: Attachment) -> Claim | None:
        """Take over the row in the way if that is allowed; None if it has changed and may be gone."""
        if other.volume_id != row.volume_id:
            raise _device_in_use(row)
        if other.server_id != row.server_id:
            return self._claim_from_elsewhere(context, slot, row, other)
        if other.state == ATTACHING and self._claims.is_stale(other):
            return self._claims.take(other, ATTACHING, context.request_id)
        raise self._conflict(other, other.server_id)

    def _claim_from_elsewhere(
        self, context: RequestContext, slot: Slot, row: Attachment, other: Attachment
    ) -> Claim | None:
        if other.project_id != row.project_id:
            raise self._conflict(other)
        try:
            server = self._compute.server(context, other.server_id)
        except ServerMissing:
            return self._claim_from_deleted(context, slot, row, other)
        except (ComputeRefused, ComputeUnavailable):
            raise self._conflict(other) from None
        raise self._conflict(other, server.id if context.can("show", server.project_id) else None)

    def _claim_from_deleted(
        self, context: RequestContext, slot: Slot, row: Attachment, other: Attachment
    ) -> Claim | None:
        """Free a volume of a server that the compute API no longer has, if the backend agrees."""
        if other.state != ATTACHED and not self._claims.is_stale(other):
            raise self._conflict(other)
        if self._has_disk(slot, other):
            raise self._conflict(other)
        claim = self._claims.take(other, DETACHING, context.request_id)
        if claim is None:
            return None
        try:
            self._claims.detach_disk(claim, slot, other.server, gone=lambda: True)
        except AttachRefused as error:  # that is not about the server that the caller asked for
            raise Unfinished(f"the backend refused to detach it from server {other.server_id}: {error}") from error
        LOG.warning(
            "%s volume %s was attached to server %s, which is gone: its row goes too",
            context.request_id, other.volume_id, other.server_id,
        )  # fmt: skip
        try:
            return self._claims.move(claim, row, self._rules.max_attachments)
        except Taken:
            raise _device_in_use(row) from None

    def _has_disk(self, slot: Slot, row: Attachment) -> bool:
        try:
            return row.volume_id in slot.call(self._backend.attached, row.server)
        except ServerNotFound:
            return False

    def _conflict(self, row: Attachment, server_id: str | None = None) -> Conflict:
        """Say what is in the way; ``server_id`` only to callers who may see that server."""
        where = f" server {server_id}" if server_id else " another server"
        if row.state == ATTACHED:
            return VolumeInUse(f"Volume {row.volume_id} is attached to{where}.")
        doing = "being attached to" if row.state == ATTACHING else "being detached from"
        return Conflict(f"Volume {row.volume_id} is {doing}{where}.", passes=not self._claims.is_stale(row))

    # -- detach: the way to a claim --------------------------------------------------------------------

    def _claim_detach(self, context: RequestContext, row: Attachment) -> Claim:
        for _ in range(ATTEMPTS):
            if row.state != ATTACHED and not self._claims.is_stale(row):
                raise self._conflict(row, row.server_id)
            claim = self._claims.take(row, DETACHING, context.request_id)
            if claim is not None:
                return claim
            found = self._registry.get(row.volume_id, row.server_id)
            if found is None:
                raise AttachmentMissing(row.server_id, row.volume_id)
            row = found
        raise Conflict(f"Other operations on volume {row.volume_id} are under way.", passes=True)


def _device_in_use(row: Attachment) -> Conflict:
    return Conflict(f"Device {row.device} of server {row.server_id} is in use by another volume.")
