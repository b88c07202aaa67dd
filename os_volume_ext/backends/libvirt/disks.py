"""Disks in libvirt's XML: read those that a domain has, and make a new one."""

import itertools
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lxml import etree

from ..base import AttachRefused, DeviceInUse, TooManyAttachments, Volume
from .sources import Location, disk_of, location_of

# Valid both in an alias of libvirt's and as a serial number of QEMU's.
_VOLUME_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_ALIAS_PREFIX = "ua-"  # of aliases that libvirt takes from its clients
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
    is_raw_file: bool
    """Whether it is a file of the format ``raw``, whose size is that of the disk."""
    is_encrypted: bool
    """Whether QEMU decrypts its data, so that it is smaller than the volume."""
    xml: str
    """The whole element."""

    @property
    def target(self) -> str:
        """The device as libvirt names it, such as ``vdb``."""
        return (self.device or "").removeprefix("/dev/")

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


def check_id(volume_id: str) -> None:
    """Check that a disk can have a volume's id.

    :raises AttachRefused: if it can't.
    """
    if not _VOLUME_ID.fullmatch(volume_id):
        raise AttachRefused(f"The volume id {volume_id!r} can't be used: it must match {_VOLUME_ID.pattern}.")


def _disk(element: etree._Element) -> Disk:
    target, alias = element.find("target"), element.find("alias")
    return Disk(
        element.findtext("serial") or None,
        None if target is None else f"/dev/{target.get('dev')}",
        None if alias is None else alias.get("name"),
        location_of(element),
        element.get("type") == "file" and element.find("driver[@type='raw']") is not None,
        next(element.iter("encryption"), None) is not None,
        etree.tostring(element, encoding="unicode", with_tail=False),
    )


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
        try:
            location = location_of(disk_of(volume))
        except AttachRefused:
            return
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

    def new_disk(self, volume: Volume, bus: str, device: str, ceph_conf: str | None = None) -> etree._Element:
        """Return the disk that a volume becomes.

        :param volume: the volume.
        :param bus: ``virtio`` or ``scsi``.
        :param device: what ``choose`` returned.
        :param ceph_conf: as for ``disk_of``.
        :raises AttachRefused: if the volume's id or what says where its data is can't be used, or the domain has no
            SCSI controller.
        """
        check_id(volume.id)
        disk = disk_of(volume, ceph_conf)
        etree.SubElement(disk, "target", dev=device.removeprefix("/dev/"), bus=bus)
        if bus == "scsi":
            disk.append(self._scsi_address(device))
        if volume.multiattach:
            etree.SubElement(disk, "shareable")
        etree.SubElement(disk, "serial").text = volume.id
        # libvirt requires unique aliases: of concurrent calls that attach the same volume, one succeeds.
        etree.SubElement(disk, "alias", name=_ALIAS_PREFIX + volume.id)
        return disk

    def _scsi_address(self, device: str) -> etree._Element:
        controllers = {definition.scsi_controller for definition in self.definitions}
        if len(controllers) != 1 or None in controllers:
            raise AttachRefused("The server has no virtio-scsi controller; add one to its domain.")
        unit = str(DEVICES["scsi"].index(device))
        return etree.Element("address", type="drive", controller=str(controllers.pop()), bus="0", target="0", unit=unit)
