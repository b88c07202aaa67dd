"""The search for unmanaged disks and incomplete attachments of servers, which have no row."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from ...compute.remote import RemoteComputeAPI
from ...context import new_request_id
from ...errors import BackendError, ComputeUnavailable, Overloaded, ServerMissing, ServerNotFound
from ...models import Server
from ...registry.attachments import Registry
from ..executor import BackendExecutor
from .findings import Finding, Outcome

T = TypeVar("T")


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
            incomplete = _without_row(registry, server, _incomplete(executor, server))
        except (BackendError, Overloaded) as error:
            yield Finding(server.id, "", "", Outcome.UNRESOLVED, f"its disks can't be listed: {error!r}")
            continue
        for volume_id, device in disks.items():
            detail = f"unmanaged disk at {device or 'an unknown device'}: see attachment adopt"
            yield Finding(server.id, volume_id, "", Outcome.UNRESOLVED, detail)
        for volume_id, detail in incomplete.items():
            yield Finding(
                server.id, volume_id, "", Outcome.UNRESOLVED, f"incomplete attachment without a row: {detail}"
            )


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
    return _without_row(registry, server, disks)


def _incomplete(executor: BackendExecutor, server: Server) -> Mapping[str, str]:
    with executor.slot(new_request_id()) as slot:
        try:
            return slot.incomplete(server)
        except ServerNotFound:
            return {}


def _without_row(registry: Registry, server: Server, found: Mapping[str, T]) -> dict[str, T]:
    return {volume: each for volume, each in found.items() if registry.get(server.id, volume) is None}
