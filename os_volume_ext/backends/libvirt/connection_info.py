"""Cinder's ``connection_info`` as the part of libvirt's ``<disk>`` that depends on it.

QEMU itself opens the data, so that a host needs no agent: a transport that does need one is refused. The values come
from a remote service and are validated; no message contains one, except the name of a transport.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv6Address
from typing import NamedTuple

from lxml import etree

from ..base import PASSPHRASE, AttachRefused

FORMATS = ("raw", "qcow2")
MAX_HOSTS = 64
MAX_PORT = 65535

# What Cinder calls them in the specifications of a QoS is what libvirt calls them.
_RATES = [f"{each}_{unit}_sec" for unit in ("bytes", "iops") for each in ("total", "read", "write")]
IOTUNE = (*(f"{rate}{suffix}" for rate in _RATES for suffix in ("", "_max", "_max_length")), "size_iops_sec")

_TRANSPORT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_IMAGE = re.compile(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+){1,2}")  # pool/image or pool/namespace/image
_USER = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_LOGIN = re.compile(r"[!-~]{1,255}")  # a name or a password of CHAP
_PASSPHRASE = re.compile(r"[ -~]{1,1024}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")
_IQN = re.compile(r"(iqn|eui|naa)\.[A-Za-z0-9_.:-]{1,220}")
_PORTAL = re.compile(r"(?P<host>[^\[\]:]+|\[[^\[\]]+\]):(?P<port>[0-9]{1,5})")
_EXPORT = re.compile(r"(?P<host>[^\[\]:/]+|\[[^\[\]]+\]):(?P<path>/[\w./ :@=,+-]*)")
_PATH = re.compile(r"/[\w./ :@=,+-]+")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
_NUMBER = re.compile(r"[0-9]{1,18}")

Info = Mapping[str, object]


class Login(NamedTuple):
    """A login at the target of ``iscsi``."""

    user: str
    password: str


class Credentials(NamedTuple):
    """What a volume's data can be read with; values are secret."""

    login: Login | None
    passphrase: str | None
    """Of data that is encrypted in the format LUKS."""


class _Malformed(Exception):
    """A member, whose name it is called with, is missing or invalid."""


def add_to(disk: etree._Element, volume_id: str, info: Info) -> None:
    """Add the driver, the source and the limits to a disk, and set its type.

    :param disk: has neither.
    :param volume_id: the volume, for messages.
    :param info: Cinder's; only members that are used here are read.
    :raises AttachRefused: if it is malformed or not supported.
    """
    with _refused_if_malformed(volume_id):
        _add(disk, volume_id, info)


def credentials(volume_id: str, info: Info) -> Credentials:
    """Return what the volume's data can be read with.

    :param volume_id: the volume, for messages.
    :param info: Cinder's; only members that are used here are read.
    :raises AttachRefused: if it is malformed or not supported.
    """
    with _refused_if_malformed(volume_id):
        if not _flag(info, "encrypted"):
            return Credentials(_login(info), None)
        if info.get(PASSPHRASE) is None:
            raise AttachRefused(f"Volume {volume_id} is encrypted, and its passphrase is not known.")
        return Credentials(_login(info), _match(info, PASSPHRASE, _PASSPHRASE)[0])


def _login(info: Info) -> Login | None:
    method = info.get("auth_method")
    if info.get("driver_volume_type") != "iscsi" or method is None:
        return None
    if method != "CHAP":
        raise _Malformed("auth_method")
    return Login(_match(info, "auth_username", _LOGIN)[0], _match(info, "auth_password", _LOGIN)[0])


@contextmanager
def _refused_if_malformed(volume_id: str) -> Iterator[None]:
    try:
        yield
    except _Malformed as malformed:
        raise AttachRefused(
            f"The connection_info of volume {volume_id} can't be used: {malformed} is missing or invalid."
        ) from None


def _add(disk: etree._Element, volume_id: str, info: Info) -> None:
    transport = _match(info, "driver_volume_type", _TRANSPORT)[0]
    add_source = _TRANSPORTS.get(transport)
    if add_source is None:
        raise AttachRefused(
            f"Volume {volume_id} has the transport {transport}, which is not supported: "
            f"it must be {', '.join(_TRANSPORTS)}."
        )
    driver = etree.SubElement(disk, "driver", name="qemu", type=_format(info))
    if _flag(info, "discard"):
        driver.set("discard", "unmap")
    add_source(disk, info)
    if "ro" in (_mode(info, "access_mode"), _mode(info, "attach_mode")):
        etree.SubElement(disk, "readonly")
    _add_limits(disk, info)


