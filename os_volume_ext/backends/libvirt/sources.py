"""Where a volume's data is, as the part of libvirt's ``<disk>`` that depends on it."""

import re
from ipaddress import IPv6Address
from urllib.parse import parse_qsl

from lxml import etree

from ..base import AttachRefused, Volume
from . import connection_info
from .connection_info import FORMATS, MAX_PORT, add_path

PROTOCOLS = ("rbd", "iscsi", "nbd")

# Not parsed by urllib: some versions of it refuse several hosts of which one is an IPv6 address.
_SOURCE = re.compile(r"(?P<scheme>[a-z]+):(//(?P<hosts>[^/?#]*))?(?P<path>[^?#]*)(\?(?P<query>[^#]*))?", re.IGNORECASE)
_HOST = re.compile(r"(?P<name>[^\[\]@:%]+|\[(?P<address>[0-9a-f:.]+)\])(:(?P<port>[0-9]{0,5}))?", re.IGNORECASE)

# Libvirt adds the first one where it is the only one. A monitor of Ceph's listens on one of its two, or on both.
_DEFAULT_PORTS = {"iscsi": ("3260",), "nbd": ("10809",), "nfs": ("2049",), "rbd": ("3300", "6789")}

Location = tuple[str | None, ...]
"""What identifies the data of a disk: a path; or the protocol, the name, and the hosts with their ports."""


def disk_of(volume: Volume, ceph_conf: str | None = None) -> etree._Element:
    """Return a disk with a volume's data, without what depends on the domain.

    :param volume: its ``connection`` says where the data is, or else its ``source`` and ``format``.
    :param ceph_conf: the path of the ``ceph.conf`` that QEMU reads for ``rbd``; None for Ceph's default.
    :raises AttachRefused: if these are invalid or not supported. The message does not contain them.
    """
    disk = etree.Element("disk", device="disk")
    if volume.connection is not None:
        connection_info.add_to(disk, volume.id, volume.connection)
    else:
        etree.SubElement(disk, "driver", name="qemu", type=_format(volume))
        _add_volume_source(disk, volume)
    source = disk.find("source")
    if ceph_conf and source is not None and source.get("protocol") == "rbd":
        etree.SubElement(source, "config", file=ceph_conf)
    return disk


def location_of(disk: etree._Element) -> Location | None:
    """Return where a disk's data is; None for a CD-ROM, and where that is not known."""
    source = disk.find("source")
    if source is None or disk.get("device", "disk") not in ("disk", "lun"):
        return None
    path = source.get("file") or source.get("dev")
    if path:
        return (path,)
    protocol = source.get("protocol")
    if protocol is None:
        return None
    default = None if protocol == "rbd" else _DEFAULT_PORTS.get(protocol, (None,))[0]
    hosts = [f"{each.get('name')} {each.get('port') or default}" for each in source.iterfind("host")]
    return (protocol, source.get("name"), *sorted(hosts))


def image_of(volume: Volume) -> str | None:
    """Return the image of Ceph's that has a volume's data, such as ``pool/image``; None if none is known.

    :raises AttachRefused: as ``disk_of`` does.
    """
    if volume.connection is None and volume.source is None:
        return None
    source = disk_of(volume).find("source")
    return source.get("name") if source is not None and source.get("protocol") == "rbd" else None


def endpoints(disk: etree._Element) -> list[tuple[str, int]]:
    """Return the hosts and ports over which a disk's data is reached; none for a local disk.

    A host without a port has the protocol's own ones.
    """
    source = disk.find("source")
    if source is None:
        return []
    default = _DEFAULT_PORTS.get(source.get("protocol", ""), ())
    return [
        (host.get("name", ""), int(port))
        for host in source.iterfind("host")
        for port in ([host.get("port", "")] if host.get("port") else default)
    ]


def _format(volume: Volume) -> str:
    name = volume.format or "raw"
    if name not in FORMATS:
        raise AttachRefused(f"Volume {volume.id} has the format {name!r}; it must be {' or '.join(FORMATS)}.")
    return name


def _add_volume_source(disk: etree._Element, volume: Volume) -> None:
    try:
        _add_source(disk, volume.source or "")
    except ValueError as error:  # invalid in XML, in a URL or in _add_source
        raise AttachRefused(
            f"The source of volume {volume.id} can't be used: it must be an absolute path, rbd:POOL/IMAGE, "
            "iscsi://HOST/TARGET/LUN or nbd://HOST/EXPORT."
        ) from error


def _add_source(disk: etree._Element, text: str) -> None:
    """Add the source to a disk, and set the disk's type.

    :raises ValueError: if the source is invalid.
    """
    if text.startswith("/"):
        add_path(disk, text)
        return
    url = _SOURCE.fullmatch(text)
    if url is None or not text.isprintable():
        raise ValueError(text)
    scheme, hosts, name = url["scheme"].lower(), url["hosts"], url["path"].removeprefix("/")
    login = dict(parse_qsl(url["query"], strict_parsing=True)) if url["query"] else {}
    if scheme not in PROTOCOLS or login.keys() not in (set(), {"user", "secret"}):
        raise ValueError(text)
    # The hosts of Ceph may come from the host's ceph.conf; an NBD export may have an empty name.
    if (scheme != "rbd" and not hosts) or (scheme != "nbd" and not name.partition("/")[2]):
        raise ValueError(text)
    disk.set("type", "network")
    source = etree.SubElement(disk, "source", protocol=scheme)
    if name:
        source.set("name", name)
    for host in hosts.split(",") if hosts else ():
        _add_host(source, host)
    if login:
        auth = etree.SubElement(source, "auth", username=login["user"])
        etree.SubElement(auth, "secret", type="ceph" if scheme == "rbd" else "iscsi", uuid=login["secret"])


def _add_host(source: etree._Element, text: str) -> None:
    host = _HOST.fullmatch(text)
    if host is None or int(host["port"] or 0) > MAX_PORT:
        raise ValueError(text)
    if host["address"]:
        IPv6Address(host["address"])  # raises ValueError
    element = etree.SubElement(source, "host", name=(host["address"] or host["name"]).lower())
    if host["port"]:
        element.set("port", str(int(host["port"])))
