"""The schema's revision: which one the database has, which one the package needs, and the upgrade.

An SQLite file is upgraded when the filter starts; any other database only by ``os-volume-ext db upgrade``, since
workers of other versions may be using it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ..errors import ConfigurationError
from .database import TIMEOUT, Database

# One upgrade at a time, until its connection is closed.
UPGRADE_LOCKS = {
    "postgresql": "SELECT pg_advisory_xact_lock(hashtextextended('os-volume-ext db upgrade', 0))",
    "mysql": "SELECT GET_LOCK('os-volume-ext db upgrade', 3600)",
    "mariadb": "SELECT GET_LOCK('os-volume-ext db upgrade', 3600)",
}


def head() -> str:
    """Return the revision that this version of the package needs."""
    return _script().get_current_head() or ""


def current(database: Database) -> str | None:
    """Return the revision of the database, or None if it has no tables of this package.

    :raises ConfigurationError: if the database does not respond.
    """
    # Locked too: others would fail, not wait, while the first connection to a new SQLite file switches it to WAL.
    with _one_at_a_time(database), _connection(database) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database) -> None:
    """Bring the database to ``head()``, one process at a time.

    :raises ConfigurationError: if the database does not respond, or is of a later version than the package.
    """
    with _one_at_a_time(database), _connection(database, read_timeout=None) as connection:
        if connection.dialect.name in UPGRADE_LOCKS:
            connection.exec_driver_sql(UPGRADE_LOCKS[connection.dialect.name])
        _refuse_later(database, MigrationContext.configure(connection).get_current_revision())
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def ensure(database: Database) -> None:
    """Ensure that the database is at ``head()``; an SQLite file is upgraded.

    :raises ConfigurationError: if it is not; the message names the command to run.
    """
    if check(database) != head():
        upgrade(database)


def check(database: Database) -> str | None:
    """Check that the filter can start with the database, and return its revision.

    :returns: ``head()``; for an SQLite file, which is upgraded at start, also an earlier one or None.
    :raises ConfigurationError: if the filter can't start with it; the message names the command to run.
    """
    if _is_new_file(database):
        _refuse_read_only(Path(str(database.url.database)))
        return None
    found = current(database)
    _refuse_later(database, found)
    if found == head() or database.url.get_backend_name() == "sqlite":
        return found
    raise ConfigurationError(
        f"database.url: {database} is at revision {found or 'none'} but must be at {head()}: "
        "run os-volume-ext db upgrade"
    )


def _refuse_later(database: Database, found: str | None) -> None:
    if found is not None and found not in {script.revision for script in _script().walk_revisions()}:
        raise ConfigurationError(
            f"database.url: {database} is at revision {found}, which this version of os-volume-ext does not know"
        )


def _refuse_read_only(path: Path) -> None:
    directory = next(directory for directory in path.parents if directory.exists())
    if not (directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)):
        raise ConfigurationError(f"database.url: {path} can't be created: {directory} is not a writable directory")


def _is_new_file(database: Database) -> bool:
    return database.url.get_backend_name() == "sqlite" and not Path(str(database.url.database)).exists()


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
def _one_at_a_time(database: Database) -> Iterator[None]:
    path = database.url.database
    if database.url.get_backend_name() != "sqlite" or path is None or path.startswith("file:"):
        yield
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        lock = Path(f"{path}.lock").open("a")  # noqa: SIM115 - it is closed below
    except OSError as error:
        raise ConfigurationError(f"database.url: {path} can't be written: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "os_volume_ext.registry:migrations")
    return config


@cache
def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
