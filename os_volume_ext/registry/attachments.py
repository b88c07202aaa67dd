"""The rows of ``attachments``: queries, and compare-and-set changes.

Every change names the state and the claim id that the row had when it was read, and does nothing if they have changed
since (docs/protocol.rst, R1).
"""

import datetime
import logging
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Delete, Select, Update, and_, bindparam, delete, func, insert, or_, select, update

from ..errors import AlreadyReserved, AttachmentLimitReached, ConstraintViolated, TransactionAborted
from ..models import ATTACHED, ATTACHING, Attachment, AttachmentDetail, AttachmentSummary, Projection
from .database import Database, retry_on_deadlock
from .execution import Connection, Row
from .tables import attachments as table
from .tables import utc_now

LOG = logging.getLogger(__name__)

# What a takeover changes beside the state: how another request described the attachment.
_REQUESTED = ("device", "host", "instance_name", "source", "format")

# The columns in the order of the fields, two of which the database computes.
_computed: dict[str, ColumnElement[Any]] = {
    "exclusive": table.c.exclusive_volume_id.is_not(None),
    "age": utc_now(),
}
_fields = [each.name for each in fields(Attachment)]
_UPDATED_AT = _fields.index("updated_at")
_rows = select(*[_computed[name] if name in _computed else table.c[name] for name in _fields])
_one = _rows.where(table.c.volume_id == bindparam("volume_id"), table.c.server_id == bindparam("server_id"))
_of_volume = _rows.where(table.c.volume_id == bindparam("volume_id"))
_at_device = _rows.where(table.c.server_id == bindparam("server_id"), table.c.device == bindparam("device"))
_page = (
    _rows.where(
        or_(
            table.c.server_id > bindparam("server_id"),
            and_(table.c.server_id == bindparam("server_id"), table.c.volume_id > bindparam("volume_id")),
        )
    )
    .order_by(table.c.server_id, table.c.volume_id)
    .limit(1000)
)
_pending_page = _page.where(table.c.state != ATTACHED)

_visible = {
    projection: select(*[table.c[name] for name in projection._fields]).where(
        table.c.server_id == bindparam("server_id"), table.c.state != ATTACHING
    )
    for projection in (AttachmentSummary, AttachmentDetail)
}
_one_visible = {
    projection: visible.where(table.c.volume_id == bindparam("volume_id")) for projection, visible in _visible.items()
}

_conditions = {
    "project_id": table.c.project_id == bindparam("project_id"),
    "since": table.c.created_at >= bindparam("since"),
}
# By the projection and the names of the conditions.
_list: dict[tuple[Projection, tuple[str, ...]], Select[Any]] = {
    (projection, names): visible.where(*[_conditions[name] for name in names])
    .order_by(table.c.created_at, table.c.volume_id)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
    for projection, visible in _visible.items()
    for names in ((), ("project_id",), ("since",), ("project_id", "since"))
}

