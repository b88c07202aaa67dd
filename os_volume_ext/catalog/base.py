"""What a catalog is: a class named by an entry point of the group ``os_volume_ext.catalogs``."""

import abc
from collections.abc import Mapping
from typing import ClassVar

from ..context import RequestContext
from ..errors import CatalogUnavailable, ConfigurationError, VolumeAttached, VolumeNotFound
from ..models import Volume
from ..registry.database import Database

__all__ = [
    "CatalogUnavailable",
    "ConfigurationError",
    "RequestContext",
    "Volume",
    "VolumeAttached",
    "VolumeCatalog",
    "VolumeNotFound",
]


class VolumeCatalog(abc.ABC):
    """Knows the volumes. One object serves many threads; nothing that can't cross a fork is made in ``__init__``.

    ``can_delete`` says whether ``delete`` is there; if not, nobody may ask for ``delete_on_termination``.
    """

    can_delete: ClassVar[bool] = False

    @abc.abstractmethod
    def __init__(self, options: Mapping[str, str], database: Database) -> None:
        """Read the options.

        :param options: the ``catalog.*`` options of the filter's section, without that prefix.
        :param database: the filter's own, for a catalog that keeps its volumes there.
        :raises ConfigurationError: if an option is missing, unknown or wrong.
        """

    @abc.abstractmethod
    def volume(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume. Whether it is of the server's project is checked by who asks.

        :raises VolumeNotFound: if there is none.
        :raises CatalogUnavailable: if the catalog can't tell.
        """

    def delete(self, *, volume_id: str, server_id: str | None = None) -> None:
        """Delete a volume, for its ``delete_on_termination``. Optional: see ``can_delete``.

        :param server_id: of the server that is gone, attached to which the volume may still be known.
        :raises VolumeNotFound: if there is none, which who asks takes for done.
        :raises VolumeAttached: if it is attached to another server.
        :raises CatalogUnavailable: if it can't be deleted now; it is tried again.
        """
        raise NotImplementedError
