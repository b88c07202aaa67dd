"""The way to a claim: reserve a row, or take over what stands in the way where that is allowed.

What may be taken over are operations that were left unfinished, and the rows of servers that the compute API
no longer has; everything else in the way is a conflict, which says what it is.
"""

import logging

from ..backends.base import Backend
from ..compute.wrapped import ComputeAPI
from ..context import RequestContext
from ..errors import (
    AlreadyReserved,
    AttachmentLimitReached,
    AttachmentMissing,
    AttachRefused,
    ComputeRefused,
    ComputeUnavailable,
    Conflict,
    OperationIncomplete,
    ServerMissing,
    ServerNotFound,
    VolumeInUse,
)
from ..models import ATTACHED, ATTACHING, DETACHING, REATTACHING, Attachment
from ..observers.base import DETACH, Observers
from ..registry.attachments import Registry
from .claims import Claim, Claims
from .executor import Slot

LOG = logging.getLogger(__name__)

_DOING = {ATTACHING: "attached to", REATTACHING: "attached again to", DETACHING: "detached from"}
ATTEMPTS = 3  # how often a row that comes and goes while it is looked at is tried for


def device_in_use(row: Attachment) -> Conflict:
    """Return the conflict of a row that asks for a device which another volume has."""
    return Conflict(f"Device {row.device} of server {row.server_id} is in use by another volume.")


class Reservations:
    """Makes the claims that requests need."""

    def __init__(
        self,
        compute: ComputeAPI,
        registry: Registry,
        backend: Backend,
        claims: Claims,
        max_attachments: int | None,
        observers: Observers,
    ) -> None:
        """Take the rooms below.

        :param max_attachments: how many a server may have; None: as many as the backend takes.
        :param observers: are told of what is detached to make room.
        """
        self._compute = compute
        self._registry = registry
        self._backend = backend
        self._claims = claims
        self._max_attachments = max_attachments
        self._observers = observers

    def for_attach(self, context: RequestContext, slot: Slot, row: Attachment) -> Claim:
        """Claim a row, which is still to be made, to attach its volume.

        :raises Conflict, VolumeInUse, TooManyAttachments: if something is in the way.
        :raises BackendError, OperationIncomplete: if what is in the way could not be put out of it.
        """
        for _ in range(ATTEMPTS):
            try:
                return self._claims.reserve(row, self._max_attachments)
            except AlreadyReserved:
                other = self._registry.find_conflicting(row)
            except AttachmentLimitReached:
                other = self._registry.get(row.volume_id, row.server_id)
                if other is None:
                    raise
            claim = other and self._claim_from(context, slot, row, other)
            if claim:
                return claim
        raise Conflict(f"Other operations on volume {row.volume_id} are under way.", retryable=True)

    def for_detach(self, context: RequestContext, row: Attachment) -> Claim:
        """Claim a row, to detach its volume.

        :raises Conflict: if another operation is under way. :raises AttachmentMissing: if it has ended so.
        """
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
        raise Conflict(f"Other operations on volume {row.volume_id} are under way.", retryable=True)

    def _claim_from(self, context: RequestContext, slot: Slot, row: Attachment, other: Attachment) -> Claim | None:
        """Take over the row in the way if that is allowed; None if it has changed and may be gone."""
        if other.volume_id != row.volume_id:
            raise device_in_use(row)
        if other.server_id != row.server_id:
            return self._claim_from_elsewhere(context, slot, row, other)
        if other.state == ATTACHING and self._claims.is_stale(other):
            return self._claims.take_for(other, row)
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
            with self._observers.claimed(DETACH, claim.row):
                self._claims.detach_disk(claim, slot, other.server, gone=lambda: True)
        except AttachRefused as error:  # that is not about the server that the caller asked for
            raise OperationIncomplete(
                f"the backend refused to detach it from server {other.server_id}: {error}"
            ) from error
        LOG.warning(
            "%s volume %s was attached to server %s, which is gone: its row goes too",
            context.request_id, other.volume_id, other.server_id,
        )  # fmt: skip
        try:
            return self._claims.move(claim, row, self._max_attachments)
        except AlreadyReserved:
            raise device_in_use(row) from None

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
        return Conflict(
            f"Volume {row.volume_id} is being {_DOING[row.state]}{where}.", retryable=not self._claims.is_stale(row)
        )