_locked = select(table.c.volume_id).where(table.c.server_id == bindparam("server_id")).with_for_update()
_lock_server = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("server_id"), 0)))
_times = {"created_at": utc_now(), "updated_at": utc_now()}
_insert = insert(table).values(
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
_claim = _describe.values(
    request_id=bindparam("new_request_id"), claim_id=bindparam("new_claim_id"), updated_at=utc_now()
)
_restore = _describe.values(updated_at=bindparam("new_updated_at"))
_restamp = _change.values(updated_at=utc_now())
_set_device = _change.values(state=bindparam("new_state"), device=bindparam("new_device"), updated_at=utc_now())
_vacate = (
    update(table)
    .where(table.c.server_id == bindparam("of_server_id"), table.c.device == bindparam("old_device"))
    .values(device=None)
)
_remove = delete(table).where(_seen)
_any = select(table.c.volume_id).limit(1)
# By whether only the rows of a server are counted, and only those that are not attached.
_counts = select(func.count()).select_from(table)
_count = {
    (of_server, pending): _counts.where(
        *([table.c.server_id == bindparam("server_id")] if of_server else []),
        *([table.c.state != ATTACHED] if pending else []),
    )
    for of_server in (False, True)
    for pending in (False, True)
}
_now = select(utc_now())


class Registry:
    """Which volumes are attached to which servers.

    Every method raises RegistryUnavailable when the database does not respond.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_visible(
        self,
        server_id: str,
        *,
        project_id: str | None = None,
        since: datetime.datetime | None = None,
        limit: int = 1000,
        offset: int = 0,
        projection: Projection = AttachmentSummary,
    ) -> Sequence[Row]:
        """Return the attachments of a server that callers see, oldest first: the projection's fields in order.

        They are the driver's rows, since to copy them would make a long list an eighth slower.

        :param project_id: only those of that project; None: all.
        :param since: only those created at that time or later.
        :param projection: which columns are read.
        """
        given = {"project_id": project_id, "since": since}
        conditions = {name: value for name, value in given.items() if value is not None}
        parameters = {"server_id": server_id, "limit": limit, "offset": offset, **conditions}
        return self._database.query(_list[projection, tuple(conditions)], parameters)

    def get_visible(self, server_id: str, volume_id: str, projection: Projection = AttachmentSummary) -> Any:
        """Return one attachment as callers see it, as ``projection``, or None.

        :param projection: which columns are read.
        """
        rows = self._database.query(_one_visible[projection], {"server_id": server_id, "volume_id": volume_id})
        return projection(*rows[0]) if rows else None

    def get(self, server_id: str, volume_id: str) -> Attachment | None:
        """Return the row of a volume on a server in whatever state, or None."""
        rows = self._database.query(_one, {"server_id": server_id, "volume_id": volume_id})
        return _attachment(rows[0]) if rows else None

    def find_conflicting(self, new: Attachment) -> Attachment | None:
        """Return the row because of which ``new`` could not be reserved, or None if it is gone."""
        rows = self.of_volume(new.volume_id)
        if new.device is not None:
            at_device = {"server_id": new.server_id, "device": new.device}
            rows += _attachments(self._database.query(_at_device, at_device))
        here = [row for row in rows if row.server_id == new.server_id]
        elsewhere = [row for row in rows if row.exclusive and new.exclusive]
        return next(iter(here + elsewhere), None)

    def find_excluding(self, row: Attachment) -> Attachment | None:
        """Return a row of the same volume at another server, unless both rows may exist.

        The keys of the table compare exclusive rows only, and whether a volume is exclusive can change.
        """
        others = [other for other in self.of_volume(row.volume_id) if other.server_id != row.server_id]
        return next((other for other in others if other.exclusive or row.exclusive), None)

    def of_volume(self, volume_id: str) -> list[Attachment]:
        """Return all rows of a volume."""
        return _attachments(self._database.query(_of_volume, {"volume_id": volume_id}))

    def find(
        self,
        *,
        server_id: str | None = None,
        volume_id: str | None = None,
        project_id: str | None = None,
        state: str | None = None,
    ) -> Sequence[Attachment]:
        """Return the rows that have all of the given values (None: any), by server and creation time."""
        given = {"server_id": server_id, "volume_id": volume_id, "project_id": project_id, "state": state}
        values = {name: value for name, value in given.items() if value is not None}
        return _attachments(self._database.query(_find(*values), values))

    def now(self) -> datetime.datetime:
        """Return the time by the database's clock."""
        ((now,),) = self._database.query(_now)
        moment: datetime.datetime = now
        return moment

    def is_empty(self) -> bool:
        """Return whether there are no rows; unlike ``count``, it does not read them all."""
        return not self._database.query(_any)

    def count(self, server_id: str | None = None, *, pending: bool = False) -> int:
        """Return the number of rows.

        :param server_id: only those of that server.
        :param pending: only those that are not ``attached``.
        """
        of_server = server_id is not None
        ((count,),) = self._database.query(_count[of_server, pending], {"server_id": server_id} if of_server else {})
        return int(count)

    def walk(self, *, pending: bool = False) -> Iterator[Attachment]:
        """Yield the rows by server and volume, read a page at a time.

        :param pending: only those that are not ``attached``.
        """
        last = {"server_id": "", "volume_id": ""}
        while rows := _attachments(self._database.query(_pending_page if pending else _page, last)):
            yield from rows
            last = {"server_id": rows[-1].server_id, "volume_id": rows[-1].volume_id}

    @retry_on_deadlock
    def reserve(self, row: Attachment, limit: int | None = None) -> None:
        """Insert a row. When this returns, no conflicting row exists (docs/protocol.rst, R2).

        :param limit: how many rows the server may have.
        :raises AlreadyReserved: if another row has the exclusive volume or the device.
        :raises AttachmentLimitReached: if the server has ``limit`` rows.
        """
        try:
            if limit is None:
                self._database.change(_insert, _as_new(row))
                return
            with self._database.transaction() as connection:
                self._insert(connection, row, limit)
        except ConstraintViolated as error:
            raise AlreadyReserved from error
        except TransactionAborted as error:
            # MariaDB aborts all but one of many concurrent inserts of the same row; retrying makes it worse.
            if self.find_conflicting(row) is not None:
                raise AlreadyReserved from error
            raise

    @retry_on_deadlock
    def transfer(self, seen: Attachment, row: Attachment, limit: int | None = None) -> bool:
        """Replace the claimed row ``seen`` by ``row`` in one transaction.

        :param limit: how many rows the server of ``row`` may have.
        :returns: False if the claim is lost.
        :raises AlreadyReserved: as ``reserve``; the claim stays.
        :raises AttachmentLimitReached: as ``reserve``; the claim stays.
        """
        try:
            with self._database.transaction() as connection:
                if not connection.change(_remove, _as_seen(seen)):
                    return False
                self._insert(connection, row, limit)
                return True
        except ConstraintViolated as error:
            raise AlreadyReserved from error

    def claim(self, seen: Attachment, row: Attachment) -> bool:
        """Claim a row: change it to ``row`` in its state, ids of request and claim, tag, flag, and what else differs.

        :param row: with a new claim id. Its id and its times are not written. The device is written only if it differs:
            it may have been set to NULL since the row was seen (docs/protocol.rst, R1).
        :returns: False if the row is no longer as it was seen.
        :raises AlreadyReserved: if another row has the device or the exclusive volume.
        """
        return self._describe(_claim, seen, row, new_request_id=row.request_id, new_claim_id=row.claim_id)

    def confirm(self, seen: Attachment, device: str | None) -> bool:
        """Mark a row as attached at a device.

        :param device: as the backend reported it. Another row of the server that has it loses it: its disk has left
            the device, or never had it.
        :returns: False if the row is no longer as it was seen.
        """
        try:
            return self._change(_set_device, seen, new_state=ATTACHED, new_device=device)
        except ConstraintViolated:
            return self._take_device_and_confirm(seen, device)

    def restore(self, seen: Attachment, prior: Attachment) -> bool:
        """Undo a claim: change a row to what it was before, with its age. It keeps the claim's id, which is unique.

        :returns: False if the row is no longer as it was seen.
        :raises AlreadyReserved: if another row has got the device.
        """
        return self._describe(_restore, seen, prior, new_updated_at=prior.updated_at)

    def restamp(self, seen: Attachment) -> bool:
        """Set the time of a row to now, by the database's clock.

        :returns: False if the row is no longer as it was seen.
        """
        return self._change(_restamp, seen)

    def remove(self, seen: Attachment) -> bool:
        """Remove a row.

        :returns: False if the row is no longer as it was seen.
        """
        return self._change(_remove, seen)

    def _insert(self, connection: Connection, row: Attachment, limit: int | None) -> None:
        if limit is not None:
            here = {"server_id": row.server_id}
            # Of two at once the second waits for the first and then counts its row too.
            if self._database.is_postgresql:  # locked rows do not block inserts there, as they do on MariaDB
                connection.query(_lock_server, here)
            if len(connection.query(_locked, here)) >= limit:
                raise AttachmentLimitReached(limit)
        connection.change(_insert, _as_new(row))

    @retry_on_deadlock
    def _take_device_and_confirm(self, seen: Attachment, device: str | None) -> bool:
        at_device = {"new_state": ATTACHED, "new_device": device}
        try:
            with self._database.transaction() as connection:
                if not connection.change(_set_device, _as_seen(seen) | at_device | {"new_device": None}):
                    return False
                connection.change(_vacate, {"of_server_id": seen.server_id, "old_device": device})
                connection.change(_set_device, _as_seen(replace(seen, state=ATTACHED)) | at_device)
        except ConstraintViolated as error:  # another worker has just reserved it
            raise TransactionAborted(f"{device} of server {seen.server_id} is reserved again and again") from error
        LOG.info(
            "%s volume %s took device %s of server %s from another row",
            seen.request_id, seen.volume_id, device, seen.server_id,
        )  # fmt: skip
        return True

    def _describe(self, statement: Update, seen: Attachment, row: Attachment, **new: Any) -> bool:
        new |= {"new_state": row.state, "new_tag": row.tag, "new_delete_on_termination": row.delete_on_termination}
        differing = {name: getattr(row, name) for name in _REQUESTED if getattr(row, name) != getattr(seen, name)}
        if row.exclusive != seen.exclusive:
            differing["exclusive_volume_id"] = row.volume_id if row.exclusive else None
        new |= {f"new_{name}": value for name, value in differing.items()}
        try:
            return self._change(_setting(statement, *differing), seen, **new)
        except ConstraintViolated as error:
            raise AlreadyReserved from error

    @retry_on_deadlock
    def _change(self, statement: Update | Delete, seen: Attachment, **new: Any) -> bool:
        return bool(self._database.change(statement, {**_as_seen(seen), **new}))


@cache
def _find(*names: str) -> Select[Any]:
    conditions = [table.c[name] == bindparam(name) for name in names]
    return _rows.where(*conditions).order_by(table.c.server_id, table.c.created_at, table.c.volume_id)


@cache
def _setting(statement: Update, *names: str) -> Update:
    """Return an update that also sets columns to the parameters that are named after them."""
    return statement.values({name: bindparam(f"new_{name}") for name in names}) if names else statement


def _attachments(rows: Sequence[Row]) -> list[Attachment]:
    return [_attachment(row) for row in rows]


def _attachment(row: Row) -> Attachment:
    *values, now = row  # in the order of the fields
    values.append((now - row[_UPDATED_AT]).total_seconds())
    return Attachment(*values)


def _as_seen(row: Attachment) -> dict[str, Any]:
    return {
        "seen_volume_id": row.volume_id,
        "seen_server_id": row.server_id,
        "seen_state": row.state,
        "seen_claim_id": row.claim_id,
    }


def _as_new(row: Attachment) -> dict[str, Any]:
    """Return the parameters of ``_insert``."""
    values = {f"new_{name}": getattr(row, name) for name in _fields if name not in ("exclusive", "age", *_times)}
    return values | {"new_exclusive_volume_id": row.volume_id if row.exclusive else None}
