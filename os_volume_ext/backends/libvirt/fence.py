"""Fences: records in the storage of which server a volume is for, so that no other server gets it.

Ceph itself lets any number of machines write to one image. A fence is an advisory lock on an object in a pool. It is
made before the disk is attached and removed after the domain no longer has the disk. It belongs to no connection: it
stays when the process that made it ends. Any volume can be fenced, wherever its data is.

The command ``rados`` is used, because Ceph's Python module can't be installed into a virtualenv.
"""

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..base import (
    AttachRefused,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    OutcomeUnknown,
    Server,
    Volume,
)
from .disks import check_id

COMMAND = "rados"
LOCK = "os-volume-ext"
_NO_OBJECT = "rados_lock_get_lock_info(): (2)"
_NO_LOCKER = "failed breaking lock: (2)"
_BUSY = "failed locking: (16)"


class Fence:
    """No fences: only the filter's database keeps a volume to one server."""

    is_exclusive = False
    """Whether one server at most can have a volume."""

    @contextmanager
    def held(self, server: Server, volume: Volume) -> Iterator[None]:
        """Fence a volume for a server during the block, and afterwards unless the block changed nothing.

        :param server: the server that is to have the volume, which may be fenced for it already.
        :param volume: the volume; one with ``multiattach`` is not fenced.
        :raises AttachRefused: if it is fenced for another server; nothing has changed.
        :raises BackendUnavailable: if the storage can't be reached; nothing has changed.
        :raises OutcomeUnknown: if the volume may have been fenced, or the fence may be left.
        """
        yield

    def clear(self, server: Server, volume: Volume) -> None:
        """Remove the fences of a volume for a server; those for another server stay.

        :param server: it does not have the volume any more.
        :raises BackendUnavailable: if the storage can't be reached, or not all of them could be removed.
        """

    def check(self) -> None:
        """Check that volumes could be fenced.

        :raises BackendUnavailable: if they could not.
        """


@dataclass(frozen=True, slots=True)
class _Holder:
    """For whom a volume is fenced."""

    server_id: str
    lockers: list[tuple[str, str]]
    """The name of Ceph's client and the cookie of each fence."""


