"""A PostgreSQL primary and its synchronous standby, as processes of the test's own."""

import contextlib
import functools
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.support.daemons import Daemon, directory_of, has_small_disks, run
from tests.support.ports import free_port
from tests.support.services import require_service
from tests.support.waiting import wait_until

USER = "postgres"
DATABASE = "volumes"
STANDBY = "standby"
# A killed process loses nothing that it has written, so that fsync would only take time. The interval is how long a
# standby may sleep that has lost its primary, also when it is to be promoted.
CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 16MB
fsync = off
wal_retrieve_retry_interval = 100ms
"""


class Server:
    """One PostgreSQL server."""

    def __init__(self, directory: Path, name: str, small_disk: tuple[str, Path] | None = None) -> None:
        """:param directory: of the user USER. :param small_disk: as for ``Daemon``."""
        self.port = free_port()
        self.data = directory / name
        command = (_program("postgres"), "-D", self.data, "-p", str(self.port))
        self._daemon = Daemon(USER, command, directory / f"{name}.log", small_disk)
        self.hanging = self._daemon.hanging
        self.kill = self._daemon.kill

    @property
    def address(self) -> str:
        """Its host and port, as SQLAlchemy's URLs have them."""
        return f"127.0.0.1:{self.port}"

    def url(self, **query: str) -> str:
        """Return the URL of the database on this server, whichever of the two it is."""
        more = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql+psycopg://{USER}@{self.address}/{DATABASE}?{more}".rstrip("?")

    def initialize(self) -> None:
        """Make its data."""
        # Small files of the write-ahead log, since a standby gets copies.
        options = ("--username", USER, "--auth=trust", "--no-sync", "--wal-segsize=1", "--encoding=UTF8", "--locale=C")
        run(USER, _program("initdb"), *options, "-D", self.data)
        with (self.data / "postgresql.conf").open("a") as config:
            config.write(CONFIG)

    def start(self) -> None:
        """Start it; return when it responds."""
        self._daemon.start()
        assert wait_until(self._responds), self._daemon.log

    def stop(self) -> None:
        """Let it end at once, closing its connections."""
        self._daemon.stop(signal.SIGINT)

    def execute(self, statement: str, dbname: str = "postgres") -> list[Any]:
        """Execute a statement; return its rows."""
        conninfo = f"host=127.0.0.1 port={self.port} user={USER} dbname={dbname} connect_timeout=5"
        with psycopg.connect(conninfo, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _responds(self) -> bool:
        self._daemon.assert_running()
        with contextlib.suppress(psycopg.OperationalError):
            return bool(self.execute("SELECT 1"))
        return False


class Pair:
    """A primary, and a standby that has each change before it is acknowledged."""

    def __init__(self, directory: Path) -> None:
        """Make the data of the primary.

        :param directory: of the user USER.
        """
        self.primary, self.standby = Server(directory, "primary"), Server(directory, STANDBY)
        self.primary.initialize()

    def url(self, **query: str) -> str:
        """Return the URL by which a client finds the one of the two that is the primary."""
        hosts = f"host={self.primary.address}&host={self.standby.address}"
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"postgresql+psycopg://{USER}@/{DATABASE}?{hosts}&target_session_attrs=read-write{more}"

    def start(self) -> None:
        """Start both; return when the standby is synchronous."""
        self.primary.start()
        self.primary.execute(f"CREATE DATABASE {DATABASE}")
        conninfo = f"host=127.0.0.1 port={self.primary.port} user={USER} application_name={STANDBY}"
        command = (_program("pg_basebackup"), "--dbname", conninfo, "--write-recovery-conf", "--checkpoint=fast")
        run(USER, *command, "--no-sync", "-D", self.standby.data)
        self.standby.start()
        # Not before: without the standby nothing would be acknowledged.
        self.primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")
        self.primary.execute("SELECT pg_reload_conf()")
        assert wait_until(lambda: self.primary.execute("SELECT sync_state FROM pg_stat_replication") == [("sync",)])

    def wait_for_replay(self) -> None:
        """Wait until readers of the standby see what has been committed; a commit waits only until it is stored."""
        [(position,)] = self.primary.execute("SELECT pg_current_wal_insert_lsn()")
        assert wait_until(lambda: self.standby.execute(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)])

    def promote(self) -> None:
        """Make the standby a primary, which waits for no other; return when it accepts changes."""
        assert self.standby.execute("SELECT pg_promote()") == [(True,)]

    def kill(self) -> None:
        """End both."""
        self.primary.kill()
        self.standby.kill()


@contextlib.contextmanager
def running_on_small_disk(size: str) -> Iterator[Server]:
    """Give a server whose database is on a disk of its own. :param size: such as ``32m``."""
    _require_programs()
    require_service(has_small_disks(), "no disks of one process: mounting is not permitted here")
    with directory_of(USER) as directory:
        disk = directory / "disk"
        disk.mkdir()
        server = Server(directory, "full", (size, disk))
        server.initialize()
        try:
            server.start()
            server.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            server.execute(f"CREATE DATABASE {DATABASE} TABLESPACE small")
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def running_pair() -> Iterator[Pair]:
    """Give a primary with a synchronous standby."""
    _require_programs()
    with directory_of(USER) as directory:
        pair = Pair(directory)
        try:
            pair.start()
            yield pair
        finally:
            pair.kill()


def _require_programs() -> None:
    require_service(_program("initdb"), "no PostgreSQL server programs: install the package postgresql")


@functools.cache
def _program(name: str) -> str | None:
    # Debian's are not in PATH, since several versions can be installed.
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: float(each.parent.name))
    return shutil.which(name, path=":".join(map(str, reversed(debian)))) or shutil.which(name)
