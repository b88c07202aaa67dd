"""A catalog in the registry's database, for installations without a block-storage service.

``os-volume-ext volume create`` fills it. Deleting a volume removes its row; the data stays where it is.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, exists, insert, select
from sqlalchemy.exc import IntegrityError

from ..context import RequestContext
from ..errors import ConfigurationError, RegistryUnavailable, VolumeExists
from ..models import Volume
from ..registry.database import Database, retry_on_deadlock
from ..registry.tables import attachments, utc_now, volumes
from .base import CatalogUnavailable, VolumeAttached, VolumeCatalog, VolumeNotFound

_columns = (volumes.c.id, volumes.c.project_id, volumes.c.source, volumes.c.format, volumes.c.multiattach)
_one = select(*_columns).where(volumes.c.id == bindparam("volume_id"))
_insert = insert(volumes).values(created_at=utc_now())
_delete_detached = delete(volumes).where(
    volumes.c.id == bindparam("volume_id"),
    ~exists().where(attachments.c.volume_id == volumes.c.id, attachments.c.server_id != bindparam("server_id")),
)


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
        :raises CatalogUnavailable: if the database fails.
        """
        try:
            return self.get(volume_id)
        except RegistryUnavailable as error:
            raise CatalogUnavailable(str(error)) from error

    def get(self, volume_id: str) -> Volume:
        """Return a volume.

        :raises VolumeNotFound: if there is none.
        :raises RegistryUnavailable: if the database fails.
        """
        with self._database.autocommit() as connection:
            row = connection.execute(_one, {"volume_id": volume_id}).first()
        if row is None:
            raise VolumeNotFound(volume_id)
        return Volume(*row)

    def list_volumes(self, project_id: str | None = None) -> Sequence[Volume]:
        """Return all volumes, or those of a project, oldest first."""
        statement = select(*_columns).order_by(volumes.c.created_at, volumes.c.id)
        if project_id is not None:
            statement = statement.where(volumes.c.project_id == project_id)
        with self._database.autocommit() as connection:
            return [Volume(*row) for row in connection.execute(statement)]

    @retry_on_deadlock
    def create(self, volume: Volume) -> None:
        """Add a volume.

        :raises VolumeExists: if there is one of that id.
        """
        values = {column.name: getattr(volume, column.name) for column in _columns}
        try:
            with self._database.autocommit() as connection:
                connection.execute(_insert, values)
        except IntegrityError as error:
            raise VolumeExists(f"Volume {volume.id} exists already.") from error

    @retry_on_deadlock
    def delete(self, *, volume_id: str, server_id: str | None = None) -> None:
        """Remove a volume.

        :param server_id: a server whose attachment of the volume is ignored.
        :raises VolumeNotFound: if there is none.
        :raises VolumeAttached: if it has another attachment, in whatever state.
        """
        with self._database.autocommit() as connection:
            if connection.execute(_delete_detached, {"volume_id": volume_id, "server_id": server_id or ""}).rowcount:
                return
        self.get(volume_id)
        raise VolumeAttached(f"Volume {volume_id} is attached. Detach it first.")
