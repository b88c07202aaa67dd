"""What a backend is: the one file that a plugin's author reads.

A backend is a class named by an entry point of the group ``os_volume_ext.backends``. An operator
chooses it by that name (``backend = NAME`` in the filter's section) and gives it options
(``backend.anything = ...``). ``os_volume_ext.testing.BackendContract`` holds what is said here as
tests: inherit it, supply its fixtures, run pytest.
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
    """Attaches volumes to servers and detaches them.

    One object serves many threads, and several processes each have their own; all methods are
    called from several at once. Nothing that can't cross a fork (connections, threads) may be made
    in ``__init__``: make it on first use.

    Each call ends, done or given up with OutcomeUnknown, within ``operation_timeout`` seconds, which
    is among the options. Nothing of it may take effect later. Ids, sources and devices come from people:
    whatever they are, only BackendErrors are raised; any other exception counts as OutcomeUnknown.
    """

    needs_host: bool = False
    """Whether ``host`` and ``instance_name`` of servers must be known, also where callers don't see them.

    They come from the operator's ``compute.*`` then. It may depend on the options.
    """

    @abc.abstractmethod
    def __init__(self, options: Mapping[str, str]) -> None:
        """Read the options.

        :param options: the ``backend.*`` options of the filter's section, without that prefix, and
            ``operation_timeout`` in seconds.
        :raises ConfigurationError: if one of them is missing, unknown or wrong.
        """

    @abc.abstractmethod
    def attach(self, server: Server, volume: Volume, device: str | None) -> str:
        """Attach a volume; when this returns, the server has the disk.

        Attached there already means success, whatever device was asked for. Where the device asked for, the
        volume's format or its being attached to several servers is more than the backend can do: AttachRefused.

        :param device: such as ``/dev/vdb``; None leaves the choice to the backend.
        :return: the device that the disk really has, "" if the backend can't say.
        :raises BackendUnavailable, ServerNotFound, DeviceInUse, TooManyAttachments, AttachRefused:
            for certain, nothing happened.
        :raises OutcomeUnknown: it may have happened.
        """

    @abc.abstractmethod
    def detach(self, server: Server, volume: Volume, device: str) -> None:
        """Detach a volume; when this returns, the server does not have the disk.

        Not attached there (any more) means success. The volume may be gone from the catalog.

        :param device: what ``attach`` returned, "" if that is not known.
        :raises BackendUnavailable, ServerNotFound, AttachRefused: for certain, nothing happened.
        :raises OutcomeUnknown: it may have happened.
        """

    @abc.abstractmethod
    def attached(self, server: Server) -> Mapping[str, str]:
        """Say which volumes the server really has now, or will have when it starts again.

        :return: the device of each by the volume's id; "" if the backend can't say.
        :raises BackendUnavailable: if there is no telling. A backend out of reach must not look like servers gone.
        :raises ServerNotFound: if there is no such server.
        """

    @abc.abstractmethod
    def check(self) -> None:
        """See whether the backend could work now.

        :raises BackendUnavailable: with the reason, if not.
        """
