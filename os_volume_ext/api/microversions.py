"""Nova's microversions: what each of them changes, and which one a request requires."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from microversion_parse import get_version

from ..errors import Kind
from ..models import AttachmentDetail
from .dialects import CYCLADES, OPENSTACK, Dialect, with_device
from .endpoints import ENDPOINTS, Endpoints, effective, endpoints_of
from .faults import BadRequest, Fault
from .responses import VARY

HEADER, LEGACY_HEADER = "OpenStack-API-Version", "X-OpenStack-Nova-API-Version"

# Positions of a row's fields: access by name doubles the time of a long list.
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


_V2_20 = replace(OPENSTACK, server_states=OPENSTACK.server_states | {"SHELVED", "SHELVED_OFFLOADED"})
_V2_60 = replace(_V2_20, multiattach=True)
_V2_70 = replace(_V2_60, projection=AttachmentDetail, show=_show_2_70, show_attached=with_device(_show_2_70))
_V2_79 = replace(_V2_70, show=_show_2_79, show_attached=with_device(_show_2_79))
_V2_89 = replace(_V2_79, show=_show_2_89)  # Nova left the response to an attach as it was
_V2_101 = replace(_V2_89, attach_status=202, show_attached=None)

DIALECT_CHANGES: Mapping[int, Dialect] = {
    1: OPENSTACK,
    20: _V2_20,
    60: _V2_60,
    70: _V2_70,
    79: _V2_79,
    89: _V2_89,
    101: _V2_101,
}
"""The dialect from each minor version on that changes it."""


class Version(NamedTuple):
    """One version of the API."""

    dialect: Dialect
    endpoints: Endpoints


CHANGES: Mapping[int, Version] = {
    minor: Version(effective(DIALECT_CHANGES, minor), endpoints_of(OPENSTACK.name, minor))
    for minor in sorted(
        {*DIALECT_CHANGES}.union(*(each for methods in ENDPOINTS[OPENSTACK.name].values() for each in methods.values()))
    )
}
"""The minor versions that change something here, in order."""

MICROVERSIONS: Mapping[str, Mapping[str, Version]] = {
    CYCLADES.name: {},
    OPENSTACK.name: {
        version: effective(CHANGES, minor) for minor, version in enumerate(OPENSTACK.microversions, start=1)
    },
}
"""All versions, by dialect; none where the dialect has no microversions."""

MAX_HEADER = 1024
"""The characters that each header with a version may have, since it is parsed."""
_MAX_VERSION = 50  # characters; a longer one is not repeated in the response
_SYNTAX = re.compile(r"[1-9][0-9]*\.(0|[1-9][0-9]*)")
_KEYS = tuple(f"HTTP_{name.upper().replace('-', '_')}" for name in (HEADER, LEGACY_HEADER))


class Negotiated(NamedTuple):
    """The version of the API that a request gets."""

    dialect: Dialect
    endpoints: Endpoints
    headers: Mapping[str, str]
    """The response headers that name the version; empty where the dialect has no microversions."""


class Versions:
    """The versions of a dialect, with the operator's options."""

    def __init__(self, dialect: Dialect, last: str | None = None, **overrides: Any) -> None:
        """Build all versions.

        :param dialect: one of ``DIALECTS``.
        :param last: the newest microversion to support; None: all.
        :param overrides: fields of the dialect that have the same value in each version.
        """
        self.oldest = self.newest = replace(dialect, **overrides)
        self._by_version: dict[str, Negotiated] = {}
        for version, (each, endpoints) in MICROVERSIONS[dialect.name].items():
            self.newest = replace(each, **overrides)
            self._last = version
            self._by_version[version] = Negotiated(self.newest, endpoints, _headers(version))
            self._by_version["latest"] = self._by_version[version]
            if version == last:
                break
        unversioned = Negotiated(self.oldest, endpoints_of(dialect.name, 1), {})
        self.default = next(iter(self._by_version.values()), unversioned)
        """The version for a request that names none."""

    def negotiate(self, environ: Mapping[str, Any]) -> Negotiated:
        """Return the version that a request requires; the oldest if it names none.

        :param environ: the WSGI environment.
        :raises BadRequest: if the version is malformed, or a header that names it too long.
        :raises Fault: of kind ``NOT_ACCEPTABLE``, if the version is not supported.
        """
        requested = requested_version(environ) if self._by_version else None
        if requested is None:
            return self.default
        if requested in self._by_version:
            return self._by_version[requested]
        if len(requested) > _MAX_VERSION or not _SYNTAX.fullmatch(requested):
            shown = requested[:_MAX_VERSION]
            raise BadRequest(f"Microversion {shown!r} is invalid; it must be such as 2.1, or latest.")
        raise Fault(
            Kind.NOT_ACCEPTABLE,
            f"Version {requested} is not supported by the API. Minimum is 2.1 and maximum is {self._last}.",
            _headers(requested),
        )


def requested_version(environ: Mapping[str, Any]) -> str | None:
    """Return the microversion of the compute API that a request names, unchecked; None if it names none.

    :param environ: the WSGI environment.
    :raises BadRequest: if a header is too long to be parsed.
    """
    headers = {key: value for key in _KEYS if (value := environ.get(key))}
    if not headers:
        return None
    if any(len(value) > MAX_HEADER for value in headers.values()):
        raise BadRequest(f"{HEADER} and {LEGACY_HEADER} must each have at most {MAX_HEADER} characters.")
    return get_version(headers, "compute", [LEGACY_HEADER])


def _headers(version: str) -> dict[str, str]:
    return {
        HEADER: f"compute {version}",
        LEGACY_HEADER: version,
        "Vary": f"{VARY}, {HEADER}, {LEGACY_HEADER}",
    }
