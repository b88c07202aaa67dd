"""Connections to an SQLite file: one that exists, and that is still the one at its path.

A connection to a file that was deleted or replaced works on. Another process would use the new file, and the two could
attach one volume to two servers.
"""

import os
import sqlite3
from collections.abc import Mapping, MutableMapping, Sequence
from functools import lru_cache
from pathlib import Path
from time import gmtime, monotonic_ns, strftime, time_ns
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from ..errors import ConfigurationError

BUSY_TIMEOUT = 10_000
"""The milliseconds that SQLite waits for another writer."""
# A file can be replaced between a check and the commit anyway. An attach and a detach use connections eight times, and
# eight checks take a twentieth of their time.
CHECK_INTERVAL = 1_000_000
"""The nanoseconds for which a connection is not checked again."""

# The driver's options that a URL may have.
_OPTIONS = {"cached_statements", "check_same_thread", "detect_types", "isolation_level", "timeout", "uri"}


def check(url: URL) -> None:
    """Check a URL.

    :raises ConfigurationError: if it does not name a file by an absolute path, or has an unknown option.
    """
    path = url.database
    if not path or path in (":memory:", "file::memory:") or url.query.get("mode") == "memory":
        raise ConfigurationError("database.url names a database in memory, which workers can't share: name a file")
    if not path.startswith(("/", "file:/")):
        raise ConfigurationError(
            f"database.url has the relative path {path!r}: write sqlite:///%(here)s/... or an absolute path"
        )
    if path.startswith("file:") and ("?" in path or "#" in path):  # SQLite would open what is before that
        raise ConfigurationError(
            f"database.url has the URI {path!r}: quote ? and # in the name of a file twice, as %253F and %2523"
        )
    unknown = set() if path.startswith("file:") else url.query.keys() - _OPTIONS
    if unknown:
        raise ConfigurationError(f"database.url has the unknown option {min(unknown)!r}: remove it")


def existing(url: URL) -> URL:
    """Return the URL that opens the same file, but creates none."""
    path = str(url.database)
    uri = path if path.startswith("file:") else f"file:{quote(path)}"
    return url.set(database=uri, query={"mode": "rw", **url.query, "uri": "true"})


def is_read_only(url: URL) -> bool:
    """Return whether there is a file that this process can't change, which takes files beside it too.

    :param url: as for :func:`existing`.
    """
    path = Path(_path(str(url.database)))
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK))


class Connector:
    """Connects to one file: the first one that it finds.

    If another file takes its place while workers run, what they have committed is still in FILE-wal, which does not
    belong to the new one. SQLite would mix the two, and destroy the new file.
    """

    def __init__(self) -> None:
        """Connect nothing yet."""
        self._file: tuple[int, int] | None = None

    def connect(self, dialect: Any, record: Any, positional: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Connect, and note which file that is; a listener of SQLAlchemy's event ``do_connect``.

        :raises sqlite3.OperationalError: if there is no file, or if it is not the first one.
        """
        path = _path(positional[0])
        # Before it is opened: should it be replaced in between, the connection is closed when it is used next.
        file = _identity(path)
        if file is None:
            raise sqlite3.OperationalError(f"there is no file {path}")
        if self._file not in (None, file):
            raise sqlite3.OperationalError(
                f"{path} was replaced: stop all workers, remove {path}-wal and {path}-shm, then start them again"
            )
        record.info.update(path=path, file=file, next_check=0)
        connection = dialect.connect(*positional, **options)
        self._file = file
        return connection


def prepare(connection: sqlite3.Connection, record: Any) -> None:
    """Set up a new connection; a listener of SQLAlchemy's event ``connect``."""
    _prepare(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def prepare_reader(connection: sqlite3.Connection, record: Any) -> None:
    """Set up a new connection that changes nothing; a listener of SQLAlchemy's event ``connect``.

    SQLite's own ``mode=ro`` would leave the files ``-wal`` and ``-shm`` behind.
    """
    _prepare(connection)
    connection.execute("PRAGMA query_only = ON")


def is_current(info: MutableMapping[Any, Any]) -> bool:
    """Return whether the file that a connection was made to is still at its path, or was within ``CHECK_INTERVAL``.

    :param info: the dictionary of the pool's record, which ``connect`` has filled.
    """
    now = monotonic_ns()
    if now < info["next_check"]:
        return True
    info["next_check"] = now + CHECK_INTERVAL
    return bool(info["file"] == _identity(info["path"]))


def refuse_replaced(connection: Any, record: Any, proxy: Any) -> None:
    """Have the pool connect again if the file is no longer there; a listener of SQLAlchemy's event ``checkout``."""
    if not is_current(record.info):
        raise DisconnectionError


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    connection.create_function("utc_now", 0, _utc_now)


def _path(name: str) -> str:
    """Return the path of a file from a path, or from a URI of SQLite's."""
    return unquote(name.removeprefix("file:").partition("?")[0]) if name.startswith("file:") else name


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path would take several times as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _utc_now() -> str:
    """Return the time. With ``datetime`` it takes four times as long, and an attach and a detach need it five times."""
    second, nanoseconds = divmod(time_ns(), 10**9)
    return f"{_format_second(second)}.{nanoseconds // 1000:06}"


@lru_cache(maxsize=1)
def _format_second(second: int) -> str:
    return strftime("%Y-%m-%d %H:%M:%S", gmtime(second))
