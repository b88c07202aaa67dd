"""A backend whose servers are directories, and whose attached volumes are empty files in them."""

import re
from pathlib import Path

from os_volume_ext.backends.base import AttachRefused, Backend, BackendUnavailable, ConfigurationError, ServerNotFound

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")


class MarksBackend(Backend):
    """Mark each attached volume by a file of its id."""

    def __init__(self, options):
        if options.keys() - {"operation_timeout"} != {"root"}:
            raise ConfigurationError(
                f"backend.root is required and the only option, but the options are {sorted(options)}"
            )
        self.root = Path(options["root"])

    def attach(self, server, volume, device):
        mark = self.mark(server, volume)
        if device and not mark.exists():
            raise AttachRefused("This backend does not support a requested device; omit it.")
        mark.touch()
        # No return value: this backend does not know the device.

    def detach(self, server, volume, device):
        self.mark(server, volume).unlink(missing_ok=True)

    def attached(self, server):
        return {mark.name: None for mark in self.directory(server).iterdir()}

    def check(self):
        if not self.root.is_dir():
            raise BackendUnavailable(f"{self.root} is not a directory")

    def mark(self, server, volume):
        if not NAME.fullmatch(volume.id):
            raise AttachRefused(f"The volume id {volume.id!r} must match {NAME.pattern}.")
        return self.directory(server) / volume.id

    def directory(self, server):
        self.check()  # a missing root must not look like a deleted server
        if not NAME.fullmatch(server.id) or not (self.root / server.id).is_dir():
            raise ServerNotFound(f"there is no server {server.id!r}")
        return self.root / server.id
