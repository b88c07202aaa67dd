"""The options of the libvirt backend."""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass

from ..base import ConfigurationError
from .disks import DEVICES
from .fence import Fence, RadosFence

OPTIONS = ("uri", "domain", "bus", "connect_timeout", "detach_timeout", "probe_timeout", "ceph_conf", "fence")

_FENCE = re.compile(r"rados:(?P<pool>[A-Za-z0-9_.][A-Za-z0-9_.-]*)\?user=(?P<user>[A-Za-z0-9_.][A-Za-z0-9_.-]*)")


@dataclass(frozen=True, slots=True)
class Options:
    """Their values. All time limits are in seconds."""

    uri: str
    """libvirt's URI, in which ``{host}`` is replaced by the server's host."""
    domain: str
    """The name of a server's domain, in which ``{id}`` and ``{instance_name}`` are replaced."""
    bus: str
    """A key of ``DEVICES``."""
    connect_timeout: float
    attach_timeout: float
    detach_timeout: float
    probe_timeout: float
    """For a host of the storage to accept a connection; 0: it is not tested."""
    ceph_conf: str | None
    """The path of the ``ceph.conf`` that QEMU and the fence read; None for Ceph's default."""
    fence: Fence
    """Where volumes are fenced."""


def read(given: Mapping[str, str]) -> Options:
    """Read the options.

    :param given: as for ``Backend.__init__``.
    :raises ConfigurationError: if an option is unknown or invalid.
    """
    for name in sorted(given.keys() - {*OPTIONS, "operation_timeout"}):
        known = ", ".join(f"backend.{each}" for each in OPTIONS)
        raise ConfigurationError(f"backend.{name} is unknown: the options of the libvirt backend are {known}")
    # An attach may need the fence's time twice. The shares leave a twelfth to libvirt's own work, and a detach a third.
    limit = float(given.get("operation_timeout", 60))
    options = Options(
        uri=_template(given, "uri", "qemu:///system", {"host"}),
        domain=_template(given, "domain", "{id}", {"id", "instance_name"}),
        bus=_bus(given),
        connect_timeout=_seconds(given, "connect_timeout", limit / 6),
        attach_timeout=limit / 3,
        detach_timeout=_seconds(given, "detach_timeout", limit / 3),
        probe_timeout=_seconds(given, "probe_timeout", limit / 12, minimum=0),
        ceph_conf=_path(given, "ceph_conf"),
        fence=_fence(given, limit / 6),
    )
    for name, seconds in (("detach_timeout", options.detach_timeout), ("probe_timeout", options.probe_timeout)):
        if options.connect_timeout + seconds >= limit:
            raise ConfigurationError(
                f"backend.connect_timeout ({options.connect_timeout:g}) and backend.{name} ({seconds:g}) together "
                f"must be less than operation_timeout ({limit:g})"
            )
    return options


def _bus(given: Mapping[str, str]) -> str:
    bus = given.get("bus", "virtio")
    if bus not in DEVICES:
        raise ConfigurationError(f"backend.bus is {bus!r}: it must be {' or '.join(DEVICES)}")
    return bus


def _path(given: Mapping[str, str], name: str) -> str | None:
    path = given.get(name)
    if path is not None and not (path.startswith("/") and path.isprintable()):
        raise ConfigurationError(f"backend.{name} is {path!r}: it must be an absolute path")
    return path


def _fence(given: Mapping[str, str], timeout: float) -> Fence:
    text = given.get("fence")
    if text is None:
        return Fence()
    match = _FENCE.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"backend.fence is {text!r}: it must be rados:POOL?user=USER")
    return RadosFence(match["pool"], match["user"], _path(given, "ceph_conf"), timeout)


def _template(given: Mapping[str, str], name: str, default: str, fields: set[str]) -> str:
    text = given.get(name, default)
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError:
        parsed = [("", "", None, None)]
    plain = all(spec in ("", None) and conversion is None for _, _, spec, conversion in parsed)
    named = {field for _, field, _, _ in parsed if field is not None}
    if not (text and plain and named <= fields):
        what = " and ".join(f"{{{field}}}" for field in sorted(fields))
        raise ConfigurationError(f"backend.{name} is {text!r}: it may contain {what} only")
    return text


def _seconds(given: Mapping[str, str], name: str, default: float, minimum: int = 1) -> float:
    text = given.get(name)
    if text is None:
        return default
    if not (re.fullmatch("[0-9]{1,6}", text) and int(text) >= minimum):
        raise ConfigurationError(
            f"backend.{name} is {text!r}: it must be an integer of seconds, from {minimum} to 999999"
        )
    return float(text)
