"""Connections to PostgreSQL with a read timeout, which psycopg's own do not have, and without prepared statements.

psycopg would have the server prepare a statement that it has used five times. Behind PgBouncer, which gives each
transaction another server connection, the name of that statement can mean another client's.
"""

import math
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import psycopg


class Connection(psycopg.Connection[Any]):
    """A connection that closes if the server does not respond within ``read_timeout`` seconds."""

    read_timeout = math.inf

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **named: Any) -> Any:
        """Wait for one response.

        :raises psycopg.OperationalError: if there is none in time.
        """
        return super().wait(self._bounded(gen), *arguments, **named)

    def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + self.read_timeout
        try:
            waiting_for = next(gen)
            while True:
                ready = yield waiting_for  # psycopg resumes every 0.1 seconds, with nothing ready
                if not ready and time.monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError(f"the server did not respond within {self.read_timeout} seconds")
                waiting_for = gen.send(ready)
        except StopIteration as end:
            return end.value


def connect(dialect: Any, record: Any, positional: Sequence[Any], options: Mapping[str, Any]) -> Connection:
    """Connect; a listener of SQLAlchemy's event ``do_connect``.

    :param options: the driver's, as strings where they are of the URL, and ``read_timeout``.
    """
    known = {name: value for name, value in options.items() if name != "read_timeout"}
    threshold = known.pop("prepare_threshold", None)
    known["prepare_threshold"] = None if threshold is None else int(threshold)
    connection = Connection.connect(*positional, **known)
    connection.read_timeout = float(options.get("read_timeout") or math.inf)
    return connection
