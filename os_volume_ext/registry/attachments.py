"""The rows of ``attachments``: what is asked of them, and the compare-and-set changes that are made to them.

A row is always changed by who has seen it: every change names the state and the request id that the
row had, and does nothing where it has others by now. That is the claim of design rule 1.
"""

import datetime
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ..errors import AlreadyReserved, AttachmentLimitReached, TransactionAborted
from ..models import ATTACHED, ATTACHING, Attachment, AttachmentDetail, AttachmentSummary, Projection
from .database import Database, retry_on_deadlock
from .tables import attachments as table
from .tables import utc_now

LOG = logging.getLogger(__name__)

_columns = (
    table.c.volume_id,
    table.c.server_id,
    table.c.project_id,
    table.c.exclusive_volume_id,
    table.c.device,
    table.c.root,
    table.c.state,
    table.c.request_id,
    table.c.host,
    table.c.instance_name,
    table.c.source,
    table.c.format,
    table.c.tag,
    table.c.delete_on_termination,
    table.c.id,
    table.c.created_at,
    table.c.updated_at,
    utc_now().label("now"),
)
_rows = select(*_columns)
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

_shown = {
    form: select(*[table.c[name] for name in form._fields]).where(
        table.c.server_id == bindparam("server_id"), table.c.state != ATTACHING
    )
    for form in (AttachmentSummary, AttachmentDetail)
}
_one_shown = {form: shown.where(table.c.volume_id == bindparam("volume_id")) for form, shown in _shown.items()}
_list = {
    form: shown.order_by(table.c.created_at, table.c.volume_id).limit(bindparam("limit")).offset(bindparam("offset"))
    for form, shown in _shown.items()
}
_list_since = {form: listed.where(table.c.created_at >= bindparam("since")) for form, listed in _list.items()}

_locked = select(table.c.volume_id).where(table.c.server_id == bindparam("server_id")).with_for_update()
_lock_server = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("server_id"), 0)))
_insert = insert(table).values(created_at=utc_now(), updated_at=utc_now())
_seen = and_(
    table.c.volume_id == bindparam("seen_volume_id"),
    table.c.server_id == bindparam("seen_server_id"),
    table.c.state == bindparam("seen_state"),
    table.c.request_id == bindparam("seen_request_id"),
)
_claim = (
    update(table)
    .where(_seen)
    .values(state=bindparam("new_state"), request_id=bindparam("new_request_id"), updated_at=utc_now())
)
_set_device = (
    update(table)
    .where(_seen)
    .values(state=bindparam("new_state"), device=bindparam("new_device"), updated_at=utc_now())
)
_describe = (
    update(table)
    .where(_seen)
    .values(
        request_id=bindparam("new_request_id"),
        tag=bindparam("new_tag"),
        delete_on_termination=bindparam("new_delete_on_termination"),
    )
)
_vacate = (
    update(table)
    .where(table.c.server_id == bindparam("of_server_id"), table.c.device == bindparam("old_device"))
    .values(device=None)
)
_remove = delete(table).where(_seen)


