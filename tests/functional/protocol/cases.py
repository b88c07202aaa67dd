"""Errors of the backend that the tests of the protocol are run with, and a state to compare with."""

import pytest

from os_volume_ext.backends.base import (
    AttachRefused,
    BackendUnavailable,
    DeviceInUse,
    OutcomeUnknown,
    ServerNotFound,
    TooManyAttachments,
)
from os_volume_ext.errors import Conflict, ServerMissing

NOWHERE = (None, False)
SLOTS = 2

# What a backend may say for certain, and what callers get.
REFUSALS = {
    "unavailable": (BackendUnavailable("down"), BackendUnavailable),
    "no server": (ServerNotFound("none"), ServerMissing),
    "device in use": (DeviceInUse("taken"), Conflict),
    "too many": (TooManyAttachments(3), TooManyAttachments),
    "refused": (AttachRefused("not that one"), AttachRefused),
}
refusals = pytest.mark.parametrize(("error", "response"), REFUSALS.values(), ids=REFUSALS)
UNKNOWN = {"unknown outcome": OutcomeUnknown("no response"), "a bug": RuntimeError("a bug")}
unknown = pytest.mark.parametrize("error", UNKNOWN.values(), ids=UNKNOWN)
