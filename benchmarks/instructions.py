"""The instructions of a show and of a list of 1,000, in user space, by valgrind, against those of their floors.

The counts hardly differ from run to run, whatever else the machine does. One process makes N calls and another one
2 N; the difference contains no instructions of starting the process.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from . import listing, show
from .harness import Sides
from .measure import Finding, Skipped

# What provides the floor and the filter, and N.
ROWS: dict[str, tuple[Callable[[], AbstractContextManager[Sides]], int]] = {
    "show": (lambda: show.sides("openstack"), 100),
    "list of 1,000 in JSON": (lambda: listing.sides("openstack", "json"), 5),
}
VALGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")


def run() -> Iterator[Finding]:
    if not shutil.which("valgrind"):
        raise Skipped("valgrind is not installed")
    for what, (_, number) in ROWS.items():
        floor, here = (count(what, side, number) for side in (0, 1))
        yield Finding(f"{what}, instructions", floor, here, unit="instructions")


def count(what: str, side: int, number: int) -> float:
    """Return the instructions of one call.

    :param side: 0 for the floor, 1 for the filter.
    """
    once, twice = (total(what, side, calls) for calls in (number, 2 * number))
    return (twice - once) / number


def total(what: str, side: int, calls: int) -> int:
    """Return the instructions of a process that makes some calls."""
    command = (*VALGRIND, sys.executable, "-m", "benchmarks.instructions", what, str(side), str(calls))
    # Otherwise each process has other collisions of hashes.
    done = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True)
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not counted:
        raise RuntimeError(f"{what}: valgrind exited {done.returncode}: {done.stderr}")
    return int(counted[1])


def main(what: str, side: str, calls: str) -> None:
    """Make the calls that are counted."""
    provide, _ = ROWS[what]
    with provide() as sides:
        call = sides[int(side)]
        for _ in range(int(calls)):
            call()


if __name__ == "__main__":
    main(*sys.argv[1:])
