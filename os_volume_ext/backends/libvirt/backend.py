"""Attach volumes to virtual machines under libvirt, as disks whose serial number is the volume's id.

A domain's XML shows which volumes it has; the backend keeps no other state. Disks are attached to and detached from
the persistent definition of a domain too, if it has one. So the domains must not be redefined by other software from
records of its own, as Nova does.
"""

import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from lxml import etree

try:
    import libvirt
except ImportError as error:
    raise ImportError("libvirt's Python binding is missing: install os-volume-ext[libvirt]") from error

from ...perprocess import PerProcess
from ..base import (
    Backend,
    BackendError,
    BackendUnavailable,
    OutcomeUnknown,
    Server,
    ServerNotFound,
    Volume,
)
from . import reachability, secrets
from .connections import Connections
from .disks import Disk, View
from .domain import Domain
from .errors import outcome_unknown
from .options import read
from .secrets import Secret
from .sources import endpoints, image_of
from .turns import Turns

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class LibvirtBackend(Backend):
    """Attach volumes to the domains of one libvirt, or of the libvirt of each server's host."""

    decrypts = True

    def __init__(self, options: Mapping[str, str]) -> None:
        """Read the options.

        :param options: those of ``Options``, and ``operation_timeout``.
        :raises ConfigurationError: if an option is unknown or invalid.
        """
        self._options = read(options)
        self._connections = Connections(self._options.connect_timeout)
        self._turns = PerProcess(Turns)
        self.refuses_second_server = self._options.fence.is_exclusive
        self.needs_host = "{host}" in self._options.uri or "{instance_name}" in self._options.domain

    def attach(self, server: Server, volume: Volume, device: str | None) -> str | None:
        """Add a disk to the server's domain; see :meth:`Backend.attach`."""
        domain = self._domain(server)
        view = domain.inspect()
        if view.has(volume.id):
            return view.volumes[volume.id]
        with _half_attached(view, volume):
            needed, image = secrets.needed(server, volume), image_of(volume)
            with (
                self._options.fence.held(server, volume, image),
                _secrets_held(domain, view, server, volume, needed),
            ):
                found = self._add(domain, view, server, volume, device, needed)
        self._options.fence.add_clients(server, volume, image)
        return found

    def _add(
        self, domain: Domain, view: View, server: Server, volume: Volume, device: str | None, needed: Sequence[Secret]
    ) -> str | None:
        """Add a disk to the definitions of a domain until each has it, and return its device."""
        deadline = time.monotonic() + self._options.attach_timeout
        while not view.has(volume.id):
            with _half_attached(view, volume):
                if time.monotonic() >= deadline:
                    raise BackendUnavailable(f"other calls keep changing the domain of server {server.id}")
                domain.check_modifiable()
                view.check_not_unmarked(volume)
                bus = self._options.bus
                chosen = view.volumes.get(volume.id) or view.choose(bus, device)
                disk = view.new_disk(volume, bus, chosen, self._options.ceph_conf)
                secrets.refer(disk, needed)
                if view.live and not view.live.of(volume.id):
                    reachability.check(endpoints(disk), self._options.probe_timeout)
                view = _try_to_add(domain, view, volume, etree.tostring(disk, encoding="unicode"))
        return view.volumes[volume.id]

    def detach(self, server: Server, volume: Volume, device: str | None) -> None:
        """Remove the disk from the server's domain, at whatever device it is; see :meth:`Backend.detach`."""
        domain = self._domain(server)
        removed = self._remove(domain, volume)
        with outcome_unknown() if removed else nullcontext():
            # Without a disk, an attach that was killed may have left some.
            if not removed or secrets.are_named(removed, server, volume):
                secrets.remove(domain.connection, server, volume)
            self._options.fence.clear(server, volume)

    def forget(self, server: Server, volume: Volume) -> None:
        """Remove the volume's secrets and its fence; see :meth:`Backend.forget`."""
        secrets.remove(self._connections.call(self._uri(server), lambda connection: connection), server, volume)
        self._options.fence.clear(server, volume)

    def find_clients(self, server: Server, volume: Volume) -> Sequence[str]:
        """Find the clients of Ceph that can write to the volume; see :meth:`Backend.find_clients`."""
        return sorted(self._options.fence.find_clients(server, volume, image_of(volume)))

    def cut_off(self, server: Server, volume: Volume, clients: Sequence[str]) -> None:
        """Let Ceph refuse what these clients write, and free the volume; see :meth:`Backend.cut_off`."""
        self._options.fence.cut_off(server, volume, image_of(volume), clients)

    def _remove(self, domain: Domain, volume: Volume) -> Sequence[Disk]:
        """Remove the disk from the server's domain, and return what each definition had of it."""
        deadline = time.monotonic() + self._options.detach_timeout
        view = domain.inspect()
        if volume.id not in view.volumes:
            domain.wait_until_idle(deadline)
            view = domain.inspect()
        if volume.id not in view.volumes:
            view.check_not_unmarked(volume)
            return ()
        domain.check_modifiable()
        with ExitStack() as turn:
            turn.enter_context(self._turns().turn(domain.id, max(deadline - time.monotonic(), 0)))
            # First from the configuration: a guest may release the disk after the time limit, and the disk must not
            # come back when the guest restarts.
            with outcome_unknown():
                domain.remove_from_config(volume.id)
                domain.detach_device(volume.id, deadline, turn.close)
        return [disk for definition in view.definitions for disk in definition.of(volume.id)]

    def attached(self, server: Server) -> Mapping[str, str | None]:
        """Read the domain's live and persistent XML; see :meth:`Backend.attached`."""
        return self._domain(server).inspect().volumes

    def disk_size(self, server: Server, volume: Volume) -> int | None:
        """Return the capacity that libvirt reports; see :meth:`Backend.disk_size`."""
        return self._domain(server).disk_size(volume.id)

    def resize(self, server: Server, volume: Volume) -> None:
        """Let QEMU resize the disk, and notify the guest; see :meth:`Backend.resize`."""
        domain = self._domain(server)
        size = domain.disk_size(volume.id)
        if size is not None and volume.size is not None and size < volume.size:
            domain.resize_disk(volume.id, volume.size)

    def check(self) -> None:
        """Check that libvirt responds, unless each host has its own, and that volumes can be fenced.

        :raises BackendUnavailable: if it does not; the message names the reason.
        """
        if "{host}" not in self._options.uri:
            self._connections.call(self._options.uri, lambda connection: connection.getVersion())
        self._options.fence.check()

    def _domain(self, server: Server) -> Domain:
        """Return a server's domain.

        :raises BackendUnavailable: if libvirt can't be reached, or the server's host or instance name is not known.
        :raises ServerNotFound: if there is no such domain.
        """
        uri = self._uri(server)
        if "{instance_name}" in self._options.domain and not server.instance_name:
            raise BackendUnavailable(f"the compute API does not show the instance name of server {server.id}")
        name = self._options.domain.format(id=server.id, instance_name=server.instance_name)
        found = self._connections.call(uri, lambda connection: self._look_up(connection, name))
        return Domain(found, self._connections.removals)

    def _uri(self, server: Server) -> str:
        """Return the URI of the libvirt that has a server.

        :raises BackendUnavailable: if the server's host is not known.
        """
        uri = self._options.uri
        if "{host}" not in uri:
            return uri
        if not _HOST.fullmatch(server.host or ""):
            raise BackendUnavailable(f"server {server.id} has the host {server.host!r}, which is not a host name")
        return uri.format(host=server.host)

    def _look_up(self, connection: libvirt.virConnect, name: str) -> libvirt.virDomain:
        try:
            if self._options.domain != "{id}":
                return connection.lookupByName(name)
            if name == str(uuid.UUID(name)):  # libvirt would find a UUID in another spelling too
                return connection.lookupByUUIDString(name)
        except ValueError as error:  # not a UUID, or characters that no name has
            raise ServerNotFound(f"{name!r} can't be the name of a domain") from error
        raise ServerNotFound(f"{name!r} is not a UUID in lowercase, with hyphens")


