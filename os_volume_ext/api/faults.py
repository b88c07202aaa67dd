"""Faults: error responses to the caller, and the texts that replace an exception's own message.

The kind of an exception's fault is its ``kind`` (``errors``); its name and status are the dialect's.
"""

import re
from collections.abc import Mapping

from ..errors import (
    BackendError,
    CatalogUnavailable,
    ComputeUnavailable,
    Conflict,
    Kind,
    OperationIncomplete,
    OSVolumeExtError,
    OutcomeUnknown,
    Overloaded,
    RegistryUnavailable,
    kind_of,
)

RETRY_AFTER = 10
"""The seconds after which a client is to retry."""

_NO_MESSAGES: Mapping[type[Exception], str] = {}


class Fault(OSVolumeExtError):
    """An error response."""

    def __init__(self, kind: Kind, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Make a fault.

        :param kind: decides the name and the status.
        :param message: one sentence for the caller, without internal details.
        :param headers: additional response headers.
        """
        super().__init__(message)
        self.kind = kind
        self.message = _printable(message)
        self.headers: Mapping[str, str] = headers or {}


class BadRequest(Fault):
    """The request is malformed."""

    def __init__(self, message: str) -> None:
        """Make a fault of kind ``BAD_REQUEST``.

        :param message: one sentence with the reason.
        """
        super().__init__(Kind.BAD_REQUEST, message)


# The characters that XML 1.0 can't hold; JSON faults are escaped alike.
_UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def from_exception(error: BaseException, messages: Mapping[type[Exception], str] = _NO_MESSAGES) -> Fault:
    """Return the fault for an exception; an unexpected one becomes ``INTERNAL``.

    :param error: the exception.
    :param messages: the dialect's, which replace those of some exceptions.
    """
    if isinstance(error, Fault):
        return error
    kind = kind_of(error)
    message = next((text for each, text in messages.items() if isinstance(error, each)), None)
    return Fault(kind, message or _message(kind, error), _headers(kind, error))


def _message(kind: Kind, error: BaseException) -> str:
    if kind is Kind.INTERNAL:
        return "An internal error occurred."
    if kind is Kind.UNAVAILABLE:
        return next(_UNAVAILABLE[cause] for cause in type(error).__mro__ if cause in _UNAVAILABLE)
    return str(error)


def _headers(kind: Kind, error: BaseException) -> Mapping[str, str]:
    retryable = kind is Kind.UNAVAILABLE or (isinstance(error, Conflict) and error.retryable)
    return {"Retry-After": str(RETRY_AFTER)} if retryable else {}


# The messages of these exceptions are for operators only.
_UNAVAILABLE: dict[type, str] = {
    BackendError: "The volume backend is not available.",
    OutcomeUnknown: "The volume backend did not report whether the operation succeeded. Retry later.",
    OperationIncomplete: "The operation did not complete. Retry later.",
    Overloaded: "Too many operations are in progress.",
    ComputeUnavailable: "The compute API is not available.",
    CatalogUnavailable: "The volume catalog is not available.",
    RegistryUnavailable: "The registry of attachments is not available.",
}
