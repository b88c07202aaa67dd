"""The rows of ``attachments``: queries, and compare-and-set changes.

Every change names the state and the claim id that the row had when it was read, and does nothing if they have changed
since (docs/protocol.rst, R1).
"""

import datetime
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from sqlalchemy import Delete, Update

from ..errors import (
    AlreadyReserved,
    AttachmentLimitReached,
    ConstraintViolated,
    RegistryUnavailable,
    TransactionAborted,
)
from ..models import ATTACHED, Attachment, AttachmentSummary, Projection
from . import statements
from .compiled import Row
from .database import Database, retry_on_deadlock
from .execution import Connection
from .statements import as_seen, attachment, attachments, lock_of

LOG = logging.getLogger(__name__)

# What a takeover changes beside the state: how another request described the attachment.
_REQUESTED = ("device", "host", "instance_name", "source", "format", "exclusive")
_requested = attrgetter(*_REQUESTED)
_WALK = statements.PAGE_ORDER, statements.PAGE
_PENDING_WALK = statements.PENDING_ORDER, statements.PENDING_PAGE
# Where a walk begins; strings that are not here begin with "".
_BEFORE_ALL: dict[str, Any] = {"created_at": datetime.datetime.fromtimestamp(0, datetime.UTC)}


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

        :param project_id: only those of that project, which is then not a field of the rows; None: all.
        :param since: only those created at that time or later.
        :param projection: which columns are read.
        """
        given = {"project_id": project_id, "since": since}
        conditions = {name: value for name, value in given.items() if value is not None}
        parameters = {"server_id": server_id, "limit": limit, "offset": offset, **conditions}
        return self._database.query(statements.LISTS[projection, tuple(conditions)], parameters)

    def get_visible(self, server_id: str, volume_id: str, projection: Projection = AttachmentSummary) -> Any:
        """Return one attachment as callers see it, as ``projection``, or None.

        :param projection: which columns are read.
        """
        rows = self._database.query(
            statements.ONE_VISIBLE[projection], {"server_id": server_id, "volume_id": volume_id}
        )
        return projection(*rows[0]) if rows else None

    def get(self, server_id: str, volume_id: str) -> Attachment | None:
        """Return the row of a volume on a server in whatever state, or None."""
        rows = self._database.query(statements.ONE, {"server_id": server_id, "volume_id": volume_id})
        return attachment(rows[0]) if rows else None

    def find_conflicting(self, new: Attachment) -> Attachment | None:
        """Return the row because of which ``new`` could not be reserved, or None if it is gone."""
        rows = self.of_volume(new.volume_id)
        if new.device is not None:
            at_device = {"server_id": new.server_id, "device": new.device}
            rows += attachments(self._database.query(statements.AT_DEVICE, at_device))
        here = [row for row in rows if row.server_id == new.server_id]
        elsewhere = [row for row in rows if row.exclusive and new.exclusive]
        return next(iter(here + elsewhere), None)

    def find_excluding(self, row: Attachment) -> Attachment | None:
        """Return a row of the same volume at another server, unless both rows may exist.

        The keys of the table compare exclusive rows only, and whether a volume is exclusive can change.
        """
        statement = statements.ELSEWHERE if row.exclusive else statements.EXCLUSIVE_ELSEWHERE
        rows = self._database.query(statement, {"volume_id": row.volume_id, "server_id": row.server_id})
        return attachment(rows[0]) if rows else None

    def of_volume(self, volume_id: str) -> list[Attachment]:
        """Return all rows of a volume."""
        return attachments(self._database.query(statements.OF_VOLUME, {"volume_id": volume_id}))

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
        return attachments(self._database.query(statements.find(*values), values))

    def now(self) -> datetime.datetime:
        """Return the time by the database's clock."""
        ((now,),) = self._database.query(statements.NOW)
        moment: datetime.datetime = now
        return moment

    def is_empty(self) -> bool:
        """Return whether there are no rows; unlike ``count``, it does not read them all."""
        return not self._database.query(statements.ANY)

    def count(self, server_id: str | None = None, *, pending: bool = False) -> int:
        """Return the number of rows.

        :param server_id: only those of that server.
        :param pending: only those that are not ``attached``.
        """
        of_server = server_id is not None
        ((count,),) = self._database.query(
            statements.COUNTS[of_server, pending], {"server_id": server_id} if of_server else {}
        )
        return int(count)

    def walk(self, *, pending: bool = False) -> Iterator[Attachment]:
        """Yield the rows by server and creation time, read a page at a time.

        :param pending: only those that are not ``attached``, by state first.
        """
        order, statement = _PENDING_WALK if pending else _WALK
        last = {name: _BEFORE_ALL.get(name, "") for name in order}
        while rows := attachments(self._database.query(statement, last)):
            yield from rows
            last = {name: getattr(rows[-1], name) for name in order}

    @retry_on_deadlock
    def reserve(self, row: Attachment, limit: int | None = None) -> None:
        """Insert a row. When this returns, no conflicting row exists (docs/protocol.rst, R2).

        :param limit: how many rows the server may have.
        :raises AlreadyReserved: if another row has the exclusive volume or the device.
        :raises AttachmentLimitReached: if the server has ``limit`` rows.
        """
        try:
            if limit is None:
                self._database.change(statements.INSERT, row)
                return
            with self._database.transaction() as connection:
                self._check_limit(connection, row.server_id, limit)
                connection.change(statements.INSERT, row)
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
                self._check_limit(connection, row.server_id, limit)
                if not connection.change(statements.REMOVE, as_seen(seen)):
                    return False
                connection.change(statements.INSERT, row)
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
        claim = {"new_request_id": row.request_id, "new_claim_id": row.claim_id}
        return self._describe(statements.CLAIM, seen, row, claim)

    def confirm(self, seen: Attachment, device: str | None) -> bool:
        """Mark a row as attached at a device.

        :param device: as the backend reported it. Another row of the server that has it loses it: its disk has left
            the device, or never had it.
        :returns: False if the row is no longer as it was seen.
        """
        try:
            return self._change(statements.SET_DEVICE, seen, {"new_state": ATTACHED, "new_device": device})
        except ConstraintViolated:
            return self._take_device_and_confirm(seen, device)

    def restore(self, seen: Attachment, prior: Attachment) -> bool:
        """Undo a claim: change a row to what it was before, with its age. It keeps the claim's id, which is unique.

        :returns: False if the row is no longer as it was seen.
        :raises AlreadyReserved: if another row has got the device.
        """
        return self._describe(statements.RESTORE, seen, prior, {"new_updated_at": prior.updated_at})

    def restamp(self, seen: Attachment) -> bool:
        """Set the time of a row to now, by the database's clock.

        :returns: False if the row is no longer as it was seen.
        """
        return self._change(statements.RESTAMP, seen, {})

    def remove(self, seen: Attachment) -> bool:
        """Remove a row.

        :returns: False if the row is no longer as it was seen.
        """
        return self._change(statements.REMOVE, seen, {})

    def _check_limit(self, connection: Connection, server_id: str, limit: int | None) -> None:
        """Count a server's rows. Of two transactions at once, the second waits for the first, or is aborted."""
        if limit is None:
            return
        if not connection.change(statements.LOCK_SERVERS, lock_of(server_id)):
            raise RegistryUnavailable("a row of the table server_locks is missing: restore it, with 0 uses")
        ((count,),) = connection.query(statements.COUNTS[True, False], {"server_id": server_id})
        if count >= limit:
            raise AttachmentLimitReached(limit)

    @retry_on_deadlock
    def _take_device_and_confirm(self, seen: Attachment, device: str | None) -> bool:
        at_device = {"new_state": ATTACHED, "new_device": device}
        try:
            with self._database.transaction() as connection:
                if not connection.change(statements.SET_DEVICE, as_seen(seen) | at_device | {"new_device": None}):
                    return False
                connection.change(statements.VACATE, {"of_server_id": seen.server_id, "old_device": device})
                connection.change(statements.SET_DEVICE, as_seen(replace(seen, state=ATTACHED)) | at_device)
        except ConstraintViolated as error:  # another worker has just reserved it
            raise TransactionAborted(f"{device} of server {seen.server_id} is reserved again and again") from error
        LOG.info(
            "%s volume %s took device %s of server %s from another row",
            seen.request_id, seen.volume_id, device, seen.server_id,
        )  # fmt: skip
        return True

    def _describe(self, statement: Update, seen: Attachment, row: Attachment, new: dict[str, Any]) -> bool:
        new |= {"new_state": row.state, "new_tag": row.tag, "new_delete_on_termination": row.delete_on_termination}
        if _requested(row) != _requested(seen):  # most claims change nothing of it
            differing = _differing(row, seen)
            statement = statements.setting(statement, *differing)
            new |= {f"new_{name}": value for name, value in differing.items()}
        try:
            return self._change(statement, seen, new)
        except ConstraintViolated as error:
            raise AlreadyReserved from error

    @retry_on_deadlock
    def _change(self, statement: Update | Delete, seen: Attachment, new: dict[str, Any]) -> bool:
        return self._database.change(statement, {**as_seen(seen), **new}) > 0


def _differing(row: Attachment, seen: Attachment) -> dict[str, Any]:
    """Return the columns of what a takeover changes in a row, each with its new value."""
    both = zip(_REQUESTED, _requested(row), _requested(seen), strict=True)
    differing = {name: new for name, new, old in both if new != old}
    if differing.pop("exclusive", None) is not None:
        differing["exclusive_volume_id"] = row.exclusive_volume_id
    return differing
