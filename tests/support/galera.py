"""A Galera cluster of three real MariaDB servers, whose nodes can be killed, stopped, cut off and given another clock.

Whatever decides how the cluster behaves is as Galera has it by default: the timeouts of the group, and what a node
waits for before it reads.
"""

import contextlib
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.support.daemons import Daemon, as_user, directory_of, run
from tests.support.ports import free_port
from tests.support.services import require_service
from tests.support.waiting import wait_until

USER = "mysql"
SIZE = 3
TIMEOUT = 5  # seconds to wait for a node's response
OPTIONS = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": "ON",
    "binlog-format": "ROW",
    "default-storage-engine": "InnoDB",
    "innodb-autoinc-lock-mode": "2",
    # Small, so that three of them fit on any machine.
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "8M",
    "key-buffer-size": "1M",
    "aria-pagecache-buffer-size": "1M",
    "performance-schema": "OFF",
    # A commit is written and not synced: a killed process loses nothing that it has written.
    "innodb-flush-log-at-trx-commit": "2",
    "wsrep-on": "ON",
    "wsrep-slave-threads": "2",
    "wsrep-sst-method": "rsync",
}
_POSITION = re.compile(r"Recovered position:\s*(\S+)")


class Node:
    """One server of the cluster."""

    def __init__(self, name: str, directory: Path) -> None:
        """:param directory: of the user USER; the node's data are below it."""
        self.port, self.group_port = free_port(), free_port()
        self.data = directory / name
        self._name = name
        self._log = directory / f"{name}.log"
        self._ist_port, self._sst_port = free_port(), free_port()
        self._daemon: Daemon | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name})"

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not killed since."""
        return self._daemon is not None

    @property
    def is_synced(self) -> bool:
        """Whether it belongs to the primary component and is up to date, as the check of a load balancer asks."""
        return self.status("wsrep_ready") == "ON" and self.status("wsrep_local_state_comment") == "Synced"

    @property
    def is_primary(self) -> bool:
        """Whether it believes to belong to the primary component."""
        return self.status("wsrep_cluster_status") == "Primary"

    def url(self, database: str, **query: str) -> str:
        """Return the URL of a database at this node."""
        return url(self.port, database, **query)

    def execute(self, statement: str) -> Any:
        """Execute a statement; return the rows."""
        return execute(self.port, statement)

    @contextlib.contextmanager
    def behind(self) -> Iterator[Callable[[], object]]:
        """Let it receive changes and apply none, until the end or until what this gives is called."""
        with _connect(self.port) as connection, connection.cursor() as cursor:
            cursor.execute("FLUSH TABLES WITH READ LOCK")
            yield lambda: cursor.execute("UNLOCK TABLES")

    def status(self, name: str) -> str | None:
        """Return a status variable, or None if the node does not respond."""
        try:
            rows = self.execute(f"SHOW GLOBAL STATUS LIKE '{name}'")
        except pymysql.Error:
            return None
        return str(rows[0][1]) if rows else None

    def start(self, members: str, *options: str, clock: str | None = None) -> None:
        """Start it; it may not serve yet when this returns.

        :param members: the group addresses of the nodes to join; "" begins a new cluster.
        :param options: more of the server's.
        :param clock: how far its clock is off, such as ``+200s``.
        """
        self._daemon = Daemon(USER, (*_faketime(clock), *self._command(members), *options), self._log)
        self._daemon.start()

    def restart(self, members: str) -> None:
        """Start it after ``kill`` with what it had on disk, as systemd does by ``galera_recovery``."""
        done = subprocess.run(
            as_user(USER, *self._command(members), "--wsrep-recover"),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        positions = _POSITION.findall(done.stderr)
        assert positions, done.stderr
        self.start(members, f"--wsrep-start-position={positions[-1]}")

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon = None

    def shut_down(self) -> None:
        """Let it leave the cluster and end."""
        assert self._daemon is not None
        self._daemon.stop(signal.SIGTERM)

    def hanging(self) -> contextlib.AbstractContextManager[None]:
        """Stop its execution meanwhile; it keeps its connections, and does not respond."""
        assert self._daemon is not None
        return self._daemon.hanging()

    @contextlib.contextmanager
    def isolated(self) -> Iterator[None]:
        """Cut it off from the other nodes meanwhile. Its clients stay connected; alone it is not primary."""
        self._isolate(True)
        try:
            yield
        finally:
            self._isolate(False)

    @property
    def log(self) -> str:
        """The end of its error log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-40:]) if self._log.exists() else ""

    def _isolate(self, isolated: bool) -> None:
        self.execute(f"SET GLOBAL wsrep_provider_options = 'gmcast.isolate={int(isolated)}'")

    def _command(self, members: str) -> list[str | Path]:
        provider_options = (
            f"gmcast.listen_addr=tcp://127.0.0.1:{self.group_port}",
            f"ist.recv_addr=127.0.0.1:{self._ist_port}",
            "gcache.size=16M",
        )
        options = {
            **OPTIONS,
            "datadir": self.data,
            "port": self.port,
            "socket": self.data / "socket",
            "pid-file": self.data / "pid",
            "wsrep-provider": _provider(),
            "wsrep-provider-options": ";".join(provider_options),
            "wsrep-cluster-name": "tests",
            "wsrep-cluster-address": f"gcomm://{members}",
            "wsrep-node-name": self._name,
            "wsrep-node-address": "127.0.0.1",
            "wsrep-sst-receive-address": f"127.0.0.1:{self._sst_port}",
        }
        return [_program("mariadbd"), "--no-defaults", *(f"--{name}={value}" for name, value in options.items())]


