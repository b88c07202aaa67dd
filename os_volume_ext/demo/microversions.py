"""Nova's microversions: the requested one, and the headers of the response."""

import re

from webob import Request, Response

from ..api.faults import BadRequest
from ..api.microversions import HEADER, LEGACY_HEADER, requested_version
from .data import OPENSTACK_API
from .http import Refused

Version = tuple[int, int]

_FORMAT = re.compile(r"([1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")


def requested(request: Request) -> Version:
    """Return the microversion that a request requires, by default the oldest.

    :raises Refused: 400 for an invalid format, 406 for a version that is not supported.
    """
    try:
        text = requested_version(request.environ)
    except BadRequest as error:
        raise Refused(400, error.message) from error
    if text is None:
        return _parse(OPENSTACK_API.min_version)
    if text == "latest":
        return _parse(OPENSTACK_API.version)
    version = _parse(text)
    if not _parse(OPENSTACK_API.min_version) <= version <= _parse(OPENSTACK_API.version):
        raise Refused(
            406,
            f"Version {text} is not supported by the API. "
            f"Minimum is {OPENSTACK_API.min_version} and maximum is {OPENSTACK_API.version}.",
        )
    return version


def announce(response: Response, version: Version) -> None:
    """Set the headers with the response's microversion."""
    text = f"{version[0]}.{version[1]}"
    response.headers[HEADER] = f"compute {text}"
    response.headers[LEGACY_HEADER] = text
    response.vary = (HEADER, LEGACY_HEADER)


def _parse(text: str) -> Version:
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise Refused(400, f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.")
    return int(match[1]), int(match[2])
