"""Fences: records in the storage of which server a volume is for, so that no other server gets it.

Ceph itself lets any number of machines write to one image. A fence is an advisory lock on an object in a pool. It is
made before the disk is attached and removed after the domain no longer has the disk. It belongs to no connection: it
stays when the process that made it ends. Any volume can be fenced, wherever its data is.

A server whose host is lost can't give up its disk. If that is an image of Ceph's, the server is cut off: Ceph's
blocklist refuses what the server's clients send. A client that hangs is not among those that have the image open, so
the fence also has the addresses that were there directly after the attach.
"""

import json
import logging
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..base import (
    AttachRefused,
    BackendError,
    BackendUnavailable,
    OutcomeUnknown,
    Server,
    Volume,
)
from .ceph import ADDRESS, Ceph
from .disks import check_id

LOG = logging.getLogger(__name__)

LOCK = "os-volume-ext"
CUT_OFF = "cut-off"
"""The cookie of the locker that says that the server was cut off: another one may have the volume."""
_NO_OBJECT = "rados_lock_get_lock_info(): (2)"
_NO_LOCKER = "failed breaking lock: (2)"
_BUSY = "failed locking: (16)"
_DENIED = "EACCES"
_LOOK, _PAUSE = 1.0, 0.2  # seconds for a look at an image, and between two


class Fence:
    """No fences: only the filter's database keeps a volume to one server."""

    is_exclusive = False
    """Whether one server at most can have a volume."""

    @contextmanager
    def held(self, server: Server, volume: Volume, image: str | None) -> Iterator[None]:
        """Fence a volume for a server during the block, and afterwards unless the block changed nothing.

        :param server: the server that is to have the volume, which may be fenced for it already.
        :param volume: the volume; one with ``multiattach`` is not fenced.
        :param image: the image of Ceph's that has its data, such as ``pool/image``; None if it is elsewhere.
        :raises AttachRefused: if it is fenced for another server; nothing has changed.
        :raises BackendUnavailable: if the storage can't be reached; nothing has changed.
        :raises OutcomeUnknown: if the volume may have been fenced, or the fence may be left.
        """
        yield

    def add_clients(self, server: Server, volume: Volume, image: str | None) -> None:
        """Add the clients that have the image open to the fence of a server that has the disk; log a failure."""

    def find_clients(self, server: Server, volume: Volume, image: str | None) -> Collection[str]:
        """Return the clients of a lost server that can write to a volume; see :meth:`Backend.find_clients`.

        :param image: None if it is not known, so that the fence says which it is.
        """
        raise AttachRefused(f"Volume {volume.id} can't be cut off from server {server.id}: backend.fence is not set.")

    def cut_off(self, server: Server, volume: Volume, image: str | None, clients: Collection[str]) -> None:
        """Cut a lost server off from a volume; see :meth:`Backend.cut_off`.

        :param image: as for ``find_clients``.
        """
        self.find_clients(server, volume, image)

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
    """The name of Ceph's client and the cookie of each fence; the one with ``CUT_OFF`` is the last."""
    image: str | None
    """The image of Ceph's that has the volume's data."""
    clients: frozenset[str]
    """The clients that had it open."""

    @property
    def is_cut_off(self) -> bool:
        """Whether the server no longer can write to the volume."""
        return any(cookie == CUT_OFF for _, cookie in self.lockers)


