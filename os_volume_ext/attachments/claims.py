"""Claims: who may change a row and call the backend for it, so that a crash at any moment loses nothing.

A claim is a row's pending state (``attaching``, ``reattaching`` or ``detaching``) together with an id of its own. The
worker that made it may start backend calls until the claim's deadline (``operation_timeout``, by the worker's clock
from before the claim was sent). Others may take the row over once it is stale (``stale_after``, by the database's
clock). All backend calls end between the two. Requests and reconcile both use these claims. docs/protocol.rst has the
rules.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, ParamSpec, TypeVar

from ..errors import (
    AlreadyReserved,
    AttachmentLimitReached,
    BackendError,
    ComputeRefused,
    ComputeUnavailable,
    OperationIncomplete,
    OutcomeUnknown,
    Overloaded,
    ServerNotFound,
)
from ..models import ATTACHED, DETACHING, Attachment, Server, Volume
from ..registry.attachments import Registry
from .executor import BackendExecutor, Slot

_MODIFIED = "the attachment was modified concurrently"
P = ParamSpec("P")
T = TypeVar("T")


class Claim(NamedTuple):
    """A claim on a row."""

    row: Attachment
    """The row as the claim wrote it."""
    deadline: float
    """No backend call starts after this time of ``_clock``, in seconds."""
    prior: Attachment | None
    """The row before the claim; None if there was none."""


class Claims:
    """Makes claims and carries out the operations that they are for."""

    def __init__(
        self, *, registry: Registry, executor: BackendExecutor, operation_timeout: float, stale_after: float
    ) -> None:
        """Take the collaborators and set the limits.

        :param operation_timeout: seconds for which a claim is valid.
        :param stale_after: seconds after which other workers may take a pending row over.
        """
        self._registry = registry
        self._executor = executor
        self._operation_timeout = operation_timeout
        self._stale_after = stale_after

    def is_stale(self, row: Attachment) -> bool:
        """Return whether a row is pending for so long that other workers may take it over."""
        return row.state != ATTACHED and row.age > self._stale_after

    def is_in_progress(self, row: Attachment) -> bool:
        """Return whether a row is pending, and other workers may not take it over yet."""
        return row.state != ATTACHED and not self.is_stale(row)

    def reserve(self, row: Attachment, limit: int | None) -> Claim:
        """Insert a row as ``attaching``.

        :param limit: ``max_attachments``.
        :raises AlreadyReserved: if another row conflicts.
        :raises AttachmentLimitReached: if the server has ``limit`` rows.
        """
        deadline = self._deadline()
        self._registry.reserve(row, limit)
        return Claim(row, deadline, None)

    def acquire(self, seen: Attachment, state: str, request_id: str) -> Claim | None:
        """Claim a row that is ``attached`` or stale (docs/protocol.rst, R6 and R7).

        :returns: None if the row is no longer as it was seen.
        """
        return self._acquire(seen, seen.claimed(state, request_id))

    def acquire_for_caller(self, seen: Attachment, request_id: str) -> Claim | None:
        """Claim a row as ``detaching``, and unset ``delete_on_termination`` (docs/protocol.rst, R16).

        :returns: None if the row is no longer as it was seen.
        """
        return self._acquire(seen, seen.claimed(DETACHING, request_id, delete_on_termination=False))

    def acquire_for_attach(self, seen: Attachment, new: Attachment) -> Claim | None:
        """Take over a stale attach for a new one of the same volume and server, whose values apply from now on.

        :returns: None if the row is no longer as it was seen.
        :raises AlreadyReserved: if another row has the requested device or the exclusive volume.
        """
        return self._acquire(seen, replace(new, id=seen.id, created_at=seen.created_at))

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
        return Claim(row, claim.deadline, None)

    def release(self, claim: Claim) -> None:
        """Give up a claim under which no backend call was made: the row is as it was before, with its age.

        :raises OperationIncomplete: if the claim is lost, or the device that the row had.
        """
        if not self._undo(claim.row, claim.prior):
            raise OperationIncomplete(_MODIFIED)

    def slot(self, claim: Claim) -> Slot:
        """Return a slot for the backend calls of a claim, to be used as a context manager.

        :raises Overloaded: if no slot is free; the claim is released.
        """
        try:
            return self._executor.slot(claim.row.request_id, claim.row.project_id)
        except Overloaded:
            self.release(claim)
            raise

    def attach(self, claim: Claim, slot: Slot, server: Server, volume: Volume, device: str | None) -> str | None:
        """Attach under a claim and mark the row ``attached``.

        :param device: the device to ask the backend for; None leaves the choice to it.
        :returns: the disk's device, None where the backend does not know it.
        :raises OutcomeUnknown: the row stays as claimed.
        :raises BackendError: nothing happened; the row is as it was before the claim.
        :raises OperationIncomplete: if the claim is lost or expired, or the prior state can't be restored.
        """
        self.check_deadline(claim)
        device = self._call_or_restore(claim, slot.attach, server, volume, device)
        self._confirm(claim, device)
        return device

    def resize(self, claim: Claim, slot: Slot, server: Server, volume: Volume, device: str | None) -> None:
        """Resize the disk under a claim on an ``attached`` row, and mark the row ``attached`` again.

        :param device: the disk's device. Exceptions are those of ``attach``.
        """
        self.check_deadline(claim)
        self._call_or_restore(claim, slot.resize, server, volume)
        self._confirm(claim, device)

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
        return self._call_or_restore(claim, self.detach_disk, claim, slot, server, is_gone)

    def cut_off(self, claim: Claim, slot: Slot, server: Server, clients: Sequence[str]) -> None:
        """Cut a server whose host is lost off from a volume under a claim, and remove the row.

        :param clients: see ``Backend.cut_off``.
        :raises OutcomeUnknown: the row stays as claimed.
        :raises BackendError: nothing happened; the row is as it was before the claim.
        :raises OperationIncomplete: if the claim is lost or expired, or the prior state can't be restored.
        """
        self.check_deadline(claim)
        self._call_or_restore(claim, slot.cut_off, server, claim.row.volume, clients)
        self.remove(claim)

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
        :raises ServerNotFound: if only the backend has lost the server.
        :raises BackendError: as ``Backend.detach`` does.
        :raises ComputeRefused: if the backend has no such server, and the compute API refuses to show it.
        :raises ComputeUnavailable: if the backend has no such server, and the compute API fails.
        :raises OperationIncomplete: if the claim expired.
        """
        self.check_deadline(claim)
        try:
            slot.detach(server, claim.row.volume, claim.row.device)
        except ServerNotFound as error:
            if not is_gone():
                raise ServerNotFound(
                    f"the compute API has server {server.id}, but the backend does not: see attachment remove"
                ) from error
            self.check_deadline(claim)
            slot.forget(server, claim.row.volume)
            return False
        return True

    def _acquire(self, seen: Attachment, row: Attachment) -> Claim | None:
        deadline = self._deadline()
        return Claim(row, deadline, seen) if self._registry.claim(seen, row) else None

    def _call_or_restore(self, claim: Claim, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Make backend calls under a claim; a certain failure undoes the claim."""
        try:
            return call(*arguments, **named)
        except OutcomeUnknown:
            raise
        except (BackendError, ComputeRefused, ComputeUnavailable) as error:
            self._restore(claim, error)
            raise

    def _confirm(self, claim: Claim, device: str | None) -> None:
        if not self._registry.confirm(claim.row, device):
            raise OperationIncomplete(_MODIFIED)

    def _restore(self, claim: Claim, error: Exception) -> None:
        """Undo a claim after a certain failure (docs/protocol.rst, R9)."""
        prior = claim.prior
        if prior is not None and not prior.is_attached:
            raise OperationIncomplete(
                f"nothing was changed ({error}), but an earlier operation that did not complete may have taken effect"
            ) from error
        if not self._undo(claim.row, prior and replace(prior, state=ATTACHED)):
            raise OperationIncomplete(_MODIFIED) from error

    def _undo(self, row: Attachment, prior: Attachment | None) -> bool:
        """Change a claimed row to what it was; return False if the claim or the device that it had is lost."""
        if prior is None:
            return self._registry.remove(row)
        try:
            return self._registry.restore(row, prior)
        except AlreadyReserved:
            return False

    def check_deadline(self, claim: Claim) -> None:
        """Check that a call may be started under a claim (docs/protocol.rst, R4).

        :raises OperationIncomplete: if the claim expired.
        """
        if _clock() >= claim.deadline:
            raise OperationIncomplete("the claim's deadline passed before the backend call")

    def _deadline(self) -> float:
        return _clock() + self._operation_timeout


def _clock() -> float:
    """Return the seconds of a clock that nobody sets, and that on Linux also counts while the host is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
