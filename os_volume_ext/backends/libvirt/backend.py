"""Attaches volumes to virtual machines under libvirt, as disks whose serial number is the volume's id.

So a domain's XML tells which volumes it has, and nothing is remembered elsewhere. A disk that comes or goes does
so in the domain's persistent configuration too, if it has one. That is for domains which no one else redefines from
records of his own, as Nova does.
"""

import re
import string
import uuid
from collections.abc import Mapping

try:
    import libvirt
except ImportError as error:
    raise ImportError("libvirt's Python binding is missing: install os-volume-ext[libvirt]") from error

from ..base import (
    Backend,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    OutcomeUnknown,
    Server,
    ServerNotFound,
    Volume,
)
from .connections import Connections
from .disks import DEVICES, View
from .domain import Domain
from .errors import unsure

OPTIONS = ("uri", "domain", "bus", "connect_timeout", "detach_timeout")

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class LibvirtBackend(Backend):
    """Attaches volumes to the domains of one libvirt, or of each host's."""

    def __init__(self, options: Mapping[str, str]) -> None:
        """Read the options.

        :param options: ``uri`` of libvirt, in which ``{host}`` is the server's; ``domain``, the name of a server's
            domain, made of ``{id}`` and ``{instance_name}`` (``{id}`` alone is its UUID); ``bus``; and in seconds
            ``connect_timeout``, ``detach_timeout`` and ``operation_timeout``.
        :raises ConfigurationError: if one of them is unknown or wrong.
        """
        for name in sorted(options.keys() - {*OPTIONS, "operation_timeout"}):
            known = ", ".join(f"backend.{each}" for each in OPTIONS)
            raise ConfigurationError(f"backend.{name} is unknown: the libvirt backend has {known}")
        self._uri = _template(options, "uri", "qemu:///system", {"host"})
        self._name = _template(options, "domain", "{id}", {"id", "instance_name"})
        self._bus = options.get("bus", "virtio")
        if self._bus not in DEVICES:
            raise ConfigurationError(f"backend.bus is {self._bus!r}: it may be {' or '.join(DEVICES)}")
        # By default they leave the greater part of the time to libvirt's own work.
        limit = float(options.get("operation_timeout", 60))
        connect = _seconds(options, "connect_timeout", limit / 6)
        self._patience = _seconds(options, "detach_timeout", limit / 3)
        if connect + self._patience >= limit:
            raise ConfigurationError(
                f"backend.connect_timeout ({connect:g}) and backend.detach_timeout ({self._patience:g}) together "
                f"must be less than operation_timeout ({limit:g})"
            )
        self._connections = Connections(connect)
        self.needs_host = "{host}" in self._uri or "{instance_name}" in self._name

    def attach(self, server: Server, volume: Volume, device: str | None) -> str:
        """Add a disk to the server's domain; see :meth:`Backend.attach`."""
        domain = self._domain(server)
        view = domain.look()
        while not view.has(volume.id):
            domain.check_takes_changes()
            chosen = view.volumes.get(volume.id) or view.choose(self._bus, device)
            view = _add(domain, view, volume, view.new_disk(volume, self._bus, chosen))
        return view.volumes[volume.id]

    def detach(self, server: Server, volume: Volume, device: str) -> None:
        """Take the disk out of the server's domain, wherever it is; see :meth:`Backend.detach`."""
        domain = self._domain(server)
        if volume.id not in domain.look().volumes:
            return
        domain.check_takes_changes()
        # A guest may let go long after it was asked to, and then the disk must not be there again at its next start.
        with unsure():
            domain.drop(volume.id)
            domain.unplug(volume.id, self._patience)

    def attached(self, server: Server) -> Mapping[str, str]:
        """Read the domain's XML, both as it is and as it will be; see :meth:`Backend.attached`."""
        return self._domain(server).look().volumes

    def check(self) -> None:
        """See whether libvirt answers, where it is not one for each host.

        :raises BackendUnavailable: with the reason, if not.
        """
        if "{host}" not in self._uri:
            self._connections.ask(self._uri, lambda connection: connection.getVersion())

    def _domain(self, server: Server) -> Domain:
        """Return a server's domain. :raises BackendUnavailable, ServerNotFound: if there is no telling, or none."""
        uri = self._uri
        if "{host}" in uri:
            if not _HOST.fullmatch(server.host or ""):
                raise BackendUnavailable(f"server {server.id} is on no host that could be asked: {server.host!r}")
            uri = uri.format(host=server.host)
        if "{instance_name}" in self._name and not server.instance_name:
            raise BackendUnavailable(f"the compute API does not tell the instance name of server {server.id}")
        name = self._name.format(id=server.id, instance_name=server.instance_name)
        found = self._connections.ask(uri, lambda connection: self._look_up(connection, name))
        return Domain(found, self._connections.removals)

    def _look_up(self, connection: libvirt.virConnect, name: str) -> libvirt.virDomain:
        try:
            if self._name == "{id}":
                return connection.lookupByUUIDString(str(uuid.UUID(name)))
            return connection.lookupByName(name)
        except ValueError as error:  # no UUID; letters that no name has
            raise ServerNotFound(f"{name!r} can't be a domain") from error


def _add(domain: Domain, view: View, volume: Volume, xml: str) -> View:
    """Try to add a disk where it is missing, and return what the domain looks like then.

    :raises BackendError: as ``Backend.attach`` does, if the domain looks as before.
    """
    refused = None
    try:
        domain.plug(xml, view, volume.id)
    except OutcomeUnknown:
        raise
    except BackendError as error:
        refused = error
    with unsure():
        seen = domain.look()
    if refused is None and view.live is None:
        _check_source(domain, volume, seen.volumes.get(volume.id))
    if refused is None or seen != view:  # what was free may have been taken meanwhile
        return seen
    if volume.id in view.volumes:
        raise OutcomeUnknown(f"volume {volume.id} is half there: {refused}") from refused
    raise refused


def _check_source(domain: Domain, volume: Volume, device: str | None) -> None:
    if device is None or not (volume.source or "").startswith("/"):
        return
    try:
        domain.check_source(device)
    except BackendError:
        with unsure():
            domain.drop(volume.id)
        raise


def _template(options: Mapping[str, str], name: str, default: str, fields: set[str]) -> str:
    text = options.get(name, default)
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError:
        parsed = [("", "", None, None)]
    plain = all(spec in ("", None) and conversion is None for _, _, spec, conversion in parsed)
    named = {field for _, field, _, _ in parsed if field is not None}
    if not (text and plain and named <= fields):
        what = " and ".join(f"{{{field}}}" for field in sorted(fields))
        raise ConfigurationError(f"backend.{name} is {text!r}: it may refer to {what} only")
    return text


def _seconds(options: Mapping[str, str], name: str, default: float) -> float:
    text = options.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and int(text) >= 1):
        raise ConfigurationError(f"backend.{name} is {text!r}: it must be seconds, 1 or more")
    return float(text)
