"""Claims: who may change a row and call the backend for it, so that a crash at any moment loses nothing.

A claim is a row's pending state (``attaching``, ``reattaching`` or ``detaching``) together with the request id that
wrote it. The worker that made it may start backend calls until the claim's deadline (``operation_timeout``, by the
worker's monotonic clock from before the claim was sent). Others may take the row over once it is stale
(``stale_after``, by the database's clock). All backend calls end between the two. Requests and reconcile both use
these claims. docs/protocol.rst has the rules.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from ..errors import (
    AlreadyReserved,
    AttachmentLimitReached,
    BackendError,
    OperationIncomplete,
    OutcomeUnknown,
    ServerNotFound,
)
from ..models import ATTACHED, Attachment, Server, Volume
from ..registry.attachments import Registry
from .executor import Slot

_MODIFIED = "the attachment was modified concurrently"


class PriorState(Enum):
    """What a row was before it was claimed: the state to restore when the backend certainly did nothing."""

    NONE = "none"
    """There was no row."""
    ATTACHED = "attached"
    """Callers saw it as attached: it was ``attached`` or ``reattaching``."""
    PENDING = "pending"
    """An operation did not complete and may have taken effect, so nothing can be restored."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim on a row."""

    row: Attachment
    """The row as the claim wrote it."""
    deadline: float
    """No backend call starts after this time of the monotonic clock, in seconds."""
    prior: PriorState
    delete_on_termination: bool = False
    """What the row had before the claim."""


