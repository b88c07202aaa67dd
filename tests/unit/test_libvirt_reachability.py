"""Whether the storage can be reached, by sockets of this machine."""

import socket

import pytest

from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.backends.libvirt import reachability


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()


@pytest.fixture
def refusing():
    with socket.socket() as bound:  # it does not listen
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


@pytest.fixture
def silent():
    """Give an endpoint that does not respond: its queue of connections is full."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.socket() as first,
        socket.socket() as last,
    ):
        for each in (first, last):
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_one_host_that_accepts_connections_suffices(listening, refusing, silent):
    reachability.check([refusing, silent, listening], 5)


def test_a_host_that_refuses_is_named_with_the_reason(refusing):
    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1 port \d+: .*refused.*backend\.probe_timeout"):
        reachability.check([refusing], 5)


def test_a_host_that_does_not_respond_is_given_up(silent):
    with pytest.raises(BackendUnavailable, match=r"timed out|no response within 0\.2 seconds"):
        reachability.check([silent], 0.2)


@pytest.mark.parametrize("name", ["x" * 64, "x" * 255, "a..b", "host.invalid", ""])
def test_a_name_that_is_no_host_is_not_reachable(name):
    with pytest.raises(BackendUnavailable):
        reachability.check([(name, 1)], 5)


def test_nothing_is_tested_without_endpoints_or_time(refusing):
    reachability.check([], 5)
    reachability.check([refusing], 0)
