"""Several processes of one API reconcile by themselves: one at a time does, and when it is killed, another."""

import datetime
import logging
import os
import signal
import time
import uuid
import warnings
from itertools import groupby

import pytest
from sqlalchemy import insert, select

from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments, leases
from tests.support.databases import direct_connection
from tests.support.inprocess import collection, send_request
from tests.support.waiting import wait_until
from tests.support.worker_app import SERVERS, VOLUMES, disks, make_app, options, prepare

WORKERS = 3
TAKES = 0.1  # seconds to settle one row: all together they take more than half of the interval
LONG_AGO = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def database(database_kind, tmp_path):
    with database_kind.new(tmp_path / "registry.db") as url:
        prepare(tmp_path, url)
        yield Database({"url": url})


@pytest.fixture
def app(database, tmp_path, monkeypatch):
    detach = DirectoryBackend.detach

    def slow(*arguments):
        time.sleep(TAKES)
        detach(*arguments)

    monkeypatch.setattr(DirectoryBackend, "detach", slow)
    more = {"reconcile_interval": "1", "operation_timeout": "1", "stale_after": "3"}
    return make_app(options(tmp_path, database.url.render_as_string(hide_password=False)) | more)


class Workers:
    """Processes forked from one that has loaded the application; each has handled a request."""

    def __init__(self, app, log):
        self._app = app
        self._log = log
        self.alive = []

    def start(self):
        with warnings.catch_warnings():
            # From 3.12 on Python warns of any fork beside threads; servers that load before they fork have none.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            child = os.fork()
        if child:
            self.alive.append(child)
            return
        try:
            logging.basicConfig(filename=self._log, format="%(process)d %(message)s", level=logging.INFO, force=True)
            assert send_request(self._app, "GET", collection(SERVERS[0])) == (200, {"volumeAttachments": []})
            while True:
                signal.pause()
        finally:
            os._exit(1)

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.alive.remove(pid)

    def repaired(self):
        """Return ``[(pid, volume), ...]``, in the order in which they were settled."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [(int(line.split()[0]), line.split()[2].rstrip(",")) for line in lines if "repaired: detached" in line]


@pytest.fixture
def workers(app, tmp_path):
    workers = Workers(app, tmp_path / "workers.log")
    for _ in range(WORKERS):
        workers.start()
    yield workers
    for pid in list(workers.alive):
        workers.kill(pid)


@pytest.fixture
def leave(database):
    """Give ``leave()``: what a worker leaves that died while it attached each volume to a server, long ago."""

    def insert_rows():
        rows = [
            {
                "volume_id": volume_id,
                "exclusive_volume_id": volume_id,
                "server_id": SERVERS[0],
                "project_id": "demo",
                "root": False,
                "delete_on_termination": False,
                "id": str(uuid.uuid4()),
                "state": "attaching",
                "request_id": "req-of-the-dead",
                "claim_id": "claim-1",
                "created_at": LONG_AGO,
                "updated_at": LONG_AGO,
            }
            for volume_id in VOLUMES
        ]
        with direct_connection(database) as connection:
            connection.execute(insert(attachments), rows)

    return insert_rows


def count(database):
    with direct_connection(database) as connection:
        return len(connection.execute(select(attachments.c.volume_id)).all())


def in_turns(repaired):
    """Return who settled, once for each turn."""
    return [pid for pid, _ in groupby(repaired, key=lambda each: each[0])]


def test_one_of_several_processes_repairs_what_a_crash_left(workers, leave, database):
    leave()
    assert wait_until(lambda: not count(database))
    assert wait_until(lambda: len(workers.repaired()) == len(VOLUMES))
    assert [volume for _, volume in workers.repaired()] == list(VOLUMES)
    (worker,) = in_turns(workers.repaired())
    assert worker in workers.alive


def test_when_the_reconciling_process_is_killed_another_continues(workers, leave, database, tmp_path):
    leave()
    assert wait_until(workers.repaired)
    with direct_connection(database) as connection:
        (holder,) = connection.execute(select(leases.c.holder)).scalars()
    killed = int(holder.split("-")[-2])
    workers.kill(killed)
    before = len(workers.repaired())
    assert before < len(VOLUMES)
    assert wait_until(lambda: not count(database))
    assert wait_until(lambda: len(workers.repaired()) >= len(VOLUMES) - 1)
    repaired = workers.repaired()
    assert in_turns(repaired[:before]) == [killed]
    # What was being settled when it was killed comes last: it has to be stale first, and may be another's turn.
    one, *_ = in_turns(repaired[before : len(VOLUMES) - 1])
    assert in_turns(repaired[before : len(VOLUMES) - 1]) == [one]
    assert killed not in in_turns(repaired[before:])
    assert len({volume for _, volume in repaired}) == len(repaired)
    assert disks(tmp_path) == set()
