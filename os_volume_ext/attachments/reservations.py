"""From a request to a claim: reserve a row, or take over the row that conflicts with it where that is allowed.

A stale attach of the same volume to the same server is taken over, and so is the row of a server that is gone
(docs/protocol.rst, R11). Any other conflicting row is a conflict that names it.
"""

import logging

from ..compute.wrapped import ComputeAPI
from ..context import RequestContext
from ..errors import (
    AlreadyReserved,
    AttachmentLimitReached,
    AttachmentMissing,
    BackendError,
    BackendUnavailable,
    ComputeRefused,
    ComputeUnavailable,
    Conflict,
    OperationIncomplete,
    OutcomeUnknown,
    ServerMissing,
    VolumeInUse,
)
from ..models import ATTACHED, ATTACHING, DETACHING, REATTACHING, Attachment, AttachRequest, Server, Volume
from ..observers.base import DETACH, Observers
from ..registry.attachments import Registry
from .claims import Claim, Claims
from .executor import BackendExecutor, Slot
from .gone import GoneServers

LOG = logging.getLogger(__name__)

ATTEMPTS = 3  # how often to start again because the conflicting row changed meanwhile

_IN_PROGRESS = {ATTACHING: "attached to", REATTACHING: "attached again to", DETACHING: "detached from"}


def new_row(
    server: Server,
    volume: Volume,
    request: AttachRequest,
    request_id: str,
    *,
    state: str = ATTACHING,
    root: bool = False,
) -> Attachment:
    """Return a row to reserve, with what a backend needs to know once server and volume are gone."""
    return Attachment(  # by place, which takes a third of the time that it takes by name
        volume.id,
        server.id,
        server.project_id,
        not volume.multiattach,
        request.device,
        root,
        state,
        request_id,
        server.host,
        server.instance_name,
        volume.source,
        volume.format,
        request.tag,
        request.delete_on_termination,
    )


def operations_in_progress(volume_id: str) -> Conflict:
    """Return the conflict with concurrent operations on a volume."""
    return Conflict(f"Other operations on volume {volume_id} are in progress. Retry later.", retryable=True)


def device_in_use(row: Attachment) -> Conflict:
    """Return the conflict of a row whose device another volume has."""
    return Conflict(f"Device {row.device} of server {row.server_id} is in use by another volume.")


