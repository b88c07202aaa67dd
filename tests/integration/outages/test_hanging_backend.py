"""A served process whose backend hangs: the responses meanwhile, and the recovery."""

import configparser
import contextlib
import fcntl
import http.client
import json
import signal
import sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from os_volume_ext.backends.base import Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.models import ATTACHED, ATTACHING
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database
from tests.support.paths import PASTE
from tests.support.waiting import TIMEOUT, wait_until

HANGING = Path(__file__).parent / "hanging.py"
COLLECTION = "/compute/v2.0/servers/1134/os-volume_attachments"
ROOT_VOLUME = "/compute/v2.0/servers/1141/os-volume_attachments/1000"
OF_OTHER = "/compute/v2.0/servers/2001/os-volume_attachments"  # of the project other
MOST = 8  # what max_operations is by default
VOLUMES = range(11, 11 + MOST + 4)
# Stale long after the time limit: reconcile must not undo the attaches that the test still lets hang.
OPTIONS = {"operation_timeout": "6", "stale_after": "18", "reconcile_interval": "1"}


@pytest.fixture
def lock(tmp_path):
    """Give ``lock()``: while this context is entered, the attaches of the project demo hang."""
    path = tmp_path / "lock"
    path.touch()

    @contextlib.contextmanager
    def hold():
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    hold.path = path
    return hold


@pytest.fixture
def serve(start_server, free_port, tmp_path, lock):
    """Give ``serve()``: the process, once it responds; with the sample's options but for OPTIONS."""
    parser = configparser.RawConfigParser()
    parser.read(PASTE)
    for name, value in (OPTIONS | {"compute.url": f"http://127.0.0.1:{free_port}/compute/v2.0"}).items():
        parser.set("filter:volumes_cyclades", name, value)
    with (tmp_path / "api-paste.ini").open("w") as file:
        parser.write(file)
    where = ("--paste", tmp_path / "api-paste.ini", "--var", tmp_path / "var", "--port", str(free_port))
    return lambda: start_server(sys.executable, HANGING, lock.path, "serve", *where, port=free_port)


@pytest.fixture
def send_request(free_port):
    """Give ``send_request(method, path, document)``: the status, the headers and the document of a response."""

    def send(method, path, document=None, user="demo"):
        headers = {"X-Auth-Token": f"{user}-token", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=TIMEOUT)
        try:
            connection.request(method, path, document and json.dumps(document), headers)
            response = connection.getresponse()
            body = response.read()
            return response.status, response.headers, json.loads(body) if body else None
        finally:
            connection.close()

    return send


@pytest.fixture
def attach(send_request):
    return lambda volume: send_request("POST", COLLECTION, {"volumeAttachment": {"volumeId": volume}})


@pytest.fixture
def attach_and_detach_elsewhere(send_request):
    """Give a function that does this in another project, and returns the statuses."""

    def attach_and_detach():
        document = {"volumeAttachment": {"volumeId": 200}}
        return [
            send_request("POST", OF_OTHER, document, user="other")[0],
            send_request("DELETE", f"{OF_OTHER}/200", user="other")[0],
        ]

    return attach_and_detach


@pytest.fixture
def database(tmp_path):
    database = Database({"url": f"sqlite:///{tmp_path}/var/cyclades.db"})
    yield database
    database.dispose()


@pytest.fixture
def states(database):
    """Give ``states()``: the state of each row of the server, by volume."""
    return lambda: {int(row.volume_id): row.state for row in Registry(database).find(server_id="1134")}


def is_shed(response):
    return (
        is_unavailable(response)
        and response[2]["serviceUnavailable"]["message"] == "Too many operations are in progress."
    )


def is_unavailable(response):
    status, headers, _ = response
    return status == 503 and int(headers["Retry-After"]) > 0


def all_else_gets_responses(send_request):
    """Return whether lists, shows, discovery and foreign requests get responses."""
    paths = (COLLECTION, ROOT_VOLUME, "/compute/v2.0/servers/1134", "/compute/v2.0/extensions", "/v2.1/servers")
    return [send_request("GET", path)[0] for path in paths] == [200] * len(paths)


def test_a_backend_that_hangs_takes_one_projects_slots_and_not_the_api(
    serve, send_request, attach, attach_and_detach_elsewhere, lock, database, states
):
    serve()
    for volume in VOLUMES:
        SQLCatalog({}, database).create(Volume(str(volume), "demo"))
    with ThreadPoolExecutor(len(VOLUMES)) as callers, lock():
        waiting = {callers.submit(attach, volume): volume for volume in VOLUMES}
        shed = set()
        while len(shed) < len(VOLUMES) - MOST:
            shed |= wait(waiting.keys() - shed, TIMEOUT, FIRST_COMPLETED).done
        hung = {volume for caller, volume in waiting.items() if caller not in shed}
        assert len(hung) == MOST
        assert all(is_shed(caller.result()) for caller in shed)
        assert wait_until(lambda: states() == dict.fromkeys(hung, ATTACHING))
        assert all_else_gets_responses(send_request)
        assert attach_and_detach_elsewhere() == [200, 200]
        assert not any(caller.done() for caller in waiting.keys() - shed)  # all of that while they waited
        assert all(is_unavailable(caller.result()) and not is_shed(caller.result()) for caller in waiting.keys() - shed)
        # Nobody waits any more, and the calls still hang.
        assert states() == dict.fromkeys(hung, ATTACHING)
        assert attach_and_detach_elsewhere() == [200, 200]
        assert all_else_gets_responses(send_request)
    # The backend is back.
    assert wait_until(lambda: attach(99)[0] == 200)
    assert wait_until(lambda: states() == dict.fromkeys({*hung, 99}, ATTACHED))
    left = set(VOLUMES) - hung
    assert [attach(volume)[0] for volume in left] == [200] * len(left)
    listed = send_request("GET", COLLECTION)[2]["volumeAttachments"]
    assert {each["volumeId"] for each in listed} == {*VOLUMES, 99}
    assert [send_request("DELETE", f"{COLLECTION}/{volume}")[0] for volume in hung] == [200] * MOST


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_whose_backend_hangs_ends_on_a_signal_and_the_next_repairs_it(serve, attach, lock, states, number):
    process = serve()
    with ThreadPoolExecutor(1) as callers, lock():
        caller = callers.submit(attach, 9)
        assert wait_until(lambda: states() == {9: ATTACHING})
        process.send_signal(number)
        assert process.wait(TIMEOUT) == 0
        with contextlib.suppress(OSError, http.client.HTTPException):  # or it stopped in time
            assert is_unavailable(caller.result())
        assert states() == {9: ATTACHING}
    serve()
    assert wait_until(lambda: attach(9)[0] == 200)
    assert states() == {9: ATTACHED}
