"""Several processes that send requests to the filter at the same time, each to its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import sleep

from .growing import PER_SERVER, Growing

SAMPLES = 10

Process = subprocess.Popen[str]


@dataclass(frozen=True)
class Load:
    """What one process has done."""

    count: int
    """Operations."""
    cpu: float
    """Seconds of the process."""
    connects: int
    """Connections that it opened."""
    rss: float
    """Resident memory in MB."""
    pss: float
    """The same, but of the pages that several processes share only its part."""


@dataclass(frozen=True)
class Measured:
    """What several processes have done together."""

    seconds: float
    connections: int
    """The most connections of all processes that were seen open at once."""
    loads: tuple[Load, ...]
    """One for each process."""

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.count / self.seconds

    @property
    def count(self) -> int:
        return sum(load.count for load in self.loads)

    @property
    def cpu(self) -> float:
        """Seconds of CPU time of an operation, without the database server's."""
        return sum(load.cpu for load in self.loads) / self.count

    @property
    def connects(self) -> float:
        """Connections opened for each operation."""
        return sum(load.connects for load in self.loads) / self.count

    @property
    def memory(self) -> tuple[float, float]:
        """The resident memory of the largest process, and its part of what is shared, in MB."""
        return max((load.rss, load.pss) for load in self.loads)


class Workers:
    """Processes with the filter on one database."""

    def __init__(self, database: Growing, options: dict[str, str]) -> None:
        self._database = database
        self._options = {"database.url": database.url, **options}
        self._processes: list[Process] = []

    def start(self, processes: int) -> None:
        """Start as many that there are so many."""
        for number in range(len(self._processes), processes):
            command = [sys.executable, "-m", "benchmarks.worker", str(number), json.dumps(self._options)]
            pipe = subprocess.PIPE
            self._processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))

    def measure(self, operation: str, seconds: float) -> Measured:
        """Let all processes repeat an operation.

        :param operation: of ``worker.OPERATIONS``.
        :raises RuntimeError: if a process fails.
        """
        command = {"operation": operation, "servers": self._database.rows // PER_SERVER, "seconds": seconds}
        self._write(json.dumps(command))
        self._read()
        self._write("go")
        connections = max(self._sample(seconds))
        return Measured(seconds, connections, tuple(Load(**json.loads(line)) for line in self._read()))

    def stop(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()
            process.communicate()

    def _write(self, line: str) -> None:
        for process in self._processes:
            print(line, file=process.stdin, flush=True)

    def _read(self) -> list[str]:
        return [process.stdout.readline() or self._fail(process) for process in self._processes]

    def _fail(self, process: Process) -> str:
        _, errors = process.communicate()
        raise RuntimeError(f"a process of the benchmark exited {process.returncode}: {errors}")

    def _sample(self, seconds: float) -> Iterator[int]:
        for _ in range(SAMPLES):
            sleep(seconds / (SAMPLES + 1))
            yield self._database.connections()


@contextmanager
def workers(database: Growing, **options: str) -> Iterator[Workers]:
    """Provide processes on a database, which are ended at the end.

    :param options: further ones of the filter.
    """
    made = Workers(database, options)
    try:
        yield made
    finally:
        made.stop()
