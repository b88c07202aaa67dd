"""The cost of an attach and a detach, against their four commits with ``sqlite3`` alone."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace

from .harness import SERVER, WSGIApp, environ, harness, send_request
from .measure import Finding, compare, cost
from .rows import INSERT, NOW, connect

DIALECT = "openstack"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
SEEN = "WHERE volume_id = ? AND server_id = ? AND state = ? AND request_id = 'req-1'"
CONFIRM = f"UPDATE attachments SET state = 'attached', device = '/dev/vdb', updated_at = ? {SEEN}"
CLAIM = f"UPDATE attachments SET state = 'detaching', updated_at = ? {SEEN}"
REMOVE = f"DELETE FROM attachments {SEEN}"


def run() -> Iterator[Finding]:
    # A file for each: commits of one connection would invalidate the other's page cache.
    with harness(DIALECT) as (filtered, _, path), harness(DIALECT) as (_, _, bare_path):
        connect(path).execute(
            "INSERT INTO volumes (id, project_id, multiattach, created_at) VALUES (?, 'demo', 0, ?)", (VOLUME, NOW)
        )
        bare = connect(bare_path)
        full = compare("attach and detach, synchronous=FULL", floor(bare), pair(filtered), 2.2, 1, 400)
        bare.execute("PRAGMA synchronous = NORMAL")
        unsynced = cost(floor(bare), 50)
        note = (
            f"An fsync costs {(full.floor - unsynced) / 4 * 1e6:.0f} us on this disk: the floor's four commits take "
            f"{full.floor * 1e6:.0f} us, and {unsynced * 1e6:.0f} us at synchronous=NORMAL, which makes none."
        )
        yield replace(full, notes=(note,))


def pair(app: WSGIApp) -> Callable[[], None]:
    """Return a function that attaches and detaches through the filter."""
    path = f"/servers/{SERVER[DIALECT]}/os-volume_attachments"
    body = b'{"volumeAttachment": {"volumeId": "%s"}}' % VOLUME.encode()

    def both() -> None:
        send_request(app, environ("POST", path, body), "200 OK")
        send_request(app, environ("DELETE", f"{path}/{VOLUME}"), "202 Accepted")

    return both


def floor(connection: sqlite3.Connection) -> Callable[[], None]:
    """Return a function that makes the four commits."""
    server = SERVER[DIALECT]
    changes = (
        (INSERT, (VOLUME, server, VOLUME, "demo", None, "attaching", NOW, NOW)),
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
