"""The embedded default backend: volumes are files, servers are directories, attached volumes are symbolic links.

Below ``backend.root``, which must be on a local file system:

- ``volumes/<volume id>`` is a volume: a file that the backend created, or a link to the volume's source;
- ``servers/<server id>/`` is a server; whatever creates and deletes servers creates and removes it;
- ``servers/<server id>/vdb -> ../../volumes/<volume id>`` is an attached volume, at ``/dev/vdb``.

A call locks the server's directory, and then ``volumes``: shared to change links of the server, exclusive to change a
volume. So a volume does not change its source while a server has it. While a call waits for the lock of ``volumes``, it
holds an exclusive lock of ``servers``.

The backend keeps no other state. Directories that it creates are for the user of the compute API only: another user who
can read a server's directory could hold its lock.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..base import (
    AttachRefused,
    Backend,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    Server,
    ServerNotFound,
    Volume,
)
from .directories import directory_locked, durable, lock, sync
from .disks import SAFE_NAME, choose_device, devices_of, disks_of, file_name, has_volume
from .volumes import check_source, is_as_described, make_file, make_link

LOG = logging.getLogger(__name__)


class DirectoryBackend(Backend):
    """Attach volumes to servers by links in a directory; needs nothing installed."""

    def __init__(self, options: Mapping[str, str]) -> None:
        """Read the options; nothing is created.

        :param options: ``root``, an absolute path; ``operation_timeout``, half of which a call waits for locks at most.
        :raises ConfigurationError: if an option is missing, unknown or invalid, or the root can't be used.
        """
        for name in sorted(set(options) - {"root", "operation_timeout"}):
            raise ConfigurationError(
                f"backend.{name} is unknown: the only option of the directory backend is backend.root"
            )
        self._root = _absolute(options.get("root", ""))
        self._volumes = self._root / "volumes"
        self._servers = self._root / "servers"
        # The other half is for the call's own work, which must not take effect after operation_timeout.
        self._lock_timeout = float(options.get("operation_timeout", 60)) / 2
        self._is_prepared = False
        self._check_root()

    def prepare(self) -> None:
        """Create the directories that are missing.

        :raises ConfigurationError: if they can't be created or written; the message names the option.
        """
        try:
            for directory in (self._root, self._volumes, self._servers):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync(self._root)
        except OSError as error:
            raise ConfigurationError(f"backend.root must be a writable directory: {error}") from error
        self._is_prepared = True
        self._check_root()

    def attach(self, server: Server, volume: Volume, device: str | None) -> str:
        """Link the volume into the server's directory; see :meth:`Backend.attach`."""
        _refuse_unsafe("server", server.id)
        _refuse_unsafe("volume", volume.id)
        deadline = self._deadline()
        with self._locked(server, deadline) as directory:
            disks = disks_of(directory)
            if present := devices_of(volume, disks):
                with durable(directory):
                    return present[0]
            chosen = choose_device(disks, device)
            with self._provided(volume, deadline), durable(directory):
                os.symlink(f"../../volumes/{volume.id}", file_name(chosen), dir_fd=directory)
            return chosen

    def detach(self, server: Server, volume: Volume, device: str | None) -> None:
        """Remove every link to the volume from the server's directory; see :meth:`Backend.detach`."""
        deadline = self._deadline()
        with self._locked(server, deadline) as directory:
            present = devices_of(volume, disks_of(directory))
            with self._volumes_locked(fcntl.LOCK_SH, deadline), durable(directory):
                for each in present:
                    os.unlink(file_name(each), dir_fd=directory)

    def attached(self, server: Server) -> Mapping[str, str]:
        """Read the links in the server's directory; see :meth:`Backend.attached`."""
        # The lock keeps a reader from seeing a change that is not durable yet.
        with self._locked(server, self._deadline()) as directory:
            return {volume_id: device for device, volume_id in disks_of(directory).items() if volume_id}

    def check(self) -> None:
        """Check that the directories can be read and written, or that ``prepare`` can create them.

        Once they were prepared, they have to exist: one that is missing then is on a file system that is not mounted.

        :raises BackendUnavailable: if that is not so; the message names the directory.
        """
        for missing in self._missing_directories():
            LOG.info("%s does not exist; it is created at start-up", missing)

    def _check_root(self) -> None:
        try:
            self._missing_directories()
        except BackendUnavailable as error:
            raise ConfigurationError(f"backend.root must be a writable directory: {error}") from error

    def _missing_directories(self) -> list[Path]:
        """Return the directories that ``prepare`` can and has to create.

        :raises BackendUnavailable: as ``check`` does.
        """
        missing = []
        for directory in (self._volumes, self._servers):
            found = directory if self._is_prepared else _nearest_existing(directory)
            prefix = "" if found == directory else f"{directory} can't be created: "
            if not found.is_dir():
                raise BackendUnavailable(f"{prefix}{found} is not a directory")
            if not os.access(found, os.R_OK | os.W_OK | os.X_OK):
                raise BackendUnavailable(f"{prefix}{found} can't be read and written")
            if found != directory:
                missing.append(directory)
        return missing

    def _deadline(self) -> float:
        return time.monotonic() + self._lock_timeout

    @contextmanager
    def _locked(self, server: Server, deadline: float) -> Iterator[int]:
        """Lock the server's directory, and provide a file descriptor of it."""
        if not SAFE_NAME.fullmatch(server.id):
            raise _no_such_server(server)
        path = self._servers / server.id
        try:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                lock(directory, fcntl.LOCK_EX, deadline, f"the directory of server {server.id} is locked")
                if not os.path.samestat(os.fstat(directory), path.lstat()):
                    raise BackendUnavailable(f"the directory of server {server.id} was replaced")
                yield directory
            finally:
                # Closing alone would not unlock: a process forked meanwhile has the descriptor too.
                fcntl.flock(directory, fcntl.LOCK_UN)
                os.close(directory)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._missing(server) from error
        except OSError as error:
            raise BackendUnavailable(f"the directory of server {server.id} can't be used: {error.strerror}") from error

    def _missing(self, server: Server) -> BackendError:
        # A root that is not mounted must not look like deleted servers.
        if not self._servers.is_dir():
            return BackendUnavailable("the directory of all servers is missing")
        path = self._servers / server.id
        try:
            path.lstat()
        except FileNotFoundError:
            LOG.warning("server %r has no directory %s", server.id, path)
            return _no_such_server(server)
        except OSError as error:
            return BackendUnavailable(f"the directory of server {server.id} can't be used: {error.strerror}")
        # A link, a file, or a directory whose links something else removes: the server may well exist.
        LOG.warning("%s of server %r is not a directory, or was changed meanwhile", path, server.id)
        return BackendUnavailable(f"the directory of server {server.id} is not a directory, or was changed meanwhile")

    @contextmanager
    def _provided(self, volume: Volume, deadline: float) -> Iterator[None]:
        """Create ``volumes/<volume id>`` as the catalog describes it, and keep it so during the block."""
        if volume.format not in (None, "raw"):
            raise AttachRefused(f"Volume {volume.id} has the format {volume.format!r}; it must be raw.")
        if volume.connection is not None and volume.source is None:
            kind = volume.connection.get("driver_volume_type")
            raise AttachRefused(f"Volume {volume.id} is reached by {kind}; the directory backend needs a file.")
        check_source(volume)
        with self._volumes_locked(fcntl.LOCK_SH, deadline):
            if self._provide(volume, may_change=False):
                yield
                return
        with self._volumes_locked(fcntl.LOCK_EX, deadline):
            self._provide(volume, may_change=True)
            yield

    @contextmanager
    def _volumes_locked(self, operation: int, deadline: float) -> Iterator[None]:
        """Lock the directory of all volumes: LOCK_SH to change a server's links, LOCK_EX to change a volume."""
        with ExitStack() as stack:
            # Only one call at a time waits for the lock of volumes. Otherwise calls that share it one after the other
            # would keep out a call that needs it alone.
            with directory_locked(self._servers, fcntl.LOCK_EX, deadline):
                stack.enter_context(directory_locked(self._volumes, operation, deadline))
            yield

    def _provide(self, volume: Volume, *, may_change: bool) -> bool:
        """Make the volume's file durable as the catalog describes it; return False if it would have to be changed."""
        path = self._volumes / volume.id
        try:
            if not is_as_described(path, volume):
                if not may_change:
                    return False
                self._change(path, volume)
            sync(self._volumes)
        except OSError as error:
            raise BackendUnavailable(f"the file of volume {volume.id} can't be created: {error.strerror}") from error
        return True

    def _change(self, path: Path, volume: Volume) -> None:
        if volume.source is None:
            make_file(path, volume)
            return
        if path.is_symlink() and self._is_attached(volume):
            raise AttachRefused(
                f"The source of volume {volume.id} changed while a server has the volume; detach it from all servers."
            )
        make_link(path, volume, volume.source)

    def _is_attached(self, volume: Volume) -> bool:
        """Return whether any server has a volume."""
        for path in self._servers.iterdir():
            if not SAFE_NAME.fullmatch(path.name):
                continue
            # FileNotFoundError is also that of a link in a directory that is being removed with its server.
            with suppress(FileNotFoundError, NotADirectoryError):
                if has_volume(path, volume):
                    return True
        return False


def _absolute(root: str) -> Path:
    if not root:
        raise ConfigurationError("backend.root is required: the absolute path of the directory for volumes and servers")
    if "\0" in root:
        raise ConfigurationError(f"backend.root is {root!r}: a path has no NUL character")
    if not Path(root).is_absolute():
        raise ConfigurationError(
            f"backend.root is {root!r}: it must be an absolute path; "
            "%(here)s stands for the directory of the configuration file"
        )
    return Path(root)


def _nearest_existing(path: Path) -> Path:
    """Return the path, or the nearest of its parents that exists."""
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _refuse_unsafe(what: str, name: str) -> None:
    if not SAFE_NAME.fullmatch(name):
        raise AttachRefused(f"The {what} id {name!r} can't be used: it must match {SAFE_NAME.pattern}.")


def _no_such_server(server: Server) -> ServerNotFound:
    return ServerNotFound(f"there is no server {server.id!r}")
