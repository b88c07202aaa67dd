"""Run all benchmarks, or those given, and print their results as one table."""

import sys
from collections.abc import Callable, Iterable

from . import attach, listing, nova, passing, scale, show, start
from .measure import Finding

BENCHMARKS: dict[str, Callable[[], Iterable[Finding]]] = {
    "passing": passing.run,
    "show": show.run,
    "listing": listing.run,
    "attach": attach.run,
    "scale": scale.run,
    "start": start.run,
    "nova": nova.run,
}

LINE = "{:<58} {:>10} {:>10} {:>6} {:>6}  {}"


def main(names: list[str]) -> str | None:
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        return f"unknown benchmark {', '.join(unknown)}: choose from {', '.join(BENCHMARKS)}"
    print("Ratios to a floor, both measured in turns; medians; times of one call.")
    print(LINE.format("benchmark", "floor", "filter", "ratio", "target", ""))
    notes: list[str] = []
    try:
        for name in names or BENCHMARKS:
            for finding in BENCHMARKS[name]():
                print(line(finding), flush=True)
                notes += finding.notes
    finally:  # also those of the benchmarks before one that failed
        print(*["", *notes] if notes else "", sep="\n", flush=True)
    return None


def line(finding: Finding) -> str:
    verdict = "" if finding.target is None else "met" if finding.ratio <= finding.target else "MISSED"
    target = "" if finding.target is None else f"{finding.target:g}"
    return LINE.format(
        finding.what, time(finding.floor), time(finding.here), f"{finding.ratio:.2f}", target, verdict
    ).rstrip()


def time(seconds: float) -> str:
    for unit, size in ("s", 1.0), ("ms", 1e-3), ("us", 1e-6):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
