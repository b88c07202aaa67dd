"""Many processes that send requests to few volumes at once, while anything may fail; and what must hold nevertheless.

``exercise`` prepares a directory (``prepare``), lets ``hammer`` send the requests, also while it injects faults, and
calls the ``check_...`` functions.
"""

import logging
import multiprocessing
import pickle
import random
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import chain
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from os_volume_ext.assembly import assemble
from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.models import ATTACHED, Attachment
from os_volume_ext.registry.database import Database
from os_volume_ext.settings import Settings
from os_volume_ext.wsgi import WSGIApp
from tests.support import inprocess, worker_app
from tests.support.databases import age_rows, direct_connection
from tests.support.history import Request, refusal
from tests.support.waiting import TIMEOUT

# Waiters for SQLite's lock poll it, and which of them gets it is chance: of 32, some wait for seconds already, and
# after BUSY_TIMEOUT, which is ten, the response is a 503. Fewer are as much of a crowd before that one lock.
MAX_THREADS_ON_SQLITE = 3
OPERATIONS = {"attach": ("POST", 40), "detach": ("DELETE", 40), "show": ("GET", 12), "list": ("GET", 8)}
AIMED = 0.75  # the share of detaches and shows that go where the volume was seen last
HEADERS: Mapping[str, Mapping[str, str]] = {
    "cyclades": {},
    "openstack": {"OpenStack-API-Version": "compute 2.101"},
}
PAUSE = 0.5  # seconds after a 503; without one, a database that is down would use up the requests in no time
LONGEST = 12  # seconds that a response may take
LONG = timedelta(days=2)  # after which any row is stale


