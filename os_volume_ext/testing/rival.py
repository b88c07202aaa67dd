"""Another process that attaches and detaches without end, to be held up wherever it is."""

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest

from .running import TIMEOUT, Call, start_child, stopped

ROUNDS = 60
"""How often to hold up the process: often enough to hit a tenth of its time (0.9 ** 60 is 0.2 %)."""

MAX_DURATION = 10
"""The seconds after which no further round begins, for backends whose calls take long."""

Calls = tuple[Callable[[], Any], Callable[[], Any]]


class Rival:
    """A process that attaches and detaches. Pause it to see what the last attach returned."""

    def __init__(self, make_calls: Callable[[], Calls]) -> None:
        """Start the process.

        :param make_calls: returns ``attach()`` and ``detach()``; called in the process.
        """
        self._connection, child = multiprocessing.get_context("fork").Pipe()
        self.process = start_child(lambda: _attach_and_detach(child, *make_calls()))
        child.close()

    def pause(self) -> Any:
        """Stop after the next attach, and return what it returned."""
        self._connection.send(None)
        if not self._connection.poll(TIMEOUT):
            pytest.fail("an attach in another process, which was held up for a moment, did not end")
        value, error = self._connection.recv()
        assert error is None, f"a call failed in another process, which was held up for a moment:\n{error}"
        return value

    def resume(self) -> None:
        """Go on after a pause."""
        self._connection.send(None)

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()
        self._connection.close()


def _attach_and_detach(connection: Connection, attach: Callable[[], Any], detach: Callable[[], Any]) -> None:
    try:
        while True:
            attached = attach()
            if connection.poll():
                connection.recv()
                connection.send((attached, None))
                connection.recv()
            detach()
    except BaseException:  # pytest.fail raises none of Exception
        connection.recv()
        connection.send((None, traceback.format_exc()))


@contextmanager
def rival(make_calls: Callable[[], Calls]) -> Iterator[Rival]:
    """Have a rival during the block; see ``Rival``."""
    started = Rival(make_calls)
    try:
        yield started
    finally:
        started.end()


def attach_while_held_up(other: Rival, attach: Callable[[], Any], detach: Callable[[], Any]) -> Iterator[Any]:
    """Attach while a rival is held up in the middle of a call, wherever that is, again and again.

    Each round yields what both attaches returned, while the rival pauses, and detaches at its end.

    :param other: the rival.
    :param attach: the call of this process.
    :param detach: the other one, after each round.
    """
    end = time.monotonic() + MAX_DURATION
    duration = _measure(other)
    for number in range(ROUNDS):
        time.sleep(0.001 + duration * number / ROUNDS)
        with stopped(other.process):
            call = Call(attach)
            call.wait(0.02 + 2 * duration)  # a lock that the other process has may hold it back
        result = call.result(TIMEOUT, "an attach, while another process was held up for a moment,")
        yield result, other.pause()
        detach()
        other.resume()
        if time.monotonic() > end:
            return


def _measure(other: Rival) -> float:
    """Return the seconds from one attach of a rival to the next."""
    other.pause()
    start = time.monotonic()
    other.resume()
    other.pause()
    duration = time.monotonic() - start
    other.resume()
    return duration
