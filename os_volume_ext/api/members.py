"""Members of a request's body: read the value of one, or refuse it."""

import re
from typing import Any

from ..backends.base import DEVICE, MAX_DEVICE_LENGTH
from .dialects import OPENSTACK
from .faults import BadRequest

# The values that Nova takes for a boolean in JSON (nova.api.validation.parameter_types).
_TRUE = frozenset(("True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"))
_FALSE = frozenset(("False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"))
# Nova's pattern, without the characters that XML and PostgreSQL can't hold.
_TAG = re.compile("[^,/\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]{1,60}")


def device(value: Any) -> str | None:
    """Read ``device``; null leaves the choice to the backend.

    :raises BadRequest: if the value is no device.
    """
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_DEVICE_LENGTH or not DEVICE.fullmatch(value):
        raise BadRequest(f"device must match ^{DEVICE.pattern}$ and have at most {MAX_DEVICE_LENGTH} characters.")
    return value


def tag(value: Any) -> str:
    """Read ``tag``.

    :raises BadRequest: if the value is no tag.
    """
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise BadRequest("tag must be a string of 1 to 60 characters, without commas, slashes or control characters.")
    return value


def boolean(value: Any) -> bool:
    """Read ``delete_on_termination``, in any of Nova's spellings.

    :raises BadRequest: if the value is no boolean.
    """
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in _TRUE | _FALSE:
        raise BadRequest("delete_on_termination must be true or false.")
    return value in _TRUE


def uuid(value: Any) -> str:
    """Read ``id`` or ``serverId``.

    :raises BadRequest: if the value is no UUID.
    """
    canonical = OPENSTACK.body_id(value)
    if canonical is None:
        raise BadRequest(f"id and serverId must each be {OPENSTACK.id_syntax}.")
    return canonical
