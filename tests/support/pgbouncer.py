"""A PgBouncer in transaction mode in front of a PostgreSQL."""

import configparser
import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests.support.daemons import Daemon, directory_of, give
from tests.support.databases import SERVERS
from tests.support.paths import DOCS
from tests.support.ports import free_port
from tests.support.services import require_service
from tests.support.waiting import wait_until

USER = "postgres"
POOL_SIZE = 4  # server connections for a database, fewer than clients, so that they share them

CONFIG = DOCS / "databases" / "pgbouncer.ini"


class PgBouncer:
    """A PgBouncer that can be killed, restarted and stopped for a while."""

    def __init__(self, directory: Path, server_url: str, **more: str) -> None:
        """Write its configuration.

        :param directory: of the user USER.
        :param server_url: of any database of the server in front of which it is.
        :param more: further settings of the section pgbouncer.
        """
        self.port = free_port()
        server = make_url(server_url)
        users, config = directory / "users.txt", directory / "pgbouncer.ini"
        users.write_text(f'"{server.username}" ""\n')
        # That of the documentation, with this machine's addresses and users, and with few connections.
        own = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(users),
            "admin_users": str(server.username),
            "default_pool_size": str(POOL_SIZE),
        }
        parser = configparser.RawConfigParser()
        parser.read(CONFIG)
        parser["databases"] = {"*": f"host={server.host} port={server.port}"}
        parser["pgbouncer"].update(own | more)
        with config.open("w") as file:
            parser.write(file)
        for path in (users, config):
            give(USER, path)
        self._daemon = Daemon(USER, (_program(), config), directory / "pgbouncer.log")
        self.hanging = self._daemon.hanging
        self.kill = self._daemon.kill

    def url(self, url: str, **query: str) -> str:
        """Return the URL by which clients use a database through it.

        :param url: that of the database itself, whose query is left out.
        :param query: the new one.
        """
        through = make_url(url).set(host="127.0.0.1", port=self.port, query=query)
        return through.render_as_string(hide_password=False)

    def start(self) -> None:
        """Start it; return when it responds."""
        self._daemon.start()
        assert wait_until(self._responds), self._daemon.log

    def stop(self) -> None:
        """Let it end at once, closing its connections."""
        self._daemon.stop(signal.SIGTERM)

    def _responds(self) -> bool:
        self._daemon.assert_running()
        conninfo = f"host=127.0.0.1 port={self.port} user={USER} dbname=pgbouncer connect_timeout=5"
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(conninfo, autocommit=True).close()
            return True
        return False


@contextlib.contextmanager
def running(server_url: str = SERVERS["postgresql"], **more: str) -> Iterator[PgBouncer]:
    """Give a PgBouncer; the parameters are those of the class."""
    require_service(_program(), "no pgbouncer: install the package pgbouncer")
    with directory_of(USER) as directory:
        bouncer = PgBouncer(directory, server_url, **more)
        try:
            bouncer.start()
            yield bouncer
        finally:
            bouncer.kill()


def _program() -> str | None:
    return shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
