"""The cost of an attach and a detach, against their four commits with ``sqlite3``.

The bare floor has the commits alone. The second one also does what no implementation can omit: it looks up the server
for both requests and the volume for the first, reads the catalog and the volume's rows again once the volume is
reserved (docs/protocol.rst, R21), and calls the backend in another thread, since a call that hangs must time out.
"""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from .harness import SERVER, WSGIApp, environ, harness, look_up_server, send_request
from .measure import Finding, measure
from .rows import INSERT, INSERT_VOLUME, NOW, connect

DIALECT = "openstack"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
PATH = f"/servers/{SERVER[DIALECT]}/os-volume_attachments"
TIMEOUT = 60
BARE, COMPLETE = "attach and detach", "attach and detach, with look-ups and threads"
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
OTHERS = "SELECT volume_id, server_id, state, project_id FROM attachments WHERE volume_id = ? AND server_id != ?"


def run() -> Iterator[Finding]:
    with sides() as ((*floors, here), connection):
        bare, complete, measured = measure(*floors, here, **WAITING)
        yield Finding(BARE, bare, measured, 1.9, (fsync_note(connection, bare),))
        yield Finding(COMPLETE, complete, measured, 1.5)


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
        floors = commits(committing(connection)), everything(connection, app, threads)
        yield (*floors, pair(filtered)), connection


def add_volume(path: Path) -> None:
    with closing(connect(path)) as connection:
        connection.execute(INSERT_VOLUME, (VOLUME, "demo", NOW))


def pair(app: WSGIApp) -> Callable[[], None]:
    """Return a function that attaches and detaches through the filter."""
    body = b'{"volumeAttachment": {"volumeId": "%s"}}' % VOLUME.encode()

    def both() -> None:
        send_request(app, environ("POST", PATH, body), "200 OK")
        send_request(app, environ("DELETE", f"{PATH}/{VOLUME}"), "202 Accepted")

    return both


def commits(execute: Execute) -> Callable[[], None]:
    """Return a function that makes the four commits."""
    steps = changes(execute)

    def four() -> None:
        for step in steps:
            step()

    return four


def everything(connection: sqlite3.Connection, app: WSGIApp, threads: ThreadPoolExecutor) -> Callable[[], None]:
    """Return a function that makes the four commits, the look-ups, and the calls of a backend that does nothing."""
    reserve, confirm, claim, remove = changes(committing(connection))

    def attach() -> None:
        look_up_server(app, environ("POST", PATH), SERVER[DIALECT])
        connection.execute(CATALOG, (VOLUME,)).fetchone()
        reserve()
        connection.execute(CATALOG, (VOLUME,)).fetchone()
        connection.execute(OTHERS, (VOLUME, SERVER[DIALECT])).fetchall()
        threads.submit(call_backend).result(TIMEOUT)
        confirm()

    def detach() -> None:
        look_up_server(app, environ("DELETE", f"{PATH}/{VOLUME}"), SERVER[DIALECT])
        claim()
        threads.submit(call_backend).result(TIMEOUT)
        remove()

    def both() -> None:
        attach()
        detach()

    return both


def call_backend() -> None:
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
