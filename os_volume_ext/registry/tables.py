"""The tables, and the type and the function that differ between databases.

``migrations/`` creates the same tables; a test compares them. ``migrations/target.py`` adds an index.
"""

import datetime
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    literal_column,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from ..models import ATTACHED


class UTCDateTime(TypeDecorator[datetime.datetime]):
    """Aware UTC times in Python, naive UTC times in the database; its columns, by the migrations, keep microseconds."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        """Convert an aware time to naive UTC.

        :raises ValueError: for a naive time, whose zone is unknown.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        """Convert a stored time to an aware one."""
        return None if value is None else value.replace(tzinfo=datetime.UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return the conversion of a driver's value.

        For SQLite's strings it is one call instead of SQLAlchemy's three, since each row that is claimed has three.
        """
        return _read_utc if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _read_utc(text: str | None) -> datetime.datetime | None:
    return None if text is None else datetime.datetime.fromisoformat(f"{text}+00:00")


class utc_now(FunctionElement[datetime.datetime]):  # noqa: N801 - named like an SQL function
    """The database's clock, which all workers share."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(utc_now, "sqlite")
def _sqlite(element: utc_now, compiler: Any, **options: Any) -> str:
    # SQLite's clock has milliseconds only; ``database`` gives each connection this function.
    return "utc_now()"


@compiles(utc_now, "postgresql")
def _postgresql(element: utc_now, compiler: Any, **options: Any) -> str:
    return "timezone('utc', clock_timestamp())"


@compiles(utc_now, "mysql", "mariadb")
def _mysql(element: utc_now, compiler: Any, **options: Any) -> str:
    return "UTC_TIMESTAMP(6)"


metadata = MetaData(naming_convention={
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
})  # fmt: skip

attachments = Table(
    "attachments",
    metadata,
    Column("volume_id", String(36), primary_key=True),
    Column("server_id", String(36), primary_key=True),
    # A UUID: the attachment_id of the API from microversion 2.89.
    Column("id", String(36), nullable=False),
    # The volume's id, or NULL where the volume may be attached to several servers.
    Column("exclusive_volume_id", String(36)),
    Column("project_id", String(255), nullable=False),
    # NULL until it is known.
    Column("device", String(255)),
    Column("root", Boolean, nullable=False),
    Column("tag", String(60)),
    Column("delete_on_termination", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    # Of the request that changed the row last; for people.
    Column("request_id", String(255), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    # What a backend needs to know of deleted servers and volumes.
    Column("host", String(255)),
    Column("instance_name", String(255)),
    Column("source", String(1024)),
    Column("format", String(32)),
    # A UUID, made anew by each claim.
    Column("claim_id", String(36), nullable=False),
    UniqueConstraint("exclusive_volume_id"),
    UniqueConstraint("server_id", "device"),
    Index(None, "server_id", "created_at", "volume_id"),
)

# The state is a part of the condition, and no parameter, so that databases recognize the condition of the index.
PENDING = attachments.c.state != literal_column(f"'{ATTACHED}'")
"""The condition of the few rows that are not ``attached``."""

volumes = Table(
    "volumes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(255), nullable=False),
    Column("source", String(1024)),
    Column("format", String(32)),
    Column("multiattach", Boolean, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    # Of the job that only one worker does at a time.
    Column("name", String(36), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("taken_at", UTCDateTime, nullable=False),
)

SERVER_LOCKS = 256
"""The number of rows of ``server_locks``, whose ids count from 0."""

server_locks = Table(
    "server_locks",
    metadata,
    # A transaction that counts a server's rows first changes the row of its lock, which several servers share. Two at
    # once then conflict on every database. A lock that is only held, such as that of SELECT ... FOR UPDATE, does not
    # count between the nodes of a Galera cluster.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("uses", BigInteger, nullable=False),
)
