"""Workers that are killed: real processes that serve HTTP or reconcile, forked from a zygote.

The zygote has everything imported, and the filter made as a server does that forks after it has loaded its
application (``gunicorn --preload``): nothing is connected yet. So a worker costs a fork and no more. All accept from
one listening socket that the test holds: it is there, and callers wait on it, when no worker is.

As a script this is the zygote. It reads one command a line, ``[work, {...}]`` to fork or ``["reap", pid]``, and
writes a number for each: the worker's pid, or its exit status. At the end of its input it stops its workers and ends.
"""

import contextlib
import gc
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from os_volume_ext.assembly import assemble_current
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.errors import NotAdopted, RegistryUnavailable
from os_volume_ext.filter import make_filter
from os_volume_ext.models import Volume
from os_volume_ext.registry.database import Database
from os_volume_ext.settings import Settings
from os_volume_ext.wsgi import WSGIApp
from tests.support import failpoints, worker_app
from tests.support.inprocess import IDENTITY
from tests.support.waiting import TIMEOUT

MODULE = "tests.integration.torture.zygote"  # run as a script, this module has another __name__
MAX_ATTACHMENTS = 20  # of a worker that has a limit: its reserve is a transaction of several statements


class Server(ThreadingMixIn, WSGIServer):
    """Serves an application on a socket that listens already; a request is a thread, a response is sent at once."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, app: WSGIApp) -> None:
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()
        self.setup_environ()
        self.set_app(app)


class Handler(WSGIRequestHandler):
    """Keeps no log of requests."""

    def log_message(self, *arguments: Any) -> None:
        pass


def compute_api(directory: Path) -> WSGIApp:
    """Return a compute API that has the servers of the directory backend, and those that only the backend has lost."""

    def response(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        name = environ["PATH_INFO"].rpartition("/")[2]
        present = [*(directory / "backend" / "servers").iterdir(), *(directory / "lost").iterdir()]
        servers = {each.name: _server(each.name) for each in present}
        if name == "detail":
            status, document = "200 OK", {"servers": list(servers.values())}
        elif name in servers:
            status, document = "200 OK", {"server": servers[name]}
        else:
            status, document = "404 Not Found", {"itemNotFound": {"code": 404, "message": f"no server {name}"}}
        body = json.dumps(document).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return response


def _server(server_id: str) -> dict[str, Any]:
    return {"id": server_id, "tenant_id": "demo", "status": "ACTIVE"}


class Worker:
    """A process that was forked from a zygote."""

    def __init__(self, zygote: "Zygote", pid: int) -> None:
        self.pid = pid
        self._zygote = zygote

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # not reused before ``wait`` has returned

    def wait(self) -> int:
        """Wait for its end. :return: the exit status, or below zero the signal's number."""
        end = os.pidfd_open(self.pid)
        try:
            assert select.select([end], [], [], TIMEOUT)[0], f"worker {self.pid} does not end"
        finally:
            os.close(end)
        return self._zygote.send_request("reap", self.pid)


class Zygote:
    """What workers are forked from."""

    def __init__(self, directory: Path, **options: str) -> None:
        """Start it. :param directory: one that ``worker_app`` has prepared. :param options: the filter's."""
        self.directory = directory
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listening.getsockname()[1]
        descriptor = self._listening.fileno()
        with (directory / "log").open("a") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    MODULE,
                    str(directory),
                    str(descriptor),
                    json.dumps(options),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=[descriptor],
                text=True,
            )

    def fork(self, work: str, **arguments: Any) -> Worker:
        """Fork a worker that runs a method of ``ZygoteProcess``: ``serve``, ``reconcile``, ``adopt``, ..."""
        return Worker(self, self.send_request(work, arguments))

    def report(self, worker: Worker) -> Path:
        """Return the file to which a worker writes its report."""
        return report_path(self.directory, worker.pid)

    def send_request(self, *command: Any) -> int:
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        response = self._process.stdout.readline()
        assert response, (self.directory / "log").read_text()[-5000:]
        return int(response)

    def end(self) -> None:
        """End it and its workers."""
        self._process.communicate()
        self._listening.close()