class RadosFence(Fence):
    """Fences in a pool of Ceph's.

    A fence is a shared lock. Its tag is the server, and Ceph refuses a lock with another tag. Its cookie is made anew
    for each call, so that a call which fails removes no fence but its own.
    """

    is_exclusive = True

    def __init__(self, pool: str, user: str, ceph_conf: str | None, timeout: float) -> None:
        """Find the commands; nothing is connected.

        :param pool: where the objects are made. They are empty, and stay.
        :param user: Ceph's client, without ``client.``; it needs the capabilities ``rwx`` in the pool, and ``profile
            rbd`` to cut servers off.
        :param ceph_conf: the path of this machine's ``ceph.conf``; None for Ceph's default.
        :param timeout: seconds to fence a volume, to remove fences, to add clients and to find them; three times as
            many to cut a server off.
        :raises ConfigurationError: if a command is missing.
        """
        self._ceph = Ceph(pool, user, ceph_conf)
        self._timeout = timeout

    @contextmanager
    def held(self, server: Server, volume: Volume, image: str | None) -> Iterator[None]:
        """Fence a volume; see :meth:`Fence.held`."""
        if volume.multiattach:
            yield
            return
        cookie = self._acquire(server, volume, image)
        try:
            yield
        except OutcomeUnknown:
            raise
        except BackendError as error:
            self._release(volume, cookie, error)
            raise

    def add_clients(self, server: Server, volume: Volume, image: str | None) -> None:
        """Add clients to the fence; see :meth:`Fence.add_clients`."""
        if volume.multiattach or image is None:
            return
        deadline = self._deadline()
        try:
            if clients := self._ceph.watchers(deadline, image):
                self._lock(server, volume, str(uuid.uuid4()), deadline, image=image, clients=sorted(clients))
        except BackendError as error:  # the disk is there all the same
            LOG.warning("the fence of volume %s lacks the clients of server %s: %s", volume.id, server.id, error)

    def find_clients(self, server: Server, volume: Volume, image: str | None) -> Collection[str]:
        """Find the clients of a lost server; see :meth:`Fence.find_clients`."""
        return self._find_clients(server, volume, image, self._deadline())[1]

    def cut_off(self, server: Server, volume: Volume, image: str | None, clients: Collection[str]) -> None:
        """Cut a lost server off; see :meth:`Fence.cut_off`."""
        for each in clients:
            if not ADDRESS.fullmatch(each):
                raise AttachRefused(f"{each!r} is not a client of Ceph's, such as 192.0.2.5:0/3141592.")
        if not clients:
            raise AttachRefused(
                f"No client of server {server.id} is known that can write to volume {volume.id}: name one, such as "
                "192.0.2.5:0/0 for all clients of a host."
            )
        deadline = time.monotonic() + 3 * self._timeout
        found, known = self._find_clients(server, volume, image, deadline)
        if new := known - set(clients):
            raise AttachRefused(f"Volume {volume.id} has other clients by now: {', '.join(sorted(new))}; repeat it.")
        done: list[str] = []
        try:
            for each in clients:
                self._ceph.blocklist(deadline, each)
                done.append(each)
            self._wait_until_closed(found, deadline)
            self._lock(server, volume, CUT_OFF, deadline, image=found, clients=sorted(clients))
        except BackendError as error:
            if not done and _DENIED in str(error):
                raise
            raise OutcomeUnknown(
                f"server {server.id} may have been cut off from volume {volume.id}, which is not free: {error}"
            ) from error

    def clear(self, server: Server, volume: Volume) -> None:
        """Remove the fences for a server; see :meth:`Fence.clear`."""
        if volume.multiattach:
            return
        try:
            check_id(volume.id)
        except AttachRefused:  # so it was never fenced
            return
        deadline = self._deadline()
        holder = self._holder(volume.id, deadline)
        if holder and holder.server_id == server.id:
            self._break(volume.id, holder.lockers, deadline)

    def check(self) -> None:
        """Look for a fence that does not exist; see :meth:`Fence.check`."""
        self._holder("check", self._deadline())

    def _acquire(self, server: Server, volume: Volume, image: str | None) -> str:
        """Fence a volume and return the cookie."""
        check_id(volume.id)
        deadline = self._deadline()
        # This fails if Ceph does not respond, before anything changes.
        holder = self._check_holder(server, volume, deadline)
        if holder and holder.is_cut_off:
            self._break(volume.id, holder.lockers, deadline)
        cookie = str(uuid.uuid4())
        try:
            self._lock(server, volume, cookie, deadline, image=image)
        except BackendUnavailable as error:
            if _BUSY not in str(error):
                raise OutcomeUnknown(f"volume {volume.id} may have been fenced: {error}") from error
            self._check_holder(server, volume, deadline)
            raise  # the other fence has been removed meanwhile
        return cookie

    def _lock(self, server: Server, volume: Volume, cookie: str, deadline: float, **more: object) -> None:
        about = {"server": server.id, "project": server.project_id, "host": server.host, **more}
        options = {"type": "shared", "tag": server.id, "cookie": cookie, "description": json.dumps(about)}
        self._run(deadline, "get", volume.id, *(f"--lock-{name}={value}" for name, value in options.items()))

    def _check_holder(self, server: Server, volume: Volume, deadline: float) -> _Holder | None:
        """Return for whom a volume is fenced, if a server may have it.

        :raises AttachRefused: if it may not.
        """
        holder = self._holder(volume.id, deadline)
        if holder and holder.server_id != server.id and not holder.is_cut_off:
            raise AttachRefused(
                f"Volume {volume.id} is fenced in the storage for server {holder.server_id}; detach it there first."
            )
        return holder

    def _find_clients(
        self, server: Server, volume: Volume, image: str | None, deadline: float
    ) -> tuple[str, frozenset[str]]:
        """Return the image of a volume, and the clients of a lost server that can write to it."""
        if volume.multiattach:
            raise AttachRefused(
                f"Volume {volume.id} may be attached to several servers, and it is not known which of its clients "
                f"belong to server {server.id}."
            )
        check_id(volume.id)
        holder = self._holder(volume.id, deadline)
        if holder and holder.server_id != server.id:
            raise AttachRefused(
                f"Volume {volume.id} is fenced in the storage for server {holder.server_id}, not for {server.id}."
            )
        found = (holder and holder.image) or image
        if found is None:
            raise AttachRefused(
                f"Volume {volume.id} can't be cut off from server {server.id}: "
                "neither its fence nor the catalog names an image of Ceph's."
            )
        clients = self._ceph.watchers(deadline, found) | self._ceph.writers(deadline, found)
        return found, clients | (holder.clients if holder else frozenset())

    def _wait_until_closed(self, image: str, deadline: float) -> None:
        """Wait until no client has an image open: an OSD closes it for a client when it has the blocklist.

        Other OSDs may have it a moment later. Each has it before it serves the next server's client, which has the
        same map of the cluster or a newer one; Ceph's own locks of images rely on that too.
        """
        while watchers := self._ceph.watchers(deadline, image):
            if time.monotonic() + _LOOK >= deadline:
                raise BackendUnavailable(f"the image is still open at {', '.join(sorted(watchers))}")
            time.sleep(_PAUSE)

    def _release(self, volume: Volume, cookie: str, reason: BackendError) -> None:
        """Remove one fence after a call that changed nothing."""
        deadline = self._deadline()
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
        """Run one command on a volume's lock, and return what it printed."""
        return self._ceph.lock(deadline, action, f"{LOCK}.{volume_id}", LOCK, *arguments)

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout


def _read_holder(text: str) -> _Holder | None:
    """Read the output of ``rados lock info``.

    :raises BackendUnavailable: if it has not the expected format.
    """
    try:
        lock = json.loads(text)
        lockers = [(str(each["name"]), str(each["cookie"])) for each in lock["lockers"]]
        records = [_read_record(str(each.get("description", ""))) for each in lock["lockers"]]
        if not lockers:
            return None
        return _Holder(
            server_id=str(lock["tag"]),
            lockers=sorted(lockers, key=lambda locker: locker[1] == CUT_OFF),
            image=next((str(each["image"]) for each in records if each.get("image")), None),
            clients=frozenset(str(client) for each in records for client in each.get("clients", ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendUnavailable(f"rados lock info printed an unexpected format: {error!r}") from error


def _read_record(description: str) -> Mapping[str, Any]:
    """Return what is known about a fence: nothing if others have made it."""
    try:
        found = json.loads(description)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
