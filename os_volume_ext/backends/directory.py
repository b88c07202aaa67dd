"""The embedded default backend: volumes are files, servers are folders, and attaching makes a link.

Below its root:

- ``volumes/<volume id>`` is a volume: a file of the backend's own, or a link to the volume's source;
- ``servers/<server id>/`` is a server, made and removed by whoever makes and removes servers;
- ``servers/<server id>/vdb -> ../../volumes/<volume id>`` is an attached volume, at ``/dev/vdb``.

The links are the whole truth: nothing is remembered elsewhere. The root is on a local file system.
"""

import errno
import fcntl
import os
import re
import string
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from .base import (
    AttachRefused,
    Backend,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    DeviceInUse,
    OutcomeUnknown,
    Server,
    ServerNotFound,
    TooManyAttachments,
    Volume,
)

DEVICES = tuple(f"/dev/vd{letter}" for letter in string.ascii_lowercase[1:])
"""The devices that the backend chooses from, in this order; a server takes as many volumes, wherever they are."""

# No leading dot: neither "." nor ".." nor a hidden file of our own.
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_DEVICE = re.compile(r"/dev/[a-z]+[0-9]*")
_LONGEST_DEVICE = 255

# What the kernel says before it changes a folder. Others, EIO above all, may come after the change was made.
_NOTHING_HAPPENED = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.ENOENT,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
}


