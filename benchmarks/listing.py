"""The cost of listing 1,000 attachments, against ``sqlite3`` and the plain writing of JSON or XML."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from lxml import etree

from .harness import SERVER, Sides, environ, harness, same_response, send_request
from .measure import Finding, compare
from .rows import connect, fill, volume_ids

SELECT = """
SELECT volume_id, server_id, device FROM attachments
WHERE server_id = ? AND state != 'attaching' ORDER BY created_at, volume_id LIMIT 1000
"""
TARGETS = {"json": 1.10, "xml": 1.08}


def run() -> Iterator[Finding]:
    for dialect in SERVER:
        for format, target in TARGETS.items():
            with sides(dialect, format) as (floor, here):
                yield compare(f"list of 1,000 in {format.upper()}, {dialect}", floor, here, target)


@contextmanager
def sides(dialect: str, format: str) -> Iterator[Sides]:
    """Provide the floor and the filter.

    :param format: ``json`` or ``xml``.
    """
    server_id = SERVER[dialect]
    show = _show_integers if dialect == "cyclades" else _show_strings
    write: Callable[[list[dict[str, Any]]], bytes] = _json if format == "json" else _xml
    request = environ("GET", f"/servers/{server_id}/os-volume_attachments.{format}")
    with harness(dialect) as (filtered, _, path):
        fill(path, ((volume, server_id) for volume in volume_ids(dialect, 1000)))
        with closing(connect(path)) as connection:
            yield same_response(
                lambda: write([show(*row) for row in connection.execute(SELECT, (server_id,))]),
                lambda: send_request(filtered, dict(request), "200 OK"),
            )


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