def add_path(disk: etree._Element, path: str) -> None:
    """Add a file or a block device of the host as the source of a disk, and set the disk's type.

    :param path: an absolute path.
    :raises ValueError: if it has a character that XML does not allow.
    """
    kind, attribute = ("block", "dev") if path.startswith("/dev/") else ("file", "file")
    disk.set("type", kind)
    etree.SubElement(disk, "source").set(attribute, path)


def _add_network(disk: etree._Element, protocol: str, name: str) -> etree._Element:
    disk.set("type", "network")
    return etree.SubElement(disk, "source", protocol=protocol, name=name)


def _add_rbd(disk: etree._Element, info: Info) -> None:
    source = _add_network(disk, "rbd", _match(info, "name", _IMAGE)[0])
    hosts, ports = _list(info, "hosts"), _list(info, "ports")
    if len(hosts) != len(ports):
        raise _Malformed("ports")
    for host, port in zip(hosts, ports, strict=True):
        _add_host(source, _host("hosts", host), _number("ports", port))
    if _flag(info, "auth_enabled"):
        auth = etree.SubElement(source, "auth", username=_match(info, "auth_username", _USER)[0])
        etree.SubElement(auth, "secret", type="ceph", uuid=_uuid(info, "secret_uuid"))


def _add_iscsi(disk: etree._Element, info: Info) -> None:
    unit = _number("target_lun", info.get("target_lun"))
    source = _add_network(disk, "iscsi", f"{_match(info, 'target_iqn', _IQN)[0]}/{unit}")
    portal = _match(info, "target_portal", _PORTAL)
    _add_host(source, _host("target_portal", portal["host"]), int(portal["port"]), "target_portal")


def _add_nfs(disk: etree._Element, info: Info) -> None:
    export = _match(info, "export", _EXPORT)
    path = f"{export['path'].rstrip('/')}/{_match(info, 'name', _FILE_NAME)[0]}"
    source = _add_network(disk, "nfs", path)
    etree.SubElement(source, "host", name=_host("export", export["host"]))


def _add_local(disk: etree._Element, info: Info) -> None:
    add_path(disk, _match(info, "device_path", _PATH)[0])


_TRANSPORTS: Mapping[str, Callable[[etree._Element, Info], None]] = {
    "rbd": _add_rbd,
    "iscsi": _add_iscsi,
    "nfs": _add_nfs,
    "local": _add_local,
}


def _add_limits(disk: etree._Element, info: Info) -> None:
    specs = info.get("qos_specs")
    if specs is None:
        return
    if not isinstance(specs, Mapping):
        raise _Malformed("qos_specs")
    # Others are for the storage.
    limits = {name: _number("qos_specs", specs[name]) for name in IOTUNE if name in specs}
    if limits:
        iotune = etree.SubElement(disk, "iotune")
        for name, value in limits.items():
            etree.SubElement(iotune, name).text = str(value)


def _add_host(source: etree._Element, host: str, port: int, name: str = "ports") -> None:
    if not 1 <= port <= MAX_PORT:
        raise _Malformed(name)
    etree.SubElement(source, "host", name=host, port=str(port))


def _format(info: Info) -> str:
    value = info.get("format")
    if value is None:
        return "raw"
    if value not in FORMATS:
        raise _Malformed("format")
    return str(value)


def _mode(info: Info, name: str) -> object:
    mode = info.get(name)
    if mode not in (None, "rw", "ro"):
        raise _Malformed(name)
    return mode


def _match(info: Info, name: str, pattern: re.Pattern[str]) -> re.Match[str]:
    value = info.get(name)
    match = pattern.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _Malformed(name)
    return match


def _flag(info: Info, name: str) -> bool:
    value = info.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _Malformed(name)
    return value


def _list(info: Info, name: str) -> list[object]:
    value = info.get(name)
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_HOSTS:
        raise _Malformed(name)
    return value


def _host(name: str, value: object) -> str:
    """Return a host's name or address; an IPv6 address without brackets."""
    if not isinstance(value, str):
        raise _Malformed(name)
    if _HOST_NAME.fullmatch(value):
        return value.lower()
    try:
        address = IPv6Address(value.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise _Malformed(name) from None
    if address.scope_id is not None:
        raise _Malformed(name)
    return str(address)


def _number(name: str, value: object) -> int:
    """Return a number of 0 or more, which may be given as a string."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise _Malformed(name)
    return int(text)


def _uuid(info: Info, name: str) -> str:
    value = info.get(name)
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise _Malformed(name) from None
