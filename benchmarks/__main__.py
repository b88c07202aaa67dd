"""Run all benchmarks, or those given, and print their results as one table."""

import sys
from collections.abc import Iterable
from importlib import import_module

from .measure import Finding, Skipped

DEFAULT = (
    "passing",
    "show",
    "parts",
    "postgresql",
    "listing",
    "attach",
    "scale",
    "start",
    "memory",
    "peer",
    "nova",
)
ON_DEMAND = ("instructions",)
"""Those that run only when they are named."""
UNITS = {
    "s": (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)),
    "MB": (("MB", 1.0),),
    "instructions": (("M", 1e6), ("k", 1e3)),
}
LINE = "{:<62} {:>10} {:>10} {:>6} {:>7}  {}"


def main(names: list[str]) -> int | str:
    """Run the benchmarks.

    :returns: 1 if a benchmark failed, a message for unknown names, and 0 otherwise, also if a target was missed.
    """
    known = (*DEFAULT, *ON_DEMAND)
    unknown = sorted(set(names) - set(known))
    if unknown:
        return f"unknown benchmark {', '.join(unknown)}: choose from {', '.join(known)}"
    print("Ratios to a floor, measured in turns. The times are those of one call: CPU time, or wall time where noted.")
    print(LINE.format("benchmark", "floor", "here", "ratio", "target", ""))
    return max([show_benchmark(name) for name in names or DEFAULT])


def findings(name: str) -> Iterable[Finding]:
    """Run a benchmark. It is imported here, so that the others run if that fails."""
    found: Iterable[Finding] = import_module(f"benchmarks.{name}").run()
    return found


def show_benchmark(name: str) -> int:
    """Print the rows of a benchmark; return 1 if it failed."""
    try:
        for finding in findings(name):
            show_row(line(finding), finding.notes)
    except Skipped as reason:
        show_row(f"{name}: SKIPPED: {reason}")
    except Exception as error:  # the other benchmarks have to run
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
