"""Images in LUKS format."""

import subprocess
from pathlib import Path

_ATTEMPTS = 20
# qemu-img measures how fast it hashes, by a clock that may not have advanced yet.
_NOT_MEASURED = "Unable to get accurate CPU usage"


def create(path: Path, passphrase: str, size: str) -> None:
    """Make an image, of so many plain bytes."""
    key = ("--object", f"secret,id=key,data={passphrase}", "-o", "key-secret=key,iter-time=10")
    command = ["qemu-img", "create", "-q", "-f", "luks", *key, path, size]
    for _ in range(_ATTEMPTS):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode == 0:
            return
        assert _NOT_MEASURED in done.stderr, done.stderr
    raise AssertionError(f"{_NOT_MEASURED}, {_ATTEMPTS} times")