class Claims:
    """Makes claims and carries out the operations that they are for."""

    def __init__(self, *, registry: Registry, operation_timeout: float, stale_after: float) -> None:
        """Set the limits.

        :param operation_timeout: seconds for which a claim is valid.
        :param stale_after: seconds after which other workers may take a pending row over.
        """
        self._registry = registry
        self._operation_timeout = operation_timeout
        self._stale_after = stale_after

    def is_stale(self, row: Attachment) -> bool:
        """Return whether a row is pending for so long that other workers may take it over."""
        return row.state != ATTACHED and row.age > self._stale_after

    def reserve(self, row: Attachment, limit: int | None) -> Claim:
        """Insert a row as ``attaching``.

        :param limit: ``max_attachments``.
        :raises AlreadyReserved: if another row conflicts.
        :raises AttachmentLimitReached: if the server has ``limit`` rows.
        """
        deadline = self._deadline()
        self._registry.reserve(row, limit)
        return Claim(row, deadline, PriorState.NONE)

    def acquire(self, seen: Attachment, state: str, request_id: str, *, keep_volume: bool = False) -> Claim | None:
        """Claim a row that is ``attached`` or stale (docs/protocol.rst, R6 and R7).

        :param keep_volume: whether the claim unsets ``delete_on_termination``, as every detach for a caller does
            (docs/protocol.rst, R16).
        :returns: None if the row is no longer as it was seen.
        """
        deadline = self._deadline()
        if not self._registry.claim(seen, state, request_id, keep_volume=keep_volume):
            return None
        prior = PriorState.ATTACHED if seen.is_attached else PriorState.PENDING
        row = replace(seen, state=state, request_id=request_id)
        if keep_volume:
            row = replace(row, delete_on_termination=False)
        return Claim(row, deadline, prior, seen.delete_on_termination)

    def acquire_for(self, seen: Attachment, request: Attachment) -> Claim | None:
        """Take over a stale attach for a new one of the same volume, whose tag and delete_on_termination hold.

        :returns: None if the row is no longer as it was seen.
        """
        claim = self.acquire(seen, request.state, request.request_id)
        if claim is None or not self._registry.describe(
            claim.row, request.request_id, request.tag, request.delete_on_termination
        ):
            return None
        row = replace(claim.row, tag=request.tag, delete_on_termination=request.delete_on_termination)
        return replace(claim, row=row)

    def transfer(self, claim: Claim, row: Attachment, limit: int | None) -> Claim:
        """Replace the row of a deleted server, whose disk is detached by now, by one that attaches elsewhere.

        :param limit: ``max_attachments`` of the other server.
        :raises OperationIncomplete: if the claim is lost.
        :raises AlreadyReserved: if another row conflicts; the deleted server's row is removed.
        :raises AttachmentLimitReached: if the other server is full; the deleted server's row is removed.
        """
        try:
            if not self._registry.transfer(claim.row, row, limit):
                raise OperationIncomplete(_MODIFIED)
        except (AlreadyReserved, AttachmentLimitReached):
            self._registry.remove(claim.row)
            raise
        return Claim(row, claim.deadline, PriorState.NONE)

    def release(self, claim: Claim) -> None:
        """Give up the claim of an attach whose backend call was not made.

        A row that the claim inserted is removed. A row that it took over stays ``attaching``, since the earlier
        operation may have taken effect.
        """
        if claim.prior is PriorState.NONE:
            self._registry.remove(claim.row)

    def attach(self, claim: Claim, slot: Slot, server: Server, volume: Volume, device: str | None) -> str | None:
        """Attach under a claim and mark the row ``attached``.

        :param device: the device to ask the backend for; None leaves the choice to it.
        :returns: the disk's device, None where the backend does not know it.
        :raises OutcomeUnknown: the row stays as claimed.
        :raises BackendError: nothing happened; the row is as it was before the claim.
        :raises OperationIncomplete: if the claim is lost or expired, or the prior state can't be restored.
        """
        self.check_deadline(claim)
        try:
            device = slot.attach(server, volume, device)
        except OutcomeUnknown:
            raise
        except BackendError as error:
            self._restore(claim, error)
            raise
        if not self._registry.confirm(claim.row, device):
            raise OperationIncomplete(_MODIFIED)
        return device

    def detach(self, claim: Claim, slot: Slot, server: Server, is_gone: Callable[[], bool]) -> None:
        """Detach under a claim and remove the row.

        :param is_gone: whether the compute API no longer has the server or a machine of it; called if the backend has
            none (docs/protocol.rst, R12).
        :raises OutcomeUnknown: the row stays as claimed.
        :raises BackendError: nothing happened; the row is as it was before the claim.
        :raises OperationIncomplete: if the claim is lost or expired, or the prior state can't be restored.
        """
        self.detach_or_restore(claim, slot, server, is_gone)
        self.remove(claim)

    def detach_or_restore(self, claim: Claim, slot: Slot, server: Server, is_gone: Callable[[], bool]) -> bool:
        """Detach under a claim, but keep the row. Parameters and exceptions are those of ``detach``.

        :returns: whether the backend has the server.
        """
        try:
            return self.detach_disk(claim, slot, server, is_gone)
        except OutcomeUnknown:
            raise
        except BackendError as error:
            self._restore(claim, error)
            raise

    def remove(self, claim: Claim) -> None:
        """Remove the row of a claim.

        :raises OperationIncomplete: if another worker has claimed it.
        """
        if self._registry.remove(claim.row):
            return
        if self._registry.get(claim.row.server_id, claim.row.volume_id) is not None:
            raise OperationIncomplete(_MODIFIED)

    def detach_disk(self, claim: Claim, slot: Slot, server: Server, is_gone: Callable[[], bool]) -> bool:
        """Call the backend to detach; the row stays as claimed whatever happens.

        :param is_gone: see ``detach``.
        :returns: whether the backend has the server.
        :raises BackendError: as ``Backend.detach`` does.
        :raises OperationIncomplete: if the claim expired, or only the backend has lost the server.
        """
        self.check_deadline(claim)
        try:
            slot.detach(server, claim.row.volume, claim.row.device)
        except ServerNotFound as error:
            if not is_gone():
                raise OperationIncomplete("the compute API has the server, but the backend does not") from error
            return False
        return True

    def _restore(self, claim: Claim, error: BackendError) -> None:
        """Undo a claim after a certain failure (docs/protocol.rst, R9)."""
        if claim.prior is PriorState.PENDING:
            raise OperationIncomplete(
                f"the backend refused ({error}), but an earlier operation that did not complete may have taken effect"
            ) from error
        row = claim.row
        is_new = claim.prior is PriorState.NONE
        if not (self._registry.remove(row) if is_new else self._registry.restore(row, claim.delete_on_termination)):
            raise OperationIncomplete(_MODIFIED) from error

    def check_deadline(self, claim: Claim) -> None:
        """Check that a call may be started under a claim (docs/protocol.rst, R4).

        :raises OperationIncomplete: if the claim expired.
        """
        if time.monotonic() >= claim.deadline:
            raise OperationIncomplete("the claim's deadline passed before the backend call")

    def _deadline(self) -> float:
        return time.monotonic() + self._operation_timeout
