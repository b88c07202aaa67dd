"""Connections to MariaDB and MySQL, each of which may be to another node of a Galera cluster."""

from contextlib import closing
from typing import Any

# The kinds of statement before which a node waits until it has what was committed at the others: 1 is reads, 2 updates
# and deletes, 4 inserts. With reads alone, an update misses a row that another node has just committed.
_WAIT_BEFORE_ALL = 7


def prepare(connection: Any, record: Any) -> None:
    """Have a node of a cluster see what was committed at the others; a listener of SQLAlchemy's event ``connect``."""
    with closing(connection.cursor()) as cursor:
        cursor.execute("SHOW SESSION VARIABLES LIKE 'wsrep_on'")
        if ("wsrep_on", "ON") in cursor.fetchall():
            cursor.execute(f"SET SESSION wsrep_sync_wait = {_WAIT_BEFORE_ALL}")
