"""Volumes that were extended while they were attached: their disks are resized (docs/protocol.rst, R30)."""

from ...catalog.base import VolumeCatalog
from ...errors import ServerNotFound
from ...models import REATTACHING, Constraints
from ..claims import Claims
from .case import Case
from .findings import MODIFIED, Outcome, Result


def resize_if_extended(
    case: Case, *, catalog: VolumeCatalog, claims: Claims, constraints: Constraints | None
) -> Result | None:
    """Let the backend resize the disk of an ``attached`` row if the volume is larger.

    :param constraints: None where the server's status is not known.
    :returns: None if the disk is not smaller than the volume, or one of the sizes is not known.
    :raises BackendError: if the backend fails.
    :raises CatalogUnavailable: if the catalog fails.
    :raises OperationIncomplete: if the claim is lost.
    """
    server = case.known_server
    try:
        had = case.slot.disk_size(server, case.row.volume)
    except ServerNotFound:  # so it has no disk
        return None
    volume = None if had is None else case.find_volume(catalog)
    if had is None or volume is None or volume.size is None or had >= volume.size:
        return None
    problem = f"the disk has {had} bytes, the volume {volume.size}"
    hindrance = constraints and server.hindrance(constraints.server_states)
    if hindrance is not None:
        return Outcome.UNRESOLVED, f"{problem}, and the server {hindrance}"
    if case.dry_run:
        return Outcome.NEEDS_REPAIR, problem
    claim = claims.acquire(case.row, REATTACHING, case.slot.request_id)
    if claim is None:
        return MODIFIED
    claims.resize(claim, case.slot, server, volume, case.row.device)
    return Outcome.REPAIRED, f"the disk had {had} bytes: resized to {volume.size}"
