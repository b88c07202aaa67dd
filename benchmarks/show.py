"""The cost of showing one attachment, against the same look-ups and the same response without a framework."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from .harness import SERVER, Sides, WSGIApp, environ, harness, look_up_server, respond, same_response, send_request
from .measure import Finding, compare
from .rows import connect, fill, volume_ids

SELECT = """
SELECT volume_id, server_id, device, project_id FROM attachments
WHERE volume_id = ? AND server_id = ? AND state != 'attaching'
"""
ROWS = 100


def run() -> Iterator[Finding]:
    for dialect in SERVER:
        with sides(dialect) as (floor, here):
            yield compare(f"show, {dialect}", floor, here, 3.2)


@contextmanager
def sides(dialect: str) -> Iterator[Sides]:
    """Provide the floor and the filter, on SQLite."""
    with harness(dialect) as (filtered, app, path):
        fill(path, ((volume, SERVER[dialect]) for volume in volume_ids(dialect, ROWS)))
        with closing(connect(path)) as connection:
            yield requesting(filtered, floor(app, connection, dialect), dialect)


def requesting(filtered: WSGIApp, floor: WSGIApp, dialect: str) -> Sides:
    """Return functions that request the same attachment from both."""
    request = show_request(dialect)
    return same_response(
        lambda: send_request(floor, dict(request), "200 OK"), lambda: send_request(filtered, dict(request), "200 OK")
    )


def show_request(dialect: str) -> dict[str, Any]:
    volume_id, *_ = volume_ids(dialect, ROWS)
    return environ("GET", f"/servers/{SERVER[dialect]}/os-volume_attachments/{volume_id}")


def floor(app: WSGIApp, connection: Any, dialect: str, select: str = SELECT) -> WSGIApp:
    """Return an application that shows an attachment with the least possible work.

    :param connection: one of ``sqlite3`` or psycopg.
    :param select: the statement, in the syntax of that driver.
    """
    read_id: Callable[[str], Any] = int if dialect == "cyclades" else str

    def show(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        _, _, server_id, _, volume_id = environ["PATH_INFO"].split("/")
        look_up_server(app, environ, server_id)
        volume, server, device, _ = connection.execute(select, (volume_id, server_id)).fetchone()
        number = read_id(volume)
        shown = {
            "device": device if read_id is str else "",
            "serverId": read_id(server),
            "id": number,
            "volumeId": number,
        }
        return respond(environ, start_response, dialect, "200 OK", {"volumeAttachment": shown})

    return show
