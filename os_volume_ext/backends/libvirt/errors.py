"""What libvirt's errors mean: the one table from its codes to the exceptions of a backend."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import libvirt

from ..base import AttachRefused, BackendError, BackendUnavailable, OutcomeUnknown, ServerNotFound

LOG = logging.getLogger(__name__)

# What libvirt's refusals of a change are, and how to say so. Callers read the words of AttachRefused, and must not read
# libvirt's own, which tell paths and hosts; those are for the log.
_REFUSALS: Mapping[int, tuple[type[BackendError], str]] = {
    libvirt.VIR_ERR_NO_DOMAIN: (ServerNotFound, "there is no such domain"),
    libvirt.VIR_ERR_AUTH_FAILED: (BackendUnavailable, "libvirt refused the login"),
    libvirt.VIR_ERR_ACCESS_DENIED: (BackendUnavailable, "libvirt does not allow it"),
    libvirt.VIR_ERR_OPERATION_DENIED: (BackendUnavailable, "the connection to libvirt may only read"),
    libvirt.VIR_ERR_OPERATION_TIMEOUT: (BackendUnavailable, "the domain is busy"),
    libvirt.VIR_ERR_RESOURCE_BUSY: (BackendUnavailable, "the domain is busy"),
    libvirt.VIR_ERR_OPERATION_INVALID: (AttachRefused, "the server's state forbids it"),
    libvirt.VIR_ERR_SYSTEM_ERROR: (AttachRefused, "the host can't use the volume's source"),
    libvirt.VIR_ERR_NO_SECRET: (AttachRefused, "the host has no such secret as the volume's source names"),
    libvirt.VIR_ERR_DEVICE_MISSING: (AttachRefused, "the domain has no such disk"),
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: (AttachRefused, "the hypervisor does not support it"),
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: (AttachRefused, "the hypervisor does not support it"),
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: (AttachRefused, "the hypervisor does not support it"),
    libvirt.VIR_ERR_NO_SUPPORT: (AttachRefused, "the hypervisor does not support it"),
}
_OTHER_REFUSAL = AttachRefused, "the hypervisor could not do it"

# Where the connection itself broke, the code is that of whatever broke it.
_CONNECTION = frozenset((libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE))


@contextmanager
def looking() -> Iterator[None]:
    """Around calls that change nothing. :raises BackendUnavailable, ServerNotFound: for libvirt's errors."""
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            raise ServerNotFound(str(error)) from error
        raise BackendUnavailable(str(error)) from error


@contextmanager
def changing(what: str) -> Iterator[None]:
    """Around one call that changes a domain.

    :param what: the call, for the log.
    :raises OutcomeUnknown: if the connection broke.
    :raises BackendUnavailable, ServerNotFound, AttachRefused: if libvirt answered with an error. What it changed before
        that, if anything, the domain's XML shows.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        LOG.warning("%s: libvirt answered: %s", what, error)
        if error.get_error_domain() in _CONNECTION:
            raise OutcomeUnknown(str(error)) from error
        kind, words = _REFUSALS.get(error.get_error_code(), _OTHER_REFUSAL)
        raise kind(words) from error


@contextmanager
def unsure() -> Iterator[None]:
    """Around what comes after a change. :raises OutcomeUnknown: for BackendErrors, but for ServerNotFound."""
    try:
        yield
    except ServerNotFound:
        raise
    except BackendError as error:
        raise OutcomeUnknown(str(error)) from error
