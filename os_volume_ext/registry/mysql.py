"""Connections to MariaDB and MySQL, each of which may be to another node of a Galera cluster."""

from contextlib import closing
from typing import Any

# The kinds of statement before which a node waits until it has what was committed at the others: 1 is reads, 2 updates
# and deletes, 4 inserts. With reads alone, an update misses a row that another node has just committed.
_WAIT_BEFORE_ALL = 7


def prepare(connection: Any, record: Any) -> None:
    """Have a node of a cluster see what was committed at the others; a listener of SQLAlchemy's event ``connect``.

    :raises OperationalError: of the driver, if the node has left its cluster.
    """
    with closing(connection.cursor()) as cursor:
        cursor.execute("SHOW SESSION VARIABLES LIKE 'wsrep_on'")
        if ("wsrep_on", "ON") not in cursor.fetchall():
            return
        cursor.execute("SHOW STATUS LIKE 'wsrep_ready'")
        if ("wsrep_ready", "ON") not in cursor.fetchall():
            # What the node says itself to most statements; to those that it must wait before, it says something else.
            raise connection.OperationalError(1047, "WSREP has not yet prepared node for application use")
        cursor.execute(f"SET SESSION wsrep_sync_wait = {_WAIT_BEFORE_ALL}")
