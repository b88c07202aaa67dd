"""The tables as Alembic compares them, with the index that nothing else needs.

For its conditions SQLAlchemy imports the dialect of PostgreSQL, with all of its drivers' modules, which would take a
tenth of the time in which a command or the filter starts.
"""

from sqlalchemy import Index

from ..tables import PENDING, attachments, metadata

__all__ = ["metadata"]

# On MariaDB it has all rows; there the pending ones are found by their state.
Index("ix_attachments_pending", attachments.c.state, postgresql_where=PENDING, sqlite_where=PENDING)