class DirectoryBackend(Backend):
    """Attaches volumes to servers by links in a directory; needs nothing installed."""

    def __init__(self, options: Mapping[str, str]) -> None:
        """Read the options and make the folders.

        :param options: ``root``, an absolute path; ``operation_timeout``, seconds that a server's lock is waited for.
        :raises ConfigurationError: if an option is missing, unknown or wrong, or the root can't be written to.
        """
        for name in sorted(set(options) - {"root", "operation_timeout"}):
            raise ConfigurationError(f"backend.{name} is unknown: the directory backend has the option backend.root")
        root = _absolute(options.get("root", ""))
        self._volumes = root / "volumes"
        self._servers = root / "servers"
        self._patience = float(options.get("operation_timeout", 60))
        try:
            self._volumes.mkdir(parents=True, exist_ok=True)
            self._servers.mkdir(parents=True, exist_ok=True)
            _sync(root)
            self.check()
        except (OSError, ValueError, BackendUnavailable) as error:
            raise ConfigurationError(f"backend.root must be a folder that can be written to: {error}") from error

    def attach(self, server: Server, volume: Volume, device: str | None) -> str:
        """Link the volume into the server's folder; see :meth:`Backend.attach`."""
        _refuse_unsafe("server", server.id)
        _refuse_unsafe("volume", volume.id)
        with self._locked(server) as folder:
            disks = _disks(folder)
            present = _devices_of(volume, disks)
            chosen = present[0] if present else _choose(disks, device)
            if not present:
                self._provide(volume)
            with _lasting(folder):
                if not present:
                    os.symlink(f"../../volumes/{volume.id}", _file_name(chosen), dir_fd=folder)
            return chosen

    def detach(self, server: Server, volume: Volume, device: str) -> None:
        """Remove the volume's link from the server's folder, wherever it is; see :meth:`Backend.detach`."""
        with self._locked(server) as folder:
            present = _devices_of(volume, _disks(folder))
            with _lasting(folder):
                for each in present:
                    os.unlink(_file_name(each), dir_fd=folder)

    def attached(self, server: Server) -> Mapping[str, str]:
        """Read the links in the server's folder; see :meth:`Backend.attached`."""
        # Locked too: what is half done is not shown.
        with self._locked(server) as folder:
            return {volume_id: device for device, volume_id in _disks(folder).items() if volume_id}

    def check(self) -> None:
        """See whether the folders are there and can be written to.

        :raises BackendUnavailable: with the reason, if not.
        """
        for folder in (self._volumes, self._servers):
            if not folder.is_dir():
                raise BackendUnavailable(f"{folder} is not a folder")
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise BackendUnavailable(f"{folder} can't be read and written")

    @contextmanager
    def _locked(self, server: Server) -> Iterator[int]:
        """Give a descriptor of the server's folder, which no one else has locked meanwhile."""
        if not _SAFE_NAME.fullmatch(server.id):
            raise _no_such_server(server)
        path = self._servers / server.id
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                self._lock(folder, server)
                if not os.path.samestat(os.fstat(folder), path.stat()):
                    raise _no_such_server(server)  # removed while we waited, and another made
                yield folder
            finally:
                # Closing alone would not unlock: a process forked meanwhile has the descriptor too.
                fcntl.flock(folder, fcntl.LOCK_UN)
                os.close(folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._missing(server) from error
        except OSError as error:
            raise BackendUnavailable(f"the folder of server {server.id} can't be used: {error.strerror}") from error

    def _lock(self, folder: int, server: Server) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                # Who waited longer would act when others may have taken over.
                if time.monotonic() >= deadline:
                    raise BackendUnavailable(f"the folder of server {server.id} is locked") from error
                time.sleep(0.005)

    def _missing(self, server: Server) -> BackendError:
        # A root that is not mounted must not look like servers that were deleted.
        if not self._servers.is_dir():
            return BackendUnavailable("the folder of all servers is missing")
        return _no_such_server(server)

    def _provide(self, volume: Volume) -> None:
        """Make ``volumes/<volume id>`` what the catalog says; nothing is attached by that yet."""
        if volume.format not in (None, "raw"):
            raise AttachRefused(f"volume {volume.id} has the format {volume.format}, only raw can be attached")
        path = self._volumes / volume.id
        try:
            if volume.source is None:
                _make_file(path, volume)
            else:
                _make_link(path, volume, volume.source)
            _sync(self._volumes)
        except OSError as error:
            raise BackendUnavailable(f"the file of volume {volume.id} can't be made: {error.strerror}") from error


def _absolute(root: str) -> Path:
    if not root:
        raise ConfigurationError("backend.root is required: the absolute path of the folder for volumes and servers")
    if not Path(root).is_absolute():
        raise ConfigurationError(
            f"backend.root must be an absolute path, not {root!r}: %(here)s is the folder of the configuration file"
        )
    return Path(root)


def _refuse_unsafe(what: str, name: str) -> None:
    if not _SAFE_NAME.fullmatch(name):
        raise AttachRefused(f"{name!r} can't be the id of a {what} here")


def _no_such_server(server: Server) -> ServerNotFound:
    return ServerNotFound(f"there is no server {server.id}")


def _file_name(device: str) -> str:
    return device.removeprefix("/dev/")


def _disks(folder: int) -> dict[str, str]:
    """Say which volume is at each device of a server; "" for something there that is none of ours."""
    names = (name for name in sorted(os.listdir(folder)) if _DEVICE.fullmatch(f"/dev/{name}"))
    return {f"/dev/{name}": _linked_volume(folder, name) for name in names}


def _linked_volume(folder: int, name: str) -> str:
    try:
        parent, _, volume_id = os.readlink(name, dir_fd=folder).rpartition("/")
    except OSError as error:
        if error.errno == errno.EINVAL:  # not a link
            return ""
        raise
    return volume_id if parent == "../../volumes" and _SAFE_NAME.fullmatch(volume_id) else ""


def _devices_of(volume: Volume, disks: Mapping[str, str]) -> list[str]:
    # More than one only where somebody made links by hand.
    return [device for device, volume_id in disks.items() if volume_id == volume.id]


def _choose(disks: Mapping[str, str], device: str | None) -> str:
    """Say where the next disk goes.

    :raises AttachRefused, DeviceInUse, TooManyAttachments: as ``attach`` does.
    """
    if device is not None and (len(device) > _LONGEST_DEVICE or not _DEVICE.fullmatch(device)):
        raise AttachRefused(f"{device!r} can't be a device, /dev/vdb can")
    if device in disks:
        raise DeviceInUse(f"{device} is in use")
    if len(disks) >= len(DEVICES):
        raise TooManyAttachments(len(DEVICES))
    # Fewer are in use than there are to choose from, so one of these is free.
    return device or next(each for each in DEVICES if each not in disks)


def _make_file(path: Path, volume: Volume) -> None:
    if path.is_symlink():
        raise AttachRefused(f"volume {volume.id} had a source before and has none now")
    with suppress(FileExistsError):
        path.touch(0o600, exist_ok=False)


def _make_link(path: Path, volume: Volume, source: str) -> None:
    # Who attaches gets to read the reason, so it does not tell paths of this machine.
    if not Path(source).is_absolute():
        raise AttachRefused(f"the source of volume {volume.id} is not an absolute path")
    if not Path(source).exists():
        raise AttachRefused(f"the source of volume {volume.id} does not exist")
    if path.exists() and not path.is_symlink():
        raise AttachRefused(f"volume {volume.id} had no source before and has one now")
    # Renamed into place, since a link to the source that the catalog named before may be there.
    new = path.with_name(f".{uuid.uuid4().hex}")
    new.symlink_to(source)
    new.replace(path)


@contextmanager
def _lasting(folder: int) -> Iterator[None]:
    """Make a change of a server's folder survive a power cut.

    Also where there is nothing to change: who made the change before may not have come this far.

    :raises OSError: for certain, nothing happened.
    :raises OutcomeUnknown: it may have happened.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NOTHING_HAPPENED:
            raise
        raise OutcomeUnknown(f"a change of a server's folder failed: {error.strerror}") from error
    try:
        os.fsync(folder)
    except OSError as error:
        raise OutcomeUnknown(f"a change of a server's folder may not last: {error.strerror}") from error


def _sync(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
