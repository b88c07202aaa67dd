"""The database that the options name: its connections in each process, and its statements and transactions."""

import functools
import random
import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar

import sqlalchemy
from sqlalchemy import Engine, engine_from_config, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError
from sqlalchemy.sql.elements import ClauseElement

from ..errors import ConfigurationError, TransactionAborted
from ..perprocess import PerProcess
from . import mysql, sqlite
from .compiled import NONE, Parameters, Row
from .execution import BEGIN, LEVELS, Connection, Pool

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT = 10  # seconds to wait for a database server
POOL_TIMEOUT = 2  # seconds to wait for a connection of the pool, and for the server then, so that all is less than 12
ATTEMPTS = 10  # how often an aborted transaction is tried in all
MAX_PAUSE = 0.2  # seconds between two attempts, so less than two seconds in all

# The drivers' names for TIMEOUT; values in the URL take precedence. ``postgresql`` adds psycopg's read_timeout.
_TIMEOUTS = {
    "psycopg": ("connect_timeout", "read_timeout"),
    "pymysql": ("connect_timeout", "read_timeout", "write_timeout"),
}
# The extra of the package with a driver, and that driver.
_EXTRAS = {"postgresql": ("postgresql", "psycopg"), "mysql": ("mysql", "pymysql"), "mariadb": ("mysql", "pymysql")}
_NOT_OPTIONS = {
    "connect_args": "the driver's options are part of the URL, as in ?connect_timeout=5",
    "isolation_level": "each transaction sets the level that it needs",
    "pool_reset_on_return": "each statement commits itself, so that there is nothing to reset",
    "echo": "set the logger os_volume_ext.registry.execution to DEBUG to see each statement",
}
# What the names and values of the tables need: any character. The drivers ask for it themselves.
_CHARSETS = {"charset": {"utf8mb4"}, "client_encoding": {"utf8", "utf-8"}}
# The options of a URL that are numbers of seconds, and the one that is a number of uses.
_SECONDS = ("connect_timeout", "read_timeout", "write_timeout")
_USES = "prepare_threshold"
_NOT_A_URL = "database.url is not a URL such as sqlite:////path/file: quote special characters of a password, as in %40"
_BOOLEANS = {"true": True, "false": False}  # SQLAlchemy takes any string for true


def retry_on_deadlock(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a method of one transaction: call it again, up to ATTEMPTS times, if it is aborted."""

    @functools.wraps(method)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        for number in range(1, ATTEMPTS):
            try:
                return method(*arguments, **named)
            except TransactionAborted:
                time.sleep(random.uniform(0, min(0.01 * 2**number, MAX_PAUSE)))  # noqa: S311 - spreads the competitors
        return method(*arguments, **named)

    return call


class Database:
    """The database that a filter's section names."""

    def __init__(self, options: Mapping[str, str], *, read_only: bool = False) -> None:
        """Read the options; nothing is connected before the first use.

        :param options: those of SQLAlchemy's ``engine_from_config``, with ``url``.
        :param read_only: whether an SQLite file stays as it is, also its journal mode and its schema.
        :raises ConfigurationError: if they are invalid.
        """
        self.url: URL = _url(options)
        self.read_only = read_only
        self._options = _engine_options(self.url, options)
        self._make_engine().dispose()
        self._pool = PerProcess(lambda: Pool(self._make_engine(pool_reset_on_return=None)))

    def __str__(self) -> str:
        shown = {name: "***" if "pass" in name else value for name, value in self.url.query.items()}
        return self.url.set(query=shown).render_as_string(hide_password=True)

    def query(self, statement: ClauseElement, parameters: Parameters = NONE) -> Sequence[Row]:
        """Return the rows of a query, each as a sequence of its columns.

        :param statement: a constant, since what it is compiled to is kept.
        :param parameters: the statement's.
        :raises RegistryUnavailable: if the database is or becomes unavailable.
        :raises TransactionAborted: if the statement was aborted because of a concurrent one.
        """
        with self._pool().connect() as connection:
            return connection.query(statement, parameters)

    def change(self, statement: ClauseElement, parameters: Parameters = NONE) -> int:
        """Change rows, commit, and return how many were changed.

        :param statement: a constant, since what it is compiled to is kept.
        :param parameters: the statement's.
        :raises RegistryUnavailable: if the database is or becomes unavailable.
        :raises TransactionAborted: if the statement was aborted because of a concurrent one.
        :raises ConstraintViolated: if a constraint does not allow the change.
        """
        with self._pool().connect() as connection:
            return connection.change(statement, parameters)

    def transaction(self) -> AbstractContextManager[Connection]:
        """Provide a connection with a transaction that is committed at the end.

        :raises RegistryUnavailable: if the database is or becomes unavailable, also during the commit.
        :raises TransactionAborted: if the transaction was aborted because of a concurrent one.
        :raises ConstraintViolated: if a constraint does not allow a change.
        """
        return self._pool().transaction()

    def make_engine(self, *, read_timeout: float | None = TIMEOUT) -> Engine:
        """Return an engine outside of the pool, for work at start-up before the server forks; the caller disposes it.

        :param read_timeout: seconds to wait for a response; None: forever.
        """
        return self._transactional(self._make_engine(read_timeout))

    def dispose(self) -> None:
        """Close this process's connections that are not in use."""
        pool = self._pool.made()
        if pool is not None:
            pool.dispose()

    def _make_engine(self, read_timeout: float | None = TIMEOUT, **options: Any) -> Engine:
        options["connect_args"] = _timeouts(self.url, read_timeout)
        if self.url.get_backend_name() in LEVELS:
            options["paramstyle"] = "format"  # by position, as ``execution`` gives them
        try:
            engine = engine_from_config(self._options, prefix="", **options)
        except (ArgumentError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"database.*: SQLAlchemy rejects these options: {str(error).splitlines()[0]}"
            ) from error
        except ImportError as error:
            raise _driver_missing(self.url, error) from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "do_connect", sqlite.Connector().connect)
            event.listen(engine, "connect", sqlite.prepare_reader if self.read_only else sqlite.prepare)
            event.listen(engine, "checkout", sqlite.refuse_replaced)
        if engine.dialect.name in ("mysql", "mariadb"):
            event.listen(engine, "connect", mysql.prepare)
        if engine.dialect.driver == "psycopg":
            from . import postgresql  # imported only where psycopg is installed

            event.listen(engine, "do_connect", postgresql.connect)
        if engine.dialect.driver in _TIMEOUTS:
            event.listen(engine, "checkout", _refuse_closed)
        return engine

    def _transactional(self, engine: Engine) -> Engine:
        if engine.dialect.name != "sqlite":
            return engine.execution_options(isolation_level=LEVELS[engine.dialect.name])
        engine = engine.execution_options()  # the same pool, with its own listener
        event.listen(engine, "begin", _begin if self.read_only else _begin_immediate)
        return engine


