"""The statements of ``attachments``, defined once; ``execution`` compiles them for the database.

The parameters of a change are called ``seen_...`` for what the row must still have (docs/protocol.rst, R1), and
``new_...`` for what it gets.
"""

import zlib
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Update,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from ..models import ATTACHING, Attachment, AttachmentDetail, AttachmentSummary, Projection
from .compiled import Row
from .tables import PENDING, SERVER_LOCKS, server_locks, utc_now
from .tables import attachments as table

# The columns in the order of the fields, two of which the database computes.
_computed: dict[str, ColumnElement[Any]] = {
    "exclusive": table.c.exclusive_volume_id.is_not(None),
    "age": utc_now(),
}
_fields = [each.name for each in fields(Attachment)]
_UPDATED_AT = _fields.index("updated_at")
_rows = select(*[_computed[name] if name in _computed else table.c[name] for name in _fields])
ONE = _rows.where(table.c.volume_id == bindparam("volume_id"), table.c.server_id == bindparam("server_id"))
OF_VOLUME = _rows.where(table.c.volume_id == bindparam("volume_id"))
ELSEWHERE = OF_VOLUME.where(table.c.server_id != bindparam("server_id"))
EXCLUSIVE_ELSEWHERE = ELSEWHERE.where(table.c.exclusive_volume_id.is_not(None))
AT_DEVICE = _rows.where(table.c.server_id == bindparam("server_id"), table.c.device == bindparam("device"))


def _page(*names: str) -> Select[Any]:
    """Return the query of the rows that follow one in the order of columns, which are the names of the parameters."""
    columns = [table.c[name] for name in names]
    values: list[ColumnElement[Any]] = [bindparam(name) for name in names]
    equal = [column == value for column, value in zip(columns, values, strict=True)]
    greater = [column > value for column, value in zip(columns, values, strict=True)]
    following = or_(*[and_(*equal[:place], greater[place]) for place in range(len(names))])
    # PostgreSQL and SQLite search an index only by the first condition, which the other one contains.
    return _rows.where(columns[0] >= values[0], following).order_by(*columns).limit(1000)


PAGE_ORDER = ("server_id", "created_at", "volume_id")
PENDING_ORDER = ("state", *PAGE_ORDER)
"""By the state first, by which the few pending rows are found; an index of all rows has the order without it."""
PAGE = _page(*PAGE_ORDER)
PENDING_PAGE = _page(*PENDING_ORDER).where(PENDING)


def _visible(columns: Sequence[str]) -> Select[Any]:
    return select(*[table.c[name] for name in columns]).where(
        table.c.server_id == bindparam("server_id"), table.c.state != literal_column(f"'{ATTACHING}'")
    )


ONE_VISIBLE = {
    projection: _visible(projection._fields).where(table.c.volume_id == bindparam("volume_id"))
    for projection in (AttachmentSummary, AttachmentDetail)
}

_conditions = {
    "project_id": table.c.project_id == bindparam("project_id"),
    "since": table.c.created_at >= bindparam("since"),
}
# By the projection and the names of the conditions. Where the project is a condition, it is not read.
LISTS: dict[tuple[Projection, tuple[str, ...]], Select[Any]] = {
    (projection, names): _visible([name for name in projection._fields if name not in names])
    .where(*[_conditions[name] for name in names])
    .order_by(table.c.created_at, table.c.volume_id)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
    for projection in ONE_VISIBLE
    for names in ((), ("project_id",), ("since",), ("project_id", "since"))
}

LOCK_SERVERS = (
    update(server_locks).where(server_locks.c.id == bindparam("lock_id")).values(uses=server_locks.c.uses + 1)
)
_times = {"created_at": utc_now(), "updated_at": utc_now()}
INSERT = insert(table).values(
    {name: bindparam(f"new_{name}") for name in map(str, table.c.keys()) if name not in _times} | _times
)
_seen = and_(
    table.c.volume_id == bindparam("seen_volume_id"),
    table.c.server_id == bindparam("seen_server_id"),
    table.c.state == bindparam("seen_state"),
    table.c.claim_id == bindparam("seen_claim_id"),
)
_change = update(table).where(_seen)
_describe = _change.values(
    state=bindparam("new_state"),
    tag=bindparam("new_tag"),
    delete_on_termination=bindparam("new_delete_on_termination"),
)
CLAIM = _describe.values(
    request_id=bindparam("new_request_id"), claim_id=bindparam("new_claim_id"), updated_at=utc_now()
)
RESTORE = _describe.values(updated_at=bindparam("new_updated_at"))
RESTAMP = _change.values(updated_at=utc_now())
SET_DEVICE = _change.values(state=bindparam("new_state"), device=bindparam("new_device"), updated_at=utc_now())
VACATE = (
    update(table)
    .where(table.c.server_id == bindparam("of_server_id"), table.c.device == bindparam("old_device"))
    .values(device=None)
)
REMOVE = delete(table).where(_seen)
ANY = select(table.c.volume_id).limit(1)
# By whether only the rows of a server are counted, and only those that are not attached.
_counts = select(func.count()).select_from(table)
COUNTS = {
    (of_server, pending): _counts.where(
        *([table.c.server_id == bindparam("server_id")] if of_server else []),
        *([PENDING] if pending else []),
    )
    for of_server in (False, True)
    for pending in (False, True)
}
NOW = select(utc_now())


@cache
def find(*names: str) -> Select[Any]:
    """Return the query of the rows that have given values, by server and creation time.

    :param names: the columns, which are the names of the parameters too.
    """
    conditions = [table.c[name] == bindparam(name) for name in names]
    return _rows.where(*conditions).order_by(table.c.server_id, table.c.created_at, table.c.volume_id)


@cache
def setting(statement: Update, *names: str) -> Update:
    """Return an update that sets further columns.

    :param names: the columns; the parameters are called ``new_...``.
    """
    return statement.values({name: bindparam(f"new_{name}") for name in names})


def lock_of(server_id: str) -> dict[str, Any]:
    """Return the parameters of ``LOCK_SERVERS`` for a server."""
    return {"lock_id": zlib.crc32(server_id.encode()) % SERVER_LOCKS}


def attachments(rows: Sequence[Row]) -> list[Attachment]:
    """Return the attachments of rows with all columns: those of the queries up to ``PENDING_PAGE``, and of ``find``."""
    return [attachment(row) for row in rows]


def attachment(row: Row) -> Attachment:
    """Return the attachment of one such row."""
    *values, now = row  # in the order of the fields
    values.append((now - row[_UPDATED_AT]).total_seconds())
    return Attachment(*values)


def as_seen(row: Attachment) -> dict[str, Any]:
    """Return the parameters by which a change finds a row only if it is as it was seen."""
    return {
        "seen_volume_id": row.volume_id,
        "seen_server_id": row.server_id,
        "seen_state": row.state,
        "seen_claim_id": row.claim_id,
    }
