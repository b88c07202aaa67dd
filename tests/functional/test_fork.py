"""A server that answers requests, forks, and answers more in the parent and in the children at once."""

import json
import os
import pickle
import threading
import warnings
from io import BytesIO

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from os_volume_ext.backends.base import Volume
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.filter import make_filter
from os_volume_ext.registry.database import Database

CHILDREN, ROUNDS = 3, 8
SERVERS = [str(number) for number in range(1134, 1134 + CHILDREN + 1)]
PATIENCE = 60  # seconds after which a test gives up


def compute_api(environ, start_response):
    """Show any server, as one of the project demo."""
    server_id = environ["PATH_INFO"].rpartition("/")[2]
    body = json.dumps({"server": {"id": server_id, "tenant_id": "demo", "status": "ACTIVE"}}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def app(tmp_path, url):
    app = make_filter(
        compute_api,
        **{
            "database.url": url,
            "backend": "directory",
            "backend.root": str(tmp_path / "backend"),
            "dialect": "cyclades",
        },
    )
    for server_id in SERVERS:
        (tmp_path / "backend" / "servers" / server_id).mkdir()
    database = Database({"url": url})
    for volume_id in range(100):
        SQLCatalog({}, database).create(Volume(str(volume_id), "demo"))
    database.dispose()
    return app


def ask(app, method, path, document=None):
    """Return the status and the document of an answer."""
    body = json.dumps(document).encode() if document else b""
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "HTTP_X_USER_ID": "user",
        "HTTP_X_PROJECT_ID": "demo",
        "HTTP_X_ROLES": "member,reader",
        "keystone.token_info": {"token": {}},
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    statuses = []
    answer = b"".join(app(environ, lambda status, headers, exc_info=None: statuses.append(status)))
    return int(statuses[0].split()[0]), json.loads(answer) if answer else None


def attachments(server_id):
    return f"/servers/{server_id}/os-volume_attachments"


def attach_and_detach(app, server_id, volume_id):
    """Attach, list, show and detach; return the statuses."""
    path = attachments(server_id)
    return [
        ask(app, "POST", path, {"volumeAttachment": {"volumeId": volume_id}})[0],
        ask(app, "GET", path)[0],
        ask(app, "GET", f"{path}/{volume_id}")[0],
        ask(app, "DELETE", f"{path}/{volume_id}")[0],
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
            os.read(self.go_reading, 1)  # ends when the parent says go
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
                answer = pipe.read()
            assert os.waitpid(child, 0)[1] == 0
            outcome, caught = pickle.loads(answer)
            assert caught == []
            found.append(outcome)
        return found


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
def workers():
    """Give ``workers()``: the threads for backend calls that were started in this test."""

    def ours():
        return {thread for thread in threading.enumerate() if thread.name.startswith("os-volume-ext")}

    before = ours()
    return lambda: ours() - before


def test_parent_and_children_answer_at_once_after_a_fork(app):
    assert attach_and_detach(app, SERVERS[0], 1) == [200] * 4
    children = Children()
    for number in range(CHILDREN):
        work = range(10 * (number + 1), 10 * (number + 1) + ROUNDS)
        children.fork(lambda number=number, work=work: [attach_and_detach(app, SERVERS[number + 1], v) for v in work])
    children.go()
    own = [attach_and_detach(app, SERVERS[0], volume_id) for volume_id in range(50, 50 + ROUNDS)]
    assert [own, *children.outcomes()] == [[[200] * 4] * ROUNDS] * (CHILDREN + 1)
    for server_id in SERVERS:
        assert ask(app, "GET", attachments(server_id)) == (200, {"volumeAttachments": []})


def test_of_parent_and_children_that_attach_one_volume_one_wins(app):
    attach_and_detach(app, SERVERS[0], 1)
    children = Children()

    def race(server_id):
        document = {"volumeAttachment": {"volumeId": 7}}
        return ask(app, "POST", attachments(server_id), document)[0]

    for server_id in SERVERS[1:]:
        children.fork(lambda server_id=server_id: race(server_id))
    children.go()
    statuses = [race(SERVERS[0]), *children.outcomes()]
    assert sorted(statuses) == [200] + [400] * CHILDREN
    assert [ask(app, "GET", attachments(server_id) + "/7")[0] == 200 for server_id in SERVERS] == [
        status == 200 for status in statuses
    ]


def test_a_child_makes_connections_and_threads_of_its_own(app, connected, workers):
    attach_and_detach(app, SERVERS[0], 1)
    assert set(connected) == {os.getpid()}
    assert len(workers()) == 1

    def child():
        inherited = len(workers())
        connected.clear()
        statuses = attach_and_detach(app, SERVERS[1], 2)
        return statuses, inherited, set(connected) == {os.getpid()}, len(workers())

    children = Children()
    children.fork(child)
    children.go()
    assert children.outcomes() == [([200] * 4, 0, True, 1)]


def test_the_parents_connection_works_on_after_its_children_have_ended(app, connected):
    attach_and_detach(app, SERVERS[0], 1)
    made = len(connected)
    for number in range(3):
        children = Children()
        children.fork(lambda number=number: attach_and_detach(app, SERVERS[1], number))
        children.go()
        assert children.outcomes() == [[200] * 4]
        assert attach_and_detach(app, SERVERS[0], 20 + number) == [200] * 4
    assert len(connected) == made


def test_nothing_is_connected_and_no_thread_is_started_before_the_first_request(app, connected, workers):
    assert connected == []
    assert workers() == set()
    ask(app, "GET", attachments(SERVERS[0]))
    assert connected == [os.getpid()]
    assert workers() == set()
    attach_and_detach(app, SERVERS[0], 1)
    assert len(workers()) == 1


def test_a_fork_while_a_request_is_answered_does_not_stop_the_child(app, monkeypatch):
    attaching, go_on = threading.Event(), threading.Event()
    attach = DirectoryBackend.attach
    parent = os.getpid()

    def slow(*arguments):
        if os.getpid() == parent:
            attaching.set()
            assert go_on.wait(PATIENCE)
        return attach(*arguments)

    monkeypatch.setattr(DirectoryBackend, "attach", slow)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(attach_and_detach(app, SERVERS[0], 1)))
    thread.start()
    try:
        assert attaching.wait(PATIENCE)
        children = Children()
        children.fork(lambda: attach_and_detach(app, SERVERS[1], 2))
        children.go()
        assert children.outcomes() == [[200] * 4]
    finally:
        go_on.set()
        thread.join(PATIENCE)
    assert answers == [[200] * 4]
