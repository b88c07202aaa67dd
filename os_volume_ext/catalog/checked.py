"""A catalog whose values and exceptions are checked (docs/protocol.rst, R23)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..context import RequestContext
from ..errors import CatalogUnavailable, RegistryUnavailable, VolumeAttached, VolumeNotFound
from ..models import Volume
from .base import VolumeCatalog

LOG = logging.getLogger(__name__)


class CheckedCatalog(VolumeCatalog):
    """Calls another catalog. A value or an exception that its interface does not allow is CatalogUnavailable."""

    def __init__(self, catalog: VolumeCatalog) -> None:
        """Take a ready catalog.

        :param catalog: the catalog to check.
        """
        self._catalog = catalog
        plugin = type(catalog)
        self._name = f"{plugin.__module__}.{plugin.__qualname__}"
        self.can_delete = catalog.can_delete

    def volume(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume; see :meth:`VolumeCatalog.volume`."""
        with self._translated("volume", CatalogUnavailable, RegistryUnavailable, VolumeNotFound):
            found = self._catalog.volume(context, volume_id)
        return self._check("volume", volume_id, found)

    def recheck(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume again; see :meth:`VolumeCatalog.recheck`."""
        with self._translated("recheck", CatalogUnavailable, RegistryUnavailable, VolumeNotFound):
            found = self._catalog.recheck(context, volume_id)
        return self._check("recheck", volume_id, found)

    def delete(self, *, volume_id: str, server_id: str | None = None, project_id: str | None = None) -> None:
        """Delete a volume; see :meth:`VolumeCatalog.delete`."""
        with self._translated("delete", CatalogUnavailable, VolumeAttached, VolumeNotFound):
            self._catalog.delete(volume_id=volume_id, server_id=server_id, project_id=project_id)

    @contextmanager
    def _translated(self, method: str, *documented: type[Exception]) -> Iterator[None]:
        try:
            yield
        except documented:
            raise
        except RegistryUnavailable as error:  # of the database that the catalog was given, not a mistake of the plugin
            raise CatalogUnavailable(str(error)) from error
        except Exception as error:
            LOG.exception("catalog %s.%s raised an unexpected exception", self._name, method)
            raise CatalogUnavailable("the catalog failed") from error

    def _check(self, method: str, volume_id: str, found: Any) -> Volume:
        if isinstance(found, Volume) and found.id == volume_id and _has_valid_types(found):
            return found
        LOG.error("catalog %s.%s returned an invalid value for volume %s: %.300r", self._name, method, volume_id, found)
        raise CatalogUnavailable("the catalog returned an invalid value")


def _has_valid_types(volume: Volume) -> bool:
    return (
        isinstance(volume.project_id, str)
        and isinstance(volume.source, str | None)
        and isinstance(volume.format, str | None)
        and isinstance(volume.multiattach, bool)  # any string is true, and would give several servers the disk
    )