class Cluster:
    """Three nodes."""

    def __init__(self, directory: Path) -> None:
        """:param directory: of the user USER."""
        self.nodes = [Node(f"node{number}", directory) for number in range(1, SIZE + 1)]

    @property
    def members(self) -> str:
        """The group addresses of all nodes."""
        return ",".join(f"127.0.0.1:{node.group_port}" for node in self.nodes)

    def start(self) -> None:
        """Start all nodes; return when they are in sync."""
        first, *others = self.nodes
        _install(first.data)
        first.start("")
        self._wait(lambda: first.is_synced)
        # Copies of a member's data can join at once; empty nodes would have to get all of it.
        first.shut_down()
        for node in others:
            run(USER, "cp", "-R", first.data, node.data)
        first.start("")
        self._wait(lambda: first.is_synced)
        for node in others:
            node.start(self.members)
        self.wait_for(SIZE)

    def kill(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.kill()

    @contextlib.contextmanager
    def with_clock(self, node: Node, clock: str) -> Iterator[None]:
        """Give a node another clock meanwhile, such as ``+200s``."""
        self._set_clock(node, clock)
        try:
            yield
        finally:
            self._set_clock(node, None)

    def wait_for(self, size: int) -> None:
        """Wait until that many nodes are in sync, each of which sees as many."""

        def are_there() -> bool:
            sizes = [node.status("wsrep_cluster_size") for node in self.nodes if node.is_synced]
            return sizes == [str(size)] * size

        self._wait(are_there)

    def heal(self) -> None:
        """Start the nodes that were killed; return when all are in sync."""
        dead = [node for node in self.nodes if not node.is_running]
        self.wait_for(SIZE - len(dead))  # which would else refuse a node that they believe to be there
        for node in dead:
            node.restart(self.members)
        self.wait_for(SIZE)

    def new_database(self) -> str:
        """Make a database without tables, which lasts as long as the cluster; return its name."""
        name = f"os_volume_ext_{uuid.uuid4().hex}"
        self.nodes[0].execute(f"CREATE DATABASE {name}")
        # A connection to a database, unlike a statement, does not wait until the node has it.
        self._wait(lambda: all(node.execute(f"SHOW DATABASES LIKE '{name}'") for node in self.nodes))
        return name

    def urls(self, database: str, **query: str) -> list[str]:
        """Return the URLs of a database at each of the nodes."""
        return [node.url(database, **query) for node in self.nodes]

    def _set_clock(self, node: Node, clock: str | None) -> None:
        node.shut_down()
        node.start(self.members, clock=clock)
        self.wait_for(SIZE)

    def _wait(self, condition: Callable[[], bool]) -> None:
        if not wait_until(condition):
            pytest.fail("\n".join(f"{node} is not as it should be:\n{node.log}" for node in self.nodes))


def url(port: int, database: str, **query: str) -> str:
    """Return the URL of a database at a port of this machine."""
    # Without TLS: to read the machine's certificates for each connection takes longer than most tests.
    options = "&".join(f"{name}={value}" for name, value in {"ssl_disabled": "true", **query}.items())
    return f"mysql+pymysql://root@127.0.0.1:{port}/{database}?{options}"


def execute(port: int, statement: str) -> Any:
    """Execute a statement at a port of this machine, on a connection of its own; return the rows."""
    with _connect(port) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Give a cluster; skip the test where a program is missing, fail in CI."""
    _provider()
    for name in ("mariadbd", "mariadb-install-db", "rsync"):
        _program(name)
    with directory_of(USER) as directory:
        cluster = Cluster(directory)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()


def _connect(port: int) -> pymysql.Connection:
    return pymysql.connect(
        host="127.0.0.1",
        port=port,
        user="root",
        connect_timeout=TIMEOUT,
        read_timeout=TIMEOUT,
        ssl_disabled=True,
        autocommit=True,
    )


def _install(data: Path) -> None:
    run(
        USER,
        _program("mariadb-install-db"),
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        f"--innodb-log-file-size={OPTIONS['innodb-log-file-size']}",
    )


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")  # which is not in the PATH of all users
    require_service(found, f"no {name}: install the packages mariadb-server and rsync")
    return str(found)


def _provider() -> Path:
    return _library("galera/libgalera_smm.so", "galera-4")


def _faketime(clock: str | None) -> list[str]:
    if clock is None:
        return []
    # Timeouts are not to change, only what time it is.
    library = _library("*/faketime/libfaketimeMT.so.1", "libfaketime")
    return ["env", f"LD_PRELOAD={library}", f"FAKETIME={clock}", "FAKETIME_DONT_FAKE_MONOTONIC=1"]


def _library(pattern: str, package: str) -> Path:
    found = next(Path("/usr/lib").glob(pattern), None)
    require_service(found, f"no {pattern} below /usr/lib: install the package {package}")
    assert found is not None
    return found
