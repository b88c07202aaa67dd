"""How far one deployment scales: ``python -m benchmarks.scaling`` prints the tables of docs/scaling.rst.

Throughput with one to four processes and with few and many rows, on the database servers that the tests use; memory,
connections, size on disk, and the time of a search for stale rows.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter

from os_volume_ext.errors import RegistryUnavailable
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import TIMEOUT, Database

from . import cloud
from .growing import KINDS, PER_SERVER, Growing, growing
from .measure import Skipped
from .worker import OPERATIONS, THREADS
from .workers import Measured, Workers, workers

ROWS = (1_000, 100_000, 1_000_000, 10_000_000)
PROCESSES = (1, 2, 4)
SECONDS = 1.0
POOL_SIZE, MAX_OVERFLOW = 5, 10  # SQLAlchemy's defaults
Row = Sequence[str]
Report = Callable[[str], None]


class Tables:
    """The rows of the tables."""

    def __init__(self) -> None:
        self.throughput: list[Row] = []
        self.processes: list[Row] = []
        self.sizes: list[Row] = []
        self.cloud: list[Row] = []

    def print(self) -> None:
        throughput, processes, sizes, needed = heads()
        print_table("Operations per second", throughput, self.throughput)
        print_table("Memory and connections", processes, self.processes)
        print_table("Size on the disk", sizes, self.sizes)
        print_table("Needed for a cloud", needed, self.cloud)


def heads() -> tuple[Row, Row, Row, Row]:
    """Return the titles of the columns of each table."""
    per_second = [f"{count} process{'es' * (count > 1)}" for count in PROCESSES]
    return (
        ("Database", "Rows", "Operation", "CPU", *per_second),
        ("Database", "Processes", "Pool size", "Bound", "Threads", "Open", "New", "RSS", "PSS"),
        ("Database", "Rows", "Disk", "Per row", "Search for stale rows"),
        ("Database", "Needed", "Calculation", "Result"),
    )


def main(arguments: list[str]) -> None:
    given = parser().parse_args(arguments)
    tables = Tables()
    begin = perf_counter()
    for kind in given.databases:
        try:
            with growing(kind) as database:
                measure(database, sorted(given.rows), given.seconds, tables)
        except Skipped as reason:
            report(f"{kind}: SKIPPED: {reason}")
    report(f"{perf_counter() - begin:.0f} s in all")
    tables.print()


def parser() -> ArgumentParser:
    made = ArgumentParser(prog="python -m benchmarks.scaling", description="Measure how far one deployment scales.")
    rows = f"attachments in the table, {PER_SERVER} or more; one or several numbers"
    made.add_argument("--rows", type=at_least(PER_SERVER), nargs="+", default=ROWS, help=rows)
    made.add_argument("--seconds", type=float, default=SECONDS, help="duration of each measurement")
    made.add_argument("--databases", choices=KINDS, nargs="+", default=tuple(KINDS))
    return made


def at_least(minimum: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        if (value := int(text)) < minimum:
            raise ValueError
        return value

    return integer


def measure(database: Growing, rows: Iterable[int], seconds: float, tables: Tables) -> None:
    """Measure a database of each size, and add what was found to the tables."""
    name = KINDS[database.kind]
    needed: list[Row] = []
    for count in rows:
        begin = perf_counter()
        database.grow(count)
        report(f"{name}, {count:,} rows: filled in {perf_counter() - begin:.0f} s")
        with workers(database) as started:
            found = throughput(started, seconds)
        tables.throughput += [(name, f"{count:,}", *row) for row in throughput_rows(found)]
        size = database.size()
        tables.sizes.append((name, f"{count:,}", f"{size / 1e6:,.1f} MB", f"{size / count:.0f} B", search(database)))
        if count <= cloud.VOLUMES:
            needed = cloud_rows(found, size / count)
    tables.cloud += [(name, *row) for row in needed]
    # With the last size; connections and memory of a process do not depend on it.
    for pool_size in POOL_SIZE, THREADS:
        with workers(database, **{"database.pool_size": str(pool_size)}) as started:
            tables.processes += [(name, *row) for row in process_rows(started, pool_size, seconds)]


def cloud_rows(found: dict[str, list[Measured]], bytes_per_row: float) -> list[Row]:
    """Return what a cloud needs, by the measurement of about as many rows as it has."""
    costs = {name: cloud.Cost(each[0].cpu, max(one.rate for one in each)) for name, each in found.items()}
    [*_, last] = found.values()
    megabytes, _ = last[0].memory
    return list(cloud.rows(costs, bytes_per_row, megabytes))


def throughput(started: Workers, seconds: float) -> dict[str, list[Measured]]:
    """Return what each number of processes does, by the operation."""
    found: dict[str, list[Measured]] = {operation: [] for operation in OPERATIONS}
    for processes in PROCESSES:
        started.start(processes)
        for operation, measured in found.items():
            measured.append(started.measure(operation, seconds))
            report(f"  {operation}, {processes} x {THREADS} threads: {measured[-1].rate:.0f} per second")
    return found


def throughput_rows(found: dict[str, list[Measured]]) -> Iterator[Row]:
    """Yield a row for each operation, with the ratios to one process."""
    for operation, (first, *others) in found.items():
        ratios = [f"{each.rate:,.0f} ({each.rate / first.rate:.2f})" for each in others]
        yield operation, f"{first.cpu * 1e3:.2f} ms", f"{first.rate:,.0f}", *ratios


def process_rows(started: Workers, pool_size: int, seconds: float) -> Iterator[Row]:
    """Yield the connections and the memory of each number of processes."""
    for processes in PROCESSES:
        started.start(processes)
        found = started.measure("attach and detach", seconds)
        bound = processes * (pool_size + MAX_OVERFLOW)
        yield (
            str(processes), str(pool_size), str(bound), str(processes * THREADS), str(found.connections),
            f"{found.connects * 1000:.0f}", *[f"{size:.0f} MB" for size in found.memory],
        )  # fmt: skip


def search(database: Growing) -> str:
    """Return how long the periodic reconcile takes to find out that no row is pending."""
    connected = Database({"url": database.url})
    registry = Registry(connected)
    registry.is_empty()  # connects
    begin = perf_counter()
    try:
        for row in registry.walk(pending=True):
            raise RuntimeError(f"a row is pending: {row}")
    except RegistryUnavailable:
        return f"failed after {TIMEOUT} s"
    finally:
        connected.dispose()
    return f"{(perf_counter() - begin) * 1e3:,.1f} ms"


def report(line: str) -> None:
    """Print progress, which is no part of the tables."""
    print(line, file=sys.stderr, flush=True)


def print_table(title: str, head: Row, rows: Sequence[Row]) -> None:
    """Print a table in reStructuredText's simple format."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    border = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    head_line, *others = [line.rstrip() for line in lines]
    print(f"\n{title}\n", border, head_line, border, *others, border, sep="\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