def report_path(directory: Path, pid: int) -> Path:
    return directory / f"{pid}.json"


class ZygoteProcess:
    """The zygote's state, and what its workers run."""

    def __init__(self, directory: Path, listening: socket.socket, options: dict[str, str]) -> None:
        self._directory = directory
        self._listening = listening
        self._points = failpoints.Failpoints()
        failpoints.install(self._points.reached)
        worker_app.Witness(directory).watch()
        limited = {**options, "max_attachments": str(MAX_ATTACHMENTS)}
        self._apps = [self._watched(make_filter(compute_api(directory), **each)) for each in (options, limited)]
        self._assembly = assemble_current(Settings.parse(options))
        self._url = options["database.url"]

    def serve(self, limited: bool = False, reconciled: bool = False) -> None:
        """Handle requests.

        :param limited: whether with ``max_attachments``.
        :param reconciled: whether to reconcile before, twice; what was found and the steps of the second are written.
        """
        if reconciled:
            findings = self._findings(everything=True)
            self._points.watch("")
            self._write(findings=[findings, self._findings(everything=True)])
        Server(self._listening, self._apps[limited]).serve_forever()

    def reconcile(self, everything: bool, die_at: str) -> None:
        """Reconcile, and write down the findings and the steps. :param die_at: as ``Failpoints.watch``."""
        self._points.watch(die_at)
        self._write(findings=[self._findings(everything)])

    def adopt(self, server: str, volume: str, die_at: str) -> None:
        """Add a row for a disk, unless there is one, and write down the steps.

        :param die_at: as ``Failpoints.watch``.
        """
        self._points.watch(die_at)
        with contextlib.suppress(NotAdopted):
            self._assembly.adopter().adopt(server, volume, device=None, root=False, project_id=None)
        self._write()

    def reconcile_forever(self) -> None:
        while True:
            with contextlib.suppress(RegistryUnavailable):  # the filter's own continues after it too
                self._findings(everything=True)

    def _findings(self, everything: bool) -> list[list[str]]:
        reconciler = self._assembly.reconciler()
        findings = reconciler.reconcile_all() if everything else reconciler.reconcile_stale()
        return [[each.outcome, each.server_id, each.volume_id, each.detail] for each in findings]

    def _write(self, **more: Any) -> None:
        self._points.write(report_path(self._directory, os.getpid()), **more)

    def _watched(self, app: WSGIApp) -> WSGIApp:
        """Watch a request that has the header ``X-Die-At``; see ``Failpoints.watch``.

        With ``X-Made-Anew: VOLUME/STEP`` another project makes the volume anew at that step.
        """
        stepping = failpoints.with_response_steps(app, self._points.reached)

        def watched(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
            environ = {**environ, **IDENTITY}
            if "HTTP_X_DIE_AT" not in environ:
                yield from app(environ, start_response)
                return
            volume, _, step = environ.get("HTTP_X_MADE_ANEW", "").partition("/")
            self._points.watch(environ["HTTP_X_DIE_AT"], {step: lambda: self._make_anew(volume)})
            yield from stepping(environ, start_response)
            self._write()

        return watched

    def _make_anew(self, volume_id: str) -> None:
        database = Database({"url": self._url})
        catalog = SQLCatalog({}, database)
        catalog.delete(volume_id=volume_id)
        catalog.create(Volume(volume_id, "other"))
        database.dispose()


def _fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        logging.exception("worker %d failed", os.getpid())
    finally:
        os._exit(status)


def main() -> None:
    directory, descriptor, options = sys.argv[1:]
    process = ZygoteProcess(Path(directory), socket.socket(fileno=int(descriptor)), json.loads(options))
    gc.freeze()  # a collection in a worker would copy all that it shares with the zygote
    living: set[int] = set()
    for line in sys.stdin:
        command, argument = json.loads(line)
        if command == "reap":
            living.discard(argument)
            response = os.waitstatus_to_exitcode(os.waitpid(argument, 0)[1])
        else:
            work = getattr(process, command)
            response = _fork(lambda work=work, argument=argument: work(**argument))
            living.add(response)
        print(response, flush=True)
    for pid in living:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
