"""The interface of a catalog. A plugin author needs this module only.

A catalog is a class that an entry point of the group ``os_volume_ext.catalogs`` names. An operator selects it by the
entry point's name (``catalog = NAME`` in the filter's section) and configures it with ``catalog.*`` options.
"""

import abc
from collections.abc import Mapping

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
    """Look up volumes, and delete them if ``can_delete`` is true.

    **Threads and processes.** One object serves all threads of a process, and each process has its own object: every
    method is called from several threads and processes at once. Connections, threads and locks do not survive a fork:
    open them on first use, not in ``__init__``.

    **Time limit.** Requests wait for ``volume`` without a time limit of their own: an implementation that calls
    another service must limit the time of that call, and raise CatalogUnavailable when it is exceeded.

    **Values and exceptions.** ``volume`` and ``recheck`` return a Volume of the requested id with a string as its
    ``project_id``. Methods raise the exceptions that they document. Any other value or exception counts as
    CatalogUnavailable, for which the API responds 503, and an error in the log names the catalog's class.
    """

    can_delete: bool = False
    """Whether ``delete`` is implemented. If it is not, requests for ``delete_on_termination`` are refused."""

    @abc.abstractmethod
    def __init__(self, options: Mapping[str, str], database: Database) -> None:
        """Read the options.

        :param options: the ``catalog.*`` options of the filter's section, without that prefix.
        :param database: the database of the filter's registry, for a catalog that keeps its volumes there.
        :raises ConfigurationError: if an option is missing, unknown or invalid; the message names the option.
        """

    @abc.abstractmethod
    def volume(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume, of whatever project: the caller compares its ``project_id`` with the server's.

        :param context: the caller of the API, whose credentials the catalog may use.
        :param volume_id: the requested id, which is client input.
        :returns: the volume.
        :raises VolumeNotFound: if there is no such volume, or the caller may not see it.
        :raises CatalogUnavailable: if the catalog can't be reached.
        :raises RegistryUnavailable: likewise, if the catalog keeps its volumes in the registry's database.
        """

    def recheck(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume again, after its attachment was reserved in the registry and before it is attached.

        A concurrent deletion must not succeed after this has returned: if the catalog's deletions look for
        attachments in the registry, this waits for those that looked before the reservation. The default is another
        call of ``volume``, for catalogs whose volumes are deleted elsewhere.

        :param context: as for ``volume``.
        :param volume_id: as for ``volume``.
        :returns: the volume as it is now.
        :raises VolumeNotFound: as ``volume`` does.
        :raises CatalogUnavailable: as ``volume`` does.
        :raises RegistryUnavailable: as ``volume`` does.
        """
        return self.volume(context, volume_id)

    def delete(self, *, volume_id: str, server_id: str | None = None, project_id: str | None = None) -> None:
        """Delete a volume whose ``delete_on_termination`` is set, after its server was deleted.

        Called only if ``can_delete`` is true. It is called again after CatalogUnavailable or a crash.

        :param volume_id: the volume.
        :param server_id: the deleted server, to which the volume may still be attached in the registry; None if an
            attachment to any server prevents the deletion.
        :param project_id: the project that the volume belonged to when it was attached; the volume of another project
            is another volume, and counts as not found. None for any.
        :raises VolumeNotFound: if there is no such volume; the caller treats this as success.
        :raises VolumeAttached: if the volume is attached to another server.
        :raises CatalogUnavailable: if the volume can't be deleted now.
        """
        raise NotImplementedError