class Registry:
    """Who is attached to what. Every method raises RegistryUnavailable when the database does not answer."""

    def __init__(self, database: Database) -> None:
        """:param database: where the rows are."""
        self._database = database

    def list(
        self,
        server_id: str,
        since: datetime.datetime | None = None,
        limit: int = 1000,
        offset: int = 0,
        form: Projection = AttachmentSummary,
    ) -> Sequence[Any]:
        """Return the attachments of a server that callers get to see, oldest first.

        :param since: only those made at that time or later.
        :param form: what is returned of each.
        """
        parameters: dict[str, Any] = {"server_id": server_id, "limit": limit, "offset": offset}
        if since is not None:
            parameters["since"] = since
        with self._database.autocommit() as connection:
            # Rows have the form's fields by name and by place; to copy them would cost half of a long list.
            return connection.execute((_list if since is None else _list_since)[form], parameters).all()

    def show(self, volume_id: str, server_id: str, form: Projection = AttachmentSummary) -> Any:
        """Return what a list shows of a volume on a server, None if there is nothing."""
        with self._database.autocommit() as connection:
            return connection.execute(_one_shown[form], {"volume_id": volume_id, "server_id": server_id}).first()

    def get(self, volume_id: str, server_id: str) -> Attachment | None:
        """Return the row of a volume on a server, whatever its state."""
        with self._database.autocommit() as connection:
            row = connection.execute(_one, {"volume_id": volume_id, "server_id": server_id}).first()
        return row and _attachment(row)

    def find_conflicting(self, wanted: Attachment) -> Attachment | None:
        """Return the row because of which ``wanted`` could not be reserved, if it is still there."""
        with self._database.autocommit() as connection:
            rows = [_attachment(row) for row in connection.execute(_of_volume, {"volume_id": wanted.volume_id})]
            if wanted.device is not None:
                at_device = {"server_id": wanted.server_id, "device": wanted.device}
                rows += [_attachment(row) for row in connection.execute(_at_device, at_device)]
        here = [row for row in rows if row.server_id == wanted.server_id]
        elsewhere = [row for row in rows if row.exclusive and wanted.exclusive]
        return next(iter(here + elsewhere), None)

    def of_volume(self, volume_id: str) -> Sequence[Attachment]:
        """Return all rows of a volume."""
        with self._database.autocommit() as connection:
            return [_attachment(row) for row in connection.execute(_of_volume, {"volume_id": volume_id})]

    def find(self, **wanted: str | None) -> Sequence[Attachment]:
        """Return the rows whose columns have the values given (None: any), by server and volume."""
        statement = _rows.order_by(table.c.server_id, table.c.created_at, table.c.volume_id)
        for column, value in wanted.items():
            if value is not None:
                statement = statement.where(table.c[column] == value)
        with self._database.autocommit() as connection:
            return [_attachment(row) for row in connection.execute(statement)]

    def count(self, server_id: str | None = None, pending: bool = False) -> int:
        """Say how many rows there are.

        :param server_id: only those of that server. :param pending: only those that are not ``attached``.
        """
        statement = select(func.count()).select_from(table)
        if server_id is not None:
            statement = statement.where(table.c.server_id == server_id)
        if pending:
            statement = statement.where(table.c.state != ATTACHED)
        with self._database.autocommit() as connection:
            return connection.execute(statement).scalar_one()

    def walk(self, pending: bool = False) -> Iterator[Attachment]:
        """Yield the rows by server and volume, each as it is about when it is yielded.

        :param pending: only those that are not ``attached``.
        """
        last = {"server_id": "", "volume_id": ""}
        while True:
            with self._database.autocommit() as connection:
                rows = connection.execute(_pending_page if pending else _page, last).all()
            if not rows:
                return
            yield from map(_attachment, rows)
            last = {"server_id": rows[-1].server_id, "volume_id": rows[-1].volume_id}

    @retry_on_deadlock
    def reserve(self, row: Attachment, limit: int | None = None) -> None:
        """Insert a row; when this returns, it is the only one of that volume (design rule 1: a claim).

        :param limit: how many rows the server may have then.
        :raises AlreadyReserved: if another row stands in the way.
        :raises AttachmentLimitReached: if the server has so many already.
        """
        try:
            # One statement commits by itself, which saves two more.
            with self._database.autocommit() if limit is None else self._database.transaction() as connection:
                self._insert(connection, row, limit)
        except IntegrityError as error:
            raise AlreadyReserved from error
        except TransactionAborted as error:
            # On MariaDB, of many who wait to insert the same, mostly all but one give way; to insist makes it worse.
            if self.find_conflicting(row) is not None:
                raise AlreadyReserved from error
            raise

    @retry_on_deadlock
    def move(self, seen: Attachment, row: Attachment, limit: int | None = None) -> bool:
        """Put ``row`` in the place of the claim ``seen``, in one step. Say whether the claim was still there.

        :raises AlreadyReserved, AttachmentLimitReached: as ``reserve``; the claim stays as it was.
        """
        try:
            with self._database.transaction() as connection:
                if not connection.execute(_remove, _as_seen(seen)).rowcount:
                    return False
                self._insert(connection, row, limit)
                return True
        except IntegrityError as error:
            raise AlreadyReserved from error

    def claim(self, seen: Attachment, state: str, request_id: str) -> bool:
        """Make a row one's own in a state, if it is still as seen. Say whether it was."""
        return self._change(_claim, seen, new_state=state, new_request_id=request_id)

    def confirm(self, seen: Attachment, device: str | None) -> bool:
        """Mark a row as attached where the backend has its disk, if it is still as seen. Say whether it was.

        :param device: another row of the server that has it is left without one: its disk has left, or never came.
        """
        try:
            return self._change(_set_device, seen, new_state=ATTACHED, new_device=device)
        except IntegrityError:
            return self._confirm_in_place_of_another(seen, device)

    def put_back(self, seen: Attachment) -> bool:
        """Mark a row as attached, at the device that it has, if it is still as seen. Say whether it was."""
        return self._change(_claim, seen, new_state=ATTACHED, new_request_id=seen.request_id)

    def describe(self, seen: Attachment, request_id: str, tag: str | None, delete_on_termination: bool) -> bool:
        """Change what callers say of a row, if it is still as seen. Say whether it was.

        :param request_id: of who does that: it is not as others have seen it any more.
        """
        new = {"new_tag": tag, "new_delete_on_termination": delete_on_termination}
        return self._change(_describe, seen, new_request_id=request_id, **new)

    def remove(self, seen: Attachment) -> bool:
        """Remove a row, if it is still as seen. Say whether it was."""
        return self._change(_remove, seen)

    def _insert(self, connection: Connection, row: Attachment, limit: int | None) -> None:
        if limit is not None:
            # Two at once: the second waits for the first, and then counts its row too.
            if connection.dialect.name == "postgresql":  # whose locked rows do not keep others out, as MariaDB's do
                connection.execute(_lock_server, {"server_id": row.server_id})
            if len(connection.execute(_locked, {"server_id": row.server_id}).all()) >= limit:
                raise AttachmentLimitReached(limit)
        connection.execute(_insert, _values(row))

    @retry_on_deadlock
    def _confirm_in_place_of_another(self, seen: Attachment, device: str | None) -> bool:
        at_device = {"new_state": ATTACHED, "new_device": device}
        try:
            with self._database.transaction() as connection:
                if not connection.execute(_set_device, _as_seen(seen) | at_device | {"new_device": None}).rowcount:
                    return False
                connection.execute(_vacate, {"of_server_id": seen.server_id, "old_device": device})
                connection.execute(_set_device, _as_seen(replace(seen, state=ATTACHED)) | at_device)
        except IntegrityError as error:  # somebody has just reserved it
            raise TransactionAborted(f"{device} of server {seen.server_id} is reserved again and again") from error
        LOG.info(
            "%s volume %s has %s of server %s, which another row had",
            seen.request_id, seen.volume_id, device, seen.server_id,
        )  # fmt: skip
        return True

    @retry_on_deadlock
    def _change(self, statement: Any, seen: Attachment, **new: str | bool | None) -> bool:
        with self._database.autocommit() as connection:
            return bool(connection.execute(statement, {**_as_seen(seen), **new}).rowcount)


def _attachment(row: Any) -> Attachment:
    values: list[Any]
    *values, now = row
    values[3] = values[3] is not None  # exclusive_volume_id is that id, or NULL
    values.append((now - row.updated_at).total_seconds())
    return Attachment(*values)


def _as_seen(row: Attachment) -> dict[str, str]:
    return {
        "seen_volume_id": row.volume_id,
        "seen_server_id": row.server_id,
        "seen_state": row.state,
        "seen_request_id": row.request_id,
    }


def _values(row: Attachment) -> dict[str, Any]:
    return {
        "volume_id": row.volume_id,
        "server_id": row.server_id,
        "project_id": row.project_id,
        "exclusive_volume_id": row.volume_id if row.exclusive else None,
        "device": row.device,
        "root": row.root,
        "state": row.state,
        "request_id": row.request_id,
        "host": row.host,
        "instance_name": row.instance_name,
        "source": row.source,
        "format": row.format,
        "tag": row.tag,
        "delete_on_termination": row.delete_on_termination,
        "id": row.id,
    }
