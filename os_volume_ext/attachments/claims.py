"""Claims: what one may do to a row and to the backend, so that whatever happens in between, nothing is lost.

A claim is a row's ``attaching``, ``reattaching`` or ``detaching`` together with the request id of who wrote it.
Who made the claim may start backend calls while it is young (``operation_timeout``, by the worker's own monotonic
clock from before the claim was sent); when it is stale (``stale_after``, by the database's clock) others may take
it over. Backend calls end in the gap between the two. Requests and ``reconcile`` both work through here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..backends.base import Backend
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

T = TypeVar("T")

NOTHING, UNFINISHED = "nothing", "unfinished"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim on a row.

    ``row`` is the row as the claim wrote it; no backend call starts after ``deadline`` (of the monotonic
    clock, in seconds); ``before`` is what the row was, to which it goes back when the backend fails for
    certain: NOTHING, ``attached``, or UNFINISHED, from where there is no way back, since what an earlier
    worker did may be there. From ``reattaching`` there is: it is attached, with its disk or still without.
    """

    row: Attachment
    deadline: float
    before: str


class Claims:
    """Makes claims, and brings to an end what they are for."""

    def __init__(self, registry: Registry, backend: Backend, operation_timeout: float, stale_after: float) -> None:
        """Take what claims are made on.

        :param operation_timeout: seconds for which a claim is young.
        :param stale_after: seconds after which others may take it over.
        """
        self._registry = registry
        self._backend = backend
        self._operation_timeout = operation_timeout
        self._stale_after = stale_after

    def is_stale(self, row: Attachment) -> bool:
        """Say whether a row's operation was left unfinished, so that others may take it over."""
        return row.state != ATTACHED and row.age > self._stale_after

    def reserve(self, row: Attachment, limit: int | None) -> Claim:
        """Insert a row as ``attaching``. :raises AlreadyReserved, AttachmentLimitReached: as the registry does."""
        deadline = self._deadline()
        self._registry.reserve(row, limit)
        return Claim(row, deadline, NOTHING)

    def take(self, seen: Attachment, state: str, request_id: str) -> Claim | None:
        """Make a row that is ``attached`` or stale one's own; None if it is not as it was seen any more."""
        deadline = self._deadline()
        if not self._registry.claim(seen, state, request_id):
            return None
        before = ATTACHED if seen.is_attached else UNFINISHED
        return Claim(replace(seen, state=state, request_id=request_id), deadline, before)

    def take_for(self, seen: Attachment, wanted: Attachment) -> Claim | None:
        """Take over an attach that was left unfinished, for one that wants the same, otherwise described."""
        claim = self.take(seen, wanted.state, wanted.request_id)
        if claim is None or not self._registry.describe(
            claim.row, wanted.request_id, wanted.tag, wanted.delete_on_termination
        ):
            return None
        row = replace(claim.row, tag=wanted.tag, delete_on_termination=wanted.delete_on_termination)
        return replace(claim, row=row)

    def move(self, claim: Claim, row: Attachment, limit: int | None) -> Claim:
        """Turn the claim on a deleted server's row, detached by now, into one that attaches elsewhere.

        :raises OperationIncomplete: if the claim is gone.
        :raises AlreadyReserved, AttachmentLimitReached: as the registry does; the deleted server's row is removed then.
        """
        try:
            if not self._registry.move(claim.row, row, limit):
                raise OperationIncomplete("its row was changed meanwhile")
        except (AlreadyReserved, AttachmentLimitReached):
            self._registry.remove(claim.row)
            raise
        return Claim(row, claim.deadline, NOTHING)

    def attach(self, claim: Claim, slot: Slot, server: Server, volume: Volume) -> str:
        """Attach under a claim and mark the row ``attached``; return the device.

        :raises BackendError: nothing happened, and the row is as before; or OutcomeUnknown, and it stays.
        :raises OperationIncomplete: see there.
        """
        try:
            device = self._call(claim, slot, self._backend.attach, server, volume, claim.row.device)
        except OutcomeUnknown:
            raise
        except BackendError as error:
            self._put_back(claim, error)
            raise
        self._confirm(claim.row, device)
        return device

    def detach(self, claim: Claim, slot: Slot, server: Server, gone: Callable[[], bool]) -> None:
        """Detach under a claim and remove the row.

        :param gone: whether the compute API no longer has the server; asked if the backend has none.
        :raises BackendError: as ``attach``.
        :raises OperationIncomplete: see there.
        """
        self.detach_or_put_back(claim, slot, server, gone)
        self.remove(claim)

    def detach_or_put_back(self, claim: Claim, slot: Slot, server: Server, gone: Callable[[], bool]) -> None:
        """Do all of ``detach`` but remove the row. :raises BackendError, OperationIncomplete: as it does."""
        try:
            self.detach_disk(claim, slot, server, gone)
        except OutcomeUnknown:
            raise
        except BackendError as error:
            self._put_back(claim, error)
            raise

    def remove(self, claim: Claim) -> None:
        """Remove the row of a claim. :raises OperationIncomplete: if it is somebody else's by now."""
        if self._registry.remove(claim.row):
            return
        if self._registry.get(claim.row.volume_id, claim.row.server_id) is not None:
            raise OperationIncomplete("its row was changed meanwhile")

    def detach_disk(self, claim: Claim, slot: Slot, server: Server, gone: Callable[[], bool]) -> None:
        """Do only the backend's part of ``detach``. :raises BackendError, OperationIncomplete: as it does; the row stays."""
        try:
            self._call(claim, slot, self._backend.detach, server, claim.row.volume, claim.row.device or "")
        except ServerNotFound as error:
            if not gone():
                raise OperationIncomplete(
                    "the backend has no such server, and the compute API does not say so too"
                ) from error

    def _put_back(self, claim: Claim, error: BackendError) -> None:
        if claim.before == UNFINISHED:
            raise OperationIncomplete(
                f"the backend refused ({error}) where an earlier operation was left unfinished"
            ) from error
        row = claim.row
        if not (self._registry.remove(row) if claim.before == NOTHING else self._registry.put_back(row)):
            raise OperationIncomplete("its row was changed meanwhile") from error

    def _confirm(self, row: Attachment, device: str) -> None:
        if not self._registry.confirm(row, device or None):
            raise OperationIncomplete("its row was changed meanwhile")

    def _call(self, claim: Claim, slot: Slot, method: Callable[..., T], *arguments: Any) -> T:
        if time.monotonic() >= claim.deadline:
            raise OperationIncomplete("it is too late to call the backend")
        return slot.call(method, *arguments)

    def _deadline(self) -> float:
        return time.monotonic() + self._operation_timeout
