"""The schema's revision: which one the database has, which one the package needs, and the upgrade.

An SQLite file is upgraded when the filter starts; any other database only by ``os-volume-ext db upgrade``, since
workers of other versions may be using it.
"""

import fcntl
import os
import random
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from ..errors import ConfigurationError, SchemaChanged
from ..perprocess import PerProcess
from .database import TIMEOUT, Database
from .execution import code

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0005"
"""The revision that this version of the package needs; that of its last migration."""

LOCK_TIMEOUT = 60
"""The seconds to wait for another process that opens or upgrades the same SQLite file."""

UPGRADE_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('os-volume-ext db upgrade', 0))"
"""What an upgrade of PostgreSQL executes first, so that one waits for another."""

# MariaDB's numbers of a table, column, index or row that is there already or was changed, and of a deadlock: what an
# upgrade gets from another one at the same time. It can't wait for it, since a lock of MariaDB is one node's only, and
# some clusters refuse them. So it is tried again: each step of the migrations can be repeated.
_INTERFERED = {1020, 1050, 1060, 1061, 1062, 1213, 1412, 1684}
_migrations_lock = PerProcess(threading.Lock)  # a parent's may be held during the fork
_ATTEMPTS = 20  # each failure means that another upgrade has made a step
_MAX_PAUSE = 0.5  # seconds between two attempts

NAME_PRIMARY = "name the primary, or a proxy that finds it"
"""What to do if a server may only be read."""
NOT_ALLOWED = "run this as the user of the compute API, who must own the file and its directory"
"""What to do if an SQLite file may only be read."""

_READ_ONLY = f"it may only be read, as a standby may: {NAME_PRIMARY}"
_FULL = "free some space on its disk"
_CREDENTIALS = "correct the user and the password in database.url"
_ANY = "check that the server runs, and that database.url has its host, port, user, password and database"
# By what a database calls the error. PostgreSQL refuses connections without an SQLSTATE; its text says why.
_REMEDIES = {
    1047: "this node is not in its Galera cluster: let it join again, or name another node or a proxy",
    1290: _READ_ONLY,
    1792: _READ_ONLY,
    1836: _READ_ONLY,
    "25006": _READ_ONLY,
    1021: _FULL,
    1114: _FULL,
    "53100": _FULL,
    "database or disk is full": _FULL,
    1049: "create an empty database of that name",
    1044: _CREDENTIALS,
    1045: _CREDENTIALS,
    "attempt to write a readonly database": NOT_ALLOWED,
    "unable to open database file": NOT_ALLOWED,
    "file is not a database": "name another file, or restore it",
}


def current(database: Database) -> str | None:
    """Return the revision of the database, or None if it has no tables of this package. No SQLite file is created.

    :raises ConfigurationError: if the database does not respond.
    """
    if _is_new_file(database):
        return None
    # Locked too: others would fail, not wait, while the first connection to a new SQLite file switches it to WAL.
    with _one_at_a_time(database), _connection(database) as connection:
        return _revision(connection)


def upgrade(database: Database) -> None:
    """Bring the database to ``HEAD``, also if others do so at the same time.

    :raises ConfigurationError: if the database does not respond, or is of a later version than the package.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(SchemaChanged):
            _upgrade(database)
            return
        time.sleep(random.uniform(0, _MAX_PAUSE))  # noqa: S311 - spreads the competitors
    _upgrade(database)


def ensure(database: Database) -> None:
    """Ensure that the database is at ``HEAD``; an SQLite file is upgraded, unless it may only be read.

    :raises ConfigurationError: if it is not; the message names the command to run.
    """
    found = check(database)
    if found == HEAD:
        return
    if database.read_only:
        raise _outdated(database, found)
    upgrade(database)


def check(database: Database) -> str | None:
    """Check that the filter can start with the database, and return its revision.

    :returns: ``HEAD``; for an SQLite file, which is upgraded at start, also an earlier one or None.
    :raises ConfigurationError: if the filter can't start with it; the message names the command to run.
    """
    if _is_new_file(database):
        _refuse_unwritable(Path(str(database.url.database)))
        return None
    found = current(database)
    if found == HEAD:
        return found
    _refuse_later(database, found)
    if database.url.get_backend_name() == "sqlite":
        return found
    raise _outdated(database, found)


def refuse_missing(database: Database) -> None:
    """Check that an SQLite file exists.

    :raises ConfigurationError: if it does not; the message names it.
    """
    if _is_new_file(database):
        raise ConfigurationError(
            f"database.url: {database.url.database} does not exist: correct the paste file or --var, "
            "or create it with os-volume-ext db upgrade"
        )


def _upgrade(database: Database) -> None:
    from alembic import command  # which takes as long to import as all that a filter needs without it
    from alembic.util import CommandError

    # Alembic keeps the migration that runs in global variables.
    with (
        _migrations_lock(),
        _one_at_a_time(database, create=True),
        _connection(database, read_timeout=None) as connection,
    ):
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(UPGRADE_LOCK)
        _refuse_later(database, _revision(connection))
        config = _config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:  # the revision is not any more what it was
            raise SchemaChanged(f"database.url: {database} can't be upgraded: {error}") from error
        connection.commit()


def _outdated(database: Database, found: str | None) -> ConfigurationError:
    return ConfigurationError(
        f"database.url: {database} is at revision {found or 'none'} but must be at {HEAD}: run os-volume-ext db upgrade"
    )


def _refuse_later(database: Database, found: str | None) -> None:
    from alembic.script import ScriptDirectory

    if found is None:
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found not in known:
        raise ConfigurationError(
            f"database.url: {database} is at revision {found}, which this version of os-volume-ext does not know: "
            "install the version that upgraded it, or name another database"
        )


def _refuse_unwritable(path: Path) -> None:
    directory = next(directory for directory in path.parents if directory.exists())
    if not (directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)):
        raise ConfigurationError(
            f"database.url: {path} can't be created: {directory} is not a writable directory: "
            "correct database.url, or let the user of the compute API write there"
        )


def _is_new_file(database: Database) -> bool:
    path = _file(database)
    try:
        return path is not None and not path.exists()
    except OSError as error:
        raise ConfigurationError(f"database.url: {path} can't be opened: {error.strerror}") from error


def _file(database: Database) -> Path | None:
    """Return the path of an SQLite file; None for another database, and for SQLite's own URIs."""
    path = database.url.database
    if database.url.get_backend_name() != "sqlite" or path is None or path.startswith("file:"):
        return None
    return Path(path)


