"""The reconciler: examines row after row, and repairs what it can."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ...catalog.base import VolumeCatalog
from ...compute.remote import RemoteComputeAPI
from ...context import new_request_id
from ...errors import (
    BackendError,
    CatalogUnavailable,
    ComputeUnavailable,
    OperationIncomplete,
    Overloaded,
    RegistryUnavailable,
    ServerMissing,
    VolumeAttached,
    VolumeNotFound,
)
from ...models import ATTACHED, ATTACHING, DETACHING, REATTACHING, Attachment, Constraints, Server, Volume
from ...observers.base import ATTACH, DETACH, NO_OBSERVERS, Observers
from ...registry.attachments import Registry
from ..claims import Claim, Claims
from ..executor import BackendExecutor, Slot
from .case import Case
from .findings import MODIFIED, Finding, Outcome, Result
from .resizing import resize_if_extended
from .unmanaged import find_unmanaged

LOG = logging.getLogger(__name__)

TOLERANCE = 1
"""By how many seconds the clocks of the nodes of a database cluster may differ."""


class Reconciler:
    """Repairs rows one by one."""

    def __init__(
        self,
        *,
        registry: Registry,
        catalog: VolumeCatalog,
        claims: Claims,
        executor: BackendExecutor,
        compute: RemoteComputeAPI | None,
        constraints: Constraints,
        observers: Observers = NO_OBSERVERS,
    ) -> None:
        """Take the collaborators.

        :param compute: None where ``compute.url`` is not set: the backend alone decides whether a server exists.
        :param constraints: have the statuses in which a server takes a disk.
        """
        self._registry = registry
        self._catalog = catalog
        self._claims = claims
        self._executor = executor
        self._compute = compute
        self._constraints = constraints
        self._observers = observers

    def reconcile_stale(self, server_id: str | None = None, *, dry_run: bool = False) -> Iterator[Finding]:
        """Repair the stale rows; yield a finding for each pending row.

        :param server_id: only that server's rows; None: all.
        :param dry_run: change nothing.
        """
        for row in self._rows(server_id, pending=True):
            yield self._examine(row, dry_run)

    def reconcile_all(self, server_id: str | None = None, *, dry_run: bool = False) -> Iterator[Finding]:
        """Repair every row that has no valid claim; yield a finding for each row and for each unmanaged disk.

        :param server_id: only that server's rows and disks; None: all.
        :param dry_run: change nothing.
        """
        servers: dict[str, Server] = {}
        for row in self._rows(server_id):
            servers[row.server_id] = row.server
            yield self._examine(row, dry_run)
        yield from find_unmanaged(
            servers, server_id, registry=self._registry, executor=self._executor, compute=self._compute
        )

    def _rows(self, server_id: str | None, *, pending: bool = False) -> Iterator[Attachment]:
        if server_id is None:
            return self._registry.walk(pending=pending)
        rows = self._registry.find(server_id=server_id)
        return iter([row for row in rows if row.state != ATTACHED or not pending])

    def _examine(self, row: Attachment, dry_run: bool) -> Finding:
        try:
            outcome, detail = self._repair(row, dry_run)
        except (
            OperationIncomplete,
            BackendError,
            ComputeUnavailable,
            CatalogUnavailable,
            RegistryUnavailable,
        ) as error:
            outcome, detail = Outcome.UNRESOLVED, str(error)
        except Overloaded:
            outcome, detail = Outcome.UNRESOLVED, "too many backend calls are in progress"
        except Exception as error:  # a plugin may raise anything, and the rows behind this one must be repaired too
            LOG.exception("volume %s, server %s: unexpected exception", row.volume_id, row.server_id)
            outcome, detail = Outcome.UNRESOLVED, f"unexpected exception {type(error).__name__}: see the log"
        return Finding(row.server_id, row.volume_id, row.state, outcome, detail)

    def _repair(self, row: Attachment, dry_run: bool) -> Result:
        if self._claims.is_in_progress(row):
            return self._restamp(row, dry_run) if row.age < -TOLERANCE else (Outcome.CONSISTENT, "in progress")
        server = self._look_up(row)
        if server is not None and server.project_id != row.project_id:  # docs/protocol.rst, R26
            return self._unresolvable(
                row,
                dry_run,
                f"the server belongs to project {server.project_id}, the attachment to project {row.project_id}: "
                "the server's id was used again, or the server was moved; see attachment remove",
            )
        with self._executor.slot(new_request_id()) as slot:
            if server is not None and server.status in self._constraints.offloaded_states:
                server = row.with_host(server)
            case = Case(slot, row, server, dry_run)
            repaired = self._repair_attached(case) if row.is_attached else self._repair_stale(case)
            return self._repair_size(case, repaired)

    def _restamp(self, row: Attachment, dry_run: bool) -> Result:
        """Let a row age from now on whose claim is later than the database's clock, because that was set back."""
        detail = f"the claim is {-row.age:.0f} seconds later than the database's clock"
        if dry_run:
            return Outcome.NEEDS_REPAIR, detail
        return (Outcome.REPAIRED, f"{detail}: set to now") if self._registry.restamp(row) else MODIFIED

    def _repair_stale(self, case: Case) -> Result:
        """Complete or undo an attach or a detach that did not complete (docs/protocol.rst, R13)."""
        slot, row, server, dry_run = case
        if server is not None and server.task_state is not None:  # docs/protocol.rst, R24
            return self._unresolved(row, _incomplete(server.task_state))
        if dry_run:
            return Outcome.NEEDS_REPAIR, "an operation did not complete"
        claim = self._claims.acquire(row, row.state, slot.request_id)
        if claim is None:
            return MODIFIED
        server, found = self._inspect(case)
        has_disk = row.volume_id in (found or {})
        if row.state == ATTACHING and has_disk:
            self._attach(claim, case, row.volume, row.device)
            return Outcome.REPAIRED, "the disk is there: marked attached"
        if row.state == DETACHING and server is None:
            return self._detach_from_deleted(claim, slot, "detached, row removed")
        has_no_machine = server is None or server.status in self._constraints.offloaded_states
        self._detach(claim, case, is_gone=lambda: has_no_machine)
        return Outcome.REPAIRED, "detached, row removed"

    def _repair_attached(self, case: Case) -> Result:
        """Make row and disk of an attached volume consistent (docs/protocol.rst, R14)."""
        _, row, _, dry_run = case
        server, found = self._inspect(case)
        disks = found or {}
        has_disk = row.volume_id in disks
        if server is None and has_disk:
            reason = "the compute API has no such server, but the backend still has the disk there"
            return self._unresolvable(row, dry_run, reason)
        if server is None and found is not None and row.delete_on_termination:
            reason = "the compute API has no such server, but the backend does: volume not deleted"
            return self._unresolvable(row, dry_run, reason)
        if server is None:
            return self._remove(case)
        if has_disk and row.state == ATTACHED:
            return self._repair_device(case, disks)
        if has_disk and server.task_state is not None:  # docs/protocol.rst, R24
            return self._unresolved(row, _incomplete(server.task_state))
        if has_disk:
            return self._reattach(
                case, row.volume, row.device, "an operation did not complete", "the disk is there: marked attached"
            )
        return self._replace_disk(case, disks, server)

    def _replace_disk(self, case: Case, disks: Mapping[str, str | None], server: Server) -> Result:
        """Attach the missing disk of an attached volume again, if the server allows it.

        :param disks: those that the server has.
        """
        row = case.row
        if self._compute is None:
            reason = "the disk is missing, and without compute.url it is unknown if the server exists"
            return self._unresolvable(row, case.dry_run, reason)
        hindrance = server.hindrance(self._constraints.server_states)
        if hindrance is None and server.status in self._constraints.offloaded_states:
            hindrance = "has no machine until it is unshelved"
        if hindrance is not None:
            return self._unresolved(row, f"the disk is missing, and the server {hindrance}")
        volume = case.find_volume(self._catalog)
        if volume is None:
            reason = "the disk is missing, and the catalog no longer has the volume as it was"
            return self._unresolvable(row, case.dry_run, reason)
        # Another disk may have its device by now: better another device than none.
        device = None if row.device in disks.values() else row.device
        return self._reattach(case, volume, device, "the disk is missing", "the disk was missing: attached again")

    def _remove(self, case: Case) -> Result:
        slot, row, _, dry_run = case
        if dry_run:
            volume = "; the volume is to be deleted" if row.delete_on_termination else ""
            return Outcome.NEEDS_REPAIR, f"the server is deleted{volume}"
        claim = self._claims.acquire(row, DETACHING, slot.request_id)
        if claim is None:
            return MODIFIED
        return self._detach_from_deleted(claim, slot, "the server is deleted: row removed")

    def _detach_from_deleted(self, claim: Claim, slot: Slot, detail: str) -> Result:
        """Remove the row of a server that compute API and backend no longer have, and the volume if requested."""
        with self._observers.claimed(DETACH, claim.row):
            backend_has_server = self._claims.detach_or_restore(claim, slot, claim.row.server, is_gone=lambda: True)
            if claim.row.delete_on_termination:
                if backend_has_server:
                    raise OperationIncomplete("the backend still has the server: volume not deleted")
                # Before the row is removed: if this fails, the row still has the request.
                detail = f"{detail}, {self._delete(claim, slot)}"
            self._claims.remove(claim)
        return Outcome.REPAIRED, detail

    def _delete(self, claim: Claim, slot: Slot) -> str:
        """Delete the volume of a deleted server (docs/protocol.rst, R16), and return what became of it."""
        row = claim.row
        if any(other.server_id != row.server_id for other in self._registry.of_volume(row.volume_id)):
            return "volume kept, because it is attached to another server"
        self._claims.check_deadline(claim)
        try:
            slot.delete(self._catalog, volume_id=row.volume_id, server_id=row.server_id, project_id=row.project_id)
        except VolumeNotFound:
            return "volume already deleted"
        except VolumeAttached:
            return "volume kept, because it is attached to another server"
        return "volume deleted (delete_on_termination)"

    def _reattach(self, case: Case, volume: Volume, device: str | None, problem: str, done: str) -> Result:
        """Attach the disk of an attached row again.

        :param volume: as the catalog has it, or as the row has it where the disk is there.
        :param device: the device to ask for.
        :param problem: what a dry run reports.
        :param done: what is reported when it is repaired.
        """
        if case.dry_run:
            return Outcome.NEEDS_REPAIR, problem
        claim = self._claims.acquire(case.row, REATTACHING, case.slot.request_id)
        if claim is None:
            return MODIFIED
        self._attach(claim, case, volume, device)
        return Outcome.REPAIRED, done

    def _attach(self, claim: Claim, case: Case, volume: Volume, device: str | None) -> None:
        with self._observers.claimed(ATTACH, claim.row) as operation:
            operation.device = self._claims.attach(claim, case.slot, case.known_server, volume, device)

    def _detach(self, claim: Claim, case: Case, is_gone: Callable[[], bool]) -> None:
        with self._observers.claimed(DETACH, claim.row):
            self._claims.detach(claim, case.slot, case.known_server, is_gone)

    def _repair_size(self, case: Case, repaired: Result) -> Result:
        """Resize the disk of a volume that was extended, if the row is ``attached`` now (docs/protocol.rst, R30).

        :param repaired: what was found before, and what became of it.
        """
        outcome, detail = repaired
        if case.server is None or repaired == MODIFIED or outcome is Outcome.UNRESOLVED:
            return repaired
        row = case.row
        now = self._registry.get(row.server_id, row.volume_id) if outcome is Outcome.REPAIRED else row
        if now is None or now.state != ATTACHED:
            return repaired
        resized = resize_if_extended(
            case._replace(row=now),
            catalog=self._catalog,
            claims=self._claims,
            constraints=self._constraints if self._compute else None,
        )
        if resized in (None, MODIFIED) or outcome is Outcome.CONSISTENT:
            return resized or repaired
        return resized[0], f"{detail}; {resized[1]}"

    def _repair_device(self, case: Case, disks: Mapping[str, str | None]) -> Result:
        row, device = case.row, disks[case.row.volume_id]
        if device is None or device == row.device:
            return Outcome.CONSISTENT, "attached"
        if list(disks.values()).count(device) > 1:
            return self._unresolved(row, f"the backend reports {device} for this disk and for another one")
        detail = f"the disk is at {device}, the row had {row.device or 'no device'}"
        if case.dry_run:
            return Outcome.NEEDS_REPAIR, detail
        return (Outcome.REPAIRED, detail) if self._registry.confirm(row, device) else MODIFIED

    def _unresolved(self, row: Attachment, reason: str) -> Result:
        now = self._registry.get(row.server_id, row.volume_id)
        if now is None or (now.state, now.claim_id) != (row.state, row.claim_id):
            return MODIFIED
        return Outcome.UNRESOLVED, reason

    def _unresolvable(self, row: Attachment, dry_run: bool, reason: str) -> Result:
        """Report a row that does not become resolvable by itself; a stale ``reattaching`` one becomes ``attached``."""
        result = self._unresolved(row, reason)
        if row.state == REATTACHING and not dry_run:
            self._registry.restore(row, replace(row, state=ATTACHED))
        return result

    def _inspect(self, case: Case) -> tuple[Server | None, Mapping[str, str | None] | None]:
        """Return the server (None: it is gone) and its disks (None: the backend has no such server).

        docs/protocol.rst, R25.
        """
        disks = case.slot.disks(case.known_server)
        is_gone = self._compute is None and disks is None
        return (None if is_gone else case.server), disks

    def _look_up(self, row: Attachment) -> Server | None:
        """Return the server as the compute API has it (None: it is gone), or as the row has it without one."""
        if self._compute is None:
            return row.server
        try:
            return self._compute.server(row.server_id)
        except ServerMissing:
            return None


def _incomplete(task_state: str) -> str:
    return f"an operation did not complete, and the server has the pending task {task_state}"
