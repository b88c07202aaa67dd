"""A backend whose servers are folders, and whose attached volumes are empty files in them."""

import re
from pathlib import Path

from os_volume_ext.backends.base import AttachRefused, Backend, BackendUnavailable, ConfigurationError, ServerNotFound

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")


class MarksBackend(Backend):
    """Marks what is attached."""

    def __init__(self, options):
        if options.keys() - {"operation_timeout"} != {"root"}:
            raise ConfigurationError(f"backend.root is the one option, not {', '.join(options)}")
        self.root = Path(options["root"])

    def attach(self, server, volume, device):
        mark = self.mark(server, volume)
        if device and not mark.exists():
            raise AttachRefused("a device can't be asked for here")
        mark.touch()
        return ""  # it can't say the device

    def detach(self, server, volume, device):
        self.mark(server, volume).unlink(missing_ok=True)

    def attached(self, server):
        return {mark.name: "" for mark in self.folder(server).iterdir()}

    def check(self):
        if not self.root.is_dir():
            raise BackendUnavailable(f"{self.root} is not a folder")

    def mark(self, server, volume):
        if not NAME.fullmatch(volume.id):
            raise AttachRefused(f"{volume.id!r} can't be the id of a volume here")
        return self.folder(server) / volume.id

    def folder(self, server):
        self.check()  # a root that is missing is not a server that is missing
        if not NAME.fullmatch(server.id) or not (self.root / server.id).is_dir():
            raise ServerNotFound(f"there is no server {server.id!r}")
        return self.root / server.id