class RadosFence(Fence):
    """Fences in a pool of Ceph's.

    A fence is a shared lock. Its tag is the server, and Ceph refuses a lock with another tag. Its cookie is made anew
    for each call, so that a call which fails removes no fence but its own.
    """

    is_exclusive = True

    def __init__(self, pool: str, user: str, ceph_conf: str | None, timeout: float) -> None:
        """Find the command; nothing is connected.

        :param pool: where the objects are made. They are empty, and stay.
        :param user: Ceph's client, without ``client.``; it needs the capabilities ``rwx`` in the pool.
        :param ceph_conf: the path of this machine's ``ceph.conf``; None for Ceph's default.
        :param timeout: seconds to fence a volume, and to remove fences.
        :raises ConfigurationError: if the command is missing.
        """
        program = shutil.which(COMMAND)
        if program is None:
            raise ConfigurationError(f"backend.fence requires the command {COMMAND}: install the package ceph-common")
        conf = ["--conf", ceph_conf] if ceph_conf else []
        self._command = [program, *conf, "--id", user, "--pool", pool]
        self._timeout = timeout

    @contextmanager
    def held(self, server: Server, volume: Volume) -> Iterator[None]:
        """Fence a volume; see :meth:`Fence.held`."""
        if volume.multiattach:
            yield
            return
        cookie = self._acquire(server, volume)
        try:
            yield
        except OutcomeUnknown:
            raise
        except BackendError as error:
            self._release(volume, cookie, error)
            raise

    def clear(self, server: Server, volume: Volume) -> None:
        """Remove the fences for a server; see :meth:`Fence.clear`."""
        if volume.multiattach:
            return
        try:
            check_id(volume.id)
        except AttachRefused:  # so it was never fenced
            return
        deadline = time.monotonic() + self._timeout
        holder = self._holder(volume.id, deadline)
        if holder and holder.server_id == server.id:
            self._break(volume.id, holder.lockers, deadline)

    def check(self) -> None:
        """Look for a fence that does not exist; see :meth:`Fence.check`."""
        self._holder("check", time.monotonic() + self._timeout)

    def _acquire(self, server: Server, volume: Volume) -> str:
        """Fence a volume and return the cookie."""
        check_id(volume.id)
        deadline = time.monotonic() + self._timeout
        self._check_holder(server, volume, deadline)  # which fails if Ceph does not respond, before anything changes
        cookie = str(uuid.uuid4())
        about = {"server": server.id, "project": server.project_id, "host": server.host}
        options = {"type": "shared", "tag": server.id, "cookie": cookie, "description": json.dumps(about)}
        arguments = [f"--lock-{name}={value}" for name, value in options.items()]
        try:
            self._run(deadline, "get", volume.id, *arguments)
        except BackendUnavailable as error:
            if _BUSY not in str(error):
                raise OutcomeUnknown(f"volume {volume.id} may have been fenced: {error}") from error
            self._check_holder(server, volume, deadline)
            raise  # the other fence has been removed meanwhile
        return cookie

    def _check_holder(self, server: Server, volume: Volume, deadline: float) -> None:
        holder = self._holder(volume.id, deadline)
        if holder and holder.server_id != server.id:
            raise AttachRefused(
                f"Volume {volume.id} is fenced in the storage for server {holder.server_id}; detach it there first."
            )

    def _release(self, volume: Volume, cookie: str, reason: BackendError) -> None:
        """Remove one fence after a call that changed nothing."""
        deadline = time.monotonic() + self._timeout
        try:
            holder = self._holder(volume.id, deadline)
            lockers = holder.lockers if holder else []
            self._break(volume.id, [locker for locker in lockers if locker[1] == cookie], deadline)
        except BackendError as error:
            raise OutcomeUnknown(
                f"{reason}; volume {volume.id} may still be fenced in the storage: {error}"
            ) from reason

    def _break(self, volume_id: str, lockers: Sequence[tuple[str, str]], deadline: float) -> None:
        for client, cookie in lockers:
            try:
                self._run(deadline, "break", volume_id, client, f"--lock-cookie={cookie}")
            except BackendUnavailable as error:
                if _NO_LOCKER not in str(error):
                    raise

    def _holder(self, volume_id: str, deadline: float) -> _Holder | None:
        try:
            return _read_holder(self._run(deadline, "info", volume_id, "--format=json"))
        except BackendUnavailable as error:
            if _NO_OBJECT in str(error):
                return None
            raise

    def _run(self, deadline: float, action: str, volume_id: str, *arguments: str) -> str:
        """Run one command on a volume's lock, and return what it printed.

        :raises BackendUnavailable: if it fails; the message has what it printed.
        """
        what = f"{COMMAND} lock {action}"
        left = max(deadline - time.monotonic(), 0.1)
        # The command ends by itself, with a reason, before it is killed.
        limits = [f"--{name}={max(1, int(left * 0.8))}" for name in ("client-mount-timeout", "rados-osd-op-timeout")]
        command = [*self._command, *limits, "lock", action, f"{LOCK}.{volume_id}", LOCK, *arguments]
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


def _read_holder(text: str) -> _Holder | None:
    """Read the output of ``rados lock info``.

    :raises BackendUnavailable: if it has not the expected format.
    """
    try:
        lock = json.loads(text)
        lockers = [(str(each["name"]), str(each["cookie"])) for each in lock["lockers"]]
        return _Holder(str(lock["tag"]), lockers) if lockers else None
    except (ValueError, KeyError, TypeError) as error:
        raise BackendUnavailable(f"{COMMAND} lock info printed an unexpected format: {error!r}") from error
