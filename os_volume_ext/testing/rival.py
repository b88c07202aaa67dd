"""Other processes, to be held up wherever they are: one that never rests, and one that makes a call when asked."""

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest

from .running import TIMEOUT, Call, start_child, stopped

ROUNDS = 60
"""How often to hold up a process: often enough to hit a tenth of its time (0.9 ** 60 is 0.2 %)."""

MAX_DURATION = 15
"""The seconds after which no further round begins, for backends whose calls take long."""

Calls = tuple[Callable[[], Any], Callable[[], Any]]


class _Other:
    """A forked process, and a connection to it."""

    def __init__(self, run: Callable[[Connection], None]) -> None:
        """Start the process.

        :param run: called in the process, with its end of the connection.
        """
        self._connection, child = multiprocessing.get_context("fork").Pipe()
        self.process = start_child(lambda: run(child))
        child.close()

    def close(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()
        self._connection.close()

    def _send(self, *arguments: Any) -> None:
        self._connection.send(arguments)

    def result(self) -> Any:
        """Wait for the end of a call, and return what it returned."""
        if not self._connection.poll(TIMEOUT):
            pytest.fail("a call in another process, which was held up for a moment, did not end")
        value, error = self._connection.recv()
        assert error is None, f"a call failed in another process, which was held up for a moment:\n{error}"
        return value


class Rival(_Other):
    """A process that attaches and detaches without end. Pause it to see what the last attach returned."""

    def pause(self) -> Any:
        """Have the process wait after its next attach, and return what that returned."""
        self._send()
        return self.result()

    def resume(self) -> None:
        """Have the process go on after a pause."""
        self._send()


class Remote(_Other):
    """A process that makes a call whenever it is asked to."""

    def start(self, *arguments: Any) -> None:
        """Start a call; see ``result``."""
        self._send(*arguments)

    def run(self, *arguments: Any) -> Any:
        """Make a call, and return what it returned."""
        self.start(*arguments)
        return self.result()


@contextmanager
def rival(make_calls: Callable[[], Calls]) -> Iterator[Rival]:
    """Have a rival during the block.

    :param make_calls: returns ``attach()`` and ``detach()``; called in the process.
    """

    def run(connection: Connection) -> None:  # pragma: no cover - in a process that is killed
        attach, detach = make_calls()
        while True:
            attached = _outcome(attach)
            if connection.poll():
                connection.recv()
                connection.send(attached)
                connection.recv()
            detach()

    with closing(Rival(run)) as started:
        yield started


@contextmanager
def remote(make_call: Callable[[], Callable[..., Any]]) -> Iterator[Remote]:
    """Have another process for calls during the block.

    :param make_call: returns the call; called in the process.
    """

    def run(connection: Connection) -> None:  # pragma: no cover - in a process that is killed
        call = make_call()
        while True:
            connection.send(_outcome(call, *connection.recv()))

    with closing(Remote(run)) as started:
        yield started


def _outcome(call: Callable[..., Any], *arguments: Any) -> tuple[Any, str | None]:
    try:
        return call(*arguments), None
    except BaseException:  # pytest.fail raises none of Exception
        return None, traceback.format_exc()


def attach_while_held_up(other: Rival, attach: Callable[[], Any], detach: Callable[[], Any]) -> Iterator[Any]:
    """Attach while a rival is held up in the middle of a call, wherever that is, again and again.

    Each round yields what both attaches returned, while the rival pauses, and detaches at its end.

    :param other: the rival.
    :param attach: the call of this process.
    :param detach: the other one, after each round.
    """
    duration = _measure(other)
    for delay in delays(duration, power=1):
        time.sleep(0.001 + delay)
        result = call_while_held_up(other, attach, duration)
        yield result, other.pause()
        detach()
        other.resume()


def delays(duration: float, power: int = 2) -> Iterator[float]:
    """Return when to hold up a call in each round.

    :param duration: the seconds that the call takes.
    :param power: 1 for evenly, and more for more often at its beginning: its end may be one long write.
    :returns: seconds after its start.
    """
    end = time.monotonic() + MAX_DURATION
    for number in range(ROUNDS):
        yield duration * (number / ROUNDS) ** power
        if time.monotonic() > end:
            return


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.monotonic()
    call()
    return time.monotonic() - start


def call_while_held_up(other: _Other, call: Callable[[], Any], duration: float) -> Any:
    """Make a call while another process is held up, wherever it is, and return the result.

    :param duration: the seconds that such a call takes. A lock that the other process has may hold it back: then the
        other process goes on.
    """
    with stopped(other.process):
        started = Call(call)
        started.wait(0.02 + 2 * duration)
    return started.result(TIMEOUT, "a call, while another process was held up for a moment,")


def _measure(other: Rival) -> float:
    """Return the seconds from one attach of a rival to the next."""
    other.pause()
    other.resume()
    duration = seconds(other.pause)
    other.resume()
    return duration
