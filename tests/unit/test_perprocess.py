"""What each process makes for itself."""

import os
import pickle
import threading
import warnings
import weakref

import pytest

from os_volume_ext.perprocess import PerProcess


class Thing:
    """Like an engine: it must be made once and not be finalized by a child."""


def in_child(function):
    """Return what the function returns in a forked child."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # From 3.12 on Python warns of any fork beside threads; to survive that is what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(function(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        response = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(response)


def test_a_value_is_made_at_its_first_use():
    made = []
    value = PerProcess(lambda: made.append("made"))
    assert made == []
    value()
    assert made == ["made"]


def test_a_value_is_made_once():
    value = PerProcess(Thing)
    assert value() is value()


def test_made_does_not_make_a_value():
    value = PerProcess(Thing)
    assert value.made() is None
    thing = value()
    assert value.made() is thing


def test_threads_that_ask_at_once_get_the_same_value():
    all_there = threading.Barrier(8)
    made = []

    def make():
        made.append(Thing())
        return made[-1]

    value = PerProcess(make)
    got = []

    def send_request():
        all_there.wait(10)
        got.append(value())

    threads = [threading.Thread(target=send_request) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1
    assert got == made * 8


def test_a_value_that_could_not_be_made_is_tried_again():
    attempts = []

    def make():
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("not yet")
        return "made"

    value = PerProcess(make)
    with pytest.raises(OSError, match="not yet"):
        value()
    assert value() == "made"


def test_a_forked_child_makes_a_value_of_its_own():
    value = PerProcess(os.getpid)
    assert value() == os.getpid()
    seen, child = in_child(lambda: (value(), os.getpid()))
    assert seen == child != os.getpid()


def test_the_parent_keeps_its_value_when_it_forks():
    value = PerProcess(Thing)
    thing = value()
    in_child(value.made)
    assert value() is thing


def test_a_forked_child_has_no_value_before_its_first_use():
    value = PerProcess(os.getpid)
    value()
    assert in_child(value.made) is None


def test_a_forked_child_does_not_finalize_the_parents_value():
    value = PerProcess(Thing)
    finalized = []
    weakref.finalize(value(), finalized.append, "finalized")

    def child():
        value()
        return finalized

    assert in_child(child) == []


def test_a_forked_child_that_drops_what_held_the_parents_value_does_not_finalize_it():
    application = [PerProcess(Thing)]
    finalized = []
    weakref.finalize(application[0](), finalized.append, "finalized")

    def child():
        application.clear()
        return finalized

    assert in_child(child) == []
    application.clear()
    assert finalized == ["finalized"]


def test_a_child_forked_while_the_parent_makes_a_value_does_not_wait_for_it():
    in_the_making, go_on = threading.Event(), threading.Event()

    def make():
        if threading.current_thread() is not threading.main_thread():
            in_the_making.set()
            assert go_on.wait(10)
        return os.getpid()

    value = PerProcess(make)
    thread = threading.Thread(target=value)
    thread.start()
    try:
        assert in_the_making.wait(10)
        assert in_child(value) != os.getpid()
    finally:
        go_on.set()
        thread.join(10)


def test_a_value_without_references_is_forgotten():
    value = PerProcess(Thing)
    held = weakref.ref(value)
    del value
    assert held() is None
