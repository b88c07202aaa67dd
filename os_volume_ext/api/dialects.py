"""The two ways to speak: what differs between Cyclades' form of the API and Nova's, as two values.

Nothing else in the package asks which dialect it is; it asks the dialect.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import Kind
from ..models import AttachmentSummary, Constraints, Projection
from .faults import BadRequest

_DIGITS = re.compile(r"[0-9]{1,18}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DEVICE = re.compile(r"/dev/[a-z]+[0-9]*")


@dataclass(frozen=True)
class Dialect:
    """A way to speak.

    ``actions`` has the operation that each method stands for on the collection and on a member of it.
    ``read_id`` makes an id in a path or in text canonical, ``body_id`` one in a request's body (None: it has
    the wrong form; ``id_form`` says the right one). ``members`` are those that a ``volumeAttachment`` may have
    besides ``volumeId``, by operation, each with what reads it or raises BadRequest; ``others_ignored`` says
    whether it may have others. ``queries`` has the parameters that an operation's query may have, and not the
    operations where others are ignored. ``show`` says what an attachment looks like, for which it takes a row of
    the form ``form``; ``show_attached`` says what it looks like in the answer to an attach (None: that has no body).
    ``multiattach`` says whether a volume that may be attached to several servers may be attached at all. ``faults``
    has the name and the status of each fault, ``fault_details`` whether they have details. ``lookup_headers`` go
    with each question to the compute API.
    """

    name: str
    actions: Mapping[str, Mapping[str, str]]
    read_id: Callable[[str], str | None]
    id_form: str
    body_id: Callable[[Any], str | None]
    members: Mapping[str, Mapping[str, Callable[[Any], Any]]]
    others_ignored: bool
    queries: Mapping[str, frozenset[str]]
    projection: Projection
    show: Callable[[Any], dict[str, Any]]
    show_attached: Callable[[Any], dict[str, Any]] | None
    attach_status: int
    detach_status: int
    server_states: frozenset[str]
    transient_states: frozenset[str]
    multiattach: bool
    faults: Mapping[Kind, tuple[str, int]]
    fault_details: bool
    lookup_headers: Mapping[str, str]

    @cached_property
    def constraints(self) -> Constraints:
        """What may be attached, and to which servers."""
        return Constraints(self.server_states, self.transient_states, self.multiattach)


def _digits(text: str) -> str | None:
    return str(int(text)) if _DIGITS.fullmatch(text) else None


def _uuid(text: str) -> str | None:
    return text.lower() if _UUID.fullmatch(text) else None


def _integer_or_digits(value: Any) -> str | None:
    text = str(value) if type(value) is int and 0 <= value < 10**18 else value
    return _digits(text) if isinstance(text, str) else None


def _uuid_string(value: Any) -> str | None:
    return _uuid(value) if isinstance(value, str) else None


def _device(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 255 or not _DEVICE.fullmatch(value):
        raise BadRequest("device must be such as /dev/vdb: /dev/, small letters, then digits, 255 in all.")
    return value


def _show_integers(row: Any) -> dict[str, Any]:
    volume_id, server_id = row[:2]
    number = int(volume_id)
    return {"device": "", "serverId": int(server_id), "id": number, "volumeId": number}


def _show_strings(row: Any) -> dict[str, Any]:
    volume_id, server_id, device = row[:3]
    shown = {"device": device, "serverId": server_id, "id": volume_id, "volumeId": volume_id}
    if not device:
        del shown["device"]
    return shown


def with_device(show: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """Return what shows the same, and the device also where there is none, as Nova does in its answer to an attach."""
    return lambda row: {"device": None, **show(row)}


_ACTIONS = {
    "collection": {"GET": "index", "HEAD": "index", "POST": "create"},
    "member": {"GET": "show", "HEAD": "show", "DELETE": "delete"},
}
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
    actions=_ACTIONS,
    read_id=_digits,
    id_form="an integer of up to 18 digits",
    body_id=_integer_or_digits,
    members={"create": {}},
    others_ignored=True,
    queries={},
    projection=AttachmentSummary,
    show=_show_integers,
    show_attached=_show_integers,
    attach_status=200,
    detach_status=200,
    server_states=frozenset(("ACTIVE", "STOPPED")),
    transient_states=frozenset(("BUILD", "REBOOT", "REBUILD", "RESIZE")),
    multiattach=True,
    faults={
        **_COMMON_FAULTS,
        Kind.BAD_METHOD: ("notAllowed", 405),
        Kind.CONFLICT: ("badRequest", 400),
        Kind.TOO_MANY_ATTACHMENTS: ("badRequest", 400),
        Kind.INTERNAL: ("internalServerError", 500),
    },
    fault_details=True,
    lookup_headers={},
)

# Nova 2.1; ``microversions`` has what comes after it.
OPENSTACK = Dialect(
    name="openstack",
    # All that a PUT meant at first: another volume in an attachment's place.
    actions={**_ACTIONS, "member": {**_ACTIONS["member"], "PUT": "swap"}},
    read_id=_uuid,
    id_form="a UUID such as a26887c6-c47b-4654-abb5-dfadf7d3f803",
    body_id=_uuid_string,
    members={"create": {"device": _device}, "swap": {}},
    others_ignored=False,
    queries={},
    projection=AttachmentSummary,
    show=_show_strings,
    show_attached=with_device(_show_strings),
    attach_status=200,
    detach_status=202,
    server_states=frozenset(("ACTIVE", "PAUSED", "SHUTOFF", "VERIFY_RESIZE", "SOFT_DELETED")),
    transient_states=frozenset(
        ("BUILD", "HARD_REBOOT", "MIGRATING", "PASSWORD", "REBOOT", "REBUILD", "RESIZE", "REVERT_RESIZE")
    ),
    multiattach=False,
    faults={
        **_COMMON_FAULTS,
        Kind.BAD_METHOD: ("badMethod", 405),
        Kind.CONFLICT: ("conflictingRequest", 409),
        Kind.TOO_MANY_ATTACHMENTS: ("forbidden", 403),
        Kind.INTERNAL: ("computeFault", 500),
    },
    fault_details=False,
    # From 2.9 on a server says whether it is locked.
    lookup_headers={"OpenStack-API-Version": "compute 2.9", "X-OpenStack-Nova-API-Version": "2.9"},
)

DIALECTS = {dialect.name: dialect for dialect in (CYCLADES, OPENSTACK)}
