"""Every exception of the package, each with the kind of fault that a caller of the API gets for it.

What a kind is called and which status it has is the dialect's business (``api.dialects``); the texts that
replace an exception's own message are in ``api.faults``.
"""

from enum import Enum


class Kind(Enum):
    """The kinds of fault, independent of the dialect."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_ACCEPTABLE = "not_acceptable"
    BAD_METHOD = "bad_method"
    CONFLICT = "conflict"
    VOLUME_IN_USE = "volume_in_use"
    OVER_LIMIT = "over_limit"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    TOO_MANY_ATTACHMENTS = "too_many_attachments"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"


class OSVolumeExtError(Exception):
    """Base class of all exceptions of this package."""

    kind: Kind = Kind.INTERNAL
    """The kind of fault; INTERNAL where no request ends in the exception unless there is a bug."""


def kind_of(error: BaseException) -> Kind:
    """Return the kind of fault that any exception leads to."""
    return error.kind if isinstance(error, OSVolumeExtError) else Kind.INTERNAL


class ConfigurationError(OSVolumeExtError, ValueError):
    """An option is missing, unknown or invalid; the message names it and the values that it may have."""


class SchemaChanged(ConfigurationError):
    """The database's schema can't be upgraded because another upgrade has just changed it."""


class Forbidden(OSVolumeExtError):
    """Policy denies the operation to the caller."""

    kind = Kind.FORBIDDEN

    def __init__(self) -> None:
        """Make the message."""
        super().__init__("Policy does not allow this operation.")


# -- requests to other services ------------------------------------------------------------------------


class RequestFailed(OSVolumeExtError):
    """A service did not respond to a request of this package; the message shows no credentials."""

    kind = Kind.UNAVAILABLE


class RequestRefused(RequestFailed):
    """A service responded to a request of this package with an error."""

    def __init__(self, message: str, status: int, fault: str | None, reason: str) -> None:
        """Take the response.

        :param message: for the operator.
        :param status: the HTTP status.
        :param fault: the name of OpenStack's fault, such as ``itemNotFound``; None if the body is something else.
        :param reason: the fault's message; empty if there is none.
        """
        super().__init__(message)
        self.status = status
        self.fault = fault
        self.reason = reason


# -- the compute API -----------------------------------------------------------------------------------


class ServerMissing(OSVolumeExtError):
    """The compute API has no such server, or the caller may not see it."""

    kind = Kind.NOT_FOUND

    def __init__(self, server_id: str) -> None:
        """Make the message.

        :param server_id: the requested id.
        """
        super().__init__(f"Server {server_id} could not be found.")


class ComputeRefused(OSVolumeExtError):
    """The compute API answered this caller 400, 401 or 403, which is passed on."""

    def __init__(self, code: int, message: str) -> None:
        """Take the compute API's fault.

        :param code: the HTTP status, 400, 401 or 403.
        :param message: the fault's message.
        """
        super().__init__(message)
        self.code = code
        self.kind = {400: Kind.BAD_REQUEST, 401: Kind.UNAUTHORIZED, 403: Kind.FORBIDDEN}[code]


class ComputeUnavailable(OSVolumeExtError):
    """The compute API can't be reached, failed, or sent an invalid response."""

    kind = Kind.UNAVAILABLE

    def __init__(self, message: str, status: int | None = None) -> None:
        """Take the message.

        :param status: the HTTP status of a response that is an error.
        """
        super().__init__(message)
        self.status = status


# -- the catalog ---------------------------------------------------------------------------------------


class VolumeNotFound(OSVolumeExtError):
    """There is no such volume, or the caller may not see it."""

    kind = Kind.NOT_FOUND

    def __init__(self, volume_id: str) -> None:
        """Make the message.

        :param volume_id: the requested id.
        """
        super().__init__(f"Volume {volume_id} could not be found.")


class VolumeAttached(OSVolumeExtError):
    """The volume is attached, or being attached or detached, and can't be deleted."""


class VolumeExists(OSVolumeExtError):
    """The catalog already has a volume of that id."""


