"""What a cloud of 100,000 servers and 1,000,000 volumes asks for, calculated from measured figures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

SERVERS, VOLUMES = 100_000, 1_000_000
DAY = 24 * 60 * 60
# A volume is detached and attached again once a day, in the busiest hours five times as often.
CHANGES = 5 * VOLUMES / DAY
# The volumes of a server are listed every five minutes, in the busiest hours three times as often; likewise shows.
READS = 3 * SERVERS / (5 * 60)
BACKEND_CALL = 2  # seconds
SLOTS = 8  # of a process: max_operations
CONNECTIONS = 17  # of a process, with 16 threads
GROWN = 1.7  # the size of a table that has grown row by row, to a freshly filled one; on PostgreSQL 1.1

Row = Sequence[str]


class Cost(NamedTuple):
    """What an operation costs."""

    cpu: float
    """Seconds of CPU time of the process."""
    rate: float
    """How many the measured machine did per second."""


def rows(costs: Mapping[str, Cost], bytes_per_row: float, megabytes: float) -> Iterator[Row]:
    """Yield what is needed in the busiest hours, how that is calculated, and the result.

    :param costs: of ``worker.OPERATIONS``.
    :param bytes_per_row: on the disk.
    :param megabytes: the memory of a process.
    """
    demand = dict(zip(costs, (READS, READS, CHANGES), strict=True))
    calls = 2 * CHANGES * BACKEND_CALL
    processes = math.ceil(calls / SLOTS)
    yield "Backend calls in progress", f"2 x {CHANGES:.0f}/s x {BACKEND_CALL} s", f"{calls:.0f}"
    yield "Processes", f"{calls:.0f} / {SLOTS} slots", str(processes)
    memory = processes * megabytes / 1000
    yield "Memory, without the compute API", f"{processes} x {megabytes:.0f} MB", f"{memory:.1f} GB"
    yield "Connections, at most", f"{processes} x {CONNECTIONS}", str(processes * CONNECTIONS)
    cpu = " + ".join(f"{demand[name]:,.0f} x {costs[name].cpu * 1e3:.2f} ms" for name in costs)
    yield "Cores for the processes", cpu, f"{sum(demand[name] * costs[name].cpu for name in costs):.1f}"
    share = " + ".join(f"{demand[name]:,.0f} / {costs[name].rate:,.0f}" for name in costs)
    total = sum(demand[name] / costs[name].rate for name in costs)
    yield "Share of the measured machine", share, f"{total:.0%}"
    size = VOLUMES * bytes_per_row * GROWN
    yield "Disk", f"{VOLUMES:,} x {bytes_per_row:.0f} B x {GROWN}", f"{size / 1e9:.1f} GB"
