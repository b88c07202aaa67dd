"""Compute API documents: from a server's JSON to ``models.Server``."""

import json
from collections.abc import Mapping
from typing import Any

from ..errors import ComputeUnavailable
from ..models import Server
from ..outbound.documents import MALFORMED


def parse_server(body: bytes, server_id: str) -> Server:
    """Read the response to ``GET /servers/{server_id}``.

    :raises ComputeUnavailable: if it is not a server, or another one.
    """
    try:
        server = read_server(json.loads(body.decode())["server"])  # of bytes, json would detect the encoding
    except MALFORMED as error:
        raise ComputeUnavailable(f"the compute API's response for server {server_id} is invalid") from error
    if server.id != server_id:
        raise ComputeUnavailable(f"the compute API returned server {server.id!r} instead of {server_id}")
    return server


def is_fault(body: bytes, name: str) -> bool:
    """Return whether a response is a fault of the compute API, such as ``itemNotFound``."""
    try:
        document = json.loads(body)
    except MALFORMED:
        return False
    return isinstance(document, dict) and isinstance(document.get(name), dict)


def read_server(document: Mapping[str, Any]) -> Server:
    """Read a server's representation; the exceptions are ``MALFORMED``.

    Compute APIs show a deleted server with the status ``DELETED``, or ``deleted`` true, or not at all.
    """
    project_id, status, user_id = document["tenant_id"], document["status"], document.get("user_id")
    task_state = document.get("OS-EXT-STS:task_state") or document.get("SNF:task_state") or ""
    if not (isinstance(project_id, str) and isinstance(status, str) and isinstance(task_state, str)):
        raise TypeError("a server's tenant_id, status and task state must be strings")
    return Server(
        str(document["id"]).lower(),
        project_id,
        "DELETED" if document.get("deleted") is True else status.upper(),
        bool(document.get("locked", False)),
        document.get("OS-EXT-SRV-ATTR:host"),
        document.get("OS-EXT-SRV-ATTR:instance_name"),
        user_id if isinstance(user_id, str) else None,
        task_state or None,
    )