@contextmanager
def _connection(database: Database, read_timeout: float | None = TIMEOUT) -> Iterator[Connection]:
    engine = database.make_engine(read_timeout=read_timeout)
    # SQLAlchemy does not wrap what a driver raises while a connection is set up.
    driver: Any = engine.dialect.loaded_dbapi
    try:
        with _connected(database, engine) as connection:
            _refuse_encoding(database, connection)
            yield connection
    except DBAPIError as error:
        raise _unusable(database, error.orig) from error
    except driver.Error as error:
        raise _unusable(database, error) from error
    finally:
        engine.dispose()


def _connected(database: Database, engine: Engine) -> Connection:
    try:
        return engine.connect()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"database.url: the driver refuses an option of {database}: {error}: correct or remove it"
        ) from error
    except OSError as error:  # of certificates and keys; the driver's own errors are of another kind
        raise ConfigurationError(
            f"database.url: a file that an option of {database} names can't be used: {error}"
        ) from error
    except (IndexError, struct.error) as error:
        raise ConfigurationError(
            f"database.url: {database} can't be used: what is there does not respond as such a database: {error}"
        ) from error


def _refuse_encoding(database: Database, connection: Connection) -> None:
    if connection.dialect.name != "postgresql":  # on the others the tables have their own
        return
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"database.url: {database} has the encoding {encoding}: create it with ENCODING 'UTF8' TEMPLATE template0"
        )


def _unusable(database: Database, error: BaseException | None) -> ConfigurationError:
    kind = SchemaChanged if error and code(error) in _INTERFERED else ConfigurationError
    arguments = error.args if error else ()
    # PyMySQL's have a number before the message.
    message = str(arguments[1] if len(arguments) > 1 and isinstance(arguments[0], int) else error).splitlines()[0]
    default = None if database.url.get_backend_name() == "sqlite" else _ANY
    remedy = _REMEDIES.get(code(error), default) if error else None
    return kind(f"database.url: {database} can't be used: {message}" + (f": {remedy}" if remedy else ""))


@contextmanager
def _one_at_a_time(database: Database, *, create: bool = False) -> Iterator[None]:
    path = _file(database)
    lock = None if path is None else _open_lock(path, create=not database.read_only)
    if path is None or lock is None:
        yield
        return
    try:
        _lock(lock, path)
        if create:
            _touch(path)
        yield
    finally:
        # Closing alone would not unlock: a process forked meanwhile has the descriptor too.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _open_lock(path: Path, *, create: bool) -> int | None:
    """Open the lock file of an SQLite file; return None if there is none, and it is not to be created."""
    try:
        if not create:
            return os.open(f"{path}.lock", os.O_RDONLY)
        # Other users must not read the tables, nor hold the lock.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not create:
            return None
        raise _inaccessible(path, "written" if create else "read", error) from error


def _inaccessible(path: Path, action: str, error: OSError) -> ConfigurationError:
    remedy = NOT_ALLOWED if isinstance(error, PermissionError) else "correct database.url, or --var of a command"
    return ConfigurationError(f"database.url: {path} can't be {action}: {error.strerror}: {remedy}")


def _lock(lock: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise ConfigurationError(
                    f"database.url: {path}.lock is held by another process for more than {LOCK_TIMEOUT} seconds: "
                    f"end it (fuser {path}.lock shows it), then start again"
                ) from error
            time.sleep(0.01)


def _touch(path: Path) -> None:
    # SQLite would create it for all users to read. Its -wal and -shm have the mode of this file.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise _inaccessible(path, "written", error) from error


def _revision(connection: Connection) -> str | None:
    """Return the revision, as Alembic has stored it; None if there are no tables of this package."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "os_volume_ext.registry:migrations")
    return config
