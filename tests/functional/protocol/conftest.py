"""The harness that the tests of the protocol run on."""

import threading

import pytest

from tests.functional.protocol.cases import SLOTS
from tests.support.harness import SHORT_TIMEOUT, Harness
from tests.support.scripted import hang
from tests.support.waiting import backend_calls, wait_until


@pytest.fixture
def harness(database, monkeypatch):
    """Give a harness over an empty registry."""
    return Harness(database, monkeypatch)


@pytest.fixture
def small(database, monkeypatch):
    """Give a harness with two slots, whose backend calls time out soon."""
    return Harness(database, monkeypatch, timeout=SHORT_TIMEOUT, max_concurrent=SLOTS)


@pytest.fixture
def hung(small):
    """Give ``hung(method)``: the next call of it hangs until the test ends."""
    resume = threading.Event()

    def hang_next(method):
        started = threading.Event()
        small.backend.fail(method, hang(started, resume))
        return started

    hang_next.resume = resume
    yield hang_next
    resume.set()
    assert wait_until(lambda: not backend_calls())
