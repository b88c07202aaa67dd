"""A connection pool in each process, and transactions for reading and writing."""

import datetime
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, engine_from_config, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..backends.base import ConfigurationError
from ..perprocess import PerProcess

BUSY_TIMEOUT = 10_000  # milliseconds that SQLite waits for another writer


class RegistryUnavailable(Exception):
    """The database did not answer; whether a change was made is not known."""


class Database:
    """The database that a filter's section names."""

    def __init__(self, options: Mapping[str, str]) -> None:
        """Read the options; nothing is connected before first use.

        :param options: SQLAlchemy's ``url`` and what else ``engine_from_config`` takes.
        :raises ConfigurationError: if they are not usable.
        """
        self.url: URL = _url(options)
        self._options = dict(options)
        self._make_engine().dispose()
        self._engine = PerProcess(self._make_engine)
        self._single = PerProcess(lambda: _autocommit(self._engine()))
        self._several = PerProcess(lambda: _transactional(self._engine()))

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def single(self) -> AbstractContextManager[Connection]:
        """Give a connection on which each statement stands alone, and is committed when it returns.

        :raises RegistryUnavailable: if the database went away, before or during a statement.
        :raises sqlalchemy.exc.IntegrityError: as the statements do.
        """
        return _connection(self._single().connect)

    def write(self) -> AbstractContextManager[Connection]:
        """Give a transaction that is committed at the end.

        :raises RegistryUnavailable: if the database went away, before or during the commit.
        :raises sqlalchemy.exc.IntegrityError: as the statements do.
        """
        return _connection(self._several().begin)

    def connect(self) -> Engine:
        """Return an engine of one's own, for work at start-up, before the server forks; dispose of it."""
        return _transactional(self._make_engine())

    def dispose(self) -> None:
        """Close this process's pool."""
        engine = self._engine.made()
        if engine is not None:
            engine.dispose()

    def _make_engine(self) -> Engine:
        try:
            engine = engine_from_config(self._options, prefix="")
        except (ArgumentError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(f"database.*: SQLAlchemy does not take these options: {reason}") from error
        except ImportError as error:
            raise ConfigurationError(f"database.url: its driver is not installed: {error}") from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        return engine


def _url(options: Mapping[str, str]) -> URL:
    try:
        url = make_url(options["url"])
        url.get_dialect()
    except KeyError:
        raise ConfigurationError("database.url is missing: name the database, such as sqlite:////path/file") from None
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise ConfigurationError(f"database.url is not an URL such as sqlite:////path/file: {error}") from error
    if url.get_backend_name() == "sqlite":
        _check_sqlite(url)
    return url


def _check_sqlite(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("database.url names a database in memory, which workers can't share: name a file")
    if not url.database.startswith(("/", "file:")):
        raise ConfigurationError(
            f"database.url has the relative path {url.database!r}: write sqlite:///%(here)s/... or an absolute path"
        )


@contextmanager
def _connection(opened: Callable[[], AbstractContextManager[Connection]]) -> Iterator[Connection]:
    try:
        with opened() as connection:
            yield connection
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeout) as error:
        raise RegistryUnavailable(str(error).splitlines()[0]) from error


def _utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # no BEGIN but ours
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.create_function("utc_now", 0, _utc_now)


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that reads and then writes can't wait for another's write: it fails at once.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _autocommit(engine: Engine) -> Engine:
    # SQLite's connections are that by themselves; to have SQLAlchemy switch them costs 30 microseconds each time.
    return engine if engine.dialect.name == "sqlite" else engine.execution_options(isolation_level="AUTOCOMMIT")


def _transactional(engine: Engine) -> Engine:
    if engine.dialect.name != "sqlite":
        return engine
    engine = engine.execution_options()  # the same pool, with a listener of its own
    event.listen(engine, "begin", _begin_immediate)
    return engine
