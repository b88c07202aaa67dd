"""The interface of a backend. A plugin author needs this module and ``os_volume_ext.testing`` only.

A backend is a class that an entry point of the group ``os_volume_ext.backends`` names. An operator selects it by the
entry point's name (``backend = NAME`` in the filter's section) and configures it with ``backend.*`` options.
``os_volume_ext.testing.BackendContract`` tests what this module requires.
"""

import abc
import re
from collections.abc import Mapping, Sequence

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
    "DEVICE",
    "MAX_DEVICE_LENGTH",
    "PASSPHRASE",
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
    "check_device",
]

DEVICE = re.compile(r"/dev/[a-z]+[0-9]*")
"""What a requested device matches."""
MAX_DEVICE_LENGTH = 255
"""The characters that a device may have."""
PASSPHRASE = "encryption_passphrase"  # noqa: S105 - the name of one
"""The member of ``Volume.connection`` with the passphrase of a volume whose ``encrypted`` is true, in LUKS format."""


class Backend(abc.ABC):
    """Attach volumes to servers and detach them.

    **Threads and processes.** One object serves all threads of a process, and each process has its own object: every
    method is called from several threads and processes at once, in whichever thread is idle. A process that stops in
    the middle of a call must not hold up the calls of others beyond their time limit, and a server that does not
    respond must not hold up the calls for other servers.

    **Forks.** Connections, threads, locks and descriptors do not survive a fork: open them on first use, not in
    ``__init__``. A process may also fork after it has used the object, while no call is in progress: from then on the
    parent and the child both use theirs, and the child must not use what the parent opened.

    **Resources.** A call leaves no descriptor and no thread behind, whether it returns or raises, except connections
    that later calls use again.

    **Time limit.** Each call, ``check`` included, returns or raises within ``operation_timeout`` seconds, and that
    includes waiting for locks. A call that runs out of time before it has changed anything raises BackendUnavailable,
    any other OutcomeUnknown. Nothing that it started may take effect afterwards, with one exception: a guest may still
    release a disk that it was asked to release.

    **Exceptions.** Methods raise subclasses of BackendError only, for whatever ids, sources, formats and devices they
    are given: these are client input. Any other exception counts as OutcomeUnknown. Each exception has a message.
    After an exception that says "nothing has changed", the device and the place are free for the next volume.

    **Ids.** A server or a volume is found by its whole id, never by a part of it, and ids that differ in case are
    different ids. An id has up to 36 characters, such as a UUID.

    **Devices.** A device is a path such as ``/dev/vdb``, at most 255 characters. A device that is not known is None,
    never an empty string. A requested device that does not match ``/dev/[a-z]+[0-9]*`` or is longer is malformed.

    **Volumes and other disks.** A disk is a volume if it carries a volume's id, whoever attached it: a root disk that
    is a volume, and a disk that an administrator attached, count as any other. Any other disk, such as a local root
    disk or a CD-ROM, is not a volume: no method reports, changes or detaches it, but its device is in use.
    """

    needs_host: bool = False
    """Whether the backend needs ``Server.host`` and ``Server.instance_name``, which most callers may not see.

    If it is true, the filter needs the ``compute.*`` options, to look them up. ``__init__`` may set it from the
    options. A backend that needs them and gets None raises BackendUnavailable; one that does not need them works with
    None.
    """

    refuses_second_server: bool = False
    """Whether ``attach`` refuses an exclusive volume, one without ``multiattach``, that another server has.

    The filter's database keeps an exclusive volume to one server, so a backend need not check that. One that sets this
    does: whichever process asks, and however many at once, at most one server has the volume, and attach to another
    raises AttachRefused. ``__init__`` may set it from the options.
    """

    decrypts: bool = False
    """Whether the backend gives a server the plain data of a volume that is encrypted in the format LUKS.

    The backend ``cinder`` refuses encrypted volumes unless the backend that it wraps sets this: the server would
    overwrite what is encrypted.
    """

    @abc.abstractmethod
    def __init__(self, options: Mapping[str, str]) -> None:
        """Read the options; open and create nothing.

        :param options: the ``backend.*`` options of the filter's section, without that prefix, which must not be
            changed. ``operation_timeout`` is always among them: the time limit in seconds, the decimal digits of an
            integer of 1 or more.
        :raises ConfigurationError: if an option is missing, unknown or invalid; the message names the option.
        """

    def prepare(self) -> None:  # noqa: B027 - most backends have nothing to create
        """Create what the backend needs on this machine, such as directories; by default, do nothing.

        The API and the commands that use a backend call it when they start, before a fork, as long as the registry has
        no attachments; ``os-volume-ext check``, which changes nothing, does not. It is called again at each start, and
        by several processes at once. Once it was called, objects on which it is not called work too.

        :raises ConfigurationError: if something can't be created; the message names the option.
        """

    @abc.abstractmethod
    def attach(self, server: Server, volume: Volume, device: str | None) -> str | None:
        """Attach a volume. When this returns, the server has the disk.

        If the volume is attached to the server already, do nothing and return its device, whatever device was
        requested. That includes a disk which the guest was asked to release and has not released: it is attached until
        it is gone.

        A server that does not run may get the disk when it is next started, or AttachRefused; it is not missing.

        :param server: the server.
        :param volume: the volume.
        :param device: the requested device, such as ``/dev/vdb``; None if the backend chooses.
        :returns: the device of the disk; None if the backend does not know it.
        :raises BackendUnavailable: if the backend can't be reached; nothing has changed.
        :raises ServerNotFound: if the backend has no such server; nothing has changed.
        :raises DeviceInUse: if another disk has the requested device; nothing has changed.
        :raises TooManyAttachments: if the server can't take another disk; nothing has changed. Its ``limit`` is how
            many volumes this server can have: where that differs by server, the number that it has now.
        :raises AttachRefused: if the requested device is malformed or not supported, or if the backend does not support
            the volume's id, source or format, or multiattach; nothing has changed. Clients read the message, which
            must not contain the source.
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
        :raises AttachRefused: if the server can't release the disk in its present state, such as while it is suspended:
            a caller can change that; nothing has changed.
        :raises OutcomeUnknown: if the disk may have been detached, or the guest may yet release it.
        """

    def forget(self, server: Server, volume: Volume) -> None:  # noqa: B027 - most backends keep nothing of a server
        """Free a volume of a server that is gone or has no machine; by default, do nothing.

        Called after ``detach`` raised ServerNotFound, and the compute API confirmed it. A backend that reserves volumes
        for servers somewhere else, such as in Cinder, frees the volume there.

        :param server: the server, as it was when the volume was attached if the compute API no longer has it.
        :param volume: the volume, which may be gone from the catalog.
        :raises BackendUnavailable: if the backend can't be reached; nothing has changed.
        :raises OutcomeUnknown: if the volume may have been freed.
        """

    def incomplete(self, server: Server) -> Mapping[str, str]:
        """Return what calls that ended in the middle have left of a server, for ``reconcile`` to name.

        A volume that ``attached`` does not report, though a part of what ``attach`` does was done for it. The next
        ``attach`` completes it, and ``detach`` undoes it. By default there is none.

        :param server: the server.
        :returns: a description for the operator by the volume's id.
        :raises BackendUnavailable: if the backend can't be reached.
        :raises ServerNotFound: if the backend has no such server.
        """
        return {}

    def disk_size(self, server: Server, volume: Volume) -> int | None:
        """Return how large the disk of a volume is for the server that has it.

        ``reconcile`` compares it with the catalog's size and calls ``resize`` if it is less. By default it is not
        known, and no disk is resized.

        :param server: the server.
        :param volume: the volume.
        :returns: bytes, 1 or more; None if the size is not known, the server does not run, so that it sees the volume's
            size when it starts, or it does not have the volume.
        :raises BackendUnavailable: if the backend can't be reached.
        :raises ServerNotFound: if the backend has no such server.
        """
        return None

    def resize(self, server: Server, volume: Volume) -> None:  # noqa: B027 - needless where disk_size returns None
        """Make the disk of a volume that was extended as large as the volume; by default, do nothing.

        Never make a disk smaller: if it has the volume's ``size`` or more, do nothing. Do nothing either if
        ``disk_size`` returns None. No other call attaches or detaches the volume meanwhile.

        :param server: the server.
        :param volume: the volume, with the ``size`` that the storage has already; its ``connection`` is None.
        :raises BackendUnavailable: if the backend can't be reached; nothing has changed.
        :raises ServerNotFound: if the backend has no such server; nothing has changed.
        :raises AttachRefused: if the disk can't be resized; nothing has changed.
        :raises OutcomeUnknown: if the disk may have been resized.
        """

    def find_clients(self, server: Server, volume: Volume) -> Sequence[str]:
        """Return the clients of the storage through which a server can write to a volume, and change nothing.

        Called when the server's host is lost: ``attached`` has raised BackendUnavailable, the host may be switched off,
        have no network, or hang, and may go on later. A backend whose storage can refuse such clients implements this
        and ``cut_off``; by default, both are refused.

        :param server: the server, as it was when the volume was attached if the compute API no longer has it.
        :param volume: the volume, whose ``source`` and ``format`` may be None.
        :returns: one string for each client, which an operator reads; not more than are known, so there may be none.
        :raises AttachRefused: if servers can't be cut off from this volume; the message names the reason.
        :raises BackendUnavailable: if the storage can't be reached.
        """
        raise AttachRefused(
            f"This backend can't cut a lost server off from its volumes. If server {server.id} runs on another host by "
            "now, or its host responds again, detach the volume or use attachment remove."
        )

    def cut_off(self, server: Server, volume: Volume, clients: Sequence[str]) -> None:
        """Cut a server whose host is lost off from a volume. When this returns, the volume is free for another server.

        From then on nothing that the server writes reaches the volume, also if its host goes on later; it may not
        become aware of that until then. If the server is cut off already, do the same again.

        :param server: as for ``find_clients``.
        :param volume: as for ``find_clients``.
        :param clients: those to cut off, which an operator has confirmed: the ones that ``find_clients`` has returned,
            and others that only the operator knows.
        :raises AttachRefused: if ``find_clients`` would return others by now, if there is none or one is malformed, and
            as ``find_clients`` does; nothing has changed.
        :raises BackendUnavailable: if the storage can't be reached; nothing has changed.
        :raises OutcomeUnknown: if clients may have been cut off.
        """
        self.find_clients(server, volume)
        raise AttachRefused(f"This backend finds the clients of volume {volume.id}, but it can't cut them off.")

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

        ``os-volume-ext check`` calls it, on an object on which ``prepare`` may not have been called.

        :raises BackendUnavailable: if it could not; the message names the reason.
        """


def check_device(device: str | None) -> None:
    """Check that a requested device is not malformed; a backend may support fewer.

    :param device: as for :meth:`Backend.attach`.
    :raises AttachRefused: if it is.
    """
    if device is not None and (len(device) > MAX_DEVICE_LENGTH or not DEVICE.fullmatch(device)):
        raise AttachRefused(
            f"The device {device!r} can't be used: "
            f"it must match {DEVICE.pattern} and have at most {MAX_DEVICE_LENGTH} characters."
        )
