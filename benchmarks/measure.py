"""Measurement of two functions in turns, each for the same time per round, by the rounds that were disturbed least."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from resource import RUSAGE_CHILDREN, getrusage
from time import process_time
from typing import Any

ROUND = 0.02  # seconds that each function runs per round
ROUNDS = 60


class Skipped(Exception):
    """A benchmark can't run on this machine; the message is the reason."""


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    floor: float
    """What a call of the floor takes."""
    here: float
    """What a call of the compared function takes."""
    target: float | None = None
    """The greatest ratio that is good enough."""
    notes: tuple[str, ...] = ()
    """Lines to print below the row."""
    is_minimum: bool = False
    """Whether the target is the least ratio instead."""
    unit: str = "s"
    """``s`` or ``MB``."""

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
    what: str,
    floor: Callable[..., object],
    here: Callable[..., object],
    target: float | None = None,
    *,
    clock: Callable[[], float] = process_time,
    rounds: int = ROUNDS,
    arguments: tuple[Any, ...] = (),
    **more: Any,
) -> Finding:
    """Compare two functions.

    The clock counts CPU time unless the functions wait. As CPU time too grows when another process empties the caches,
    the result is the 10th percentile of the rounds. Both functions run for the same time per round, so that a
    disturbance hits both with the same probability.

    :param clock: ``time.process_time``, ``time.perf_counter`` for functions that wait, or ``children_time``.
    :param arguments: those of both functions.
    :param more: other fields of the finding.
    """
    calls = (floor, here)
    numbers = [calls_per_round(call, clock, arguments) for call in calls]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, number, measured in zip(calls, numbers, times, strict=True):
            measured.append(time_per_call(call, number, clock, arguments))
    return Finding(what, *(percentile10(measured) for measured in times), target, **more)


def cost(call: Callable[[], object], clock: Callable[[], float] = process_time, rounds: int = ROUNDS // 2) -> float:
    """Return the seconds that one call takes, without a comparison."""
    number = calls_per_round(call, clock)
    return percentile10([time_per_call(call, number, clock) for _ in range(rounds)])


def calls_per_round(call: Callable[..., object], clock: Callable[[], float], arguments: tuple[Any, ...] = ()) -> int:
    """Return how many calls take as long as a round. They are run, so that later calls find everything prepared."""
    number = 1
    while (elapsed := number * time_per_call(call, number, clock, arguments)) < ROUND / 2:
        number *= 2
    return max(1, round(number * ROUND / elapsed))


def time_per_call(
    call: Callable[..., object], number: int, clock: Callable[[], float], arguments: tuple[Any, ...] = ()
) -> float:
    turns = range(number)
    begin = clock()
    for _ in turns:
        call(*arguments)
    return (clock() - begin) / number


def percentile10(times: list[float]) -> float:
    return statistics.quantiles(times, n=10, method="inclusive")[0]


def children_time() -> float:
    """Return the CPU time of the child processes that have ended."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
