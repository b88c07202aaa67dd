"""Many workers on few volumes: all responses are consistent with one order of events (linearizable)."""

import logging
import multiprocessing
import pickle
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

from sqlalchemy.engine import make_url

from os_volume_ext.assembly import assemble
from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.models import ATTACHED
from os_volume_ext.settings import Settings
from tests.support import inprocess, worker_app
from tests.support.history import KINDS, Request, refusal
from tests.support.waiting import TIMEOUT

REQUESTS = 20_000
PROCESSES = 4
THREADS = 8
# Waiters for SQLite's lock poll it, and which of them gets it is chance: of 32, some wait for seconds already, and
# after BUSY_TIMEOUT, which is ten, the response is a 503. Fewer are as much of a crowd before that one lock.
THREADS_ON_SQLITE = 3
OPERATIONS = {"attach": ("POST", 40), "detach": ("DELETE", 40), "show": ("GET", 12), "list": ("GET", 8)}


def work(directory, url, number, threads, requests, ready):
    """Run one of the processes: send requests in some threads, and write the responses to a file."""
    sys.setswitchinterval(0.0002)  # seconds; the longer a thread has its turn, the fewer are the orders of events
    logging.basicConfig(filename=directory / "log", level=logging.WARNING)  # nothing here is worth one
    worker_app.Witness(directory).watch()
    app = worker_app.make_app(worker_app.options(directory, url))
    chances = [random.Random(f"{number} {thread}") for thread in range(threads)]
    ready.wait(TIMEOUT)
    with ThreadPoolExecutor(threads) as pool:
        responses = list(pool.map(lambda chance: [send_request(app, chance) for _ in range(requests)], chances))
    responses_of(directory, number).write_bytes(pickle.dumps(list(chain.from_iterable(responses))))


def responses_of(directory, number):
    """Return the file with the responses of a process."""
    return directory / f"responses-{number}"


def send_request(app, chance):
    """Send a random request; return it with its response."""
    [operation] = chance.choices(list(OPERATIONS), [weight for _, weight in OPERATIONS.values()])
    method, _ = OPERATIONS[operation]
    server, volume = chance.choice(worker_app.SERVERS), chance.choice(worker_app.VOLUMES)
    path = inprocess.collection(server) + (f"/{volume}" if operation in ("detach", "show") else "")
    document = {"volumeAttachment": {"volumeId": volume}} if operation == "attach" else None
    start = time.monotonic_ns()
    status, response = inprocess.send_request(app, method, path, document)
    end = time.monotonic_ns()
    if status >= 400:
        [fault] = response.values()
        return Request(start, end, operation, volume, server, status, fault["message"])
    if operation == "list":
        volumes = frozenset(str(each["volumeId"]) for each in response["volumeAttachments"])
        return Request(start, end, operation, "", server, status, volumes)
    return Request(start, end, operation, volume, server, status)


def hammer(directory, url, requests):
    """Run all processes at once; return the requests with their responses."""
    threads = THREADS_ON_SQLITE if make_url(url).get_backend_name() == "sqlite" else THREADS
    each = -(-requests // (PROCESSES * threads))
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(PROCESSES)
    processes = [
        context.Process(target=work, args=(directory, url, number, threads, each, ready)) for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    return [each for number in range(PROCESSES) for each in pickle.loads(responses_of(directory, number).read_bytes())]


def unaged(row):
    return replace(row, age=0)


def test_the_responses_to_many_workers_are_linearizable(database_kind, tmp_path, times):
    with database_kind.new(tmp_path / "registry.sqlite") as url:
        worker_app.prepare(tmp_path, url)
        responses = hammer(tmp_path, url, REQUESTS * times)
        assert worker_app.Witness(tmp_path).seen == []
        assert (tmp_path / "log").read_text() == ""
        counts = Counter((each.operation, each.status) for each in responses)
        print(len(responses), "requests:", counts)
        assert set(counts) == KINDS["cyclades"]
        for volume in worker_app.VOLUMES:
            refused = refusal(responses, volume)
            assert refused is None, refused
        assert_agreement(tmp_path, url)


def assert_agreement(directory, url):
    """Check that registry and backend agree, and that reconcile changes nothing."""
    assembly = assemble(Settings.parse(worker_app.options(directory, url)))
    rows = assembly.registry.find()
    assert {row.state for row in rows} <= {ATTACHED}
    assert {(row.volume_id, row.server_id) for row in rows} == worker_app.disks(directory)
    findings = list(assembly.reconciler().reconcile_all())
    assert [(each.outcome, each.detail) for each in findings] == [(Outcome.CONSISTENT, "attached")] * len(rows)
    assert list(map(unaged, assembly.registry.find())) == list(map(unaged, rows))
    assembly.close()
