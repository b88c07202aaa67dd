"""A catalog in the registry's database, for installations without a block-storage service.

``os-volume-ext volume create`` fills it. Deleting a volume removes its row; the data stays where it is.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, insert, select

from ..context import RequestContext
from ..errors import ConfigurationError, ConstraintViolated, VolumeExists
from ..models import Volume
from ..registry.compiled import Parameters, Row
from ..registry.database import Database, retry_on_deadlock
from ..registry.execution import Connection
from ..registry.tables import attachments, utc_now, volumes
from .base import VolumeAttached, VolumeCatalog, VolumeNotFound

_columns = (volumes.c.id, volumes.c.project_id, volumes.c.source, volumes.c.format, volumes.c.multiattach)
_one = select(*_columns).where(volumes.c.id == bindparam("volume_id"))
_insert = insert(volumes).values(
    {column.name: bindparam(f"new_{column.name}") for column in _columns} | {"created_at": utc_now()}
)
_all = select(*_columns).order_by(volumes.c.created_at, volumes.c.id)
_of_project = _all.where(volumes.c.project_id == bindparam("project_id"))
# Both wait for a deletion in progress; then a deletion finds the reservation that one of these follows.
_one_shared = _one.with_for_update(read=True)
_one_locked = _one.with_for_update()
_attached = select(attachments.c.server_id).where(
    attachments.c.volume_id == bindparam("volume_id"), attachments.c.server_id != bindparam("server_id")
)
_delete = delete(volumes).where(volumes.c.id == bindparam("volume_id"))


class SQLCatalog(VolumeCatalog):
    """Volumes as rows of the table ``volumes``."""

    can_delete = True

    def __init__(self, options: Mapping[str, str], database: Database) -> None:
        """Take the database; there are no options.

        :raises ConfigurationError: if there are any.
        """
        if options:
            raise ConfigurationError(f"catalog.{min(options)} is not an option: the sql catalog has none")
        self._database = database

    def volume(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume.

        :raises VolumeNotFound: if there is none.
        :raises RegistryUnavailable: if the database fails.
        """
        return self.get(volume_id)

    @retry_on_deadlock
    def recheck(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume after a deletion in progress has ended.

        :raises VolumeNotFound: if there is none.
        :raises RegistryUnavailable: if the database fails.
        """
        return _volume(self._database.query(_one_shared, _parameters(volume_id)), volume_id)

    def check(self) -> None:
        """Check that volumes can be read.

        :raises RegistryUnavailable: if the database fails, or has no table of volumes.
        """
        self._database.query(_one, _parameters(""))

    def get(self, volume_id: str) -> Volume:
        """Return a volume.

        :raises VolumeNotFound: if there is none.
        :raises RegistryUnavailable: if the database fails.
        """
        return _volume(self._database.query(_one, _parameters(volume_id)), volume_id)

    def list_volumes(self, project_id: str | None = None) -> Sequence[Volume]:
        """Return all volumes, or those of a project, oldest first."""
        if project_id is None:
            rows = self._database.query(_all)
        else:
            rows = self._database.query(_of_project, {"project_id": project_id})
        return [Volume(*row) for row in rows]

    @retry_on_deadlock
    def create(self, volume: Volume) -> None:
        """Add a volume.

        :raises VolumeExists: if there is one of that id.
        :raises VolumeAttached: if a deleted volume of that id still has attachments, in whatever state.
        """
        try:
            with self._database.transaction() as connection:
                connection.change(_insert, volume)
                server_id = _attached_to(connection, volume.id)
                if server_id is not None:
                    raise VolumeAttached(
                        f"A deleted volume {volume.id} is still attached to server {server_id}: "
                        "detach it, or repair the attachment with reconcile."
                    )
        except ConstraintViolated as error:
            raise VolumeExists(f"Volume {volume.id} exists already.") from error

    @retry_on_deadlock
    def delete(self, *, volume_id: str, server_id: str | None = None, project_id: str | None = None) -> None:
        """Remove a volume.

        :param server_id: a server whose attachment of the volume is ignored.
        :param project_id: the owner that it must have; None for any.
        :raises VolumeNotFound: if there is none.
        :raises VolumeAttached: if it has another attachment, in whatever state.
        """
        parameters = _parameters(volume_id)
        with self._database.transaction() as connection:
            # Locked before the attachments are read: an attach reserves first and rechecks the volume then, so either
            # its row is seen here, or it waits for this and does not find the volume.
            volume = _volume(connection.query(_one_locked, parameters), volume_id)
            if project_id not in (None, volume.project_id):
                raise VolumeNotFound(volume_id)
            if _attached_to(connection, volume_id, server_id or "") is not None:
                raise VolumeAttached(f"Volume {volume_id} is attached. Detach it first.")
            connection.change(_delete, parameters)


def _parameters(volume_id: str) -> Parameters:
    if not volume_id.isprintable():  # drivers raise errors for a null character and for half of a surrogate pair
        raise VolumeNotFound(volume_id)
    return {"volume_id": volume_id}


def _volume(rows: Sequence[Row], volume_id: str) -> Volume:
    if not rows:
        raise VolumeNotFound(volume_id)
    return Volume(*rows[0])


def _attached_to(connection: Connection, volume_id: str, but: str = "") -> str | None:
    """Return a server that a volume is attached to, in whatever state.

    :param but: a server that is ignored.
    """
    rows = connection.query(_attached, {"volume_id": volume_id, "server_id": but})
    return rows[0][0] if rows else None
