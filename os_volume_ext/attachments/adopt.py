"""Adopting: rows for disks that servers had before we came."""

from ..assembly import Assembly
from ..context import RequestContext, new_request_id
from ..errors import AlreadyReserved, NotAdopted, ServerMissing, VolumeNotFound
from ..models import ATTACHED, Attachment, Server, Volume


def adopt(
    assembly: Assembly, server_id: str, volume_id: str, device: str | None, root: bool, project_id: str | None
) -> Attachment:
    """Add a row for a disk that a server has, and return it.

    :param device: None for what the backend says.
    :param root: whether the server started from it, so that it can't be detached.
    :param project_id: None for what the compute API or the catalog says.
    :raises NotAdopted: if the server has no such disk, a row knows it, or its project is not known.
    """
    server = _server(assembly, server_id)
    volume = _volume(assembly, volume_id)
    owner = project_id or next((known.project_id for known in (server, volume) if known), None)
    if owner is None:
        raise NotAdopted("of which project is it? Neither the compute API nor the catalog tells: give --project")
    server = server or Server(server_id, owner, "UNKNOWN")
    with assembly.operations.slot(new_request_id()) as slot:
        disks = slot.call(assembly.backend.attached, server)
    if volume_id not in disks:
        raise NotAdopted(f"server {server_id} has no disk {volume_id}: nothing to adopt")
    row = Attachment(
        volume_id=volume_id,
        server_id=server_id,
        project_id=owner,
        exclusive=not (volume and volume.multiattach),
        device=device or disks[volume_id] or None,
        root=root,
        state=ATTACHED,
        request_id=slot.request_id,
        host=server.host,
        instance_name=server.instance_name,
        source=volume.source if volume else None,
        format=volume.format if volume else None,
    )
    try:
        assembly.registry.reserve(row)
    except AlreadyReserved as error:
        raise NotAdopted(f"volume {volume_id} or the device {row.device} has a row already") from error
    return row


def _server(assembly: Assembly, server_id: str) -> Server | None:
    if assembly.compute is None:
        return None
    try:
        return assembly.compute.server(server_id)
    except ServerMissing as error:
        raise NotAdopted(str(error)) from error


def _volume(assembly: Assembly, volume_id: str) -> Volume | None:
    operator = RequestContext(new_request_id(), None, None, {}, lambda context, action, project_id: True)
    try:
        return assembly.catalog.volume(operator, volume_id)
    except VolumeNotFound:
        return None
