"""Faults: what a caller is told when an operation does not succeed, and which exception from below becomes which.

The table at the end is the one place where exceptions meet HTTP. What a fault is called and which status
it has is the dialect's business.
"""

import re
from enum import Enum

from .backends.base import AttachRefused, BackendError, OutcomeUnknown, TooManyAttachments
from .catalog.base import CatalogUnavailable, VolumeNotFound
from .claims import Unfinished
from .compute import ComputeRefused, ComputeUnavailable, ServerMissing
from .manager import RootVolume, Unsupported
from .operations import Overloaded
from .registry.database import RegistryUnavailable
from .reservations import AttachmentMissing, Conflict, VolumeInUse

RETRY_AFTER = 10  # seconds


class Kind(Enum):
    """The faults there are, whatever a dialect calls them."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_ACCEPTABLE = "not_acceptable"
    BAD_METHOD = "bad_method"
    CONFLICT = "conflict"
    VOLUME_IN_USE = "volume_in_use"
    OVER_LIMIT = "over_limit"
    TOO_MANY_ATTACHMENTS = "too_many_attachments"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"


class Fault(Exception):
    """An answer that is not the one hoped for."""

    def __init__(self, kind: Kind, message: str, **headers: str) -> None:
        """Make a fault.

        :param message: one sentence for the caller, with nothing in it of the inside.
        :param headers: further headers, with ``_`` for ``-``.
        """
        super().__init__(message)
        self.kind = kind
        self.message = _printable(message)
        self.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]


class BadRequest(Fault):
    """The caller's request makes no sense."""

    def __init__(self, message: str) -> None:
        """:param message: one sentence that says what is wrong with it."""
        super().__init__(Kind.BAD_REQUEST, message)


# XML 1.0 can hold nothing else, and what may not be in one format is not in the other either.
_UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def from_exception(error: BaseException) -> Fault:
    """Return the fault for an exception, which is an ``internal`` one for what nobody expected."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, ComputeRefused):
        return Fault(_REFUSALS[error.code], str(error))
    for cause in type(error).__mro__:
        if cause in _FAULTS:
            kind, message = _FAULTS[cause]
            return Fault(kind, message or str(error), **_retry(kind, error))
    return Fault(Kind.INTERNAL, "An internal error occurred.")


def _retry(kind: Kind, error: BaseException) -> dict[str, str]:
    passes = kind is Kind.UNAVAILABLE or (isinstance(error, Conflict) and error.passes)
    return {"Retry_After": str(RETRY_AFTER)} if passes else {}


_REFUSALS = {400: Kind.BAD_REQUEST, 401: Kind.UNAUTHORIZED, 403: Kind.FORBIDDEN}

# The message, where the exception's own is not for callers.
_FAULTS: dict[type, tuple[Kind, str | None]] = {
    ServerMissing: (Kind.NOT_FOUND, None),
    VolumeNotFound: (Kind.NOT_FOUND, None),
    AttachmentMissing: (Kind.NOT_FOUND, None),
    Conflict: (Kind.CONFLICT, None),
    VolumeInUse: (Kind.VOLUME_IN_USE, None),
    RootVolume: (Kind.BAD_REQUEST, None),
    Unsupported: (Kind.BAD_REQUEST, None),
    TooManyAttachments: (Kind.TOO_MANY_ATTACHMENTS, None),
    AttachRefused: (Kind.CONFLICT, None),
    BackendError: (Kind.UNAVAILABLE, "The volume backend is not available."),
    OutcomeUnknown: (Kind.UNAVAILABLE, "The volume backend did not say whether it was done: ask again later."),
    Unfinished: (Kind.UNAVAILABLE, "The operation could not be brought to its end: ask again later."),
    Overloaded: (Kind.UNAVAILABLE, "Too many operations are under way."),
    ComputeUnavailable: (Kind.UNAVAILABLE, "The compute API is not available."),
    CatalogUnavailable: (Kind.UNAVAILABLE, "The volume catalog is not available."),
    RegistryUnavailable: (Kind.UNAVAILABLE, "The registry of attachments is not available."),
}
