"""The search for unmanaged disks and incomplete attachments of servers, which have no row."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from ...compute.remote import RemoteComputeAPI
from ...context import new_request_id
from ...errors import BackendError, ComputeUnavailable, Overloaded, ServerMissing, ServerNotFound
from ...models import Server
from ...registry.attachments import Registry
from ..executor import BackendExecutor, Slot
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
            disks = _without_row(server, _disks, registry, executor)
            incomplete = _without_row(server, _incomplete, registry, executor)
        except (BackendError, Overloaded) as error:
            yield Finding(server.id, "", "", Outcome.UNRESOLVED, f"its disks can't be listed: {error!r}")
            continue
        for volume_id, device in disks.items():
            detail = f"unmanaged disk at {device or 'an unknown device'}: see attachment adopt"
            yield Finding(server.id, volume_id, "", Outcome.UNRESOLVED, detail)
        for volume_id, reason in incomplete.items():
            detail = f"incomplete attachment without a row: {reason}"
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


def _disks(slot: Slot, server: Server) -> Mapping[str, str | None]:
    return slot.disks(server) or {}


def _incomplete(slot: Slot, server: Server) -> Mapping[str, str]:
    try:
        return slot.incomplete(server)
    except ServerNotFound:
        return {}


def _without_row(
    server: Server, find: Callable[[Slot, Server], Mapping[str, T]], registry: Registry, executor: BackendExecutor
) -> Mapping[str, T]:
    """Return what is found of those volumes that have no row."""

    def once() -> Mapping[str, T]:
        with executor.slot(new_request_id()) as slot:
            found = find(slot, server)
        return {volume: each for volume, each in found.items() if registry.get(server.id, volume) is None}

    # Twice: what was being detached when it was first seen is gone by the second time.
    return once() and once()
