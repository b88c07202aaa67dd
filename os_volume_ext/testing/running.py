"""Run calls at once, in threads and in child processes, and measure how long they take."""

import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import pytest

T = TypeVar("T")

TIMEOUT = 60
"""Seconds to wait for threads and child processes before the test fails."""


class Call(Generic[T]):
    """A call in a thread of its own; one that never ends does not keep the test, or pytest, from ending."""

    def __init__(self, function: Callable[[], T]) -> None:
        """Start the call."""
        self.started = time.monotonic()
        self.ended = math.inf
        self._function = function
        self._result: T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="os-volume-ext-contract", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error
        finally:
            self.ended = time.monotonic()

    def wait(self, timeout: float) -> None:
        """Wait until the call has ended, or so many seconds have passed since its start."""
        self._thread.join(max(0.0, self.started + timeout - time.monotonic()))

    def result(self, timeout: float, what: str) -> T:
        """Return what the call returned, or raise what it raised.

        :param timeout: the seconds, from its start, in which it must end.
        :param what: the call, for the message.
        """
        self.wait(timeout)
        if self.ended - self.started > timeout:
            pytest.fail(f"{what} did not end within {timeout:g} seconds")
        if self._error is not None:
            raise self._error
        return self._result


def run_within(timeout: float, what: str, function: Callable[[], T]) -> T:
    """Run one call, and fail if it does not end in time; see ``Call.result``."""
    return Call(function).result(timeout, what)


def run_at_once(functions: Sequence[Callable[[], T]]) -> list[T]:
    """Run calls that come at once, each in its own thread, and return their results in order."""
    start = threading.Barrier(len(functions))

    def run(function: Callable[[], T]) -> T:
        start.wait(TIMEOUT)
        return function()

    calls = [Call(partial(run, function)) for function in functions]
    return [call.result(TIMEOUT, f"one of {len(calls)} calls that came at once") for call in calls]


def run_in_children(functions: Sequence[Callable[[], T]]) -> list[T]:
    """Run calls that come at once, each in its own forked child process, and return their results in order."""
    start = multiprocessing.get_context("fork").Barrier(len(functions))

    def run(function: Callable[[], T]) -> T:
        start.wait(TIMEOUT)
        return function()

    children = [_fork(partial(run, function)) for function in functions]
    return [_result(*child) for child in children]


def run_in_child(function: Callable[[], T]) -> T:
    """Run a call in a forked child process, and return its result."""
    return run_in_children([function])[0]


@contextmanager
def repeated_in_child(function: Callable[[], object]) -> Iterator[BaseProcess]:
    """Repeat a call in a forked child process during the block; its exceptions are ignored."""

    def repeat(ready: Connection) -> None:  # pragma: no cover - in a process that is killed
        ready.send(None)
        while True:
            try:
                function()
            except Exception:
                time.sleep(0.001)

    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = start_child(partial(repeat, sender))
    try:
        assert receiver.poll(TIMEOUT), "the forked child process did not start"
        yield child
    finally:
        child.kill()
        child.join()


@contextmanager
def stopped(child: BaseProcess) -> Iterator[None]:
    """Stop a child process, wherever it is, during the block."""
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(child.pid, signal.SIGCONT)


def start_child(function: Callable[[], object]) -> BaseProcess:
    """Run a function in a forked child process."""
    with warnings.catch_warnings():
        # Python 3.12 and later warn if the parent has threads, which an earlier test may have started.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = multiprocessing.get_context("fork").Process(target=function, daemon=True)
        child.start()
    return child


def _fork(function: Callable[[], object]) -> tuple[BaseProcess, Connection]:
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)

    def run() -> None:
        try:
            sender.send((function(), None))
        except BaseException:
            sender.send((None, traceback.format_exc()))

    child = start_child(run)
    sender.close()
    return child, receiver


def _result(child: BaseProcess, receiver: Connection) -> Any:
    try:
        if not receiver.poll(TIMEOUT):
            pytest.fail("the forked child process did not end: it may wait for what was created before the fork")
        value, error = receiver.recv()
        child.join(TIMEOUT)
    except EOFError:
        pytest.fail("the forked child process died")
    finally:
        receiver.close()
        child.kill()
        child.join()
    assert error is None, f"the call raised an exception in the forked child process:\n{error}"
    return value
