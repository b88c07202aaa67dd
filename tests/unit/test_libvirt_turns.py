"""The turns of calls that detach disks from a domain."""

import threading
from contextlib import suppress

import pytest

from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.backends.libvirt.turns import Turns

TIMEOUT = 30  # seconds for what happens at once


def test_a_domain_has_one_turn_at_a_time():
    turns, entered = Turns(), threading.Event()

    def enter():
        with turns.turn("one", TIMEOUT):
            entered.set()

    thread = threading.Thread(target=enter)
    with turns.turn("one", TIMEOUT):
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(TIMEOUT)
    thread.join(TIMEOUT)


def test_a_call_that_waits_too_long_is_unavailable():
    turns = Turns()
    with (
        turns.turn("one", TIMEOUT),
        pytest.raises(BackendUnavailable, match="other calls are detaching disks from domain one"),
        turns.turn("one", 0.01),
    ):
        pytest.fail("two calls have the turn of one domain")


def test_domains_do_not_wait_for_each_other():
    turns = Turns()
    with turns.turn("one", TIMEOUT), turns.turn("another", 0):
        pass


def test_a_turn_ends_with_an_exception():
    turns = Turns()
    with suppress(KeyError), turns.turn("one", TIMEOUT):
        raise KeyError
    with turns.turn("one", 0):
        pass
