"""``os-volume-ext``, but an attach of the project demo hangs in the directory backend while a file is locked.

The file is the first argument; the others are the command's.
"""

import fcntl
import sys
from pathlib import Path

from os_volume_ext.backends.base import Server, Volume
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.cli.main import main

attach = DirectoryBackend.attach
lock_path = Path(sys.argv.pop(1))


def hang(backend: DirectoryBackend, server: Server, volume: Volume, device: str | None) -> str:
    """Attach when that can be done."""
    if server.project_id == "demo":
        with lock_path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
    return attach(backend, server, volume, device)


if __name__ == "__main__":
    DirectoryBackend.attach = hang  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
