"""The cost of listing 1,000 attachments, against ``sqlite3`` and the plain writing of JSON or XML."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from lxml import etree

from .harness import SERVER, environ, harness, send_request
from .measure import Finding, compare
from .rows import connect, fill, volume_ids

SELECT = """
SELECT volume_id, server_id, device FROM attachments
WHERE server_id = ? AND state != 'attaching' ORDER BY created_at, volume_id LIMIT 1000
"""


def run() -> Iterator[Finding]:
    for dialect, server_id in SERVER.items():
        with harness(dialect) as (filtered, _, path):
            fill(path, ((volume, server_id) for volume in volume_ids(dialect, 1000)))
            connection = connect(path)
            for format, write in ("json", _json), ("xml", _xml):
                request = environ("GET", f"/servers/{server_id}/os-volume_attachments.{format}")
                bare = floor(connection, server_id, _show_integers if dialect == "cyclades" else _show_strings, write)
                if bare() != send_request(filtered, dict(request), "200 OK"):
                    raise RuntimeError("the floor's response differs")
                yield compare(
                    f"list of 1,000 in {format.upper()}, {dialect}",
                    bare,
                    lambda request=request: send_request(filtered, dict(request), "200 OK"),
                    1.5,
                )


def floor(
    connection: sqlite3.Connection,
    server_id: str,
    show: Callable[[str, str, str], dict[str, Any]],
    write: Callable[[list[dict[str, Any]]], bytes],
) -> Callable[[], bytes]:
    return lambda: write([show(*row) for row in connection.execute(SELECT, (server_id,))])


def _show_integers(volume_id: str, server_id: str, device: str) -> dict[str, Any]:
    number = int(volume_id)
    return {"device": "", "serverId": int(server_id), "id": number, "volumeId": number}


def _show_strings(volume_id: str, server_id: str, device: str) -> dict[str, Any]:
    return {"device": device, "serverId": server_id, "id": volume_id, "volumeId": volume_id}


def _json(shown: list[dict[str, Any]]) -> bytes:
    return json.dumps({"volumeAttachments": shown}).encode()


def _xml(shown: list[dict[str, Any]]) -> bytes:
    root = etree.Element("volumeAttachments")
    for each in shown:
        etree.SubElement(root, "volumeAttachment", {name: str(value) for name, value in each.items()})
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)
