"""The cost of an attach and a detach, against their four commits with ``sqlite3``.

The bare floor has the commits alone. The complete one also does what no implementation can omit: it reads the body of
the attach, looks up the server for both requests and the volume for the first, reads the catalog and the volume's rows
again once the volume is reserved (docs/protocol.rst, R21), reads the row before the detach, calls the backend in
another thread, since a call that hangs must time out, and sends the responses.

The floors are far apart. After an fsync, during which the processor is idle, a statement takes 2.5 times as long as
without one, and so does all other code; the bare floor has none between its commits.
"""

import io
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from .harness import SERVER, WSGIApp, environ, harness, look_up_server, respond, send_request
from .measure import Finding, measure
from .rows import INSERT, INSERT_VOLUME, NOW, connect

DIALECT = "openstack"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
PATH = f"/servers/{SERVER[DIALECT]}/os-volume_attachments"
TIMEOUT = 60
BARE, COMPLETE = "attach and detach", "attach and detach, with all that can't be omitted"
# Wall time, since an fsync uses no CPU time. The rounds are short and many, so that enough of them wait for no other
# process and for no other fsync.
WAITING: dict[str, Any] = {"clock": perf_counter, "seconds": 0.005, "rounds": 1000}

Execute = Callable[[str, tuple[str | None, ...]], int]
"""Executes a statement and commits; returns how many rows it changed."""

SEEN = "WHERE volume_id = ? AND server_id = ? AND state = ? AND request_id = 'req-1'"
CONFIRM = f"UPDATE attachments SET state = 'attached', device = '/dev/vdb', updated_at = ? {SEEN}"
CLAIM = f"UPDATE attachments SET state = 'detaching', updated_at = ? {SEEN}"
REMOVE = f"DELETE FROM attachments {SEEN}"
CATALOG = "SELECT id, project_id, source, format, multiattach FROM volumes WHERE id = ?"
# What the backend gets, and what is checked before the claim, such as the project (docs/protocol.rst, R26). The claim
# can't return it: MariaDB has no UPDATE that returns rows.
ROW = """
SELECT project_id, state, root, device, host, instance_name, source, format FROM attachments
WHERE volume_id = ? AND server_id = ?
"""
OTHERS = "SELECT volume_id, server_id, state, project_id FROM attachments WHERE volume_id = ? AND server_id != ?"


def run() -> Iterator[Finding]:
    with sides() as ((*floors, here), connection):
        bare, all_of_it, measured = measure(*floors, here, **WAITING)
        yield Finding(BARE, bare, measured, 1.9, (fsync_note(connection, bare),))
        yield Finding(COMPLETE, all_of_it, measured, 1.5)


@contextmanager
def sides() -> Iterator[tuple[tuple[Callable[[], None], ...], sqlite3.Connection]]:
    """Provide the bare floor, the complete one and the filter, and the floors' connection."""
    # A file for each: commits of one connection would invalidate the other's page cache.
    with (
        harness(DIALECT) as (filtered, app, path),
        harness(DIALECT) as (_, _, bare_path),
        closing(connect(bare_path)) as connection,
        ThreadPoolExecutor(1) as threads,
    ):
        for each in path, bare_path:
            add_volume(each)
        floors = commits(committing(connection)), pair(complete(connection, app, threads))
        yield (*floors, pair(filtered)), connection


def add_volume(path: Path) -> None:
    with closing(connect(path)) as connection:
        connection.execute(INSERT_VOLUME, (VOLUME, "demo", NOW))


def pair(app: WSGIApp) -> Callable[[], None]:
    """Return a function that requests an attach, and the detach after it."""
    body = b'{"volumeAttachment": {"volumeId": "%s"}}' % VOLUME.encode()
    attach, detach = environ("POST", PATH, body), environ("DELETE", f"{PATH}/{VOLUME}")

    def both() -> None:
        send_request(app, {**attach, "wsgi.input": io.BytesIO(body)}, "200 OK")
        send_request(app, dict(detach), "202 Accepted")

    return both


def commits(execute: Execute) -> Callable[[], None]:
    """Return a function that makes the four commits."""
    steps = changes(execute)

    def four() -> None:
        for step in steps:
            step()

    return four


def complete(connection: sqlite3.Connection, app: WSGIApp, threads: ThreadPoolExecutor) -> WSGIApp:
    """Return an application that attaches and detaches with the least possible work, with a backend that does nothing.

    :param app: the compute API.
    """
    reserve, confirm, claim, remove = changes(committing(connection))
    server_id = SERVER[DIALECT]

    def attach(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        look_up_server(app, environ, server_id)
        request = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        volume_id = request["volumeAttachment"]["volumeId"]
        connection.execute(CATALOG, (volume_id,)).fetchone()
        reserve()
        connection.execute(CATALOG, (volume_id,)).fetchone()
        connection.execute(OTHERS, (volume_id, server_id)).fetchall()
        device = threads.submit(attach_disk).result(TIMEOUT)
        confirm()
        shown = {"device": device, "serverId": server_id, "id": volume_id, "volumeId": volume_id}
        return respond(environ, start_response, DIALECT, "200 OK", {"volumeAttachment": shown})

    def detach(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        look_up_server(app, environ, server_id)
        connection.execute(ROW, (environ["PATH_INFO"].rpartition("/")[2], server_id)).fetchone()
        claim()
        threads.submit(detach_disk).result(TIMEOUT)
        remove()
        return respond(environ, start_response, DIALECT, "202 Accepted")

    return lambda environ, start_response: (attach if environ["REQUEST_METHOD"] == "POST" else detach)(
        environ, start_response
    )


def attach_disk() -> str:
    return "/dev/vdb"


def detach_disk() -> None:
    pass


def changes(execute: Execute) -> list[Callable[[], None]]:
    """Return functions that make one of the commits each."""
    server = SERVER[DIALECT]
    statements = (
        (INSERT, (VOLUME, server, VOLUME, "demo", None, "attaching", NOW, NOW)),
        (CONFIRM, (NOW, VOLUME, server, "attaching")),
        (CLAIM, (NOW, VOLUME, server, "attached")),
        (REMOVE, (VOLUME, server, "detaching")),
    )

    def change(statement: str, parameters: tuple[str | None, ...]) -> None:
        if execute(statement, parameters) != 1:
            raise RuntimeError(f"no row changed: {statement}")

    return [partial(change, *each) for each in statements]


def committing(connection: sqlite3.Connection) -> Execute:
    """Return what executes one statement in a transaction."""

    def execute(statement: str, parameters: tuple[str | None, ...]) -> int:
        connection.execute("BEGIN IMMEDIATE")
        changed = connection.execute(statement, parameters).rowcount
        connection.execute("COMMIT")
        return changed

    return execute


def fsync_note(connection: sqlite3.Connection, synced: float) -> str:
    connection.execute("PRAGMA synchronous = NORMAL")
    [unsynced] = measure(commits(committing(connection)), clock=perf_counter)
    connection.execute("PRAGMA synchronous = FULL")
    return (
        f"wall time; an fsync costs {(synced - unsynced) / 4 * 1e6:.0f} us on this disk: the floor's four commits take "
        f"{unsynced * 1e6:.0f} us at synchronous=NORMAL, which makes none"
    )
