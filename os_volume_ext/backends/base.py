"""The interface of a backend. A plugin author needs this module and ``os_volume_ext.testing`` only.

A backend is a class that an entry point of the group ``os_volume_ext.backends`` names. An operator selects it by the
entry point's name (``backend = NAME`` in the filter's section) and configures it with ``backend.*`` options.
``os_volume_ext.testing.BackendContract`` tests what this module requires.
"""

import abc
from collections.abc import Mapping

from ..errors import (
    AttachRefused,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    DeviceInUse,
    OutcomeUnknown,
    ServerNotFound,
    TooManyAttachments,
)
from ..models import Server, Volume

__all__ = [
    "AttachRefused",
    "Backend",
    "BackendError",
    "BackendUnavailable",
    "ConfigurationError",
    "DeviceInUse",
    "OutcomeUnknown",
    "Server",
    "ServerNotFound",
    "TooManyAttachments",
    "Volume",
]


class Backend(abc.ABC):
    """Attach volumes to servers and detach them.

    **Threads and processes.** One object serves all threads of a process, and each process has its own object: every
    method is called from several threads and processes at once, in whichever thread is idle. Connections, threads and
    locks do not survive a fork: open them on first use, not in ``__init__``.

    **Time limit.** Each call returns or raises within ``operation_timeout`` seconds, an option that every backend
    gets. A call that runs out of time raises OutcomeUnknown. Nothing that it started may take effect afterwards.

    **Exceptions.** Methods raise subclasses of BackendError only, for whatever ids, sources and devices they are
    given: these are client input. Any other exception counts as OutcomeUnknown.

    **Devices.** A device is a path such as ``/dev/vdb``, at most 255 characters. A device that is not known is None,
    never an empty string.
    """

    needs_host: bool = False
    """Whether the backend needs ``Server.host`` and ``Server.instance_name``, which most callers may not see.

    If it is true, the filter needs the ``compute.*`` options, to look them up. ``__init__`` may set it from the
    options.
    """

    @abc.abstractmethod
    def __init__(self, options: Mapping[str, str]) -> None:
        """Read the options.

        :param options: the ``backend.*`` options of the filter's section, without that prefix, and
            ``operation_timeout`` in seconds.
        :raises ConfigurationError: if an option is missing, unknown or invalid; the message names the option.
        """

    def prepare(self) -> None:  # noqa: B027 - most backends have nothing to create
        """Create what the backend needs on this machine, such as directories; by default, do nothing.

        The API and the commands that use a backend call it when they start, before a fork, as long as the registry has
        no attachments; ``os-volume-ext check``, which changes nothing, does not. It is called again at each start, and
        by several processes at once.

        :raises ConfigurationError: if something can't be created; the message names the option.
        """

    @abc.abstractmethod
    def attach(self, server: Server, volume: Volume, device: str | None) -> str | None:
        """Attach a volume. When this returns, the server has the disk.

        If the volume is attached to the server already, do nothing and return its device, whatever device was
        requested.

        :param server: the server.
        :param volume: the volume.
        :param device: the requested device, such as ``/dev/vdb``; None if the backend chooses.
        :returns: the device of the disk; None if the backend does not know it.
        :raises BackendUnavailable: if the backend can't be reached; nothing has changed.
        :raises ServerNotFound: if the backend has no such server; nothing has changed.
        :raises DeviceInUse: if another disk has the requested device; nothing has changed.
        :raises TooManyAttachments: if the server can't take another disk; nothing has changed.
        :raises AttachRefused: if the backend does not support the requested device, the volume's source or format,
            or multiattach; nothing has changed.
        :raises OutcomeUnknown: if the disk may have been attached.
        """

    @abc.abstractmethod
    def detach(self, server: Server, volume: Volume, device: str | None) -> None:
        """Detach a volume. When this returns, the server does not have the disk.

        If the volume is not attached to the server, do nothing. Find the disk by the volume's id, not by the device.
        The volume may be gone from the catalog, and its ``source`` and ``format`` may be None.

        :param server: the server, as it was when the volume was attached if the compute API no longer has it.
        :param volume: the volume.
        :param device: what ``attach`` returned; None if it is not known.
        :raises BackendUnavailable: if the backend can't be reached; nothing has changed.
        :raises ServerNotFound: if the backend has no such server; nothing has changed.
        :raises AttachRefused: if the server can't release the disk, such as in its present state; nothing has changed.
        :raises OutcomeUnknown: if the disk may have been detached, or may yet be.
        """

    @abc.abstractmethod
    def attached(self, server: Server) -> Mapping[str, str | None]:
        """Return the volumes that the server has now, or will have when it is next started.

        Inspect the server; do not answer from memory.

        :param server: the server.
        :returns: the device of each volume by the volume's id; None for a device that the backend does not know.
        :raises BackendUnavailable: if the backend can't be reached. It must not raise ServerNotFound then.
        :raises ServerNotFound: if the backend has no such server.
        """

    @abc.abstractmethod
    def check(self) -> None:
        """Check that the backend could work now, and change nothing.

        :raises BackendUnavailable: if it could not; the message names the reason.
        """
