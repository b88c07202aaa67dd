"""Connections to PostgreSQL that wait for an answer no longer than they are told to; psycopg's own wait for ever."""

import math
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import psycopg


class Connection(psycopg.Connection[Any]):
    """A connection that is closed by a server's silence of ``read_timeout`` seconds."""

    read_timeout = math.inf

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **named: Any) -> Any:
        """Wait for the outcome of one question. :raises psycopg.OperationalError: if there is none in time."""
        return super().wait(self._bounded(gen), *arguments, **named)

    def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + self.read_timeout
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted  # psycopg comes back without anything every 0.1 seconds
                if not ready and time.monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError(f"the server said nothing for {self.read_timeout} seconds")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value


def connect(dialect: Any, record: Any, positional: Sequence[Any], options: Mapping[str, Any]) -> Connection:
    """Connect, as SQLAlchemy's event ``do_connect`` wants it; ``read_timeout`` is among the options."""
    known = {name: value for name, value in options.items() if name != "read_timeout"}
    connection = Connection.connect(*positional, **known)
    connection.read_timeout = float(options.get("read_timeout") or math.inf)
    return connection
