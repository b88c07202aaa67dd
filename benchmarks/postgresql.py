"""The cost of a show on PostgreSQL, and of an attach and a detach, against psycopg alone.

CPU time of this process counts, for the server's is the same for both. The database is made on the server that the
tests use, and dropped at the end.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from os_volume_ext.registry import schema
from os_volume_ext.registry.database import Database

from . import attach, show
from .harness import SERVER, Sides, filter_on
from .measure import ROUNDS, Finding, Skipped, compare
from .rows import INSERT, INSERT_VOLUME, NOW, attached, in_psycopg, volume_ids

DIALECT = "openstack"


def run() -> Iterator[Finding]:
    with database() as (url, connection):
        with show_sides(url, connection) as (floor, here):
            yield compare("show, PostgreSQL", floor, here, 4)
        with filter_on(url, DIALECT) as (filtered, _):
            connection.execute(in_psycopg(INSERT_VOLUME), (attach.VOLUME, "demo", NOW))
            floor = attach.commits(lambda statement, values: connection.execute(in_psycopg(statement), values).rowcount)
            # Each wait for the server may wake on another core, which makes single rounds differ.
            yield compare("attach and detach, PostgreSQL", floor, attach.pair(filtered), rounds=3 * ROUNDS)


@contextmanager
def database() -> Iterator[tuple[str, Any]]:
    """Provide the URL of a new database with tables, and a connection of psycopg.

    :raises Skipped: if there is no server.
    """
    import psycopg

    from tests.support.databases import SERVERS, Server

    with ExitStack() as stack:
        try:
            server = Server(SERVERS["postgresql"], stack)
        except OperationalError as error:
            raise Skipped(f"no PostgreSQL at {SERVERS['postgresql']}: {error.orig}") from None
        url = stack.enter_context(server.new())
        schema.upgrade(Database({"url": url}))
        address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, autocommit=True) as connection:
            yield url, connection


@contextmanager
def show_sides(url: str, connection: Any) -> Iterator[Sides]:
    """Provide the floor and the filter."""
    pairs = ((volume, SERVER[DIALECT]) for volume in volume_ids(DIALECT, show.ROWS))
    with connection.cursor() as cursor:
        cursor.executemany(in_psycopg(INSERT), list(attached(pairs)))
    with filter_on(url, DIALECT) as (filtered, app):
        floor = show.floor(app, connection, DIALECT, in_psycopg(show.SELECT))
        yield show.requesting(filtered, floor, DIALECT)
