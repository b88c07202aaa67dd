"""Disks in libvirt's XML: read those that a domain has, and make a new one."""

import itertools
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import parse_qsl

from lxml import etree

from ..base import AttachRefused, DeviceInUse, TooManyAttachments, Volume

FORMATS = ("raw", "qcow2")
PROTOCOLS = ("rbd", "iscsi", "nbd")
MAX_PORT = 65535

# Not parsed by urllib: some versions of it refuse several hosts of which one is an IPv6 address.
_SOURCE = re.compile(r"(?P<scheme>[a-z]+):(//(?P<hosts>[^/?#]*))?(?P<path>[^?#]*)(\?(?P<query>[^#]*))?", re.IGNORECASE)
_HOST = re.compile(r"(?P<name>[^\[\]@:%]+|\[(?P<address>[0-9a-f:.]+)\])(:(?P<port>[0-9]{0,5}))?", re.IGNORECASE)

# Valid both in an alias of libvirt's and as a serial number of QEMU's.
_VOLUME_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_ALIAS_PREFIX = "ua-"  # of aliases that libvirt takes from its clients
_DEFAULT_PORTS = {"iscsi": "3260", "nbd": "10809"}  # libvirt adds them when a disk is attached
# How many devices can be plugged into a PCI controller while the domain runs; none for other models.
_PCI_SLOTS = {"pcie-root-port": 1, "pcie-switch-downstream-port": 1, "pci-root": 31, "pci-bridge": 31}
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def _devices(prefix: str) -> Iterator[str]:
    for length in itertools.count(1):
        for suffix in itertools.product(string.ascii_lowercase, repeat=length):
            yield prefix + "".join(suffix)


DEVICES: Mapping[str, Sequence[str]] = {
    # Each is a unit of one controller; guests scan no more than 256.
    "scsi": list(itertools.islice(_devices("/dev/sd"), 256)),
    # Each is a PCI device; no machine has as many slots.
    "virtio": list(itertools.islice(_devices("/dev/vd"), 512)),
}
"""The devices of each bus, in the order in which they are chosen."""


Location = tuple[str | None, ...]
"""What identifies the data of a disk: a path; or the protocol, the name, and the hosts with their ports."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a domain."""

    serial: str | None
    """The serial number; None for a disk without one."""
    device: str | None
    """Such as ``/dev/vdb``."""
    alias: str | None
    """libvirt's name of the device, which events contain."""
    location: Location | None
    """Where its data is; None for a CD-ROM, and where that is not known."""
    xml: str
    """The whole element."""

    @property
    def volume_id(self) -> str | None:
        """The volume that it is; None for another disk.

        That is the serial number, or else what the alias names: a hypervisor may not support serial numbers.
        """
        if self.serial or not (self.alias or "").startswith(_ALIAS_PREFIX):
            return self.serial
        return (self.alias or "").removeprefix(_ALIAS_PREFIX)


@dataclass(frozen=True, slots=True)
class Definition:
    """What a domain consists of, as far as the backend needs it."""

    disks: tuple[Disk, ...]
    scsi_controller: int | None
    """The index of the first virtio-scsi controller, which volumes are attached to; None if there is none."""
    scsi_units: frozenset[int]
    """The units of that controller which are in use."""
    free_slots: int
    """How many PCI devices can be added while the domain runs."""

    @classmethod
    def parse(cls, document: str) -> "Definition":
        """Read a domain's XML."""
        root = etree.fromstring(document, _PARSER)
        indices = [int(each.get("index", "0")) for each in root.iterfind("devices/controller[@model='virtio-scsi']")]
        controller = min(indices, default=None)
        return cls(
            tuple(map(_disk, root.iterfind("devices/disk"))),
            controller,
            _scsi_units(root, str(controller)),
            _free_slots(root),
        )

    def of(self, volume_id: str) -> list[Disk]:
        """Return the disks that are the volume: at most one, unless more were added by hand."""
        return [disk for disk in self.disks if disk.volume_id == volume_id]


def _disk(element: etree._Element) -> Disk:
    target, alias = element.find("target"), element.find("alias")
    return Disk(
        element.findtext("serial") or None,
        None if target is None else f"/dev/{target.get('dev')}",
        None if alias is None else alias.get("name"),
        _location(element),
        etree.tostring(element, encoding="unicode", with_tail=False),
    )


def _location(disk: etree._Element) -> Location | None:
    source = disk.find("source")
    if source is None or disk.get("device", "disk") not in ("disk", "lun"):
        return None
    path = source.get("file") or source.get("dev")
    if path:
        return (path,)
    protocol = source.get("protocol")
    if protocol is None:
        return None
    hosts = [
        f"{each.get('name')} {each.get('port') or _DEFAULT_PORTS.get(protocol)}" for each in source.iterfind("host")
    ]
    return (protocol, source.get("name"), *sorted(hosts))


def _scsi_units(root: etree._Element, controller: str) -> frozenset[int]:
    addresses = [disk.find("address") for disk in root.iterfind("devices/disk/target[@bus='scsi']/..")]
    return frozenset(
        int(address.get("unit", "0"))
        for address in addresses
        if address is not None and address.get("controller") == controller
    )


def _free_slots(root: etree._Element) -> int:
    slots = {
        int(controller.get("index", "0")): _PCI_SLOTS.get(controller.get("model", ""), 0)
        for controller in root.iterfind("devices/controller[@type='pci']")
    }
    taken = {
        (int(address.get("bus", "0"), 16), address.get("slot")) for address in root.iterfind(".//address[@type='pci']")
    }
    for bus, _ in taken:
        slots[bus] = slots.get(bus, 0) - 1
    return sum(max(free, 0) for free in slots.values())


