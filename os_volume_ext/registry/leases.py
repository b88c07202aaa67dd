"""Leases: which one of several workers does a job that all could do.

A lease only saves work: a worker that hangs loses it to another and may still continue. So whatever is done under a
lease must be safe without it, as reconcile is because of its claims (docs/protocol.rst, R20).
"""

from sqlalchemy import and_, bindparam, insert, select, update

from ..errors import ConstraintViolated
from .database import Database, retry_on_deadlock
from .tables import leases as table
from .tables import utc_now

_one = select(table.c.holder, table.c.taken_at, utc_now()).where(table.c.name == bindparam("name"))
_first = insert(table).values(name=bindparam("new_name"), holder=bindparam("new_holder"), taken_at=utc_now())
_take = (
    update(table)
    .where(
        and_(
            table.c.name == bindparam("seen_name"),
            table.c.holder == bindparam("seen_holder"),
            table.c.taken_at == bindparam("seen_taken_at"),
        )
    )
    .values(holder=bindparam("new_holder"), taken_at=utc_now())
)


class Leases:
    """Which worker may do what for how long, by the database's clock alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retry_on_deadlock
    def acquire(self, name: str, holder: str, seconds: float) -> bool:
        """Acquire a lease that is free or expired, or renew one's own.

        :param name: of what is done under the lease.
        :param holder: an id that no other worker has.
        :param seconds: how long it lasts; the same for all workers.
        :returns: whether ``holder`` has it now.
        :raises RegistryUnavailable: if the database does not respond; the lease may have been acquired.
        """
        found = self._database.query(_one, {"name": name})
        if not found:
            return self._insert(name, holder)
        ((seen_holder, taken_at, now),) = found
        # The absolute difference: a lease from before the clock was set back must not last until then.
        if seen_holder != holder and abs((now - taken_at).total_seconds()) < seconds:
            return False
        seen = {"seen_name": name, "seen_holder": seen_holder, "seen_taken_at": taken_at}
        return bool(self._database.change(_take, {**seen, "new_holder": holder}))

    def _insert(self, name: str, holder: str) -> bool:
        try:
            self._database.change(_first, {"new_name": name, "new_holder": holder})
        except ConstraintViolated:  # another worker was faster
            return False
        return True
