"""Connections to a libvirt that does not respond. The client library is real; the server is a socket that is silent."""

import socket
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest

from os_volume_ext.backends.base import BackendUnavailable
from tests.support.waiting import TIMEOUT, wait_until
from tests.unit.test_perprocess import in_child

pytest.importorskip("libvirtmod", reason="libvirt's Python binding is missing: pip install '.[libvirt]'")

from os_volume_ext.backends.libvirt.connections import MAX_ATTEMPTS, Connections

WAIT = 0.2  # seconds that a caller waits for a connection


class SilentServer:
    """Accepts connections and never sends anything."""

    def __init__(self, listener):
        self._listener = listener
        self._accepted = []
        self.uri = f"qemu+tcp://u:hush@127.0.0.1:{listener.getsockname()[1]}/system"

    def accept(self):
        """Accept all that wait to be, and return how many were accepted so far."""
        self._listener.settimeout(WAIT)
        try:
            while True:
                self._accepted.append(self._listener.accept()[0])
        except TimeoutError:
            return len(self._accepted)

    def hang_up(self):
        """Close what was accepted."""
        self.accept()
        for each in self._accepted:
            each.close()


@pytest.fixture
def new_server():
    with ExitStack() as stack:

        def make():
            server = SilentServer(stack.enter_context(socket.create_server(("127.0.0.1", 0))))
            stack.callback(server.hang_up)
            return server

        yield make


@pytest.fixture
def server(new_server):
    return new_server()


@pytest.fixture
def connections():
    return Connections(WAIT)


def call(connections, uri):
    """Return why a call failed."""
    with pytest.raises(BackendUnavailable) as raised:
        connections.call(uri, lambda connection: connection.getVersion())
    return str(raised.value)


def opening(server):
    """Return the threads that are opening a connection."""
    name = f"os-volume-ext-{server.uri.replace('hush', '***')}"
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_an_open_that_hangs_is_not_waited_for_by_later_calls(connections, server):
    call(connections, server.uri)
    call(connections, server.uri)
    assert server.accept() == 2


def test_calls_at_once_share_an_attempt(connections, server):
    callers = [threading.Thread(target=call, args=(connections, server.uri)) for _ in range(4)]
    with ExitStack() as started:
        for each in callers:
            each.start()
            started.callback(each.join, TIMEOUT)
    assert server.accept() == 1


def test_attempts_that_hang_are_limited_in_number(connections, server):
    reasons = [call(connections, server.uri) for _ in range(MAX_ATTEMPTS + 2)]
    shown = server.uri.replace("hush", "***")
    assert reasons[MAX_ATTEMPTS - 1] == f"{shown} did not respond within {WAIT:g} seconds"
    assert reasons[MAX_ATTEMPTS] == reasons[MAX_ATTEMPTS + 1]
    assert reasons[MAX_ATTEMPTS].startswith(f"{shown} does not respond: {MAX_ATTEMPTS} attempts to connect")
    assert server.accept() == len(opening(server)) == MAX_ATTEMPTS
    assert all(thread.daemon for thread in opening(server))


def test_when_attempts_have_ended_others_are_made(connections, server):
    for _ in range(MAX_ATTEMPTS + 1):
        call(connections, server.uri)
    server.hang_up()
    assert wait_until(lambda: not opening(server))
    before = server.accept()
    call(connections, server.uri)
    assert server.accept() == before + 1


def test_each_uri_has_its_own_attempts(connections, server, new_server):
    other = new_server()
    for _ in range(MAX_ATTEMPTS + 1):
        call(connections, server.uri)
    call(connections, other.uri)
    assert other.accept() == 1


def test_a_forked_process_makes_attempts_of_its_own(connections, server):
    for _ in range(MAX_ATTEMPTS + 1):
        call(connections, server.uri)
    assert in_child(lambda: call(connections, server.uri)).endswith(f"did not respond within {WAIT:g} seconds")


def test_a_thread_that_can_not_be_started_is_tried_again_by_the_next_call(connections, server, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert call(connections, server.uri) == "no thread could be started: can't start new thread"
    assert call(connections, server.uri).endswith(f"did not respond within {WAIT:g} seconds")


START_TWICE = """
import threading
from os_volume_ext.backends.libvirt import events

def refuse(thread):
    raise RuntimeError("can't start new thread")

start, threading.Thread.start = threading.Thread.start, refuse
try:
    events.loop()
except RuntimeError as error:
    print(error)
threading.Thread.start = start
print(events.loop())
"""


def test_an_event_loop_whose_thread_could_not_be_started_is_started_later():
    """In a process of its own: this one may have its loop already."""
    done = subprocess.run([sys.executable, "-c", START_TWICE], capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.stdout, done.stderr) == ("can't start new thread\nTrue\n", "")
