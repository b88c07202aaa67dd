"""The schema's revision: which one the database has, which one the package needs, and the upgrade.

An SQLite file is upgraded when the filter starts; any other database only by ``os-volume-ext db upgrade``, since
workers of other versions may be using it.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from ..errors import ConfigurationError
from .database import TIMEOUT, Database

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0003"
"""The revision that this version of the package needs; that of its last migration."""

LOCK_TIMEOUT = 60
"""The seconds to wait for another process that opens or upgrades the same SQLite file."""

# One upgrade at a time, until its connection is closed.
UPGRADE_LOCKS = {
    "postgresql": "SELECT pg_advisory_xact_lock(hashtextextended('os-volume-ext db upgrade', 0))",
    "mysql": "SELECT GET_LOCK('os-volume-ext db upgrade', 3600)",
    "mariadb": "SELECT GET_LOCK('os-volume-ext db upgrade', 3600)",
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
    """Bring the database to ``HEAD``, one process at a time.

    :raises ConfigurationError: if the database does not respond, or is of a later version than the package.
    """
    from alembic import command  # which takes as long to import as all that a filter needs without it

    with _one_at_a_time(database, create=True), _connection(database, read_timeout=None) as connection:
        if connection.dialect.name in UPGRADE_LOCKS:
            connection.exec_driver_sql(UPGRADE_LOCKS[connection.dialect.name])
        _refuse_later(database, _revision(connection))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def ensure(database: Database) -> None:
    """Ensure that the database is at ``HEAD``; an SQLite file is upgraded.

    :raises ConfigurationError: if it is not; the message names the command to run.
    """
    if check(database) != HEAD:
        upgrade(database)


def check(database: Database) -> str | None:
    """Check that the filter can start with the database, and return its revision.

    :returns: ``HEAD``; for an SQLite file, which is upgraded at start, also an earlier one or None.
    :raises ConfigurationError: if the filter can't start with it; the message names the command to run.
    """
    if _is_new_file(database):
        _refuse_read_only(Path(str(database.url.database)))
        return None
    found = current(database)
    if found == HEAD:
        return found
    _refuse_later(database, found)
    if database.url.get_backend_name() == "sqlite":
        return found
    raise ConfigurationError(
        f"database.url: {database} is at revision {found or 'none'} but must be at {HEAD}: run os-volume-ext db upgrade"
    )


def refuse_missing(database: Database) -> None:
    """Check that an SQLite file exists.

    :raises ConfigurationError: if it does not; the message names it.
    """
    if _is_new_file(database):
        raise ConfigurationError(
            f"database.url: {database.url.database} does not exist: correct the paste file or --var, "
            "or create it with os-volume-ext db upgrade"
        )


def _refuse_later(database: Database, found: str | None) -> None:
    from alembic.script import ScriptDirectory

    if found is None:
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found not in known:
        raise ConfigurationError(
            f"database.url: {database} is at revision {found}, which this version of os-volume-ext does not know"
        )


def _refuse_read_only(path: Path) -> None:
    directory = next(directory for directory in path.parents if directory.exists())
    if not (directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)):
        raise ConfigurationError(f"database.url: {path} can't be created: {directory} is not a writable directory")


def _is_new_file(database: Database) -> bool:
    path = _file(database)
    return path is not None and not path.exists()


def _file(database: Database) -> Path | None:
    """Return the path of an SQLite file; None for another database, and for SQLite's own URIs."""
    path = database.url.database
    if database.url.get_backend_name() != "sqlite" or path is None or path.startswith("file:"):
        return None
    return Path(path)


@contextmanager
def _connection(database: Database, read_timeout: float | None = TIMEOUT) -> Iterator[Connection]:
    engine = database.make_engine(read_timeout=read_timeout)
    try:
        with _connected(database, engine) as connection:
            yield connection
    except DBAPIError as error:
        raise _unusable(database, error.orig) from error
    finally:
        engine.dispose()


def _connected(database: Database, engine: Engine) -> Connection:
    try:
        return engine.connect()
    except (TypeError, ValueError) as error:  # raised by a driver for unknown options in the URL
        raise _unusable(database, error) from error


def _unusable(database: Database, error: BaseException | None) -> ConfigurationError:
    return ConfigurationError(f"database.url: {database} can't be used: {str(error).splitlines()[0]}")


@contextmanager
def _one_at_a_time(database: Database, *, create: bool = False) -> Iterator[None]:
    path = _file(database)
    if path is None:
        yield
        return
    # Other users must not read the tables, nor hold the lock.
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(f"database.url: {path} can't be written: {error.strerror}") from error
    try:
        _lock(lock, path)
        if create:
            _touch(path)
        yield
    finally:
        # Closing alone would not unlock: a process forked meanwhile has the descriptor too.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


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
        raise ConfigurationError(f"database.url: {path} can't be written: {error.strerror}") from error


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
