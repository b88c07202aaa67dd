"""What calls leave behind is found, whatever of earlier tests ends meanwhile."""

import threading
from contextlib import ExitStack

import pytest

from os_volume_ext.testing import leftovers
from os_volume_ext.testing.leftovers import ROUNDS, assert_leaves_nothing
from tests.support.waiting import TIMEOUT

BEFORE = range(ROUNDS + 2)  # one for each call


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """What is left stays."""
    monkeypatch.setattr(leftovers, "SETTLE_TIMEOUT", 0)


@pytest.fixture
def until_the_end():
    with ExitStack() as stack:
        yield stack


def open_file(path):
    """Open a file, and return what closes it."""
    return path.open("a").close


def start_thread(_):
    """Start a thread that waits, and return what ends it."""
    event = threading.Event()
    thread = threading.Thread(target=event.wait, args=[TIMEOUT])
    thread.start()

    def end():
        event.set()
        thread.join(TIMEOUT)

    return end


KINDS = {"files or connections": open_file, "threads": start_thread}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_found_although_as_much_of_before_ends(until_the_end, tmp_path, kind):
    start = KINDS[kind]
    end_of_before = [start(tmp_path / f"before-{each}") for each in BEFORE]

    def leave():
        until_the_end.callback(start(tmp_path / "left"))
        end_of_before.pop()()

    message = rf"^after {ROUNDS} rounds of calls there are {ROUNDS} {kind} more than before"
    with pytest.raises(AssertionError, match=message):
        assert_leaves_nothing(leave, "calls")


@pytest.mark.parametrize("kind", KINDS)
def test_calls_that_each_replace_what_the_last_one_has_left_may_do_so(until_the_end, tmp_path, kind):
    def replace():
        until_the_end.close()
        until_the_end.callback(KINDS[kind](tmp_path / "left"))

    assert_leaves_nothing(replace, "calls")


@pytest.mark.parametrize("kind", KINDS)
def test_calls_at_once_may_each_replace_what_an_earlier_one_has_left(until_the_end, tmp_path, kind):
    def replace_four():
        until_the_end.close()
        for _ in range(4):
            until_the_end.callback(KINDS[kind](tmp_path / "left"))

    assert_leaves_nothing(replace_four, "calls", rounds=3)


def test_a_file_that_is_renamed_meanwhile_is_not_new(until_the_end, tmp_path):
    path = tmp_path / "before"
    until_the_end.callback(open_file(path))
    before = leftovers.open_descriptors()
    path.rename(tmp_path / "after")
    assert leftovers.opened_since(before) == []
    until_the_end.callback(open_file(path))
    assert [each.partition(" -> ")[2] for each in leftovers.opened_since(before)] == [str(path)]
