"""Ceph's commands: locks of objects, the clients that have an image open, and the blocklist.

The commands are used, because Ceph's Python modules can't be installed into a virtualenv.
"""

import json
import re
import shutil
import subprocess
import time
from typing import Any

from ..base import BackendUnavailable, ConfigurationError

PROGRAMS = ("rados", "rbd", "ceph")
ADDRESS = re.compile(r"[0-9A-Fa-f.:\[\]]{1,45}:[0-9]{1,5}/[0-9]{1,10}")
"""A client, such as ``192.0.2.5:0/3141592``: each disk of a running guest is one of its own. ``192.0.2.5:0/0`` stands
for all clients of a host."""
BLOCKLIST_SECONDS = 365 * 24 * 3600
"""How long a client stays on the blocklist. Ceph's default is an hour, and a guest can be paused for longer."""


class Ceph:
    """Runs the commands as one user of Ceph's."""

    def __init__(self, pool: str, user: str, ceph_conf: str | None) -> None:
        """Find the commands; nothing is connected.

        :param pool: the one with the objects that are locked.
        :param user: without ``client.``.
        :param ceph_conf: the path of this machine's ``ceph.conf``; None for Ceph's default.
        :raises ConfigurationError: if a command is missing.
        """
        self._paths = {name: _find(name) for name in PROGRAMS}
        self._pool = pool
        self._user = [*(["--conf", ceph_conf] if ceph_conf else []), "--id", user]

    def lock(self, deadline: float, action: str, name: str, *arguments: str) -> str:
        """Run ``rados lock`` on an object of the pool, and return what it printed.

        :param deadline: of ``time.monotonic``, in seconds.
        :param action: such as ``get``.
        :param name: the object's.
        :raises BackendUnavailable: if it fails; the message has what it printed.
        """
        return self._run(deadline, f"rados lock {action}", name, *arguments, f"--pool={self._pool}")

    def watchers(self, deadline: float, image: str) -> frozenset[str]:
        """Return the addresses of the clients that have an image open.

        :param image: ``pool/image`` or ``pool/namespace/image``.
        :raises BackendUnavailable: if that is not known.
        """
        found = self._read(deadline, "rbd status", image)
        return _addresses("rbd status", found.get("watchers") if isinstance(found, dict) else None)

    def writers(self, deadline: float, image: str) -> frozenset[str]:
        """Return the address of the client that wrote to an image last, though it may not have it open any more.

        It is known if the image has the feature ``exclusive-lock``. The rest is as for ``watchers``.
        """
        return _addresses("rbd lock ls", self._read(deadline, "rbd lock ls", image))

    def blocklist(self, deadline: float, address: str) -> None:
        """Let Ceph refuse all that a client sends, for ``BLOCKLIST_SECONDS``.

        :param address: matches ``ADDRESS``.
        :raises BackendUnavailable: if it fails; the message has what it printed.
        """
        self._run(deadline, "ceph osd blocklist add", address, str(BLOCKLIST_SECONDS))

    def _read(self, deadline: float, what: str, image: str) -> Any:
        *path, name = image.split("/")
        options = [f"--{what}={each}" for what, each in zip(("pool", "namespace"), path, strict=False)]
        printed = self._run(deadline, what, *options, f"--image={name}", "--format=json")
        try:
            return json.loads(printed)
        except ValueError as error:
            raise BackendUnavailable(f"{what} printed an unexpected format: {error!r}") from error

    def _run(self, deadline: float, what: str, *arguments: str) -> str:
        program, *action = what.split()
        left = max(deadline - time.monotonic(), 0.1)
        # The command ends by itself, with a reason, before it is killed.
        limit = max(1, int(left * 0.8))
        names = ["connect-timeout"] if program == "ceph" else ["client-mount-timeout", "rados-osd-op-timeout"]
        command = [self._paths[program], *self._user, *(f"--{name}={limit}" for name in names), *action, *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - no shell, and no argument begins with what is not configured
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=left
            )
        except subprocess.TimeoutExpired:
            raise BackendUnavailable(f"{what} did not end within {left:.1f} seconds") from None
        except OSError as error:
            raise BackendUnavailable(f"{what} could not be started: {error.strerror}") from error
        if done.returncode != 0:
            raise BackendUnavailable(f"{what} failed: {done.stderr.strip()[-500:]}")
        return done.stdout


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ConfigurationError(f"backend.fence requires the command {program}: install the package ceph-common")
    return path


def _addresses(what: str, found: Any) -> frozenset[str]:
    try:
        addresses = frozenset(each["address"] for each in found)
        if all(ADDRESS.fullmatch(each) for each in addresses):
            return addresses
    except (KeyError, TypeError):
        pass
    raise BackendUnavailable(f"{what} printed an unexpected format: {found!r:.300}")
