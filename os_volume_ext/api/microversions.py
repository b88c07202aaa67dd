"""Nova's microversions: which of them a request asks for, and how each of them speaks.

One that changes something here is a dialect made from the one before it; those between speak as it does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from microversion_parse import get_version

from ..errors import Kind
from ..models import AttachmentDetail
from . import queries
from .dialects import CYCLADES, OPENSTACK, Dialect, with_device
from .faults import BadRequest, Fault
from .responses import VARY

HEADER, LEGACY_HEADER = "OpenStack-API-Version", "X-OpenStack-Nova-API-Version"

# As Nova's enumeration of what a boolean may be in JSON (nova.api.validation.parameter_types).
_TRUE = frozenset(("True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"))
_FALSE = frozenset(("False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"))
# Nova's form, but for what XML and PostgreSQL can't hold.
_TAG = re.compile("[^,/\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]{1,60}")


def _tag(value: Any) -> str:
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise BadRequest("tag must be a text of 1 to 60 characters, without commas, slashes and control characters.")
    return value


def _delete_on_termination(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    if not isinstance(value, str) or value not in _TRUE | _FALSE:
        raise BadRequest("delete_on_termination must be true or false.")
    return value in _TRUE


# A row's fields by their places: by their names they cost a long list twice as much.
_TAG_AT, _DELETE_AT, _ID_AT = map(AttachmentDetail._fields.index, ("tag", "delete_on_termination", "id"))


def _show_2_70(row: AttachmentDetail) -> dict[str, Any]:
    shown = OPENSTACK.show(row)
    shown["tag"] = row[_TAG_AT]
    return shown


def _show_2_79(row: AttachmentDetail) -> dict[str, Any]:
    shown = _show_2_70(row)
    shown["delete_on_termination"] = row[_DELETE_AT]
    return shown


def _show_2_89(row: AttachmentDetail) -> dict[str, Any]:
    shown = _show_2_79(row)
    del shown["id"]
    shown["attachment_id"] = shown["bdm_uuid"] = row[_ID_AT]
    return shown


def _id(value: Any) -> str:
    read = OPENSTACK.body_id(value)
    if read is None:
        raise BadRequest(f"id and serverId must each be {OPENSTACK.id_form}.")
    return read


_MEMBERS = OPENSTACK.members
_CREATE_2_49 = {**_MEMBERS["create"], "tag": _tag}
_CREATE_2_79 = {**_CREATE_2_49, "delete_on_termination": _delete_on_termination}
_UPDATE_2_85 = {**_CREATE_2_79, "id": _id, "serverId": _id}

_V2_20 = replace(OPENSTACK, server_states=OPENSTACK.server_states | {"SHELVED", "SHELVED_OFFLOADED"})
_V2_49 = replace(_V2_20, members={**_MEMBERS, "create": _CREATE_2_49})
_V2_60 = replace(_V2_49, multiattach=True)
_V2_70 = replace(_V2_60, projection=AttachmentDetail, show=_show_2_70, show_attached=with_device(_show_2_70))
_V2_75 = replace(_V2_70, queries={"index": queries.LIST_PARAMS})
_V2_79 = replace(
    _V2_75,
    members={**_MEMBERS, "create": _CREATE_2_79},
    show=_show_2_79,
    show_attached=with_device(_show_2_79),
)
_V2_85 = replace(
    _V2_79,
    actions={**OPENSTACK.actions, "member": {**OPENSTACK.actions["member"], "PUT": "update"}},
    members={**_V2_79.members, "update": _UPDATE_2_85},
)
_V2_89 = replace(_V2_85, show=_show_2_89)  # but not what an attach answers, which Nova forgot
_V2_101 = replace(_V2_89, attach_status=202, show_attached=None)
_V2_102 = replace(_V2_101, queries={"index": queries.LIST_PARAMS, "show": queries.COMMON_PARAMS})

CHANGES: Mapping[int, Dialect] = {
    1: OPENSTACK,
    20: _V2_20,
    49: _V2_49,
    60: _V2_60,
    70: _V2_70,
    75: _V2_75,
    79: _V2_79,
    85: _V2_85,
    89: _V2_89,
    101: _V2_101,
    102: _V2_102,
}
LAST = 104  # Nova 34's; 2.103 and 2.104 are about other parts of its API

# By dialect; none where there is but one version.
MICROVERSIONS: Mapping[str, Mapping[str, Dialect]] = {
    CYCLADES.name: {},
    OPENSTACK.name: {
        f"2.{minor}": CHANGES[max(change for change in CHANGES if change <= minor)] for minor in range(1, LAST + 1)
    },
}

_FORM = re.compile(r"[1-9][0-9]*\.(0|[1-9][0-9]*)")
_KEYS = tuple(f"HTTP_{name.upper().replace('-', '_')}" for name in (HEADER, LEGACY_HEADER))


class Negotiated(NamedTuple):
    """Who speaks, and the headers by which the answer says so."""

    dialect: Dialect
    headers: Sequence[tuple[str, str]] = ()


class Versions:
    """A dialect in all its versions, as an operator has them."""

    def __init__(self, dialect: Dialect, last: str | None = None, **overrides: Any) -> None:
        """Say what is spoken.

        :param dialect: one of ``DIALECTS``.
        :param last: the newest microversion; None: the newest there is.
        :param overrides: what each version has in the place of its own.
        """
        self.oldest = self.newest = replace(dialect, **overrides)
        self._spoken: dict[str, Negotiated] = {}
        for version, each in MICROVERSIONS[dialect.name].items():
            self.newest = replace(each, **overrides)
            self._last = version
            self._spoken[version] = self._spoken["latest"] = Negotiated(self.newest, _headers(version))
            if version == last:
                break
        self._default = next(iter(self._spoken.values()), Negotiated(self.oldest))

    def spoken(self, environ: Mapping[str, Any]) -> Negotiated:
        """Say who answers a request: the oldest version, if it asks for none.

        :raises Fault: ``bad request`` for a version of the wrong form, ``not acceptable`` for one that isn't spoken.
        """
        asked = requested_version(environ) if self._spoken else None
        if asked is None:
            return self._default
        if asked in self._spoken:
            return self._spoken[asked]
        if not _FORM.fullmatch(asked):
            raise BadRequest(f"The microversion is {asked[:50]!r}: it must be such as 2.1, or latest.")
        raise Fault(
            Kind.NOT_ACCEPTABLE,
            f"Version {asked} is not supported by the API. Minimum is 2.1 and maximum is {self._last}.",
            dict(_headers(asked)),
        )


def requested_version(environ: Mapping[str, Any]) -> str | None:
    """Return the text that a request has for a microversion of the compute API, None if there is none."""
    headers = {key: value for key in _KEYS if (value := environ.get(key))}
    return get_version(headers, "compute", [LEGACY_HEADER]) if headers else None


def _headers(version: str) -> tuple[tuple[str, str], ...]:
    return (HEADER, f"compute {version}"), (LEGACY_HEADER, version), ("Vary", f"{VARY}, {HEADER}, {LEGACY_HEADER}")
