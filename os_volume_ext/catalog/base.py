"""The interface of a catalog. A plugin author needs this module and ``os_volume_ext.testing`` only.

A catalog is a class that an entry point of the group ``os_volume_ext.catalogs`` names. An operator selects it by the
entry point's name (``catalog = NAME`` in the filter's section) and configures it with ``catalog.*`` options.
``os_volume_ext.testing.CatalogContract`` tests what this module requires.
"""

import abc
import uuid
from collections.abc import Mapping
from contextlib import suppress

from ..context import RequestContext, operator_context
from ..errors import CatalogUnavailable, ConfigurationError, RegistryUnavailable, VolumeAttached, VolumeNotFound
from ..models import Volume
from ..registry.database import Database

__all__ = [
    "TIME_LIMIT",
    "CatalogUnavailable",
    "ConfigurationError",
    "Database",
    "RegistryUnavailable",
    "RequestContext",
    "Volume",
    "VolumeAttached",
    "VolumeCatalog",
    "VolumeNotFound",
]

TIME_LIMIT = 12
"""The seconds within which each call of a catalog returns or raises."""


class VolumeCatalog(abc.ABC):
    """Look up volumes, and delete them if ``can_delete`` is true.

    **Threads and processes.** One object serves all threads of a process, and each process has its own object: every
    method is called from several threads and processes at once, in whichever thread is idle.

    **Forks.** Connections, threads, locks and descriptors do not survive a fork: open them on first use, not in
    ``__init__``. A process may also fork after it has used the object, while no call is in progress: the child must not
    use what the parent opened.

    **Resources.** A call leaves no descriptor and no thread behind, whether it returns or raises, except connections
    that later calls use again.

    **Time limit.** Each call, ``check`` included, returns or raises within ``TIME_LIMIT`` seconds. Requests wait for it
    without a time limit of their own. A catalog that was unavailable is used again as soon as it is available, by the
    same object.

    **Ids.** A volume id is client input. It is compared as a whole and exactly; an id that no volume can have is not
    found, whatever characters it has.

    **Values.** ``volume`` and ``recheck`` return what the catalog has now, not what it had earlier: a Volume of the
    requested id, with a string as its ``project_id``, a string or None as its ``source`` and ``format``, a boolean as
    its ``multiattach``, and an integer of 1 or more or None as its ``size``. As long as the volume does not change they
    return equal values: an attach is refused if they differ in anything but the size.

    **Sizes.** The size is one that the storage has already, never more and never less: the disk of an attached volume
    is resized to it. While a volume is being extended, its size is None.

    **Exceptions.** Methods raise the exceptions that they document. Any other exception or value counts as
    CatalogUnavailable, for which the API responds 503, and an error in the log names the catalog's class. The message
    of CatalogUnavailable is for the operator. A catalog that can't be reached must not raise VolumeNotFound. If it
    keeps its volumes in the registry's database, it may raise RegistryUnavailable in place of CatalogUnavailable: the
    request then sends nothing more to that database.
    """

    can_delete: bool = False
    """Whether ``delete`` is implemented. If it is not, requests for ``delete_on_termination`` are refused.

    ``__init__`` may set it from the options.
    """

    @abc.abstractmethod
    def __init__(self, options: Mapping[str, str], database: Database) -> None:
        """Read the options. Connect to nothing: a catalog can be made while it can't be reached.

        :param options: the ``catalog.*`` options of the filter's section, without that prefix.
        :param database: the database of the filter's registry, for a catalog that keeps its volumes there.
        :raises ConfigurationError: if an option is missing, unknown or invalid; the message names the option.
        """

    @abc.abstractmethod
    def volume(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume, of whatever project: the caller compares its ``project_id`` with the server's.

        :param context: the caller of the API, whose credentials the catalog may use. Those of commands and of
            reconcile are empty: then the catalog uses its own, and finds the volumes of every project.
        :param volume_id: the requested id.
        :returns: the volume.
        :raises VolumeNotFound: if there is no such volume, or the caller may not see it.
        :raises CatalogUnavailable: if the catalog can't be reached, or does not respond in time.
        """

    def recheck(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume again, after its attachment was reserved in the registry and before it is attached.

        A concurrent deletion must not succeed after this has returned: if the catalog's deletions look for
        attachments, this waits for those that looked before the reservation. The default is another call of
        ``volume``, for catalogs whose volumes are deleted elsewhere.

        :param context: as for ``volume``.
        :param volume_id: as for ``volume``.
        :returns: the volume as it is now.
        :raises VolumeNotFound: as ``volume`` does.
        :raises CatalogUnavailable: as ``volume`` does.
        """
        return self.volume(context, volume_id)

    def delete(self, *, volume_id: str, server_id: str | None = None, project_id: str | None = None) -> None:
        """Delete a volume whose ``delete_on_termination`` is set, after its server was deleted.

        Called only if ``can_delete`` is true. When this returns, the volume is not found any more. After
        CatalogUnavailable or a crash it is called again.

        :param volume_id: the volume.
        :param server_id: the deleted server, to which the volume may still be attached; None if an attachment to any
            server prevents the deletion.
        :param project_id: the project that the volume belonged to when it was attached; the volume of another project
            is another volume, and counts as not found. None for any.
        :raises VolumeNotFound: if there is no such volume; the caller treats this as success.
        :raises VolumeAttached: if the catalog knows that the volume is attached to another server; nothing was
            deleted.
        :raises CatalogUnavailable: if the volume can't be deleted now, or whether it was deleted is not known.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Check that the catalog could work now, and change nothing.

        ``os-volume-ext check`` calls it, also before the filter has first started. The default looks up a volume that
        does not exist, with the operator's context, and expects VolumeNotFound. Override it if ``volume`` rejects a
        UUID without a look at the storage, or if more than look-ups has to work.

        :raises CatalogUnavailable: if it could not; the message names the reason.
        """
        with suppress(VolumeNotFound):
            self.volume(operator_context(), str(uuid.uuid4()))
