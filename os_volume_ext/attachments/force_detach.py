"""Force-detaching: freeing the volumes of servers whose hosts are lost, so that these can't detach anything."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from ..compute.remote import RemoteComputeAPI
from ..context import new_request_id
from ..errors import BackendUnavailable, NotForceDetached, ServerNotFound
from ..models import Attachment, Server
from ..observers.base import DETACH, NO_OBSERVERS, Observers
from ..registry.attachments import Registry
from .claims import Claim, Claims
from .executor import BackendExecutor, Slot
from .remove import find_row, find_server

LOG = logging.getLogger(__name__)


class Plan(NamedTuple):
    """What is to be done, for an operator to confirm."""

    row: Attachment
    server: Server
    """As it is, or as it was when the volume was attached."""
    reason: str
    """Why the backend can't reach the server."""
    clients: Sequence[str]
    """The clients of the storage that are to be cut off; see ``Backend.find_clients``."""


class ForceDetacher:
    """Detaches volumes from servers whose hosts are lost, at an operator's command (docs/protocol.rst, R31)."""

    def __init__(
        self,
        *,
        registry: Registry,
        claims: Claims,
        executor: BackendExecutor,
        compute: RemoteComputeAPI | None,
        observers: Observers = NO_OBSERVERS,
    ) -> None:
        """Take the collaborators.

        :param compute: None where ``compute.url`` is not set.
        """
        self._registry = registry
        self._claims = claims
        self._executor = executor
        self._compute = compute
        self._observers = observers

    def plan(self, server_id: str, volume_id: str) -> Plan:
        """Return what ``carry_out`` would do, and change nothing.

        :raises AttachmentMissing: if there is no row.
        :raises NotForceDetached: if the backend reaches the server, or an operation on the volume is in progress.
        :raises BackendError: if the backend can't cut the server off, or fails.
        :raises ComputeUnavailable: if the compute API fails.
        :raises Overloaded: if no slot is free.
        """
        row = find_row(self._registry, self._claims, server_id, volume_id, NotForceDetached)
        server = find_server(self._compute, row)
        with self._executor.slot(new_request_id()) as slot:
            return Plan(row, server, _check_lost(slot, server), slot.find_clients(server, row.volume))

    def carry_out(self, plan: Plan, clients: Sequence[str]) -> None:
        """Cut the server off from the volume, and remove the row. The volume stays, whatever was requested.

        :param clients: those to cut off: the plan's, and others that only the operator knows.
        :raises NotForceDetached: if the backend reaches the server by now, or the row changes.
        :raises BackendError: if the backend fails.
        :raises OperationIncomplete: if the row stays pending; the same command completes it once it is stale.
        :raises Overloaded: if no slot is free.
        """
        claim = self._claims.acquire_for_caller(plan.row, new_request_id())
        if claim is None:
            raise NotForceDetached("the attachment was modified concurrently; retry")
        with self._observers.claimed(DETACH, claim.row), self._claims.slot(claim) as slot:
            self._check_lost_or_release(claim, slot, plan.server)
            self._claims.cut_off(claim, slot, plan.server, clients)
        LOG.warning(
            "%s volume %s was detached from server %s, which is lost (%s); cut off: %s",
            claim.row.request_id, claim.row.volume_id, claim.row.server_id, plan.reason, ", ".join(clients),
        )  # fmt: skip

    def _check_lost_or_release(self, claim: Claim, slot: Slot, server: Server) -> None:
        try:
            _check_lost(slot, server)
        except Exception:
            self._claims.release(claim)
            raise


def _check_lost(slot: Slot, server: Server) -> str:
    """Check that the backend can't reach a server, and return the reason.

    :raises NotForceDetached: if it can.
    :raises OutcomeUnknown: if that is not known.
    """
    try:
        slot.attached(server)
    except BackendUnavailable as error:
        return str(error)
    except ServerNotFound:
        pass
    raise NotForceDetached(f"the host of server {server.id} responds; detach the volume, or use attachment remove")
