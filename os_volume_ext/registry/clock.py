"""The database's clock, which decides which rows are stale, compared with this machine's.

Each server of a database cluster has its own. Between two whose clocks differ by more than the time that a stale row
has been without a valid claim, the row of a valid claim is stale (docs/protocol.rst, "Clocks").
"""

import datetime
import logging
import time

from .attachments import Registry
from .database import Database

LOG = logging.getLogger(__name__)

_MAX_DIFFERENCE = 10  # seconds; a larger one is going to be corrected, and then rows age by it at once


def warn(database: Database, margin: float) -> None:
    """Log a warning if the clocks differ too much.

    :param margin: as for ``difference``.
    :raises RegistryUnavailable: if the database does not respond.
    """
    found = difference(database, margin)
    if found:
        LOG.warning("%s", found)


def difference(database: Database, margin: float) -> str | None:
    """Describe by how much the database's clock differs from this machine's; None if that is little.

    :param margin: the seconds by which the clocks of two database servers may differ. So one may differ from this
        machine's by half of that.
    :raises RegistryUnavailable: if the database does not respond.
    """
    if database.url.get_backend_name() == "sqlite":  # it has none of its own
        return None
    began = time.monotonic()
    ahead = (Registry(database).now() - datetime.datetime.now(datetime.UTC)).total_seconds()
    allowed = min(_MAX_DIFFERENCE, margin / 2) + time.monotonic() - began
    if abs(ahead) <= allowed:
        return None
    return (
        f"the clock of {database} is {abs(ahead):.1f} seconds {'ahead of' if ahead > 0 else 'behind'} this machine's: "
        "synchronize both, such as with NTP; a volume can get into two servers where those of two database servers "
        f"differ by more than {margin:g} seconds"
    )
