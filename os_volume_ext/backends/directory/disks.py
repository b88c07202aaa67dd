"""The disks of a server: the links in its directory, and the device of the next one."""

import errno
import os
import re
import string
from collections.abc import Mapping
from pathlib import Path

from ..base import DEVICE, DeviceInUse, TooManyAttachments, Volume, check_device

DEVICES = tuple(f"/dev/vd{letter}" for letter in string.ascii_lowercase[1:])
"""The devices that the backend chooses from, in this order. A server can have as many volumes, at any devices."""

# No leading dot: excludes ".", ".." and the temporary files of volumes.make_link.
SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
# What Nova removes of a device before it compares: /dev/vdb, /dev/xvdb, /dev/sdb and /dev/sdb1 are the disk b.
_DEVICE_PREFIX = re.compile(r"(x?v|s|h)d(?=[a-z])")


def disks_of(directory: int) -> dict[str, str | None]:
    """Return the volume at each device of a server; None for a file that is not a link to a volume."""
    names = (name for name in sorted(os.listdir(directory)) if DEVICE.fullmatch(f"/dev/{name}"))
    return {f"/dev/{name}": _linked_volume(directory, name) for name in names}


def _linked_volume(directory: int, name: str) -> str | None:
    try:
        parent, _, volume_id = os.readlink(name, dir_fd=directory).rpartition("/")
    except OSError as error:
        if error.errno == errno.EINVAL:  # not a link
            return None
        raise
    return volume_id if parent == "../../volumes" and SAFE_NAME.fullmatch(volume_id) else None


def devices_of(volume: Volume, disks: Mapping[str, str | None]) -> list[str]:
    """Return the devices of a volume at a server: more than one only if links were created by hand."""
    return [device for device, volume_id in disks.items() if volume_id == volume.id]


def has_volume(path: Path, volume: Volume) -> bool:
    """Return whether a server has a volume.

    :param path: the server's directory.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        return bool(devices_of(volume, disks_of(directory)))
    finally:
        os.close(directory)


def choose_device(disks: Mapping[str, str | None], device: str | None) -> str:
    """Return the device of the next disk.

    :raises AttachRefused: if the requested device is malformed.
    :raises DeviceInUse: if another disk has the requested device, with any prefix.
    :raises TooManyAttachments: if the server has as many disks as there are devices to choose from.
    """
    check_device(device)
    used = {_letters(each) for each in disks}
    if device is not None and _letters(device) in used:
        raise DeviceInUse(f"{device} is in use")
    if len(disks) >= len(DEVICES):
        raise TooManyAttachments(sum(volume_id is not None for volume_id in disks.values()))
    # Fewer are in use than there are to choose from, so one of these is free.
    return device or next(each for each in DEVICES if _letters(each) not in used)


def _letters(device: str) -> str:
    """Return what distinguishes a disk of a server, such as ``b``."""
    return _DEVICE_PREFIX.sub("", file_name(device), count=1).rstrip(string.digits)


def file_name(device: str) -> str:
    """Return the name of a device's link in the server's directory, such as ``vdb``."""
    return device.removeprefix("/dev/")
