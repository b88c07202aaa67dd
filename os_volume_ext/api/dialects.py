"""The dialects: what differs between Cyclades' version of the API and Nova's, as two values.

Nothing else in the package depends on which dialect it is; it uses the dialect's fields. Which requests there are,
and what they may send, is in ``endpoints``; what Nova's microversions change is in ``microversions``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import Kind, MultiattachUnsupported
from ..models import AttachmentSummary, Constraints, Projection

LAST = 104
"""The last minor version of the dialect openstack, Nova 34's; 2.103 and 2.104 are about other parts of Nova's API."""

_DIGITS = re.compile(r"[0-9]{1,18}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class Dialect:
    """One version of the API: its ids, its representations, its statuses and its constraints."""

    name: str
    """The value of the option ``dialect``."""
    read_id: Callable[[str], str | None]
    """Returns the canonical form of an id in a path or on a command line; None if it is no id."""
    id_syntax: str
    """What an id looks like, to complete "it must be ..."."""
    body_id: Callable[[Any], str | None]
    """Returns the canonical form of an id in a request's body; None if the value is no id."""
    ignores_unknown_members: bool
    """Whether a request's body may have members that the API does not define."""
    projection: Projection
    """The columns of a row that ``show`` takes."""
    show: Callable[[Any], dict[str, Any]]
    """Returns the representation of an attachment, from a row of ``projection``."""
    show_attached: Callable[[Any], dict[str, Any]] | None
    """Returns the representation in the response to an attach; None: that response has no body."""
    attach_status: int
    """The status of the response to an attach."""
    detach_status: int
    """The status of the response to a detach."""
    server_states: frozenset[str]
    """The statuses in which disks can be attached to and detached from servers."""
    transient_states: frozenset[str]
    """The statuses that end by themselves, so that a conflict is worth a retry."""
    offloaded_states: frozenset[str]
    """The statuses of servers that have no machine: detach works, attach is a conflict."""
    multiattach: bool
    """Whether volumes that may be attached to several servers may be attached."""
    messages: Mapping[type[Exception], str]
    """The messages that replace those of some exceptions."""
    faults: Mapping[Kind, tuple[str, int]]
    """The name and the status of each kind of fault."""
    fault_details: bool
    """Whether faults have the member ``details``."""
    lookup_headers: Mapping[str, str]
    """The headers of each request to the compute API."""
    microversions: tuple[str, ...] = ()
    """The microversions, such as ``2.1``, the oldest first; none where the dialect has one version."""

    @cached_property
    def constraints(self) -> Constraints:
        """Which volumes may be attached, and to which servers."""
        return Constraints(self.server_states, self.transient_states, self.multiattach, self.offloaded_states)


def _digits(text: str) -> str | None:
    return str(int(text)) if _DIGITS.fullmatch(text) else None


def _uuid(text: str) -> str | None:
    return text.lower() if _UUID.fullmatch(text) else None


def _integer_or_digits(value: Any) -> str | None:
    text = str(value) if type(value) is int and 0 <= value < 10**18 else value
    return _digits(text) if isinstance(text, str) else None


def _uuid_string(value: Any) -> str | None:
    return _uuid(value) if isinstance(value, str) else None


def _show_integers(row: Any) -> dict[str, Any]:
    number = int(row[0])
    return {"device": "", "serverId": int(row[1]), "id": number, "volumeId": number}


def _show_strings(row: Any) -> dict[str, Any]:
    volume_id, device = row[0], row[2]
    shown = {"device": device, "serverId": row[1], "id": volume_id, "volumeId": volume_id}
    if not device:
        del shown["device"]
    return shown


def with_device(show: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """Return a function that shows an unknown device as null, as Nova does in its response to an attach.

    :param show: shows all the rest, and leaves an unknown device out.
    """
    return lambda row: {"device": None, **show(row)}


_COMMON_FAULTS = {
    Kind.BAD_REQUEST: ("badRequest", 400),
    Kind.UNAUTHORIZED: ("unauthorized", 401),
    Kind.FORBIDDEN: ("forbidden", 403),
    Kind.NOT_FOUND: ("itemNotFound", 404),
    Kind.NOT_ACCEPTABLE: ("computeFault", 406),
    Kind.VOLUME_IN_USE: ("badRequest", 400),
    Kind.OVER_LIMIT: ("overLimit", 413),
    Kind.UNAVAILABLE: ("serviceUnavailable", 503),
}

CYCLADES = Dialect(
    name="cyclades",
    read_id=_digits,
    id_syntax="an integer of up to 18 digits",
    body_id=_integer_or_digits,
    ignores_unknown_members=True,
    projection=AttachmentSummary,
    show=_show_integers,
    show_attached=_show_integers,
    attach_status=200,
    detach_status=200,
    server_states=frozenset(("ACTIVE", "STOPPED")),
    transient_states=frozenset(("BUILD", "REBOOT", "REBUILD", "RESIZE")),
    offloaded_states=frozenset(),
    multiattach=True,
    messages={},
    faults={
        **_COMMON_FAULTS,
        Kind.BAD_METHOD: ("notAllowed", 405),
        Kind.CONFLICT: ("badRequest", 400),
        Kind.TOO_MANY_ATTACHMENTS: ("badRequest", 400),
        Kind.UNSUPPORTED_MEDIA_TYPE: ("badRequest", 400),
        Kind.INTERNAL: ("internalServerError", 500),
    },
    fault_details=True,
    lookup_headers={},
)

# Microversion 2.1; ``microversions`` has the later ones.
OPENSTACK = Dialect(
    name="openstack",
    read_id=_uuid,
    id_syntax="a UUID such as a26887c6-c47b-4654-abb5-dfadf7d3f803",
    body_id=_uuid_string,
    ignores_unknown_members=False,
    projection=AttachmentSummary,
    show=_show_strings,
    show_attached=with_device(_show_strings),
    attach_status=200,
    detach_status=202,
    server_states=frozenset(("ACTIVE", "PAUSED", "SHUTOFF", "VERIFY_RESIZE", "SOFT_DELETED")),
    transient_states=frozenset(
        ("BUILD", "HARD_REBOOT", "MIGRATING", "PASSWORD", "REBOOT", "REBUILD", "RESIZE", "REVERT_RESIZE")
    ),
    offloaded_states=frozenset(("SHELVED_OFFLOADED",)),
    multiattach=False,
    messages={MultiattachUnsupported: "Multiattach volumes are only supported starting with compute API version 2.60."},
    faults={
        **_COMMON_FAULTS,
        Kind.BAD_METHOD: ("badMethod", 405),
        Kind.CONFLICT: ("conflictingRequest", 409),
        Kind.TOO_MANY_ATTACHMENTS: ("forbidden", 403),
        Kind.UNSUPPORTED_MEDIA_TYPE: ("badMediaType", 415),
        Kind.INTERNAL: ("computeFault", 500),
    },
    fault_details=False,
    # From 2.9 on a server's representation has ``locked``.
    lookup_headers={"OpenStack-API-Version": "compute 2.9", "X-OpenStack-Nova-API-Version": "2.9"},
    microversions=tuple([f"2.{minor}" for minor in range(1, LAST + 1)]),
)

DIALECTS = {dialect.name: dialect for dialect in (CYCLADES, OPENSTACK)}
