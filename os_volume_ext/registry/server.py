"""What is wrong with a database that responds: its clock, or that it may only be read."""

import datetime
import time
from collections.abc import Iterator

from sqlalchemy import TextClause, text

from . import sqlite
from .attachments import Registry
from .database import Database
from .schema import NAME_PRIMARY, NOT_ALLOWED

_MAX_DIFFERENCE = 10  # seconds; a larger one is going to be corrected, and then rows age by it at once
_IS_READ_ONLY: dict[str, TextClause] = {
    "postgresql": text("SELECT current_setting('transaction_read_only') = 'on'"),
    "mysql": text("SELECT @@global.read_only NOT IN ('0', 'OFF')"),
    "mariadb": text("SELECT @@global.read_only NOT IN ('0', 'OFF')"),
}


def problems(database: Database, margin: float) -> Iterator[str]:
    """Yield a sentence for each problem. SQLite's clock is the machine's.

    :param margin: the seconds by which the clocks of two servers of a cluster may differ: else the row of a valid claim
        is stale at the other one (docs/protocol.rst, "Clocks"). So one may differ from this machine's by half of that.
    :raises RegistryUnavailable: if the database does not respond.
    """
    kind = database.url.get_backend_name()
    if kind not in _IS_READ_ONLY:
        if sqlite.is_read_only(database.url):
            yield f"{database} may only be read, so each attach and detach gets 503: {NOT_ALLOWED}"
        return
    if any(value for (value,) in database.query(_IS_READ_ONLY[kind])):
        yield f"{database} may only be read, as a standby may, so each attach and detach gets 503: {NAME_PRIMARY}"
    began = time.monotonic()
    ahead = (Registry(database).now() - datetime.datetime.now(datetime.UTC)).total_seconds()
    allowed = min(_MAX_DIFFERENCE, margin / 2) + time.monotonic() - began
    if abs(ahead) > allowed:
        yield (
            f"the clock of {database} is {abs(ahead):.1f} seconds {'ahead of' if ahead > 0 else 'behind'} this "
            "machine's: synchronize both, such as with NTP; a volume can get into two servers where those of two "
            f"database servers differ by more than {margin:g} seconds"
        )
