"""A server that handles requests, forks, and handles more in the parent and in the children at once."""

import fcntl
import os
import pickle
import signal
import threading
import warnings
from contextlib import contextmanager

import pytest
from oslo_config import cfg
from oslo_policy import policy
from sqlalchemy import event
from sqlalchemy.engine import Engine

from os_volume_ext.backends.base import Volume
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.filter import make_filter
from os_volume_ext.policy import Policy, RuleSet
from os_volume_ext.registry import schema
from os_volume_ext.registry.database import Database
from tests.support.inprocess import collection, compute_api, send_request
from tests.support.waiting import TIMEOUT

CHILDREN, ROUNDS = 3, 8
SERVERS = [str(number) for number in range(1134, 1134 + CHILDREN + 1)]


@pytest.fixture
def app(tmp_path, url):
    options = {"database.url": url, "backend.root": tmp_path / "backend"}
    app = make_filter(compute_api(SERVERS), backend="directory", **options)
    for server_id in SERVERS:
        (tmp_path / "backend" / "servers" / server_id).mkdir()
    database = Database({"url": url})
    for volume_id in range(100):
        SQLCatalog({}, database).create(Volume(str(volume_id), "demo"))
    database.dispose()
    yield app
    app.close()


def attach_and_detach(app, server_id, volume_id):
    """Attach, list, show and detach; return the statuses."""
    path = collection(server_id)
    return [
        send_request(app, "POST", path, {"volumeAttachment": {"volumeId": volume_id}})[0],
        send_request(app, "GET", path)[0],
        send_request(app, "GET", f"{path}/{volume_id}")[0],
        send_request(app, "DELETE", f"{path}/{volume_id}")[0],
    ]


class Children:
    """Forked children: each runs a function when all have been started, and sends back what it returned."""

    def __init__(self):
        self.pipes = []
        self.go_reading, self.go_writing = os.pipe()

    def fork(self, function):
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # From 3.12 on Python warns of any fork beside threads; to survive that is what is tested here.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            child = os.fork()
        if child:
            os.close(writing)
            self.pipes.append((child, reading))
            return
        status = 1
        try:
            os.close(self.go_writing)
            os.read(self.go_reading, 1)  # ends when the parent writes
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                outcome = function()
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump((outcome, [str(each.message) for each in caught]), pipe)
            status = 0
        finally:
            os._exit(status)

    def go(self):
        os.close(self.go_writing)

    def outcomes(self):
        os.close(self.go_reading)
        found = []
        for child, reading in self.pipes:
            with os.fdopen(reading, "rb") as pipe:
                response = pipe.read()
            assert os.waitpid(child, 0)[1] == 0
            outcome, caught = pickle.loads(response)
            assert caught == []
            found.append(outcome)
        return found


def in_child(function):
    """Return what a function returns in a forked child."""
    children = Children()
    children.fork(function)
    children.go()
    (outcome,) = children.outcomes()
    return outcome


@contextmanager
def in_thread(function, reached, go_on):
    """Run a function beside the block: from an event that it sets until the end, where it gets the other event."""
    thread = threading.Thread(target=function)
    thread.start()
    try:
        assert reached.wait(TIMEOUT)
        yield
    finally:
        go_on.set()
        thread.join(TIMEOUT)


@pytest.fixture
def connected():
    """Give the processes in which connections were made, once for each."""
    made = []

    def note(connection, record):
        made.append(os.getpid())

    event.listen(Engine, "connect", note)
    yield made
    event.remove(Engine, "connect", note)


@pytest.fixture
def called(monkeypatch):
    """Give the processes in which threads for backend calls were started, once for each."""
    started = []
    start = threading.Thread.start

    def note(thread):
        if thread.name.startswith("os-volume-ext"):
            started.append(os.getpid())
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note)
    return started


def test_parent_and_children_respond_at_once_after_a_fork(app):
    assert attach_and_detach(app, SERVERS[0], 1) == [200] * 4
    children = Children()
    for number in range(CHILDREN):
        work = range(10 * (number + 1), 10 * (number + 1) + ROUNDS)
        children.fork(lambda number=number, work=work: [attach_and_detach(app, SERVERS[number + 1], v) for v in work])
    children.go()
    own = [attach_and_detach(app, SERVERS[0], volume_id) for volume_id in range(50, 50 + ROUNDS)]
    assert [own, *children.outcomes()] == [[[200] * 4] * ROUNDS] * (CHILDREN + 1)
    for server_id in SERVERS:
        assert send_request(app, "GET", collection(server_id)) == (200, {"volumeAttachments": []})


