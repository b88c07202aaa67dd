"""Leases: of several workers that could do the same, one does it, for as long as it lives and goes on.

A lease saves work, and no more than that: a worker that hangs loses it to another, and may yet go on beside it. So
what is done under a lease has to be safe without one; what ``reconcile`` does is, by the claims that it makes.
"""

from sqlalchemy import and_, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from .database import Database, retry_on_deadlock
from .tables import leases as table
from .tables import utc_now

_one = select(table.c.holder, table.c.taken_at, utc_now().label("now")).where(table.c.name == bindparam("name"))
_first = insert(table).values(taken_at=utc_now())
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
    """Who may do what for how long, by the database's clock alone."""

    def __init__(self, database: Database) -> None:
        """:param database: where the leases are."""
        self._database = database

    @retry_on_deadlock
    def take(self, name: str, holder: str, seconds: float) -> bool:
        """Take a lease that nobody has, or that has run out, or renew one's own. Say whether one has it now.

        :param name: of what is done under it.
        :param holder: who takes it: an id that no other worker has.
        :param seconds: how long it lasts; all that take it say the same.
        :raises RegistryUnavailable: if the database does not answer; one may have it then.
        """
        with self._database.autocommit() as connection:
            seen = connection.execute(_one, {"name": name}).first()
            if seen is None:
                try:
                    connection.execute(_first, {"name": name, "holder": holder})
                except IntegrityError:  # another was faster
                    return False
                return True
            # One that was taken in the future, before the clock was set back, must not last until then.
            if seen.holder != holder and abs((seen.now - seen.taken_at).total_seconds()) < seconds:
                return False
            changed = {
                "seen_name": name,
                "seen_holder": seen.holder,
                "seen_taken_at": seen.taken_at,
                "new_holder": holder,
            }
            return bool(connection.execute(_take, changed).rowcount)
