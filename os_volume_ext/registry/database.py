"""A connection pool in each process, and transactions for reading and writing."""

import datetime
import functools
import random
import select
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, engine_from_config, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import ConfigurationError, RegistryUnavailable, TransactionAborted
from ..perprocess import PerProcess

P = ParamSpec("P")
T = TypeVar("T")

BUSY_TIMEOUT = 10_000  # milliseconds that SQLite waits for another writer
TIMEOUT = 10  # seconds that a database server, and a place in the pool, is waited for
ATTEMPTS = 10  # how often in all a transaction is begun that gives way to others
PAUSE = 0.2  # seconds that it waits between two of them at most, so less than two in all

# Drivers' own names for that; what the URL says comes first. ``postgresql`` adds psycopg's read_timeout.
_TIMEOUTS = {
    "psycopg": ("connect_timeout", "read_timeout"),
    "pymysql": ("connect_timeout", "read_timeout", "write_timeout"),
}
# Whatever the server's default: ``attachments`` locks what these levels let it.
_LEVELS = {"postgresql": "READ COMMITTED", "mysql": "REPEATABLE READ", "mariadb": "REPEATABLE READ"}
# SQLSTATEs of serialization failures and deadlocks; MariaDB's numbers of a deadlock and of a changed snapshot.
_GAVE_WAY = {"40001", "40P01", 1213, 1020}
_NOT_OPTIONS = {
    "connect_args": "the driver's options are part of the URL, as in ?connect_timeout=5",
    "isolation_level": "each transaction has the one that it needs",
}
_BOOLEANS = {"true": True, "false": False}  # SQLAlchemy takes any text for true


def retry_on_deadlock(method: Callable[P, T]) -> Callable[P, T]:
    """Let a method begin again, ATTEMPTS times in all, when its one transaction gave way."""

    @functools.wraps(method)
    def attempt(*arguments: P.args, **named: P.kwargs) -> T:
        for number in range(1, ATTEMPTS):
            try:
                return method(*arguments, **named)
            except TransactionAborted:
                time.sleep(random.uniform(0, min(0.01 * 2**number, PAUSE)))  # noqa: S311 - so as not to meet again
        return method(*arguments, **named)

    return attempt


class Database:
    """The database that a filter's section names."""

    def __init__(self, options: Mapping[str, str]) -> None:
        """Read the options; nothing is connected before first use.

        :param options: SQLAlchemy's ``url`` and what else ``engine_from_config`` takes.
        :raises ConfigurationError: if they are not usable.
        """
        self.url: URL = _url(options)
        self._options = _engine_options(self.url, options)
        self._make_engine().dispose()
        self._engine = PerProcess(self._make_engine)
        self._several = PerProcess(lambda: _transactional(self._engine()))

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def autocommit(self) -> AbstractContextManager[Connection]:
        """Give a connection on which each statement stands alone, and is committed when it returns.

        :raises RegistryUnavailable: if the database went away, before or during a statement.
        :raises sqlalchemy.exc.IntegrityError: as the statements do.
        """
        return _connection(self._engine().connect)

    def transaction(self) -> AbstractContextManager[Connection]:
        """Give a transaction that is committed at the end.

        :raises RegistryUnavailable: if the database went away, before or during the commit.
        :raises sqlalchemy.exc.IntegrityError: as the statements do.
        """
        return _connection(self._several().begin)

    def connect(self, patient: bool = False) -> Engine:
        """Return an engine of one's own, for work at start-up, before the server forks; dispose of it.

        :param patient: whether it waits for the database as long as that takes.
        """
        return _transactional(self._make_engine(patient))

    def dispose(self) -> None:
        """Close this process's pool."""
        engine = self._engine.made()
        if engine is not None:
            engine.dispose()

    def _make_engine(self, patient: bool = False) -> Engine:
        try:
            engine = engine_from_config(self._options, prefix="", connect_args=_timeouts(self.url, patient))
        except (ArgumentError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"database.*: SQLAlchemy does not take these options: {_first_line(error)}"
            ) from error
        except ImportError as error:
            raise ConfigurationError(f"database.url: its driver is not installed: {error}") from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        if engine.dialect.driver == "psycopg":
            from . import postgresql  # only where psycopg is

            event.listen(engine, "do_connect", postgresql.connect)
        if engine.dialect.driver in _TIMEOUTS:
            event.listen(engine, "checkout", _refuse_ended)
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
    elif url.get_backend_name() not in _LEVELS:
        raise ConfigurationError(f"database.url is of {url.drivername}: it may be of sqlite, {', '.join(_LEVELS)}")
    return url


def _engine_options(url: URL, options: Mapping[str, str]) -> dict[str, Any]:
    for name in options.keys() & _NOT_OPTIONS:
        raise ConfigurationError(f"database.{name} is not an option: {_NOT_OPTIONS[name]}")
    given = {name: _BOOLEANS.get(value.lower(), value) for name, value in options.items()}
    if url.get_backend_name() == "sqlite":
        return given
    ours = {"pool_timeout": TIMEOUT, "isolation_level": "AUTOCOMMIT"}
    if url.get_driver_name() == "pymysql":
        ours["skip_autocommit_rollback"] = True  # which would be one more question to the server
    return ours | given


def _timeouts(url: URL, patient: bool) -> dict[str, int | None]:
    names = _TIMEOUTS.get(url.get_driver_name(), ())
    ours: dict[str, int | None] = {name: TIMEOUT for name in names if name not in url.query}
    return ours | {name: None for name in names if patient and name != "connect_timeout"}


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
    except DBAPIError as error:
        raise (TransactionAborted if _gave_way(error.orig) else RegistryUnavailable)(_first_line(error)) from error
    except PoolTimeout as error:
        raise RegistryUnavailable(_first_line(error)) from error


def _gave_way(error: Any) -> bool:
    # psycopg's errors have an SQLSTATE; MariaDB's drivers put the number first.
    return not _GAVE_WAY.isdisjoint({getattr(error, "sqlstate", None), *error.args[:1]})


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # no BEGIN but ours
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.create_function("utc_now", 0, _utc_now)


def _refuse_ended(connection: Any, record: Any, proxy: Any) -> None:
    """See that a connection from the pool has not been ended by the server meanwhile.

    Nothing is to be read from one that was asked nothing, unless it has been ended. This costs some microseconds; to
    ask the server, as ``pool_pre_ping`` does, costs as much as what the connection is wanted for.
    """
    waiting = select.poll()
    waiting.register(connection if hasattr(connection, "fileno") else connection._sock, select.POLLIN)
    if waiting.poll(0):
        raise DisconnectionError


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that reads and then writes can't wait for another's write: it fails at once.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _transactional(engine: Engine) -> Engine:
    if engine.dialect.name != "sqlite":
        return engine.execution_options(isolation_level=_LEVELS[engine.dialect.name])
    engine = engine.execution_options()  # the same pool, with a listener of its own
    event.listen(engine, "begin", _begin_immediate)
    return engine
