"""Reconcile: make registry and backend agree, whatever crashed in between.

It works beside live requests and beside itself: it leaves alone what is under way, and makes each row its
own, by the same claims as requests do, before it settles it by a backend call of its own.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..backends.base import Backend
from ..catalog.base import VolumeCatalog
from ..compute.remote import RemoteComputeAPI
from ..context import new_request_id
from ..errors import (
    BackendError,
    CatalogUnavailable,
    ComputeUnavailable,
    OperationIncomplete,
    Overloaded,
    RegistryUnavailable,
    ServerMissing,
    ServerNotFound,
    VolumeAttached,
    VolumeNotFound,
)
from ..models import ATTACHED, ATTACHING, DETACHING, REATTACHING, Attachment, Server
from ..observers.base import ATTACH, DETACH, NO_OBSERVERS, Observers
from ..registry.attachments import Registry
from .claims import Claim, Claims
from .executor import BackendExecutor, Slot

LOG = logging.getLogger(__name__)

CONSISTENT, REPAIRED, UNRESOLVED = "agrees", "settled", "undecided"
NEEDS_REPAIR = "unsettled"  # of a dry run


@dataclass(frozen=True)
class Finding:
    """What was found at one row, or at a disk that no row knows, and what was done about it."""

    server_id: str
    volume_id: str
    state: str
    outcome: str
    what: str

    def log(self) -> None:
        """Log what is not as it should be, or was not."""
        if self.outcome != CONSISTENT:
            level = logging.WARNING if self.outcome == UNRESOLVED else logging.INFO
            LOG.log(level, "volume %s, server %s: %s: %s", self.volume_id, self.server_id, self.outcome, self.what)


CHANGED = (CONSISTENT, "changed meanwhile")


class Reconciler:
    """Settles rows one by one."""

    def __init__(
        self,
        registry: Registry,
        backend: Backend,
        catalog: VolumeCatalog,
        claims: Claims,
        operations: BackendExecutor,
        compute: RemoteComputeAPI | None,
        server_states: frozenset[str],
        dry_run: bool = False,
        observers: Observers = NO_OBSERVERS,
    ) -> None:
        """Take the rooms below.

        :param compute: asked whether servers are there; None where the operator gave no ``compute.url``.
        :param server_states: in which a server takes a disk.
        :param dry_run: only say what is to be done.
        :param observers: are told of what is attached and detached.
        """
        self._registry = registry
        self._backend = backend
        self._catalog = catalog
        self._claims = claims
        self._operations = operations
        self._compute = compute
        self._server_states = server_states
        self._dry_run = dry_run
        self._observers = observers

    def reconcile_stale(self, server_id: str | None = None) -> Iterator[Finding]:
        """Settle the stale rows; yield a finding for each row that is not ``attached``.

        :param server_id: only that server's; None: those of all.
        """
        for row in self._rows(server_id, pending=True):
            yield self._examine(row)

    def reconcile_all(self, server_id: str | None = None) -> Iterator[Finding]:
        """Settle every row that is not under way; yield a finding for each, and for each disk that no row knows.

        :param server_id: only that server's; None: those of all.
        """
        servers: dict[str, Server] = {}
        for row in self._rows(server_id):
            servers[row.server_id] = row.server
            yield self._examine(row)
        yield from self._unknown_disks(servers, server_id)

    def _rows(self, server_id: str | None, pending: bool = False) -> Iterator[Attachment]:
        if server_id is None:
            return self._registry.walk(pending)
        rows = self._registry.find(server_id=server_id)
        return iter([row for row in rows if row.state != ATTACHED or not pending])

    def _examine(self, row: Attachment) -> Finding:
        try:
            outcome, what = self._settle(row)
        except (
            OperationIncomplete,
            BackendError,
            ComputeUnavailable,
            CatalogUnavailable,
            RegistryUnavailable,
        ) as error:
            outcome, what = UNRESOLVED, str(error)
        except Overloaded:
            outcome, what = UNRESOLVED, "too many backend calls are under way"
        return Finding(row.server_id, row.volume_id, row.state, outcome, what)

    def _settle(self, row: Attachment) -> tuple[str, str]:
        if row.state != ATTACHED and not self._claims.is_stale(row):
            return CONSISTENT, "under way"
        server = self._look_up(row)
        with self._operations.slot(new_request_id()) as slot:
            if row.is_attached:
                return self._settle_attached(slot, row, server)
            return self._settle_stale(slot, row, server)

    def _settle_stale(self, slot: Slot, row: Attachment, server: Server | None) -> tuple[str, str]:
        """Bring to an end what an operation left unfinished."""
        if self._dry_run:
            return NEEDS_REPAIR, "left unfinished"
        claim = self._claims.take(row, row.state, slot.request_id)
        if claim is None:
            return CHANGED
        there = row.volume_id in self._disks(slot, server or row.server)
        if row.state == ATTACHING and there:
            self._attach(claim, slot, server or row.server)
            return REPAIRED, "the disk is there: marked attached"
        if row.state == DETACHING and server is None and not there:
            return self._detach_from_deleted(claim, slot, "detached, the row removed")
        self._detach(claim, slot, server or row.server, gone=lambda: server is None)
        return REPAIRED, "detached, the row removed"

    def _settle_attached(self, slot: Slot, row: Attachment, server: Server | None) -> tuple[str, str]:
        disks = self._disks(slot, server or row.server)
        there = row.volume_id in disks
        if server is None and there:
            return self._undecided(row, "the compute API has no such server, but the backend still has the disk there")
        if server is None:
            return self._remove(slot, row)
        if there and row.state == ATTACHED:
            return self._settle_device(row, disks)
        if there:
            return self._attach_again(slot, row, server, "left unfinished", "the disk is there: marked attached")
        if row.device in disks.values():
            row = replace(row, device=None)  # which another disk has by now: better elsewhere than nowhere
        if self._compute is None:
            return self._undecided(
                row, "the disk is not there, and without compute.url no one knows whether the server is"
            )
        if server.status not in self._server_states:
            return self._undecided(row, f"the disk is not there, and the server is in the state {server.status}")
        return self._attach_again(slot, row, server, "the disk is not there", "the disk was not there: attached again")

    def _remove(self, slot: Slot, row: Attachment) -> tuple[str, str]:
        if self._dry_run:
            too = ", and the volume is to be deleted" if row.delete_on_termination else ""
            return NEEDS_REPAIR, f"the server is gone{too}"
        claim = self._claims.take(row, DETACHING, slot.request_id)
        if claim is None:
            return CHANGED
        return self._detach_from_deleted(claim, slot, "the server is gone: the row removed")

    def _detach_from_deleted(self, claim: Claim, slot: Slot, what: str) -> tuple[str, str]:
        """Remove the row of a server that compute API and backend no longer have, and the volume if it is to go too."""
        with self._observers.claimed(DETACH, claim.row):
            self._claims.detach_or_put_back(claim, slot, claim.row.server, gone=lambda: True)
            if claim.row.delete_on_termination:
                # Before the row goes: if this fails, the row is still there to tell.
                what = f"{what}, {self._delete(claim.row)}"
            self._claims.remove(claim)
        return REPAIRED, what

    def _delete(self, row: Attachment) -> str:
        try:
            self._catalog.delete(row.volume_id, row.server_id)
        except VolumeNotFound:
            return "the volume deleted already"
        except VolumeAttached:
            return "the volume kept, for it is attached elsewhere"
        return "the volume deleted, as was asked for"

    def _attach_again(self, slot: Slot, row: Attachment, server: Server, found: str, done: str) -> tuple[str, str]:
        if self._dry_run:
            return NEEDS_REPAIR, found
        claim = self._claims.take(row, REATTACHING, slot.request_id)
        if claim is None:
            return CHANGED
        self._attach(claim, slot, server)
        return REPAIRED, done

    def _attach(self, claim: Claim, slot: Slot, server: Server) -> None:
        with self._observers.claimed(ATTACH, claim.row) as operation:
            operation.device = self._claims.attach(claim, slot, server, claim.row.volume)

    def _detach(self, claim: Claim, slot: Slot, server: Server, gone: Callable[[], bool]) -> None:
        with self._observers.claimed(DETACH, claim.row):
            self._claims.detach(claim, slot, server, gone)

    def _settle_device(self, row: Attachment, disks: Mapping[str, str]) -> tuple[str, str]:
        device = disks[row.volume_id]
        if not device or device == row.device:
            return CONSISTENT, "attached"
        what = f"the disk is at {device}, the row said {row.device or 'nothing'}"
        if list(disks.values()).count(device) > 1:
            return self._undecided(row, f"the disk is at {device}, and another one too, says the backend")
        if self._dry_run:
            return NEEDS_REPAIR, what
        return (REPAIRED, what) if self._registry.confirm(row, device) else CHANGED

    def _undecided(self, row: Attachment, why: str) -> tuple[str, str]:
        now = self._registry.get(row.volume_id, row.server_id)
        if now is None or (now.state, now.request_id) != (row.state, row.request_id):
            return CHANGED
        return UNRESOLVED, why

    # -- disks without a row ---------------------------------------------------------------------------

    def _unknown_disks(self, servers: Mapping[str, Server], server_id: str | None) -> Iterator[Finding]:
        known = dict(servers)
        try:
            known.update((server.id, server) for server in self._servers(server_id))
        except ComputeUnavailable as error:
            yield Finding("", "", "", UNRESOLVED, f"the servers can't be listed: {error}")
        for server in known.values():
            try:
                # Twice: a disk that was being detached when it was first seen is not there the second time.
                disks = self._without_row(server) and self._without_row(server)
            except (BackendError, Overloaded) as error:
                yield Finding(server.id, "", "", UNRESOLVED, f"its disks can't be seen: {error!r}")
                continue
            for volume_id, device in disks.items():
                what = f"a disk that no row knows, at {device or 'some device'}: see attachment adopt"
                yield Finding(server.id, volume_id, "", UNRESOLVED, what)

    def _servers(self, server_id: str | None) -> Iterable[Server]:
        if self._compute is None:
            return ()
        if server_id is None:
            return self._compute.servers()
        try:
            return (self._compute.server(server_id),)
        except ServerMissing:
            return ()

    def _without_row(self, server: Server) -> Mapping[str, str]:
        with self._operations.slot(new_request_id()) as slot:
            disks = self._disks(slot, server)
        return {volume: device for volume, device in disks.items() if self._registry.get(volume, server.id) is None}

    # -- asking ----------------------------------------------------------------------------------------

    def _disks(self, slot: Slot, server: Server) -> Mapping[str, str]:
        try:
            return slot.call(self._backend.attached, server)
        except ServerNotFound:
            return {}

    def _look_up(self, row: Attachment) -> Server | None:
        """Return the server as the compute API has it, None if it has none, as the row has it if none can be asked."""
        if self._compute is None:
            return row.server
        try:
            return self._compute.server(row.server_id)
        except ServerMissing:
            return None