def _driver_missing(url: URL, error: ImportError) -> ConfigurationError:
    backend = url.get_backend_name()
    if backend not in _EXTRAS:
        return ConfigurationError(f"database.url: the driver of {url.drivername} is not installed: {error}")
    extra, driver = _EXTRAS[backend]
    remedy = "" if url.get_driver_name() == driver else f" and write {backend}+{driver}://..."
    return ConfigurationError(
        f"database.url: {url.drivername} needs {error.name}, which is not installed: "
        f"install os-volume-ext[{extra}]{remedy}"
    )


def _url(options: Mapping[str, str]) -> URL:
    try:
        url = make_url(options["url"])
        url.get_dialect()
    except KeyError:
        raise ConfigurationError("database.url is missing: name the database, such as sqlite:////path/file") from None
    except NoSuchModuleError as error:
        raise ConfigurationError(f"database.url is of {url.drivername}: {_supported(url)}") from error
    except (ArgumentError, ValueError):
        # Their messages can quote the URL, or the part of it that should be a port.
        raise ConfigurationError(_NOT_A_URL) from None
    if url.get_backend_name() == "sqlite":
        sqlite.check(url)
        return url
    if url.get_backend_name() not in LEVELS:
        raise ConfigurationError(f"database.url is of {url.drivername}: {_supported(url)}")
    _check_server(url)
    _check_query(url)
    return url


def _check_server(url: URL) -> None:
    # Of an @ in the password, what follows it would be shown as a part of the host.
    if "@" in (url.host or ""):
        raise ConfigurationError(_NOT_A_URL)
    if not url.database and url.get_backend_name() != "postgresql":  # whose default is the user's name
        raise ConfigurationError(f"database.url names no database: write {url.drivername}://.../NAME")


def _supported(url: URL) -> str:
    if url.get_backend_name() in _EXTRAS:
        return f"write {url.get_backend_name()}+{_EXTRAS[url.get_backend_name()][1]}://..."
    return f"it may be of sqlite, {', '.join(LEVELS)}"


def _check_query(url: URL) -> None:
    for name, value in url.query.items():
        if name in _CHARSETS and str(value).lower() not in _CHARSETS[name]:
            raise ConfigurationError(
                f"database.url has {name}={value}: it must be {min(_CHARSETS[name])}, or be left out"
            )
        if name in (*_SECONDS, _USES) and not str(value).isdecimal():
            unit = "uses" if name == _USES else "seconds"
            raise ConfigurationError(f"database.url has {name}={value}: it must be a whole number of {unit}")


def _engine_options(url: URL, options: Mapping[str, str]) -> dict[str, Any]:
    for name in options.keys() & _NOT_OPTIONS:
        raise ConfigurationError(f"database.{name} is not an option: {_NOT_OPTIONS[name]}")
    given: dict[str, Any] = {name: _BOOLEANS.get(value.lower(), value) for name, value in options.items()}
    if url.get_backend_name() == "sqlite":
        given["url"] = sqlite.existing(url)
    return {"pool_timeout": POOL_TIMEOUT, "isolation_level": "AUTOCOMMIT"} | given


def _timeouts(url: URL, read_timeout: float | None) -> dict[str, float | None]:
    names = _TIMEOUTS.get(url.get_driver_name(), ())
    defaults: dict[str, float | None] = {name: TIMEOUT for name in names if name not in url.query}
    if read_timeout == TIMEOUT:
        return defaults
    return defaults | {name: read_timeout for name in names if name != "connect_timeout"}


def _refuse_closed(connection: Any, record: Any, proxy: Any) -> None:
    """Refuse a pooled connection that the server has closed meanwhile.

    An idle connection has nothing to read unless it has been closed. This check takes microseconds; a query, as with
    ``pool_pre_ping``, would take as long as the statement that the connection is needed for.
    """
    waiting = select.poll()
    waiting.register(connection if hasattr(connection, "fileno") else connection._sock, select.POLLIN)
    if waiting.poll(0):
        raise DisconnectionError


def _begin(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    for text in BEGIN["sqlite"]:
        connection.exec_driver_sql(text)