@dataclass(frozen=True)
class Load:
    """What the processes request, and how many they are.

    ``options`` are the filter's, in addition to those of ``worker_app``. By default no row gets stale, since
    ``history`` knows no takeovers. ``devices`` are those of which each attach names one, such as ``/dev/vdb``; in
    openstack only.
    ``pause`` is how many seconds a thread waits before each request.
    A volume whose request got a 503 may stay pending to the end: where there are faults, let there be many.
    """

    requests: int
    dialect: str = "cyclades"
    server_count: int = 3
    volume_count: int = 8
    processes: int = 4
    threads: int = 8
    devices: tuple[str, ...] = ()
    pause: float = 0
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def servers(self) -> tuple[str, ...]:
        """The ids of the servers."""
        return tuple(self._id(number) for number in range(1134, 1134 + self.server_count))

    @property
    def volumes(self) -> tuple[str, ...]:
        """The ids of the volumes."""
        return tuple(self._id(number) for number in range(1, 1 + self.volume_count))

    def filter_options(self, directory: Path, url: str) -> dict[str, str]:
        """Return all options of a process's filter."""
        never = {"stale_after": str(int(LONG.total_seconds()) // 2)}
        return {**worker_app.options(directory, url, self.dialect), **never, **self.options}

    def _id(self, number: int) -> str:
        return str(number) if self.dialect == "cyclades" else str(uuid.UUID(int=number))


class Progress:
    """How many requests have begun, over all processes, and how many may."""

    def __init__(self, begun: Any, limit: Any) -> None:
        """:param begun: a ``multiprocessing.Value``, as is ``limit``."""
        self._begun = begun
        self._limit = limit

    def begin(self) -> bool:
        """Count one more; return False if all have begun already."""
        with self._begun.get_lock():
            if self._begun.value >= self._limit.value:
                return False
            self._begun.value += 1
            return True

    def end_after(self, count: int) -> None:
        """Let only that many more begin, and no more than were to."""
        with self._begun.get_lock():
            self._limit.value = min(self._limit.value, self._begun.value + count)

    @property
    def begun(self) -> int:
        """How many have begun."""
        return int(self._begun.value)


class Run:
    """The processes while they are running."""

    def __init__(self, processes: Sequence[SpawnProcess], progress: Progress, load: Load) -> None:
        self._processes = processes
        self._progress = progress
        self._requests = load.requests

    @property
    def begun(self) -> int:
        """How many requests have begun."""
        return self._progress.begun

    def wait_for(self, share: float) -> None:
        """Wait until a share of the requests, from 0 to 1, has begun."""
        self._wait(lambda: self.begun >= share * self._requests)

    def end_after(self, count: int) -> None:
        """End after that many more requests, such as when a fault is over; the load's number is the most."""
        self._progress.end_after(count)

    def wait(self) -> None:
        """Wait until all processes have ended."""
        self._wait(lambda: all(each.exitcode == 0 for each in self._processes))

    def _wait(self, is_over: Callable[[], bool]) -> None:
        begun, since = 0, time.monotonic()
        while not is_over():
            failed = [each.exitcode for each in self._processes if each.exitcode]
            assert not failed, f"processes ended with {failed}"
            if self.begun > begun:
                begun, since = self.begun, time.monotonic()
            assert time.monotonic() < since + TIMEOUT, f"after {begun} requests none has begun for {TIMEOUT} s"
            time.sleep(0.05)


def prepare(directory: Path, url: str, load: Load) -> None:
    """Make the tables, the volumes and the servers' directories."""
    worker_app.prepare(directory, url, load.servers, load.volumes)


def hammer(
    directory: Path, urls: Sequence[str], load: Load, during: Callable[[Run], object] | None = None
) -> list[Request]:
    """Run all processes at once; return the requests with their responses.

    At the end each server's attachments are listed by way of each URL, so that the last changes count too.

    :param directory: one that was prepared.
    :param urls: of the database: the processes use them in turn. One process at another node, or all at one.
    :param during: called while the processes run, to inject faults: after ``run.wait_for(0.25)`` a quarter of the
        requests has begun.
    """
    context = multiprocessing.get_context("spawn")
    progress = Progress(context.Value("Q", 0), context.Value("Q", load.requests))
    ready = context.Barrier(load.processes)
    processes = [
        context.Process(target=_work, args=(directory, urls[number % len(urls)], number, load, progress, ready))
        for number in range(load.processes)
    ]
    try:
        for process in processes:
            process.start()
        run = Run(processes, progress, load)
        if during:
            during(run)
        run.wait()
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
    written = [pickle.loads(_responses_of(directory, number).read_bytes()) for number in range(load.processes)]
    return [*chain.from_iterable(written), *chain.from_iterable(list_all(directory, url, load) for url in set(urls))]


def exercise(
    directory: Path,
    url: str,
    load: Load,
    during: Callable[[Run], object] | None = None,
    through: Sequence[str] | None = None,
) -> list[Request]:
    """Prepare a directory, ``hammer``, and check all that must hold; return the requests with their responses.

    :param url: of the database, by which it is prepared and read at the end.
    :param through: the URLs that the processes have; None for the same.
    """
    prepare(directory, url, load)
    requests = hammer(directory, through or [url], load, during)
    print(summary(requests))
    check_responses(requests)
    check_witness(directory)
    check_linearizable(requests, load)
    check_agreement(directory, url, load, requests)
    return requests


def list_all(directory: Path, url: str, load: Load) -> list[Request]:
    """List each server's attachments; return the requests with their responses."""
    app = worker_app.make_app(load.filter_options(directory, url), load.servers)
    try:
        return [_send_request(app, load, "list", server, "", None) for server in load.servers]
    finally:
        app.close()


# -- in the processes ------------------------------------------------------------------------------------


def _work(directory: Path, url: str, number: int, load: Load, progress: Progress, ready: Barrier) -> None:
    """Run one of the processes: send requests in some threads, and write the responses to a file."""
    sys.setswitchinterval(0.0002)  # seconds; the longer a thread has its turn, the fewer are the orders of events
    logging.basicConfig(filename=log_of(directory), level=logging.WARNING)
    options = load.filter_options(directory, url)
    limit = options.get("max_attachments")
    worker_app.Witness(directory).watch(int(limit) if limit else None)
    app = worker_app.make_app(options, load.servers)
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    threads = min(load.threads, MAX_THREADS_ON_SQLITE) if is_sqlite else load.threads
    chances = [random.Random(f"{number} {thread}") for thread in range(threads)]
    ready.wait(TIMEOUT)
    seen: dict[str, str] = {}
    with ThreadPoolExecutor(threads) as pool:
        responses = list(pool.map(lambda chance: _send_requests(app, load, chance, progress, seen), chances))
    _responses_of(directory, number).write_bytes(pickle.dumps(list(chain.from_iterable(responses))))


def log_of(directory: Path) -> Path:
    """Return the file to which the processes log warnings."""
    return directory / "log"


def _responses_of(directory: Path, number: int) -> Path:
    """Return the file with the responses of a process."""
    return directory / f"responses-{number}"


def _send_requests(
    app: WSGIApp, load: Load, chance: random.Random, progress: Progress, seen: dict[str, str]
) -> list[Request]:
    """Send random requests until there are enough; return them with their responses.

    :param seen: the server at which each volume was seen last, by any thread of the process.
    """
    found = []
    while progress.begin():
        [operation] = chance.choices(list(OPERATIONS), [weight for _, weight in OPERATIONS.values()])
        server, volume = chance.choice(load.servers), chance.choice(load.volumes)
        if operation in ("detach", "show") and chance.random() < AIMED:
            server = seen.get(volume, server)
        device = chance.choice(load.devices) if load.devices else None
        time.sleep(load.pause)
        request = _send_request(app, load, operation, server, volume, device)
        if request.status == 503:
            time.sleep(PAUSE)
        elif shown_at := _shown_at(request):
            seen[volume] = shown_at
        found.append(request)
    return found


def _send_request(app: WSGIApp, load: Load, operation: str, server: str, volume: str, device: str | None) -> Request:
    method, _ = OPERATIONS[operation]
    path = inprocess.collection(server) + (f"/{volume}" if operation in ("detach", "show") else "")
    attachment = {"volumeId": volume} | ({"device": device} if device else {})
    document = {"volumeAttachment": attachment} if operation == "attach" else None
    start = time.monotonic_ns()
    response = inprocess.get_response(app, method, path, document, HEADERS[load.dialect])
    end = time.monotonic_ns()
    return Request(
        start=start,
        end=end,
        operation=operation,
        volume="" if operation == "list" else volume,
        server=server,
        status=response.status,
        saw=_saw(operation, response),
        has_retry_after="Retry-After" in response.headers,
    )


def _shown_at(request: Request) -> str:
    """Return the server at which a response shows its volume to be or to have been; "" for none."""
    if request.status < 400 and request.operation != "list":
        return request.server
    match = re.fullmatch(r"Volume .* attached to server (\S+)\.", str(request.saw))
    return match[1] if match and request.operation == "attach" else ""


def _saw(operation: str, response: inprocess.Response) -> str | frozenset[str]:
    if response.status >= 400:
        [fault] = response.document.values()
        return str(fault["message"])
    if operation == "list":
        return frozenset(str(each["volumeId"]) for each in response.document["volumeAttachments"])
    return ""


# -- what must hold --------------------------------------------------------------------------------------


def summary(requests: Collection[Request]) -> str:
    """Return how many requests there were of each kind, and how long the slowest took."""
    counts = Counter(f"{each.operation} {each.status}" for each in requests)
    slowest = max(each.end - each.start for each in requests) / 1e9
    return f"{len(requests)} requests, slowest {slowest:.1f} s: " + ", ".join(
        f"{count} {kind}" for kind, count in sorted(counts.items())
    )


def unavailable(requests: Iterable[Request]) -> list[Request]:
    """Return those that got a 503."""
    return [each for each in requests if each.status == 503]


def check_responses(requests: Collection[Request]) -> None:
    """Check that nothing failed but with a 503 that has Retry-After, and that no response took too long."""
    assert [each for each in requests if each.status >= 500 and each.status != 503] == []
    assert [each for each in requests if each.status == 503 and not each.has_retry_after] == []
    assert [each for each in requests if each.end - each.start > LONGEST * 1_000_000_000] == []


def check_linearizable(requests: Collection[Request], load: Load) -> None:
    """Check that the responses about each volume are consistent with one order of events."""
    refused = [refusal(requests, volume, load.dialect) for volume in load.volumes]
    assert not any(refused), "\n\n".join(filter(None, refused))


def check_witness(directory: Path) -> None:
    """Check that no volume was in two servers, and no server had more than ``max_attachments`` disks."""
    assert worker_app.Witness(directory).seen == []


def check_agreement(directory: Path, url: str, load: Load, requests: Iterable[Request]) -> None:
    """Check that registry and backend agree, and that reconcile changes nothing.

    A row may be pending if a request for it got a 503. Then all rows are made stale, and reconcile has to repair it.
    """
    assembly = assemble(Settings.parse(load.filter_options(directory, url)))
    try:
        unknown = {(each.volume, each.server) for each in requests if each.status == 503}
        rows = {(row.volume_id, row.server_id): row for row in assembly.registry.find()}
        pending = {key for key, row in rows.items() if row.state != ATTACHED}
        assert pending <= unknown
        assert rows.keys() - pending <= worker_app.disks(directory) <= rows.keys()
        if pending:
            with direct_connection(Database({"url": url})) as connection:
                age_rows(connection, LONG)
        findings = {(each.volume_id, each.server_id): each for each in assembly.reconciler().reconcile_all()}
        assert {key for key, each in findings.items() if each.outcome is Outcome.REPAIRED} == pending
        _check_reconciled(assembly, directory)
    finally:
        assembly.close()


def _check_reconciled(assembly: Any, directory: Path) -> None:
    rows = assembly.registry.find()
    assert {row.state for row in rows} <= {ATTACHED}
    assert {(row.volume_id, row.server_id) for row in rows} == worker_app.disks(directory)
    findings = list(assembly.reconciler().reconcile_all())
    assert [(each.outcome, each.detail) for each in findings] == [(Outcome.CONSISTENT, "attached")] * len(rows)
    assert list(map(_unaged, assembly.registry.find())) == list(map(_unaged, rows))


def _unaged(row: Attachment) -> Attachment:
    return replace(row, age=0)