@contextmanager
def _secrets_held(
    domain: Domain, view: View, server: Server, volume: Volume, needed: Sequence[Secret]
) -> Iterator[None]:
    """Make secrets before the block, and remove them if the block left no disk that needs them.

    :param view: the domain as it was inspected last.
    :raises OutcomeUnknown: if they may be left behind.
    """
    if not needed:
        yield
        return
    try:
        secrets.define(domain.connection, needed, is_ephemeral=view.config is None)
        yield
    except OutcomeUnknown:
        raise
    except BackendError:
        with outcome_unknown():
            if volume.id not in domain.inspect().volumes:
                secrets.remove(domain.connection, server, volume)
        raise


def _half_attached(view: View, volume: Volume) -> AbstractContextManager[None]:
    """Translate errors: a failure left nothing behind only if neither definition has the disk already."""
    return outcome_unknown() if volume.id in view.volumes else nullcontext()


def _try_to_add(domain: Domain, view: View, volume: Volume, xml: str) -> View:
    """Try to add a disk to the definitions that lack it, and return what the domain has then.

    :param view: the domain as it was inspected last.
    :param xml: the disk.
    :raises OutcomeUnknown: if libvirt reported success, and the domain does not show the disk.
    :raises BackendError: as ``Backend.attach`` does, if the domain has not changed.
    """
    refused = None
    try:
        domain.attach_device(xml, view, volume.id)
    except OutcomeUnknown:
        raise
    except BackendError as error:
        refused = error
    with outcome_unknown():
        seen = domain.inspect()
    if refused is None and not _shows_added(view, seen, volume.id):
        # Another attempt would add another disk.
        raise OutcomeUnknown(
            f"libvirt attached volume {volume.id}, but the domain shows no disk with this serial number or alias: "
            "look at the domain's XML, and remove the disk there"
        )
    if refused is None and view.live is None:
        _check_source(domain, volume, seen.volumes.get(volume.id))
    if refused is None or seen != view:  # a concurrent call has changed the domain: try again with what it has now
        return seen
    if volume.id in view.volumes:
        raise OutcomeUnknown(
            f"volume {volume.id} is in one of the live and the persistent definition only: {refused}"
        ) from refused
    raise refused


def _shows_added(before: View, after: View, volume_id: str) -> bool:
    """Return whether each definition that was there before, and still is, has the volume."""
    pairs = ((before.live, after.live), (before.config, after.config))
    return all(now.of(volume_id) for former, now in pairs if former and now)


def _check_source(domain: Domain, volume: Volume, device: str | None) -> None:
    if device is None or not (volume.source or "").startswith("/"):
        return
    try:
        domain.check_source(device)
    except BackendError:
        with outcome_unknown():
            domain.remove_from_config(volume.id)
        raise
