"""A catalog whose volumes are in a JSON file."""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path

from os_volume_ext.catalog.base import (
    CatalogUnavailable,
    ConfigurationError,
    Volume,
    VolumeAttached,
    VolumeCatalog,
    VolumeNotFound,
)

LOCK_TIMEOUT = 2  # seconds to wait for another process that changes the file


class InventoryCatalog(VolumeCatalog):
    """Read volumes from a file, and delete them from it."""

    can_delete = True

    def __init__(self, options, database):
        if options.keys() != {"path"}:
            raise ConfigurationError(
                f"catalog.path is required and the only option, but the options are {sorted(options)}"
            )
        self.path = Path(options["path"])
        if not self.path.is_absolute():
            raise ConfigurationError(f"catalog.path is {options['path']!r}: it must be an absolute path")

    def volume(self, context, volume_id):
        entry = find(self.read(), volume_id)
        return Volume(volume_id, entry["project"], entry["source"], entry["format"], entry["multiattach"])

    def delete(self, *, volume_id, server_id=None, project_id=None):
        with self.locked():
            entries = self.read()
            entry = find(entries, volume_id)
            if project_id not in (None, entry["project"]):
                raise VolumeNotFound(volume_id)  # another volume, which has got the id since
            if set(entry["servers"]) - {server_id}:
                raise VolumeAttached(f"Volume {volume_id} is attached to another server.")
            del entries[volume_id]
            self.write(entries)

    def check(self):
        self.read()

    def read(self):
        try:
            return json.loads(self.path.read_text())
        except (OSError, ValueError) as error:  # must not look like an inventory without volumes
            raise CatalogUnavailable(f"catalog.path: {self.path} can't be read: {error}") from error

    def write(self, entries):
        """Replace the file as a whole: others read the former one or the new one, also after a crash."""
        new = self.path.with_suffix(".new")
        try:
            with new.open("w") as file:
                json.dump(entries, file, indent=4)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise CatalogUnavailable(f"catalog.path: {self.path} can't be written: {error}") from error

    @contextlib.contextmanager
    def locked(self):
        """Keep out other threads and processes that change the file."""
        deadline = time.monotonic() + LOCK_TIMEOUT
        with self.opened_lock() as file:
            while not try_lock(file):
                if time.monotonic() > deadline:
                    raise CatalogUnavailable(f"{file.name} is locked for more than {LOCK_TIMEOUT} seconds")
                time.sleep(0.01)
            yield

    def opened_lock(self):
        try:
            return self.path.with_suffix(".lock").open("w")
        except OSError as error:
            raise CatalogUnavailable(f"catalog.path: the lock beside {self.path} can't be opened: {error}") from error


def find(entries, volume_id):
    """Return the entry of a volume."""
    if volume_id not in entries:
        raise VolumeNotFound(volume_id)
    return entries[volume_id]


def try_lock(file):
    """Return whether the lock was acquired."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
