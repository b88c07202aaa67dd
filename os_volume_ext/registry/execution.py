"""Execution: statements of SQLAlchemy Core on the driver's cursor, with connections of SQLAlchemy's pool.

SQLAlchemy's own execution costs several times what a query of one row does. So a statement is compiled once, and from
then on only its parameters and the columns of its rows are converted.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter, methodcaller
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.elements import ClauseElement

from ..errors import ConstraintViolated, RegistryUnavailable, TransactionAborted
from . import sqlite
from .compiled import NONE, Compiled, Parameters, Row

LOG = logging.getLogger(__name__)

# Whatever the server's default is. With these, what a transaction reads after it has got the lock of a server includes
# what was committed before: the snapshot of REPEATABLE READ is that of the first read.
LEVELS = {"postgresql": "READ COMMITTED", "mysql": "REPEATABLE READ", "mariadb": "REPEATABLE READ"}
"""The isolation levels of transactions."""
_MYSQL = (f"SET TRANSACTION ISOLATION LEVEL {LEVELS['mysql']}", "START TRANSACTION")
BEGIN = {
    # A deferred transaction that reads and then writes fails at once, instead of waiting, if another one has written.
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": (f"BEGIN ISOLATION LEVEL {LEVELS['postgresql']}",),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}
"""The statements that begin a transaction."""
# SQLSTATEs of serialization failures and deadlocks; MariaDB's numbers of a deadlock and of a changed snapshot.
_ABORTED = {"40001", "40P01", 1213, 1020}
# What a server says on each of its connections, so that all have to be made anew, to another one if there is: MariaDB's
# numbers of a Galera node that has left its cluster or can't follow it (in time to be waited for), and of a server that
# may only be read; PostgreSQL's for the latter.
_LEFT = {1047, 1205, 1290, 1792, 1836, "25006"}
# How many connections to an SQLite file are kept outside of the pool, whose checkout takes half as long as a query.
_MAX_IDLE = 4

T = TypeVar("T")

# What a cursor is read by.
_fetch_all: Callable[[Any], Sequence[Row]] = methodcaller("fetchall")
_row_count: Callable[[Any], int] = attrgetter("rowcount")


def _max_idle(engine: Engine) -> int:
    """Return how many connections may be kept: fewer than the pool has, so that one who waits for it gets one."""
    if engine.dialect.name != "sqlite" or not isinstance(engine.pool, QueuePool):
        return 0
    return min(_MAX_IDLE, engine.pool.size() - 1)


def execute(cursor: Any, text: str, values: Sequence[Any] = ()) -> None:
    """Execute SQL on a driver's cursor."""
    if LOG.isEnabledFor(logging.DEBUG):  # by itself, LOG.debug takes twice as long to see that it is not
        LOG.debug("%s %r", text, values)
    cursor.execute(text, values)


def translate(error: Exception) -> RegistryUnavailable:
    """Return the exception of this package for an error of a driver, other than a violated constraint."""
    return (TransactionAborted if is_aborted(error) else RegistryUnavailable)(str(error).partition("\n")[0])


def _failure(error: Exception) -> RegistryUnavailable:
    return RegistryUnavailable(f"the driver failed: {type(error).__name__}: {error}")


def is_aborted(error: Exception) -> bool:
    """Return whether the server aborted the transaction because of a concurrent one."""
    return code(error) in _ABORTED


def code(error: BaseException) -> object:
    """Return by what a database names an error: MariaDB by a number, PostgreSQL by an SQLSTATE, SQLite by a text."""
    first = next(iter(error.args), None)
    # MariaDB's drivers may have an SQLSTATE too, which means less.
    return first if isinstance(first, int) else getattr(error, "sqlstate", None) or first


class Connection:
    """A connection of the pool. Each statement is committed when it returns, unless a transaction has begun.

    As a context manager it is returned to the pool at the end, and translates the driver's errors.

    Cursors are closed in any case, also those that an exception's traceback refers to. An open one could be closed by
    the garbage collection of another thread, which holds the interpreter's lock, while its connection waits for a
    writer, who needs that lock for ``utc_now``: a deadlock for as long as SQLite waits.
    """

    def __init__(self, pool: "Pool", proxied: PoolProxiedConnection) -> None:
        self._pool = pool
        self.proxied = proxied
        """The pool's own object."""
        # Those of the proxy find the pool's record or the driver's connection each time.
        self.info = proxied.info
        """The dictionary of the pool's record."""
        self._cursor: Callable[[], Any] = proxied.dbapi_connection.cursor  # type: ignore[union-attr]
        self.is_executing = False
        """Whether a statement has begun and has not returned, so that an exception is the driver's."""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._pool.release(self)
        else:
            self._pool.fail(self, error)

    def query(self, statement: ClauseElement, parameters: Parameters = NONE) -> Sequence[Row]:
        """Return the rows of a query, each as a sequence of its columns.

        :param statement: a constant, since what it is compiled to is kept.
        :param parameters: the statement's.
        """
        compiled = self._pool.compiled(statement)
        return compiled.rows(self._run(compiled.text, compiled.values(parameters), _fetch_all))

    def change(self, statement: ClauseElement, parameters: Parameters = NONE) -> int:
        """Change rows and return how many.

        :param statement: a constant, since what it is compiled to is kept.
        :param parameters: the statement's.
        """
        compiled = self._pool.compiled(statement)
        return self._run(compiled.text, compiled.values(parameters), _row_count)

    def execute(self, text: str) -> None:
        """Execute SQL whose result does not matter."""
        self._run(text, (), _row_count)

    def _run(self, text: str, values: Sequence[Any], read: Callable[[Any], T]) -> T:
        self.is_executing = True
        cursor = self._cursor()
        try:
            execute(cursor, text, values)
            result = read(cursor)
        finally:
            cursor.close()
        self.is_executing = False
        return result


