"""Nova's microversions: which of them a request asks for, and how each of them speaks.

One that changes something here is a dialect made from the one before it; those between speak as it does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from microversion_parse import get_version

from . import queries
from .dialects import CYCLADES, OPENSTACK, Dialect
from .faults import BadRequest, Fault, Kind

HEADER, LEGACY_HEADER = "OpenStack-API-Version", "X-OpenStack-Nova-API-Version"

_V2_20 = replace(OPENSTACK, server_states=OPENSTACK.server_states | {"SHELVED", "SHELVED_OFFLOADED"})
_V2_60 = replace(_V2_20, multiattach=True)
_V2_75 = replace(_V2_60, queries={"index": queries.OF_LISTS})
_V2_101 = replace(_V2_75, attach_status=202, show_attached=None)
_V2_102 = replace(_V2_101, queries={"index": queries.OF_LISTS, "show": queries.OF_ALL})

CHANGES: Mapping[int, Dialect] = {1: OPENSTACK, 20: _V2_20, 60: _V2_60, 75: _V2_75, 101: _V2_101, 102: _V2_102}
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


class Spoken(NamedTuple):
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
        self._spoken: dict[str, Spoken] = {}
        for version, each in MICROVERSIONS[dialect.name].items():
            self.newest = replace(each, **overrides)
            self._last = version
            self._spoken[version] = self._spoken["latest"] = Spoken(self.newest, _headers(version))
            if version == last:
                break
        self._unasked = next(iter(self._spoken.values()), Spoken(self.oldest))

    def spoken(self, environ: Mapping[str, Any]) -> Spoken:
        """Say who answers a request: the oldest version, if it asks for none.

        :raises Fault: ``bad request`` for a version of the wrong form, ``not acceptable`` for one that isn't spoken.
        """
        asked = _asked(environ) if self._spoken else None
        if asked is None:
            return self._unasked
        if asked in self._spoken:
            return self._spoken[asked]
        if not _FORM.fullmatch(asked):
            raise BadRequest(f"The microversion is {asked[:50]!r}: it must be such as 2.1, or latest.")
        raise Fault(
            Kind.NOT_ACCEPTABLE,
            f"Version {asked} is not supported by the API. Minimum is 2.1 and maximum is {self._last}.",
            **dict(_headers(asked)),
        )


def _asked(environ: Mapping[str, Any]) -> str | None:
    headers = {key: value for key in _KEYS if (value := environ.get(key))}
    return get_version(headers, "compute", [LEGACY_HEADER]) if headers else None


def _headers(version: str) -> tuple[tuple[str, str], ...]:
    return (HEADER, f"compute {version}"), (LEGACY_HEADER, version), ("Vary", f"{HEADER}, {LEGACY_HEADER}")