class Reservations:
    """Makes the claims that requests need."""

    def __init__(
        self,
        *,
        compute: ComputeAPI,
        registry: Registry,
        claims: Claims,
        executor: BackendExecutor,
        gone: GoneServers,
        max_attachments: int | None,
        observers: Observers,
    ) -> None:
        """Take the collaborators.

        :param max_attachments: how many volumes a server may have attached; None: as many as the backend allows.
        """
        self._compute = compute
        self._registry = registry
        self._claims = claims
        self._executor = executor
        self._gone = gone
        self._max_attachments = max_attachments
        self._observers = observers

    def for_attach(self, context: RequestContext, row: Attachment) -> Claim:
        """Claim a new row in order to attach its volume.

        :raises Conflict: if another operation or the device conflicts.
        :raises VolumeInUse: if the volume is attached.
        :raises AttachmentLimitReached: if the server has ``max_attachments`` rows.
        :raises BackendError: if the volume could not be detached from a server that is gone.
        :raises OperationIncomplete: likewise.
        :raises Overloaded: if no slot is free for that.
        """
        for _ in range(ATTEMPTS):
            try:
                return self._claims.reserve(row, self._max_attachments)
            except AlreadyReserved:
                other = self._registry.find_conflicting(row)
            except AttachmentLimitReached:
                other = self._registry.get(row.server_id, row.volume_id)
                if other is None:
                    raise
            claim = other and self._take_over(context, row, other)
            if claim:
                return claim
        raise operations_in_progress(row.volume_id)

    def check_alone(self, row: Attachment) -> None:
        """Check that no other row has the volume, unless both may (docs/protocol.rst, R21).

        :raises VolumeInUse: if another server has it.
        :raises Conflict: if another operation is in progress.
        """
        other = self._registry.find_excluding(row)
        if other is not None:
            raise self._conflict(other)

    def for_detach(self, context: RequestContext, row: Attachment) -> Claim:
        """Claim a row in order to detach its volume.

        :raises Conflict: if another operation is in progress.
        :raises AttachmentMissing: if the volume has been detached meanwhile.
        """
        for _ in range(ATTEMPTS):
            if self._claims.is_in_progress(row):
                raise self._conflict(row, row.server_id)
            claim = self._claims.acquire_for_caller(row, context.request_id)
            if claim is not None:
                return claim
            found = self._registry.get(row.server_id, row.volume_id)
            if found is None:
                raise AttachmentMissing(row.server_id, row.volume_id)
            row = found
        raise operations_in_progress(row.volume_id)

    def _take_over(self, context: RequestContext, row: Attachment, other: Attachment) -> Claim | None:
        """Take over the conflicting row if that is allowed; None if it has changed and may be gone."""
        if other.volume_id != row.volume_id:
            raise device_in_use(row)
        if other.project_id != row.project_id:
            raise self._conflict(other)
        if other.server_id != row.server_id:
            return self._take_over_elsewhere(context, row, other)
        if other.state == ATTACHING and self._claims.is_stale(other):
            return self._take_over_attach(other, row)
        raise self._conflict(other, other.server_id)

    def _take_over_attach(self, other: Attachment, row: Attachment) -> Claim | None:
        try:
            return self._claims.acquire_for_attach(other, row)
        except AlreadyReserved:
            raise operations_in_progress(row.volume_id) if row.device is None else device_in_use(row) from None

    def _take_over_elsewhere(self, context: RequestContext, row: Attachment, other: Attachment) -> Claim | None:
        """Free a volume of a server that is gone (docs/protocol.rst, R11)."""
        self._refuse_visible(context, other)
        if self._claims.is_in_progress(other):
            raise self._conflict(other)
        try:
            if not self._gone.is_gone(context.request_id, other.server):
                raise self._conflict(other)
        except ComputeUnavailable as error:
            LOG.warning("%s is server %s gone? %s", context.request_id, other.server_id, error)
            raise self._conflict(other) from error
        with self._executor.slot(context.request_id, row.project_id) as slot:
            return self._move(context, slot, row, other)

    def _refuse_visible(self, context: RequestContext, other: Attachment) -> None:
        """Refuse to take over the row of a server that the caller may see, or that the compute API does not tell."""
        try:
            server = self._compute.server(context, other.server_id)
        except ServerMissing:
            return
        except (ComputeRefused, ComputeUnavailable):
            raise self._conflict(other) from None
        if not server.is_deleted:
            visible = context.can("show", server.project_id, server.user_id)
            raise self._conflict(other, server.id if visible else None)

    def _move(self, context: RequestContext, slot: Slot, row: Attachment, other: Attachment) -> Claim | None:
        """Detach a volume from a server that is gone, and replace that row by the new one."""
        if other.volume_id in (slot.disks(other.server) or {}):
            raise self._conflict(other)
        claim = self._claims.acquire_for_caller(other, context.request_id)
        if claim is None:
            return None
        try:
            with self._observers.claimed(DETACH, claim.row):
                self._claims.detach_disk(claim, slot, other.server, is_gone=lambda: True)
        except (BackendUnavailable, OutcomeUnknown):
            raise
        except BackendError as error:  # its message is about a server that the caller did not name
            raise OperationIncomplete(
                f"the backend refused to detach it from server {other.server_id}: {error}"
            ) from error
        LOG.warning(
            "%s volume %s was attached to server %s, which is deleted: attachment removed",
            context.request_id, other.volume_id, other.server_id,
        )  # fmt: skip
        try:
            return self._claims.transfer(claim, row, self._max_attachments)
        except AlreadyReserved:
            raise device_in_use(row) from None

    def _conflict(self, row: Attachment, server_id: str | None = None) -> Conflict:
        """Describe a conflicting row; ``server_id`` is given only if the caller may see that server."""
        where = f" server {server_id}" if server_id else " another server"
        if row.state == ATTACHED:
            return VolumeInUse(f"Volume {row.volume_id} is attached to{where}.")
        return Conflict(
            f"Volume {row.volume_id} is being {_IN_PROGRESS[row.state]}{where}.",
            retryable=not self._claims.is_stale(row),
        )
