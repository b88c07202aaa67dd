"""What an attach and a detach cost, two requests, against the four commits that they are, with ``sqlite3`` alone."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from .house import SERVER, WSGIApp, ask, environ, house
from .measure import Finding, compare, cost
from .rows import connect

DIALECT = "openstack"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
NOW = "2026-01-01 00:00:00.000000"

INSERT = """
INSERT INTO attachments (volume_id, server_id, exclusive_volume_id, project_id, root, state, request_id,
                         created_at, updated_at)
VALUES (?, ?, ?, 'demo', 0, 'attaching', 'req-1', ?, ?)
"""
SEEN = "WHERE volume_id = ? AND server_id = ? AND state = ? AND request_id = 'req-1'"
CONFIRM = f"UPDATE attachments SET state = 'attached', device = '/dev/vdb', updated_at = ? {SEEN}"
CLAIM = f"UPDATE attachments SET state = 'detaching', updated_at = ? {SEEN}"
REMOVE = f"DELETE FROM attachments {SEEN}"


def run() -> Iterator[Finding]:
    with house(DIALECT) as (ours, _, path):
        connection = connect(path)
        connection.execute(
            "INSERT INTO volumes (id, project_id, multiattach, created_at) VALUES (?, 'demo', 0, ?)", (VOLUME, NOW)
        )
        finding = compare("attach and detach, synchronous=FULL", floor(connection), pair(ours), 2.2, 1, 400)
        sync = cost(fsync(path.with_name("fsync")), 20)
        note = f"An fsync of 4 KiB more costs {sync * 1e6:.0f} us on this disk; an attach and detach has at least four."
        yield replace(finding, notes=(note,))


def pair(app: WSGIApp) -> Callable[[], None]:
    """Return what attaches and detaches through the filter."""
    path = f"/servers/{SERVER[DIALECT]}/os-volume_attachments"
    body = b'{"volumeAttachment": {"volumeId": "%s"}}' % VOLUME.encode()

    def both() -> None:
        ask(app, environ("POST", path, body), "200 OK")
        ask(app, environ("DELETE", f"{path}/{VOLUME}"), "202 Accepted")

    return both


def floor(connection: sqlite3.Connection) -> Callable[[], None]:
    """Return what makes the four commits."""
    server = SERVER[DIALECT]
    changes = (
        (INSERT, (VOLUME, server, VOLUME, NOW, NOW)),
        (CONFIRM, (NOW, VOLUME, server, "attaching")),
        (CLAIM, (NOW, VOLUME, server, "attached")),
        (REMOVE, (VOLUME, server, "detaching")),
    )

    def commits() -> None:
        for statement, parameters in changes:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute(statement, parameters).rowcount != 1:
                raise RuntimeError(f"no row changed: {statement}")
            connection.execute("COMMIT")

    return commits


def fsync(path: Path) -> Callable[[], None]:
    file = path.open("wb", buffering=0)
    page = bytes(4096)

    def append() -> None:
        file.write(page)
        os.fsync(file.fileno())

    return append
