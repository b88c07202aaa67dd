"""A HAProxy in front of the nodes of a Galera cluster, which finds out by a check of its own which of them to use."""

import contextlib
import shutil
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pymysql

from tests.support import galera
from tests.support.daemons import Daemon, directory_of
from tests.support.paths import DOCS
from tests.support.ports import free_port
from tests.support.services import require_service
from tests.support.waiting import wait_until

USER = "nobody"
ROUND_ROBIN, ONE_WRITER = "round robin", "one writer"
CONFIG = DOCS / "databases" / "haproxy.cfg"
SPARE = " backup"
ADDRESS = "192.0.2.10:3306"
SERVER = "192.0.2.1{}:3306 check port 9200"


class Check(ThreadingHTTPServer):
    """Responds 200 while a node can be used, and else 503, as the program ``clustercheck`` does on a node."""

    daemon_threads = True

    def __init__(self, node: galera.Node) -> None:
        super().__init__(("127.0.0.1", 0), _CheckHandler)
        self.node = node
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Respond no more."""
        self.shutdown()
        self.server_close()


class _CheckHandler(BaseHTTPRequestHandler):
    server: Check

    def do_GET(self) -> None:
        """Respond to HAProxy."""
        with contextlib.suppress(ConnectionError):  # it does not wait for a node that hangs
            self.send_response(200 if self.server.node.is_synced else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def running(nodes: Sequence[galera.Node], balance: str) -> Iterator[int]:
    """Give the port of a HAProxy in front of nodes.

    :param balance: ROUND_ROBIN, or ONE_WRITER: the first node, and another one only while it is down.
    """
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(directory_of(USER))
        checks = []
        for node in nodes:
            checks.append(Check(node))
            stack.callback(checks[-1].stop)
        port, config = free_port(), directory / "haproxy.cfg"
        config.write_text(_config(port, nodes, checks, balance))
        haproxy = Daemon(USER, (_program(), "-db", "-f", config), directory / "haproxy.log")
        haproxy.start()
        stack.callback(haproxy.kill)
        assert wait_until(lambda: _leads_to_a_node(haproxy, port)), haproxy.log
        yield port


def _config(port: int, nodes: Sequence[galera.Node], checks: Sequence[Check], balance: str) -> str:
    """Return the configuration of the documentation with this machine's addresses."""
    places = {ADDRESS: f"127.0.0.1:{port}"}
    for number, (node, check) in enumerate(zip(nodes, checks, strict=True), 1):
        places[SERVER.format(number)] = f"127.0.0.1:{node.port} check port {check.port}"
    text = CONFIG.read_text()
    for documented, own in places.items():
        assert text.count(documented) == 1
        text = text.replace(documented, own)
    return text.replace(SPARE, "") if balance == ROUND_ROBIN else text


def _leads_to_a_node(haproxy: Daemon, port: int) -> bool:
    haproxy.assert_running()
    try:
        return bool(galera.execute(port, "SELECT 1"))
    except pymysql.Error:
        return False


def _program() -> str:
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    require_service(found, "no haproxy: install the package haproxy")
    return str(found)
