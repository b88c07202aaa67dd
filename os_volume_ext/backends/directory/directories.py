"""Locks of directories, and changes of them that survive a power failure."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..base import BackendUnavailable, OutcomeUnknown

# The kernel reports these before it changes a directory. After any other error, EIO above all, the change may have
# been made.
_UNCHANGED_ERRNOS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.ENOENT,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
}


@contextmanager
def directory_locked(path: Path, operation: int, deadline: float) -> Iterator[None]:
    """Lock the directory of all volumes or of all servers.

    :raises BackendUnavailable: if it can't be opened, or is still locked at the deadline.
    """
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise BackendUnavailable(f"the directory of all {path.name} can't be used: {error.strerror}") from error
    try:
        lock(directory, operation, deadline, f"the directory of all {path.name} is locked")
        yield
    finally:
        # Closing alone would not unlock: a process forked meanwhile has the descriptor too.
        fcntl.flock(directory, fcntl.LOCK_UN)
        os.close(directory)


def lock(directory: int, operation: int, deadline: float, message: str) -> None:
    """Lock a directory.

    :param message: of the exception.
    :raises BackendUnavailable: if it is still locked at the deadline.
    """
    while True:
        try:
            return fcntl.flock(directory, operation | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise BackendUnavailable(message) from error
            time.sleep(0.005)


@contextmanager
def durable(directory: int) -> Iterator[None]:
    """Make a change of a server's directory survive a power failure.

    It syncs even if there was nothing to change: an earlier call may have failed between the change and the sync.

    :raises OSError: if nothing has changed.
    :raises OutcomeUnknown: if the directory may have changed.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _UNCHANGED_ERRNOS:
            raise
        raise OutcomeUnknown(f"changing a server's directory failed: {error.strerror}") from error
    try:
        os.fsync(directory)
    except OSError as error:
        raise OutcomeUnknown(f"a change of a server's directory may not be durable: {error.strerror}") from error


def sync(path: Path) -> None:
    """Make the names in a directory survive a power failure."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
