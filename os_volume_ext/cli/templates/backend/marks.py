"""A backend whose servers are directories, and whose attached volumes are empty files in them."""

import fcntl
import os
import re
import time
from contextlib import contextmanager
from pathlib import Path

from os_volume_ext.backends.base import (
    AttachRefused,
    Backend,
    BackendUnavailable,
    ConfigurationError,
    OutcomeUnknown,
    ServerNotFound,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")


class MarksBackend(Backend):
    """Mark each attached volume by a file of its id. A guest that uses its disks locks its directory."""

    def __init__(self, options):
        if unknown := options.keys() - {"root", "operation_timeout"}:
            raise ConfigurationError(f"backend.{min(unknown)} is unknown: the only option is backend.root")
        self.root = Path(options.get("root", ""))
        if not self.root.is_absolute():
            raise ConfigurationError("backend.root is required: the absolute path of the servers' directories")
        self.timeout = int(options["operation_timeout"])

    def attach(self, server, volume, device):
        mark = self.mark(server, volume)
        if device is not None and not mark.exists():
            raise AttachRefused("This backend does not support a requested device; omit it.")
        if volume.source is not None or volume.format is not None:
            raise AttachRefused("This backend does not support a source or a format; remove it from the catalog.")
        mark.touch()
        # No return value: this backend does not know the device.

    def detach(self, server, volume, device):
        mark = self.mark(server, volume)
        if not mark.exists():
            return
        with self.released(server):
            mark.unlink(missing_ok=True)

    def attached(self, server):
        names = [each.name for each in self.directory(server).iterdir()]
        return {name: None for name in names if NAME.fullmatch(name)}

    def check(self):
        if not self.root.is_dir():
            raise BackendUnavailable(f"{self.root} is not a directory")

    @contextmanager
    def released(self, server):
        """Wait until no guest uses the disks of a server, but for half of the time limit at most."""
        deadline = time.monotonic() + self.timeout / 2
        descriptor = os.open(self.directory(server), os.O_RDONLY)
        try:
            while not self.lock(descriptor):
                if time.monotonic() > deadline:
                    raise OutcomeUnknown(f"the guest of server {server.id} did not release the disk in time")
                time.sleep(0.01)
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough if the process has forked meanwhile
            os.close(descriptor)

    def lock(self, descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def mark(self, server, volume):
        if not NAME.fullmatch(volume.id):
            raise AttachRefused(f"The volume id {volume.id!r} must match {NAME.pattern}.")
        return self.directory(server) / volume.id

    def directory(self, server):
        self.check()  # a missing root must not look like a deleted server
        if not NAME.fullmatch(server.id) or not (self.root / server.id).is_dir():
            raise ServerNotFound(f"there is no server {server.id!r}")
        return self.root / server.id