class Pool:
    """The connections of one process, and the statements compiled for them."""

    def __init__(self, engine: Engine) -> None:
        """Connect nothing yet.

        :param engine: on its connections each statement commits itself, and its pool does not reset them.
        """
        self._engine = engine
        self._dialect = engine.dialect
        self._driver: Any = engine.dialect.loaded_dbapi
        self._compiled: dict[ClauseElement, Compiled] = {}
        self._idle: list[Connection] = []
        self._max_idle = _max_idle(engine)
        self._waiting = 0
        self._lock = threading.Lock()

    def connect(self) -> Connection:
        """Return a connection; it is to be used as a context manager.

        :raises RegistryUnavailable: if there is none; and by the context manager, if the database fails.
        :raises TransactionAborted: by the context manager, if a concurrent transaction caused that.
        :raises ConstraintViolated: by the context manager, as the statements do.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._wait()
        if sqlite.is_current(connection.info):
            return connection
        connection.proxied.invalidate()
        return self.connect()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Provide a connection with a transaction that is committed at the end; it raises what ``connect`` does."""
        with self.connect() as connection:
            for text in BEGIN[self._dialect.name]:
                connection.execute(text)
            try:
                yield connection
                connection.execute("COMMIT")
            except Exception as error:
                self._roll_back(connection, error)
                raise

    def compiled(self, statement: ClauseElement) -> Compiled:
        """Return what a statement is compiled to, for a connection: the first one finds out the server's version."""
        found = self._compiled.get(statement)
        if found is None:
            found = self._compiled[statement] = Compiled(statement, self._dialect)
        return found

    def release(self, connection: Connection) -> None:
        """Return a connection that is as it was."""
        if len(self._idle) < self._max_idle and not self._waiting and connection.proxied.dbapi_connection:
            self._idle.append(connection)
        else:
            connection.proxied.close()

    def fail(self, connection: Connection, error: BaseException) -> None:
        """Return a connection after an error, or close it if it can't be used again.

        :param error: of the driver, or of what used the connection; raised by the caller if this returns.
        :raises RegistryUnavailable: for an error of the driver.
        :raises TransactionAborted: likewise.
        :raises ConstraintViolated: likewise.
        """
        if not isinstance(error, self._driver.Error):
            return self._fail_unexpectedly(connection, error)
        connection.is_executing = False
        if self._is_violated_constraint(error) or is_aborted(error):
            self.release(connection)
        else:
            self._close(connection, error)
        raise self._translate(error) from error

    def _fail_unexpectedly(self, connection: Connection, error: BaseException) -> None:
        if not connection.is_executing and isinstance(error, Exception):
            self.release(connection)
            return
        # A response may have been left unread: by what is no Exception, such as GreenletExit; or by a driver that
        # did not understand it, whatever it raised.
        self._close(connection)
        if isinstance(error, Exception):
            raise _failure(error) from error

    def dispose(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().proxied.close()
        self._engine.dispose()

    def _wait(self) -> Connection:
        with self._lock:
            self._waiting += 1
        try:
            return Connection(self, self._engine.raw_connection())
        except (self._driver.Error, SQLAlchemyError) as error:
            raise translate(error) from error
        except Exception as error:  # of a driver that did not understand what it got
            raise _failure(error) from error
        finally:
            with self._lock:
                self._waiting -= 1

    def _roll_back(self, connection: Connection, error: Exception) -> None:
        if connection.is_executing and not isinstance(error, self._driver.Error):
            return  # the connection is going to be closed
        try:
            connection.execute("ROLLBACK")
        except Exception as failure:
            connection.is_executing = False
            self._close(connection, failure)

    def _translate(self, error: Exception) -> Exception:
        return ConstraintViolated(str(error)) if self._is_violated_constraint(error) else translate(error)

    def _is_violated_constraint(self, error: Exception) -> bool:
        return isinstance(error, self._driver.IntegrityError)

    def _close(self, connection: Connection, error: Any = None) -> None:
        if error is not None and self._is_lost(connection, error):
            self._engine.dispose()  # the others in the pool are lost too
        if connection.proxied.is_valid:
            connection.proxied.invalidate()

    def _is_lost(self, connection: Connection, error: Any) -> bool:
        if code(error) in _LEFT:
            return True
        return bool(error.args) and self._dialect.is_disconnect(error, connection.proxied.dbapi_connection, None)
