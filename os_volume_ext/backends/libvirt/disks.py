"""Disks in libvirt's XML: those that a domain has, and the one to be added."""

import itertools
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from lxml import etree

from ..base import AttachRefused, DeviceInUse, TooManyAttachments, Volume

FORMATS = ("raw", "qcow2")
PROTOCOLS = ("rbd", "iscsi", "nbd")

# What libvirt takes for an alias and QEMU for a serial number.
_VOLUME_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
# How many devices a PCI controller takes; others than these take none while the domain runs.
_PCI_SLOTS = {"pcie-root-port": 1, "pcie-switch-downstream-port": 1, "pci-root": 31, "pci-bridge": 31}
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def _devices(prefix: str) -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield prefix + "".join(letters)


DEVICES: Mapping[str, Sequence[str]] = {
    # Each is a unit of one controller: as many as guests of all kinds look at.
    "scsi": list(itertools.islice(_devices("/dev/sd"), 256)),
    # Each is a PCI device: more than there are slots in any machine.
    "virtio": list(itertools.islice(_devices("/dev/vd"), 512)),
}
"""The devices of each bus, in the order in which they are chosen."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a domain; ``xml`` is all that libvirt says of it. What it does not say is empty, or None."""

    serial: str | None
    device: str
    alias: str
    xml: str


@dataclass(frozen=True, slots=True)
class Definition:
    """What a domain is made of, as far as it matters here.

    ``scsi_controller`` is the index of the one for volumes, None if there is none; ``scsi_units`` are taken
    there; ``free_slots`` is how many PCI devices can be added while it runs.
    """

    disks: tuple[Disk, ...]
    scsi_controller: int | None
    scsi_units: frozenset[int]
    free_slots: int

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
        """Return the disks that are this volume: one, but where somebody added more by hand."""
        return [disk for disk in self.disks if disk.serial == volume_id]


def _disk(element: etree._Element) -> Disk:
    target, alias = element.find("target"), element.find("alias")
    return Disk(
        element.findtext("serial") or None,
        "" if target is None else f"/dev/{target.get('dev')}",
        "" if alias is None else alias.get("name", ""),
        etree.tostring(element, encoding="unicode", with_tail=False),
    )


def _scsi_units(root: etree._Element, controller: str) -> frozenset[int]:
    places = [disk.find("address") for disk in root.iterfind("devices/disk/target[@bus='scsi']/..")]
    return frozenset(
        int(place.get("unit", "0")) for place in places if place is not None and place.get("controller") == controller
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
    """A domain as it is now (None: it does not run) and as it will be from its next start on (None: it will not)."""

    live: Definition | None
    config: Definition | None

    @property
    def parts(self) -> list[Definition]:
        """Those of the two that there are."""
        return [part for part in (self.live, self.config) if part]

    @property
    def volumes(self) -> dict[str, str]:
        """The device of each volume that is there now or will be."""
        return {disk.serial: disk.device for part in reversed(self.parts) for disk in part.disks if disk.serial}

    def has(self, volume_id: str) -> bool:
        """Say whether a volume is there now and will be."""
        return all(part.of(volume_id) for part in self.parts)

    def choose(self, bus: str, device: str | None) -> str:
        """Say which device the next disk gets.

        :raises AttachRefused, DeviceInUse, TooManyAttachments: as ``Backend.attach`` does.
        """
        devices = DEVICES[bus]
        if device is not None and device not in devices:
            raise AttachRefused(f"{device!r} can't be a device of the bus {bus}, {devices[1]} can")
        taken = {disk.device for part in self.parts for disk in part.disks}
        if bus == "scsi":
            taken |= {devices[unit] for part in self.parts for unit in part.scsi_units if unit < len(devices)}
        if device in taken:
            raise DeviceInUse(f"{device} is in use")
        free = [each for each in devices if each not in taken]
        if not free or (bus == "virtio" and self.live and not self.live.free_slots):
            raise TooManyAttachments(len(self.volumes))
        return device or free[0]

    def new_disk(self, volume: Volume, bus: str, device: str) -> str:
        """Return the XML of the disk that a volume becomes.

        :raises AttachRefused: if the volume's id, source or format can't be one here, or there is no such bus.
        """
        if not _VOLUME_ID.fullmatch(volume.id):
            raise AttachRefused(f"{volume.id!r} can't be the id of a volume here")
        disk = etree.Element("disk", device="disk")
        etree.SubElement(disk, "driver", name="qemu", type=_format(volume))
        try:
            _add_source(disk, volume.source or "")
        except ValueError as error:  # what XML, a URL or _add_source does not take
            raise AttachRefused(
                f"the source of volume {volume.id} can't be used: it may be an absolute path, rbd:POOL/IMAGE, "
                "iscsi://HOST/TARGET/LUN or nbd://HOST/EXPORT"
            ) from error
        etree.SubElement(disk, "target", dev=device.removeprefix("/dev/"), bus=bus)
        if bus == "scsi":
            disk.append(self._scsi_address(device))
        if volume.multiattach:
            etree.SubElement(disk, "shareable")
        etree.SubElement(disk, "serial").text = volume.id
        # libvirt keeps aliases unique: of several that attach the same volume at once, one succeeds.
        etree.SubElement(disk, "alias", name=f"ua-{volume.id}")
        return etree.tostring(disk, encoding="unicode")

    def _scsi_address(self, device: str) -> etree._Element:
        controllers = {part.scsi_controller for part in self.parts}
        if len(controllers) != 1 or None in controllers:
            raise AttachRefused("the server has no virtio-scsi controller")
        unit = str(DEVICES["scsi"].index(device))
        return etree.Element("address", type="drive", controller=str(controllers.pop()), bus="0", target="0", unit=unit)


def _format(volume: Volume) -> str:
    text = volume.format or "raw"
    if text not in FORMATS:
        raise AttachRefused(f"volume {volume.id} has the format {text!r}: it may be {' or '.join(FORMATS)}")
    return text


def _add_source(disk: etree._Element, text: str) -> None:
    """Add the source, and say of what type the disk is thereby. :raises ValueError: if it can't be one."""
    if text.startswith("/"):
        kind, attribute = ("block", "dev") if text.startswith("/dev/") else ("file", "file")
        disk.set("type", kind)
        etree.SubElement(disk, "source").set(attribute, text)
        return
    url = urlsplit(text)
    name = url.path.removeprefix("/")
    login = dict(parse_qsl(url.query, strict_parsing=True)) if url.query else {}
    if url.scheme not in PROTOCOLS or url.fragment or login.keys() not in (set(), {"user", "secret"}):
        raise ValueError(text)
    # Ceph's hosts may be in its own configuration; an NBD server may have one nameless export.
    if (url.scheme != "rbd" and not url.netloc) or (url.scheme != "nbd" and not name.partition("/")[2]):
        raise ValueError(text)
    disk.set("type", "network")
    source = etree.SubElement(disk, "source", protocol=url.scheme)
    if name:
        source.set("name", name)
    for host in url.netloc.split(",") if url.netloc else ():
        _add_host(source, host)
    if login:
        auth = etree.SubElement(source, "auth", username=login["user"])
        etree.SubElement(auth, "secret", type="ceph" if url.scheme == "rbd" else "iscsi", uuid=login["secret"])


def _add_host(source: etree._Element, text: str) -> None:
    host = urlsplit(f"//{text}")
    if not host.hostname or host.username is not None:
        raise ValueError(text)
    element = etree.SubElement(source, "host", name=host.hostname)
    if host.port is not None:
        element.set("port", str(host.port))
