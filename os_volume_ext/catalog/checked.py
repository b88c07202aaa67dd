"""A catalog whose values and exceptions are checked (docs/protocol.rst, R23)."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from ..context import RequestContext
from ..errors import CatalogUnavailable, RegistryUnavailable, VolumeAttached, VolumeNotFound
from ..models import Volume, is_size
from .base import VolumeCatalog

LOG = logging.getLogger(__name__)

T = TypeVar("T")

# The documented exceptions.
_OF_LOOK_UPS = (CatalogUnavailable, RegistryUnavailable, VolumeNotFound)
_OF_DELETIONS = (CatalogUnavailable, VolumeAttached, VolumeNotFound)
_OF_CHECKS = (CatalogUnavailable, RegistryUnavailable)
_STRING_OR_NONE = (str, type(None))  # to make str | None for each volume would take longer than all its checks


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
        found = self._call("volume", _OF_LOOK_UPS, lambda: self._catalog.volume(context, volume_id))
        return self._check("volume", volume_id, found)

    def recheck(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume again; see :meth:`VolumeCatalog.recheck`."""
        found = self._call("recheck", _OF_LOOK_UPS, lambda: self._catalog.recheck(context, volume_id))
        return self._check("recheck", volume_id, found)

    def delete(self, *, volume_id: str, server_id: str | None = None, project_id: str | None = None) -> None:
        """Delete a volume; see :meth:`VolumeCatalog.delete`."""
        self._call(
            "delete",
            _OF_DELETIONS,
            lambda: self._catalog.delete(volume_id=volume_id, server_id=server_id, project_id=project_id),
        )

    def check(self) -> None:
        """Check the catalog; see :meth:`VolumeCatalog.check`."""
        self._call("check", _OF_CHECKS, self._catalog.check)

    def _call(self, method: str, documented: tuple[type[Exception], ...], call: Callable[[], T]) -> T:
        try:
            return call()
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
        and isinstance(volume.source, _STRING_OR_NONE)
        and isinstance(volume.format, _STRING_OR_NONE)
        and isinstance(volume.multiattach, bool)  # any string is true, and would give several servers the disk
        and is_size(volume.size)
    )
