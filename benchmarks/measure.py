"""Measurement of functions in turns, each for the same time per round, by the rounds that were disturbed least."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from resource import RUSAGE_CHILDREN, getrusage
from time import process_time
from typing import Any

# On two busy cores, shorter rounds or fewer of them let the ratios of two runs differ by more than 10 percent.
ROUND = 0.01  # seconds that each function runs per round
ROUNDS = 250


class Skipped(Exception):
    """A benchmark can't run on this machine; the message is the reason."""


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    floor: float
    """What a call of the floor takes, in the unit."""
    here: float
    """What a call of the compared function takes."""
    target: float | None = None
    """The greatest ratio that is good enough."""
    notes: tuple[str, ...] = ()
    """Lines to print below the row."""
    is_minimum: bool = False
    """Whether the target is the least ratio instead."""
    unit: str = "s"
    """``s``, ``MB`` or ``instructions``."""

    @property
    def ratio(self) -> float:
        return self.here / self.floor

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        is_met = self.ratio >= self.target if self.is_minimum else self.ratio <= self.target
        return "met" if is_met else "MISSED"


def compare(
    what: str, floor: Callable[..., object], here: Callable[..., object], target: float | None = None, **options: Any
) -> Finding:
    """Compare two functions.

    :param options: those of ``measure``.
    """
    return Finding(what, *measure(floor, here, **options), target)


def measure(
    *calls: Callable[..., object],
    clock: Callable[[], float] = process_time,
    seconds: float = ROUND,
    rounds: int = ROUNDS,
    arguments: tuple[Any, ...] = (),
) -> list[float]:
    """Return the seconds that a call of each function takes: the 10th percentile of the rounds.

    CPU time is the time of functions that do not wait; it too grows when another process empties the caches. All
    functions run for the same time per round, so that a disturbance hits each with the same probability.

    The first call of each turn is not measured. It finds the caches full of another function's code and data, which
    would be a large part of few calls: the ratio of an attach was 2.15 to 2.43 with it, and is 2.0 to 2.1 without.

    :param clock: ``time.process_time``, ``time.perf_counter`` for functions that wait, or ``children_time``.
    :param seconds: how long each runs per round.
    :param arguments: those of every function.
    """
    numbers = [calls_per_round(call, clock, seconds, arguments) for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, number, measured in zip(calls, numbers, times, strict=True):
            call(*arguments)
            measured.append(time_per_call(call, number, clock, arguments))
    return [statistics.quantiles(measured, n=10, method="inclusive")[0] for measured in times]


def calls_per_round(
    call: Callable[..., object], clock: Callable[[], float], seconds: float, arguments: tuple[Any, ...]
) -> int:
    """Return how many calls take that long."""
    call(*arguments)  # the first call may open files and start threads
    number = 1
    while (elapsed := number * time_per_call(call, number, clock, arguments)) < seconds / 2:
        number *= 2
    return max(1, round(number * seconds / elapsed))


def time_per_call(
    call: Callable[..., object], number: int, clock: Callable[[], float], arguments: tuple[Any, ...]
) -> float:
    turns = range(number)
    begin = clock()
    for _ in turns:
        call(*arguments)
    return (clock() - begin) / number


def children_time() -> float:
    """Return the CPU time of the child processes that have ended."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