class CatalogUnavailable(OSVolumeExtError):
    """The catalog can't be reached or failed."""

    kind = Kind.UNAVAILABLE


# -- the registry --------------------------------------------------------------------------------------


class AlreadyReserved(OSVolumeExtError):
    """Another row has the volume, or the device of the server."""


class RegistryUnavailable(OSVolumeExtError):
    """The database did not respond; whether a change was made is unknown."""

    kind = Kind.UNAVAILABLE


class TransactionAborted(RegistryUnavailable):
    """The database rolled the transaction back because of a concurrent one; it can be retried."""


class ConstraintViolated(OSVolumeExtError):
    """A key or another constraint of a table does not allow a change."""


class AttachmentLimitReached(OSVolumeExtError):
    """The server has ``max_attachments`` rows."""

    kind = Kind.TOO_MANY_ATTACHMENTS

    def __init__(self, limit: int) -> None:
        """Make the message.

        :param limit: ``max_attachments``.
        """
        super().__init__(f"A server can have at most {limit} attached volumes.")
        self.limit = limit


# -- backends ------------------------------------------------------------------------------------------


class BackendError(OSVolumeExtError):
    """A backend call failed. After any subclass but OutcomeUnknown, nothing has changed."""

    kind = Kind.UNAVAILABLE


class BackendUnavailable(BackendError):
    """The backend can't be reached or is unhealthy; nothing has changed. Callers get 503."""


class OutcomeUnknown(BackendError):
    """The call may or may not have taken effect. Callers get 503; ``reconcile`` repairs the attachment."""


class ServerNotFound(BackendError):
    """The backend has no such server."""


class DeviceInUse(BackendError):
    """Another disk of the server has the requested device."""


class TooManyAttachments(BackendError):
    """The server can't take another disk; ``limit`` is how many it can have."""

    kind = Kind.TOO_MANY_ATTACHMENTS

    def __init__(self, limit: int) -> None:
        """Make the message.

        :param limit: how many volumes a server can have attached.
        """
        super().__init__(f"A server can have at most {limit} attached volumes.")
        self.limit = limit


class AttachRefused(BackendError):
    """The backend can't do it; callers read the message, which names the reason."""

    kind = Kind.CONFLICT


# -- attachments ---------------------------------------------------------------------------------------


class AttachmentMissing(OSVolumeExtError):
    """The volume is not attached to that server."""

    kind = Kind.NOT_FOUND

    def __init__(self, server_id: str, volume_id: str) -> None:
        """Make the message.

        :param server_id: the requested server.
        :param volume_id: the requested volume.
        """
        super().__init__(f"Volume {volume_id} is not attached to server {server_id}.")


class Conflict(OSVolumeExtError):
    """The state of the server or of the volume forbids the operation."""

    kind = Kind.CONFLICT

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        """Make a conflict.

        :param message: one sentence for the caller.
        :param retryable: whether the conflict will end by itself soon.
        """
        super().__init__(message)
        self.retryable = retryable


class VolumeInUse(Conflict):
    """The volume is attached."""

    kind = Kind.VOLUME_IN_USE


class RootVolume(Conflict):
    """The volume is the root volume of its server, which can't be detached."""

    kind = Kind.BAD_REQUEST


class Unsupported(OSVolumeExtError):
    """The request needs what this version of the API, or this installation, does not support."""

    kind = Kind.BAD_REQUEST


class MultiattachUnsupported(Unsupported):
    """The version of the API does not support volumes that may be attached to several servers."""


class OperationIncomplete(OSVolumeExtError):
    """The operation could not be completed; its row, if it still exists, was left as it was."""

    kind = Kind.UNAVAILABLE


class Overloaded(OSVolumeExtError):
    """The maximum number of backend calls is in progress; nothing was started."""

    kind = Kind.UNAVAILABLE


class NotAdopted(OSVolumeExtError):
    """The disk can't be adopted; the message names the reason."""


class NotRemoved(OSVolumeExtError):
    """The row can't be removed; the message names the reason."""


class NotForceDetached(OSVolumeExtError):
    """The volume can't be detached without its server's host; the message names the reason."""
