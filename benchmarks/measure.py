"""Measurement of two functions in turns, in many short rounds, so that other load affects both alike."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    floor: float
    """Seconds that a call of the floor takes."""
    here: float
    """Seconds that a call of the compared function takes."""
    ratio: float
    target: float | None = None
    notes: tuple[str, ...] = ()
    """Lines to print below the table."""


def compare(
    what: str,
    floor: Callable[..., object],
    here: Callable[..., object],
    target: float | None = None,
    number: int = 1,
    rounds: int = 100,
    arguments: tuple[Any, ...] = (),
) -> Finding:
    """Time ``number`` calls of each in each round; the ratio is the median of the rounds' ratios."""

    def both() -> tuple[float, float]:
        return seconds(floor, number, *arguments), seconds(here, number, *arguments)

    both()
    pairs = [both() for _ in range(rounds)]
    ratio = statistics.median(b / a for a, b in pairs)
    return Finding(what, statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), ratio, target)


def cost(call: Callable[[], object], number: int = 200, rounds: int = 25) -> float:
    """Return the seconds that one call takes, without a comparison."""
    return statistics.median(seconds(call, number) for _ in range(rounds))


def seconds(call: Callable[..., object], number: int, *arguments: Any) -> float:
    turns = range(number)
    begin = perf_counter()
    for _ in turns:
        call(*arguments)
    return (perf_counter() - begin) / number
