"""Secrets of libvirt's that a volume needs on its server's host: the password of a login, the passphrase of its data.

A disk refers to them by UUIDs, and no XML contains a value. They are made before the disk and removed after it has
left. A persistent domain needs them each time that it starts, so libvirt keeps them on the host's disk; those of a
transient domain are kept in libvirt's memory only. Their UUIDs are derived from the ids of server and volume: whichever
process repeats or repairs a call finds what an earlier one left.
"""

import itertools
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import libvirt
from lxml import etree

from ..base import Server, Volume
from . import connection_info
from .disks import Disk, check_id
from .errors import translate_write_errors

LOGIN, PASSPHRASE = "iscsi", "volume"
"""The kinds of secrets, as libvirt names what they are used for."""

_USAGE = {LOGIN: "target", PASSPHRASE: "volume"}
_NAMESPACE = uuid.UUID("6f0d1c7a-3b52-4a0e-9c1d-5e8f7a2b4c60")
# Without the permission to look for secrets, none was made.
_NOT_THERE = (libvirt.VIR_ERR_NO_SECRET, libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_ACCESS_DENIED)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of one volume on one server."""

    kind: str
    """``LOGIN`` or ``PASSPHRASE``."""
    uuid: str
    name: str
    """What it is used for, which no other secret of its kind has."""
    value: str = field(repr=False)
    user: str = ""
    """The user of a login."""


def needed(server: Server, volume: Volume) -> Sequence[Secret]:
    """Return the secrets that a volume needs on a server's host.

    :raises AttachRefused: if the volume's id or what says so is malformed or not supported.
    """
    if volume.connection is None:
        return []
    check_id(volume.id)
    found = connection_info.credentials(volume.id, volume.connection)
    login = found.login and _secret(LOGIN, server, volume, found.login.password, found.login.user)
    passphrase = found.passphrase and _secret(PASSPHRASE, server, volume, found.passphrase)
    return [each for each in (login, passphrase) if each]


def refer(disk: etree._Element, secrets: Sequence[Secret]) -> None:
    """Let the source of a disk refer to secrets."""
    for source, each in itertools.product(disk.iterfind("source"), secrets):
        if each.kind == LOGIN:
            where = etree.SubElement(source, "auth", username=each.user)
            etree.SubElement(where, "secret", type="iscsi", uuid=each.uuid)
        else:
            where = etree.SubElement(source, "encryption", format="luks")
            etree.SubElement(where, "secret", type="passphrase", uuid=each.uuid)


def are_named(disks: Iterable[Disk], server: Server, volume: Volume) -> bool:
    """Return whether disks refer to secrets of a volume on a server's host."""
    return any(_uuid(kind, server, volume) in disk.xml for disk in disks for kind in _USAGE)


def define(connection: libvirt.virConnect, secrets: Sequence[Secret], *, is_ephemeral: bool) -> None:
    """Make secrets, or set their values again.

    :param is_ephemeral: whether they may be lost when libvirt ends.
    :raises BackendError: as ``translate_write_errors`` does.
    """
    for each in secrets:
        with translate_write_errors(f"define the secret {each.name}"):
            made = connection.secretDefineXML(_document(each, is_ephemeral))
            made.setValue(each.value.encode())


def remove(connection: libvirt.virConnect, server: Server, volume: Volume) -> None:
    """Remove the secrets of a volume on a server's host; do nothing if there are none.

    :raises BackendError: as ``translate_write_errors`` does.
    """
    for kind in _USAGE:
        with translate_write_errors(f"remove the secret {_name(server, volume)}"), _ignoring_absence():
            connection.secretLookupByUUIDString(_uuid(kind, server, volume)).undefine()


@contextmanager
def _ignoring_absence() -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NOT_THERE:
            raise


def _secret(kind: str, server: Server, volume: Volume, value: str, user: str = "") -> Secret:
    return Secret(kind, _uuid(kind, server, volume), _name(server, volume), value, user)


def _uuid(kind: str, server: Server, volume: Volume) -> str:
    # Also of ids that no secret was ever made for, and that have characters which can't be encoded.
    return str(uuid.uuid5(_NAMESPACE, ascii(f"{kind} {_name(server, volume)}")))


def _name(server: Server, volume: Volume) -> str:
    return f"os-volume-ext/{server.id}/{volume.id}"


def _document(secret: Secret, is_ephemeral: bool) -> str:
    root = etree.Element("secret", private="yes", ephemeral="yes" if is_ephemeral else "no")
    etree.SubElement(root, "uuid").text = secret.uuid
    etree.SubElement(root, "description").text = "of a volume that os-volume-ext attached"
    usage = etree.SubElement(root, "usage", type=secret.kind)
    etree.SubElement(usage, _USAGE[secret.kind]).text = secret.name
    return etree.tostring(root, encoding="unicode")
