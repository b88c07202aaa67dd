"""A row that is being examined."""

from typing import NamedTuple

from ...catalog.base import VolumeCatalog
from ...errors import VolumeNotFound
from ...models import Attachment, Server, Volume
from ..executor import Slot


class Case(NamedTuple):
    """A row that is being examined."""

    slot: Slot
    row: Attachment
    server: Server | None
    """As the compute API has it (None: it is gone), or as the row has it without one."""
    dry_run: bool

    @property
    def known_server(self) -> Server:
        """The server as it is, or as it was when the volume was attached."""
        return self.server or self.row.server

    def find_volume(self, catalog: VolumeCatalog) -> Volume | None:
        """Return the volume as the catalog has it now; None if it is gone or another one (docs/protocol.rst, R22).

        :raises CatalogUnavailable: if the catalog fails.
        """
        row = self.row
        try:
            volume = self.slot.volume(catalog, row.volume_id)
        except VolumeNotFound:
            return None
        is_same = volume.project_id == row.project_id and volume.multiattach != row.exclusive
        return volume if is_same else None
