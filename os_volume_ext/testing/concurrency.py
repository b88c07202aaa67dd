"""Calls at the same time, in threads and in processes, and what they leave open."""

import gc
import multiprocessing
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import pytest

T = TypeVar("T")

TIMEOUT = 60
"""Seconds to wait for threads and child processes before the test fails."""

_DESCRIPTORS = Path("/proc/self/fd")


class Call(Generic[T]):
    """A call in a thread of its own, which does not keep pytest from ending if it never returns."""

    def __init__(self, function: Callable[[], T]) -> None:
        """Start the call."""
        self.error: BaseException | None = None
        """What it raised."""
        self._function = function
        self._result: T
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self.error = error

    def is_done_within(self, seconds: float) -> bool:
        """Wait until the call has ended, for so many seconds from its start at most; return whether it has."""
        self._thread.join(max(0.0, self._started + seconds - time.monotonic()))
        return not self._thread.is_alive()

    def result(self) -> T:
        """Return what the call returned, or raise what it raised; fail if it does not end."""
        if not self.is_done_within(TIMEOUT):
            pytest.fail(f"a call did not end within {TIMEOUT} seconds")
        if self.error is not None:
            raise self.error
        return self._result


def run_at_once(functions: Sequence[Callable[[], T]]) -> list[T]:
    """Run calls that come at once, each in its own thread, and return their results in order."""
    start = threading.Barrier(len(functions))

    def run(function: Callable[[], T]) -> T:
        start.wait(TIMEOUT)
        return function()

    calls = [Call(partial(run, function)) for function in functions]
    return [call.result() for call in calls]


def run_in_children(functions: Sequence[Callable[[], object]]) -> None:
    """Run calls that come at once, each in its own forked child process; fail if one fails or does not end."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(len(functions))

    def run(function: Callable[[], object]) -> None:
        start.wait(TIMEOUT)
        function()

    children = [context.Process(target=run, args=(function,), daemon=True) for function in functions]
    with warnings.catch_warnings():
        # Python 3.12 and later warn if the parent has threads, which an earlier test may have started.
        warnings.simplefilter("ignore", DeprecationWarning)
        for child in children:
            child.start()
    for child in children:
        child.join(TIMEOUT)
    hanging = [child for child in children if child.is_alive()]
    for child in hanging:
        child.kill()
        child.join()
    if hanging:
        pytest.fail("a forked child process did not end: it may wait for what was created before the fork")
    if any(child.exitcode for child in children):
        pytest.fail("a call raised an exception in a forked child process; it is printed above")


def open_descriptors() -> set[str]:
    """Return this process's open files and connections; skip the test where they can't be listed."""
    if not _DESCRIPTORS.is_dir():
        pytest.skip(f"{_DESCRIPTORS} does not exist: open files and connections can't be counted")
    gc.collect()  # what is closed by its finalizer, such as the file that an exception's traceback refers to
    return {f"{each.name} -> {target}" for each in _DESCRIPTORS.iterdir() if (target := _target(each))}


def _target(descriptor: Path) -> str | None:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:  # the one that listed the directory
        return None
