"""A process of several threads that send requests to the filter, in-process: there is no HTTP server.

``workers`` starts it, and its standard input has one measurement a line, as JSON. The compute API is a prepared
response and the backend does nothing, so that the filter and its database are measured.
"""

import json
import random
import re
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

from os_volume_ext.filter import make_filter

from .growing import FREE_VOLUME, PER_SERVER, PROJECT, SERVER, VOLUME, id_of
from .harness import NullBackend, WSGIApp, environ, send_request

THREADS = 8
WARM_UP = 3  # requests of each thread, which connect and compile the statements
DIALECT = "openstack"

Send = Callable[[int], None]
"""Sends the requests of one operation on a server, given by its number."""


def compute_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Show any server."""
    server_id = environ["PATH_INFO"].rpartition("/")[2]
    shown = {"server": {"id": server_id, "name": "one", "tenant_id": PROJECT, "status": "ACTIVE", "locked": False}}
    body = json.dumps(shown).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def list_attachments(app: WSGIApp, thread: int) -> Send:
    def send(server: int) -> None:
        body = send_request(app, environ("GET", path_of(server)), "200 OK")
        if body.count(b'"volumeId"') < PER_SERVER:
            raise RuntimeError(f"fewer than {PER_SERVER} attachments are listed: {body!r}")

    return send


def show(app: WSGIApp, thread: int) -> Send:
    def send(server: int) -> None:
        volume_id = id_of(server * PER_SERVER + thread % PER_SERVER, VOLUME)
        send_request(app, environ("GET", f"{path_of(server)}/{volume_id}"), "200 OK")

    return send


def attach_and_detach(app: WSGIApp, thread: int) -> Send:
    volume_id = id_of(thread, FREE_VOLUME)
    body = json.dumps({"volumeAttachment": {"volumeId": volume_id}}).encode()

    def send(server: int) -> None:
        send_request(app, environ("POST", path_of(server), body), "200 OK")
        send_request(app, environ("DELETE", f"{path_of(server)}/{volume_id}"), "202 Accepted")

    return send


OPERATIONS: dict[str, Callable[[WSGIApp, int], Send]] = {
    "list": list_attachments,
    "show": show,
    "attach and detach": attach_and_detach,
}
"""Each makes what a thread repeats, of the filter and of the thread's number."""


def path_of(server: int) -> str:
    return f"/servers/{id_of(server, SERVER)}/os-volume_attachments"


def repeat(send: Send, servers: int, end: float) -> int:
    """Send the requests of servers chosen at random until that time; return how often."""
    count = 0
    while perf_counter() < end:
        send(random.randrange(servers))
        count += 1
    return count


def warm_up(send: Send, servers: int) -> None:
    for _ in range(WARM_UP):
        send(random.randrange(servers))


def memory() -> dict[str, float]:
    """Return the memory of this process in MB: all of it, and with shared pages counted in part."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    found = re.findall(r"^(Rss|Pss): +(\d+) kB$", rollup, flags=re.MULTILINE)
    return {name.lower(): int(size) * 1024 / 1e6 for name, size in found}


def serve(number: int, app: WSGIApp, commands: Iterable[str]) -> None:
    """Measure what each command names, once the line after it arrives."""
    connects: list[object] = []
    event.listen(Pool, "connect", lambda *connection: connects.append(connection))
    lines = iter(commands)
    with ThreadPoolExecutor(THREADS) as threads:
        for command in map(json.loads, lines):
            servers = command["servers"]
            sends = [OPERATIONS[command["operation"]](app, number * THREADS + n) for n in range(THREADS)]
            list(threads.map(partial(warm_up, servers=servers), sends))
            print("ready", flush=True)
            next(lines)
            connects.clear()
            begin = process_time()
            end = perf_counter() + command["seconds"]
            count = sum(threads.map(partial(repeat, servers=servers, end=end), sends))
            done = {"count": count, "cpu": process_time() - begin, "connects": len(connects), **memory()}
            print(json.dumps(done), flush=True)


def main(number: str, options: str) -> None:
    """Serve standard input.

    :param number: of the process.
    :param options: those of the filter, as JSON.
    """
    with closing(make_filter(compute_app, backend=NullBackend(), dialect=DIALECT, **json.loads(options))) as app:
        serve(int(number), app, sys.stdin)


if __name__ == "__main__":
    main(*sys.argv[1:])
