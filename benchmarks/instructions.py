"""The instructions of show, list, attach and detach, in user space, by valgrind, against those of their floors.

The counts hardly differ from run to run, whatever else the machine does. The start of the process and its first calls
are not counted.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from . import attach, listing, show
from .measure import Finding, Skipped

AnySides = tuple[Callable[[], object], Callable[[], object]]


@contextmanager
def attach_sides(floor: int) -> Iterator[AnySides]:
    """Provide one of the floors of ``attach``, by its place, and the filter."""
    with attach.sides() as (functions, _):
        yield functions[floor], functions[-1]


# What provides the floor and the filter, and how often each is called.
ROWS: dict[str, tuple[Callable[[], AbstractContextManager[AnySides]], int]] = {
    "show": (lambda: show.sides("openstack"), 200),
    "list of 1,000 in JSON": (lambda: listing.sides("openstack", "json"), 10),
    attach.BARE: (lambda: attach_sides(0), 100),
    attach.COMPLETE: (lambda: attach_sides(1), 100),
}
WARM_UP = 20  # calls
VALGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null")


def run() -> Iterator[Finding]:
    if not shutil.which("valgrind"):
        raise Skipped("valgrind is not installed")
    for what in ROWS:
        floor, here = (count(what, side) for side in (0, 1))
        yield Finding(f"{what}, instructions", floor, here, unit="instructions")


def count(what: str, side: int) -> float:
    """Return the instructions of one call.

    :param side: 0 for the floor, 1 for the filter.
    """
    command = (*VALGRIND, sys.executable, "-m", "benchmarks.instructions", what, str(side))
    # Otherwise each process has other collisions of hashes.
    done = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True)
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not counted:
        raise RuntimeError(f"{what}: valgrind exited {done.returncode}: {done.stderr}")
    _, number = ROWS[what]
    return int(counted[1]) / number


def main(what: str, side: str) -> None:
    """Make the calls that are counted."""
    provide, number = ROWS[what]
    with provide() as sides:
        call = sides[int(side)]
        repeat(call, WARM_UP)
        set_counting("on")
        repeat(call, number)
        set_counting("off")


def repeat(call: Callable[[], object], number: int) -> None:
    for _ in range(number):
        call()


def set_counting(state: str) -> None:
    """Let valgrind count the instructions of this process, or not."""
    subprocess.run(["callgrind_control", "-i", state, str(os.getpid())], stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
