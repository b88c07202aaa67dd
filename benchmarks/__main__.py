"""Run all benchmarks, or those given, and print their results as one table."""

import sys
from collections.abc import Callable, Iterable

from . import attach, listing, memory, nova, parts, passing, peer, postgresql, scale, show, start
from .measure import Finding, Skipped

BENCHMARKS: dict[str, Callable[[], Iterable[Finding]]] = {
    "passing": passing.run,
    "show": show.run,
    "parts": parts.run,
    "postgresql": postgresql.run,
    "listing": listing.run,
    "attach": attach.run,
    "scale": scale.run,
    "start": start.run,
    "memory": memory.run,
    "peer": peer.run,
    "nova": nova.run,
}
UNITS = {"s": (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)), "MB": (("MB", 1.0),)}
LINE = "{:<62} {:>10} {:>10} {:>6} {:>7}  {}"


def main(names: list[str]) -> int | str:
    """Run the benchmarks.

    :returns: 1 if a benchmark failed, a message for unknown names, and 0 otherwise, also if a target was missed.
    """
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        return f"unknown benchmark {', '.join(unknown)}: choose from {', '.join(BENCHMARKS)}"
    print(
        "Ratios to a floor. Both run in turns; 10th percentiles of CPU time per call, where a call waits of wall time."
    )
    print(LINE.format("benchmark", "floor", "here", "ratio", "target", ""))
    return max([show_findings(name) for name in names or BENCHMARKS])


def show_findings(name: str) -> int:
    """Print the rows of a benchmark; return 1 if it failed."""
    try:
        for finding in BENCHMARKS[name]():
            show_row(line(finding), finding.notes)
    except Skipped as reason:
        show_row(f"{name}: SKIPPED: {reason}")
    except Exception as error:  # the other benchmarks run all the same
        first, *others = f"{type(error).__name__}: {error}".splitlines()
        show_row(f"{name}: FAILED: {first}", others)
        return 1
    return 0


def show_row(row: str, notes: Iterable[str] = ()) -> None:
    print(row, *[f"  {note}" for note in notes], sep="\n", flush=True)


def line(finding: Finding) -> str:
    sign = ">=" if finding.is_minimum else ""
    target = "" if finding.target is None else f"{sign}{finding.target:g}"
    floor, here = (quantity(each, finding.unit) for each in (finding.floor, finding.here))
    return LINE.format(finding.what, floor, here, f"{finding.ratio:.2f}", target, finding.verdict).rstrip()


def quantity(value: float, unit: str) -> str:
    """Write a value in the greatest unit in which it is 1 or more."""
    name, size = next((each for each in UNITS[unit] if value >= each[1]), UNITS[unit][-1])
    return f"{value / size:.1f} {name}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