def test_of_parent_and_children_that_attach_one_volume_one_wins(app):
    attach_and_detach(app, SERVERS[0], 1)
    children = Children()

    def race(server_id):
        document = {"volumeAttachment": {"volumeId": 7}}
        return send_request(app, "POST", collection(server_id), document)[0]

    for server_id in SERVERS[1:]:
        children.fork(lambda server_id=server_id: race(server_id))
    children.go()
    statuses = [race(SERVERS[0]), *children.outcomes()]
    assert sorted(statuses) == [200] + [400] * CHILDREN
    assert [send_request(app, "GET", collection(server_id) + "/7")[0] == 200 for server_id in SERVERS] == [
        status == 200 for status in statuses
    ]


def test_a_child_makes_connections_and_threads_of_its_own(app, connected, called):
    attach_and_detach(app, SERVERS[0], 1)
    assert set(connected) == set(called) == {os.getpid()}

    def child():
        del connected[:], called[:]
        statuses = attach_and_detach(app, SERVERS[1], 2)
        return statuses, set(connected) == set(called) == {os.getpid()}

    assert in_child(child) == ([200] * 4, True)


def test_the_parents_connection_works_on_after_its_children_have_ended(app, connected):
    attach_and_detach(app, SERVERS[0], 1)
    made = len(connected)
    for number in range(3):
        assert in_child(lambda number=number: attach_and_detach(app, SERVERS[1], number)) == [200] * 4
        assert attach_and_detach(app, SERVERS[0], 20 + number) == [200] * 4
    assert len(connected) == made


def test_nothing_is_connected_and_no_thread_is_started_before_the_first_request(called, app, connected):
    assert (connected, called) == ([], [])
    send_request(app, "GET", collection(SERVERS[0]))
    assert (connected, called) == ([os.getpid()], [])
    attach_and_detach(app, SERVERS[0], 1)
    assert called == [os.getpid()]


def test_a_fork_during_a_request_does_not_block_the_child(app, monkeypatch):
    attaching, go_on = threading.Event(), threading.Event()
    attach = DirectoryBackend.attach
    parent = os.getpid()

    def slow(*arguments):
        if os.getpid() == parent:
            attaching.set()
            assert go_on.wait(TIMEOUT)
        return attach(*arguments)

    monkeypatch.setattr(DirectoryBackend, "attach", slow)
    responses = []
    with in_thread(lambda: responses.append(attach_and_detach(app, SERVERS[0], 1)), attaching, go_on):
        assert in_child(lambda: attach_and_detach(app, SERVERS[1], 2)) == [200] * 4
    assert responses == [[200] * 4]


def test_a_fork_while_rules_are_read_does_not_keep_the_child_from_reading_some():
    reading, go_on = threading.Event(), threading.Event()

    class Slow(policy.Check):
        @property
        def __call__(self):
            reading.set()
            assert go_on.wait(TIMEOUT)
            return len

    def read():
        signal.alarm(TIMEOUT)
        return Policy().current().is_self_contained

    rules = policy.Rules({"context_is_admin": Slow("slow", "")})
    enforcer = policy.Enforcer(cfg.ConfigOpts(), rules=rules, use_conf=False)
    with in_thread(lambda: RuleSet(enforcer), reading, go_on):
        assert in_child(read) is True


def test_a_fork_during_an_upgrade_does_not_keep_the_child_from_one(tmp_path, monkeypatch):
    waiting, go_on = threading.Event(), threading.Event()
    parent, flock = os.getpid(), fcntl.flock

    def slow(*arguments):
        if os.getpid() == parent:
            waiting.set()
            assert go_on.wait(TIMEOUT)
        return flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", slow)
    first, second = [Database({"url": f"sqlite:///{tmp_path}/{name}.db"}) for name in ("first", "second")]

    def upgrade():
        signal.alarm(TIMEOUT)
        schema.upgrade(second)
        return schema.current(second)

    with in_thread(lambda: schema.upgrade(first), waiting, go_on):
        assert in_child(upgrade) == schema.HEAD
    assert schema.current(first) == schema.HEAD
