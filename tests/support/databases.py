"""The databases that tests run on: SQLite files, and a PostgreSQL and a MariaDB where there are such servers."""

import datetime
import shutil
import uuid
from contextlib import ExitStack, contextmanager

from sqlalchemy import create_engine, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from os_volume_ext.registry import schema
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments, metadata
from tests.support.services import require_service

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

SERVERS = {
    # Nothing here is about power cuts.
    "postgresql": "postgresql+psycopg://postgres@127.0.0.1:5432/test?options=-csynchronous_commit%3Doff",
    # Without TLS: to read the machine's certificates for each connection takes longer than most tests.
    "mariadb": "mysql+pymysql://root@127.0.0.1:3306/test?ssl_disabled=true",
}
KINDS = ("sqlite", *SERVERS)


class Files:
    """Makes SQLite databases."""

    @contextmanager
    def new(self, path):
        """Give the URL of a database without tables."""
        yield f"sqlite:///{path}"

    @contextmanager
    def copy(self, url, path):
        """Give the URL of a database with the tables and rows of another."""
        yield f"sqlite:///{shutil.copy(make_url(url).database, path)}"


class Server:
    """Makes databases on a server, under unique names."""

    def __init__(self, url, stack):
        self._url = make_url(url)
        self._stack = stack
        self._engine = self._stay_connected(url, isolation_level="AUTOCOMMIT")
        self._rows = {}
        self._engines = {}
        self._free = []
        self._execute("SELECT 1")

    @contextmanager
    def new(self, path=None, options=""):
        """Give the URL of a database without tables. :param options: of CREATE DATABASE."""
        # Not by the process's number: another container's may be the same, or that of a run that left some behind.
        name = f"os_volume_ext_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name} {options}")
        try:
            yield self._url.set(database=name).render_as_string(hide_password=False)
        finally:
            self._execute(f"DROP DATABASE {name}" + " WITH (FORCE)" * (self._engine.name == "postgresql"))

    @contextmanager
    def copy(self, url, path=None):
        # To make a database and its tables takes much longer than to put other rows into one.
        copy = self._free.pop() if self._free else self._with_tables()
        if url not in self._rows:
            self._rows[url] = self._read(url)
        with self._engines[copy].begin() as connection:
            for table, rows in self._rows[url].items():
                connection.execute(table.delete())
                if rows:
                    connection.execute(table.insert(), rows)
        yield copy
        self._free.append(copy)

    def _with_tables(self):
        url = self._stack.enter_context(self.new())
        schema.upgrade(Database({"url": url}))
        self._engines[url] = self._stay_connected(url)
        return url

    def _read(self, url):
        engine = create_engine(url)
        with engine.connect() as connection:
            tables = [table for table in metadata.sorted_tables if table.name != "server_locks"]  # the same in each
            rows = {table: connection.execute(select(table)).mappings().all() for table in tables}
        engine.dispose()
        return rows

    def _execute(self, statement):
        with self._engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def _stay_connected(self, url, **options):
        engine = create_engine(url, **options)
        self._stack.callback(engine.dispose)
        return engine


@contextmanager
def of_kind(kind):
    """Give what makes databases of a kind; skip the test without such a server, fail in CI."""
    if kind == "sqlite":
        yield Files()
        return
    with ExitStack() as stack:
        try:
            server = Server(SERVERS[kind], stack)
        except OperationalError as error:
            require_service(False, f"no {kind} at {SERVERS[kind]}: {error.orig}")
        yield server


@contextmanager
def direct_connection(database):
    """Give a connection of its own, which commits at the end."""
    engine = database.make_engine()
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def nanoseconds(moment):
    """Return a time as ``time_ns`` does."""
    return (moment - EPOCH) // datetime.timedelta(microseconds=1) * 1000


def age_rows(connection, by):
    """Let all attachments have been changed earlier by a ``timedelta``."""
    for row in connection.execute(select(attachments)).all():
        here = (attachments.c.volume_id == row.volume_id) & (attachments.c.server_id == row.server_id)
        connection.execute(update(attachments).where(here).values(updated_at=row.updated_at - by))