@dataclass(frozen=True, slots=True)
class View:
    """A domain at one moment."""

    live: Definition | None
    """The domain as it runs; None if it is shut off."""
    config: Definition | None
    """The persistent definition, which is used at the next start; None if the domain is transient."""

    @property
    def definitions(self) -> list[Definition]:
        """The live and the persistent definition, as far as they exist."""
        return [definition for definition in (self.live, self.config) if definition]

    @property
    def volumes(self) -> dict[str, str | None]:
        """The device of each volume that either definition has; the live one takes precedence."""
        return {
            disk.volume_id: disk.device
            for definition in reversed(self.definitions)
            for disk in definition.disks
            if disk.volume_id
        }

    def has(self, volume_id: str) -> bool:
        """Return whether each definition has a volume."""
        return all(definition.of(volume_id) for definition in self.definitions)

    def check_not_unmarked(self, volume: Volume) -> None:
        """Check that no disk has the volume's data without being marked as the volume.

        Such a disk may be the volume, attached by a hypervisor that shows neither its serial number nor its alias.

        :param volume: the volume; nothing is checked if its source is unknown or invalid.
        :raises AttachRefused: if there is such a disk.
        """
        disk = etree.Element("disk")
        try:
            _add_source(disk, volume.source or "")
        except ValueError:
            return
        location = _location(disk)
        disks = [disk for definition in self.definitions for disk in definition.disks]
        if any(disk.location == location and disk.volume_id is None for disk in disks):
            raise AttachRefused(
                f"The server has a disk with the data of volume {volume.id} but without the volume's serial number; "
                "an administrator must remove it."
            )

    def choose(self, bus: str, device: str | None) -> str:
        """Return the device of the next disk.

        :param bus: ``virtio`` or ``scsi``.
        :param device: the requested device; None for the first that is free.
        :raises AttachRefused: if the bus does not have the requested device.
        :raises DeviceInUse: if another disk has the requested device.
        :raises TooManyAttachments: if no device, or no PCI slot, is free.
        """
        devices = DEVICES[bus]
        if device is not None and device not in devices:
            raise AttachRefused(
                f"The device {device!r} can't be used: it must be one of the bus {bus}, {devices[0]} to {devices[-1]}."
            )
        taken = {disk.device for definition in self.definitions for disk in definition.disks}
        if bus == "scsi":
            units = {unit for definition in self.definitions for unit in definition.scsi_units}
            taken |= {devices[unit] for unit in units if unit < len(devices)}
        if device in taken:
            raise DeviceInUse(f"{device} is in use")
        free = [each for each in devices if each not in taken]
        if not free or (bus == "virtio" and self.live and not self.live.free_slots):
            raise TooManyAttachments(len(self.volumes))
        return device or free[0]

    def new_disk(self, volume: Volume, bus: str, device: str) -> str:
        """Return the XML of the disk that a volume becomes.

        :param volume: the volume.
        :param bus: ``virtio`` or ``scsi``.
        :param device: what ``choose`` returned.
        :raises AttachRefused: if the volume's id, source or format is invalid, or the domain has no SCSI controller.
        """
        if not _VOLUME_ID.fullmatch(volume.id):
            raise AttachRefused(f"The volume id {volume.id!r} can't be used: it must match {_VOLUME_ID.pattern}.")
        disk = etree.Element("disk", device="disk")
        etree.SubElement(disk, "driver", name="qemu", type=_format(volume))
        try:
            _add_source(disk, volume.source or "")
        except ValueError as error:  # invalid in XML, in a URL or in _add_source
            raise AttachRefused(
                f"The source of volume {volume.id} can't be used: it must be an absolute path, rbd:POOL/IMAGE, "
                "iscsi://HOST/TARGET/LUN or nbd://HOST/EXPORT."
            ) from error
        etree.SubElement(disk, "target", dev=device.removeprefix("/dev/"), bus=bus)
        if bus == "scsi":
            disk.append(self._scsi_address(device))
        if volume.multiattach:
            etree.SubElement(disk, "shareable")
        etree.SubElement(disk, "serial").text = volume.id
        # libvirt requires unique aliases: of concurrent calls that attach the same volume, one succeeds.
        etree.SubElement(disk, "alias", name=_ALIAS_PREFIX + volume.id)
        return etree.tostring(disk, encoding="unicode")

    def _scsi_address(self, device: str) -> etree._Element:
        controllers = {definition.scsi_controller for definition in self.definitions}
        if len(controllers) != 1 or None in controllers:
            raise AttachRefused("The server has no virtio-scsi controller; add one to its domain.")
        unit = str(DEVICES["scsi"].index(device))
        return etree.Element("address", type="drive", controller=str(controllers.pop()), bus="0", target="0", unit=unit)


def _format(volume: Volume) -> str:
    name = volume.format or "raw"
    if name not in FORMATS:
        raise AttachRefused(f"Volume {volume.id} has the format {name!r}; it must be {' or '.join(FORMATS)}.")
    return name


def _add_source(disk: etree._Element, text: str) -> None:
    """Add the source to a disk, and set the disk's type.

    :raises ValueError: if the source is invalid.
    """
    if text.startswith("/"):
        kind, attribute = ("block", "dev") if text.startswith("/dev/") else ("file", "file")
        disk.set("type", kind)
        etree.SubElement(disk, "source").set(attribute, text)
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
