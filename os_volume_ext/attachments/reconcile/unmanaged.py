"""The search for unmanaged disks: disks of servers that have no row."""

from collections.abc import Iterable, Iterator, Mapping

from ...compute.remote import RemoteComputeAPI
from ...context import new_request_id
from ...errors import BackendError, ComputeUnavailable, Overloaded, ServerMissing
from ...models import Server
from ...registry.attachments import Registry
from ..executor import BackendExecutor
from .findings import Finding, Outcome


def find_unmanaged(
    servers: Mapping[str, Server],
    server_id: str | None,
    *,
    registry: Registry,
    executor: BackendExecutor,
    compute: RemoteComputeAPI | None,
) -> Iterator[Finding]:
    """Yield a finding for each unmanaged disk, and for each server whose disks can't be listed.

    :param servers: the servers of the rows, by id; those that the compute API lists are examined too.
    :param server_id: only that server of the compute API; None: all.
    :param compute: None where ``compute.url`` is not set.
    """
    known = dict(servers)
    try:
        known.update((server.id, server) for server in _servers(compute, server_id))
    except ComputeUnavailable as error:
        yield Finding("", "", "", Outcome.UNRESOLVED, f"the servers can't be listed: {error}")
    for server in known.values():
        try:
            # Twice: a disk that was being detached when it was first seen is gone by the second time.
            disks = _disks_without_row(registry, executor, server) and _disks_without_row(registry, executor, server)
        except (BackendError, Overloaded) as error:
            yield Finding(server.id, "", "", Outcome.UNRESOLVED, f"its disks can't be listed: {error!r}")
            continue
        for volume_id, device in disks.items():
            detail = f"unmanaged disk at {device or 'an unknown device'}: see attachment adopt"
            yield Finding(server.id, volume_id, "", Outcome.UNRESOLVED, detail)


def _servers(compute: RemoteComputeAPI | None, server_id: str | None) -> Iterable[Server]:
    if compute is None:
        return ()
    if server_id is None:
        return compute.servers()
    try:
        return (compute.server(server_id),)
    except ServerMissing:
        return ()


def _disks_without_row(registry: Registry, executor: BackendExecutor, server: Server) -> Mapping[str, str | None]:
    with executor.slot(new_request_id()) as slot:
        disks = slot.disks(server) or {}
    return {volume: device for volume, device in disks.items() if registry.get(server.id, volume) is None}
