"""Translate libvirt's errors to the exceptions of a backend."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import libvirt

from ..base import AttachRefused, BackendError, BackendUnavailable, OutcomeUnknown, ServerNotFound

LOG = logging.getLogger(__name__)

_UNSUPPORTED = (
    AttachRefused,
    "The hypervisor does not support this operation; check the volume's format and the server's machine type.",
)

# By libvirt's error code: the exception and its message. API clients read the messages of AttachRefused, so libvirt's
# own texts, which contain paths and host names, are only logged.
_WRITE_ERRORS: Mapping[int, tuple[type[BackendError], str]] = {
    libvirt.VIR_ERR_NO_DOMAIN: (ServerNotFound, "there is no such domain"),
    libvirt.VIR_ERR_AUTH_FAILED: (BackendUnavailable, "libvirt refused the login"),
    libvirt.VIR_ERR_ACCESS_DENIED: (BackendUnavailable, "libvirt's access control denied the operation"),
    libvirt.VIR_ERR_OPERATION_DENIED: (BackendUnavailable, "the connection to libvirt is read-only"),
    libvirt.VIR_ERR_OPERATION_TIMEOUT: (BackendUnavailable, "the domain is busy"),
    libvirt.VIR_ERR_RESOURCE_BUSY: (BackendUnavailable, "the domain is busy"),
    libvirt.VIR_ERR_OPERATION_INVALID: (
        AttachRefused,
        "The server's state does not allow its disks to be changed; start or stop the server first.",
    ),
    libvirt.VIR_ERR_SYSTEM_ERROR: (
        AttachRefused,
        "The server's host can't open the volume's source; check that it exists and is readable there.",
    ),
    libvirt.VIR_ERR_NO_SECRET: (
        AttachRefused,
        "The server's host does not have the libvirt secret that the volume's source names; define it there.",
    ),
    libvirt.VIR_ERR_DEVICE_MISSING: (AttachRefused, "The server does not have the disk."),
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: _UNSUPPORTED,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: _UNSUPPORTED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: _UNSUPPORTED,
    libvirt.VIR_ERR_NO_SUPPORT: _UNSUPPORTED,
}
_OTHER_WRITE_ERROR = AttachRefused, "The hypervisor refused the operation; the service's log contains the reason."

# An error of these domains means that the connection broke, whatever its code.
_CONNECTION_DOMAINS = frozenset((libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE))


@contextmanager
def translate_read_errors() -> Iterator[None]:
    """Translate the errors of calls that change nothing.

    :raises ServerNotFound: if libvirt has no such domain.
    :raises BackendUnavailable: for any other error of libvirt's.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            raise ServerNotFound(str(error)) from error
        raise BackendUnavailable(str(error)) from error


@contextmanager
def translate_write_errors(what: str) -> Iterator[None]:
    """Translate and log the error of one call that changes a domain.

    An error that libvirt reported does not prove that nothing has changed: only the domain's XML shows that.

    :param what: what the call does, for the log.
    :raises OutcomeUnknown: if the connection broke.
    :raises BackendUnavailable: if libvirt can't do it now.
    :raises ServerNotFound: if libvirt has no such domain.
    :raises AttachRefused: if libvirt refused it.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        LOG.warning("failed to %s: %s", what, error)
        if error.get_error_domain() in _CONNECTION_DOMAINS:
            raise OutcomeUnknown(str(error)) from error
        exception, message = _WRITE_ERRORS.get(error.get_error_code(), _OTHER_WRITE_ERROR)
        raise exception(message) from error


@contextmanager
def outcome_unknown() -> Iterator[None]:
    """Translate the errors of calls that follow a change.

    :raises ServerNotFound: unchanged.
    :raises OutcomeUnknown: for any other BackendError.
    """
    try:
        yield
    except ServerNotFound:
        raise
    except BackendError as error:
        raise OutcomeUnknown(str(error)) from error
