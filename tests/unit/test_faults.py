"""Which exception becomes which fault, and which characters a message may have."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from os_volume_ext import errors
from os_volume_ext.api.faults import BadRequest, Fault, from_exception
from os_volume_ext.api.serializers import JSON, NAMESPACE, XML
from os_volume_ext.errors import Kind

SECRET = "the inside: mysql://root:hush@db"  # must not reach a caller

NAMED = [
    (errors.ServerMissing("9"), Kind.NOT_FOUND, "Server 9 could not be found."),
    (errors.VolumeNotFound("9"), Kind.NOT_FOUND, "Volume 9 could not be found."),
    (errors.AttachmentMissing("1134", "9"), Kind.NOT_FOUND, "Volume 9 is not attached to server 1134."),
    (errors.Conflict("It is BUILD."), Kind.CONFLICT, "It is BUILD."),
    (errors.VolumeInUse("It is in use."), Kind.VOLUME_IN_USE, "It is in use."),
    (errors.RootVolume("It is the root."), Kind.BAD_REQUEST, "It is the root."),
    (errors.Unsupported("It is shared."), Kind.BAD_REQUEST, "It is shared."),
    (errors.TooManyAttachments(3), Kind.TOO_MANY_ATTACHMENTS, "A server can have at most 3 attached volumes."),
    (errors.AttachRefused("no qcow2"), Kind.CONFLICT, "no qcow2"),
]
UNAVAILABLE = [
    (errors.BackendUnavailable(SECRET), "The volume backend is not available."),
    (errors.ServerNotFound(SECRET), "The volume backend is not available."),
    (errors.DeviceInUse(SECRET), "The volume backend is not available."),
    (errors.BackendError(SECRET), "The volume backend is not available."),
    (errors.OutcomeUnknown(SECRET), "The volume backend did not report whether the operation succeeded. Retry later."),
    (errors.OperationIncomplete(SECRET), "The operation did not complete. Retry later."),
    (errors.Overloaded(), "Too many operations are in progress."),
    (errors.ComputeUnavailable(SECRET), "The compute API is not available."),
    (errors.CatalogUnavailable(SECRET), "The volume catalog is not available."),
    (errors.RegistryUnavailable(SECRET), "The registry of attachments is not available."),
]


def named(error):
    return type(error).__name__


@pytest.mark.parametrize(("error", "kind", "message"), NAMED, ids=named)
def test_some_exceptions_keep_their_message(error, kind, message):
    fault = from_exception(error)
    assert (fault.kind, fault.message, fault.headers) == (kind, message, {})


@pytest.mark.parametrize(("error", "message"), UNAVAILABLE, ids=named)
def test_an_unavailable_service_is_named_without_details_and_with_retry_after(error, message):
    fault = from_exception(error)
    assert (fault.kind, fault.message, fault.headers) == (Kind.UNAVAILABLE, message, {"Retry-After": "10"})


@pytest.mark.parametrize("conflict", [errors.Conflict, errors.VolumeInUse])
@pytest.mark.parametrize(("retryable", "headers"), [(True, {"Retry-After": "10"}), (False, {})])
def test_a_conflict_has_retry_after_only_if_it_is_retryable(conflict, retryable, headers):
    assert from_exception(conflict("It is BUILD.", retryable=retryable)).headers == headers


@pytest.mark.parametrize(("code", "kind"), [(400, Kind.BAD_REQUEST), (401, Kind.UNAUTHORIZED), (403, Kind.FORBIDDEN)])
def test_a_refusal_of_the_compute_api_keeps_its_message(code, kind):
    fault = from_exception(errors.ComputeRefused(code, "Malformed request url"))
    assert (fault.kind, fault.message, fault.headers) == (kind, "Malformed request url", {})


@pytest.mark.parametrize(
    "error", [Exception(SECRET), RuntimeError(SECRET), KeyError(SECRET), MemoryError(), OSError(SECRET)]
)
def test_an_unexpected_exception_is_internal_and_has_no_details(error):
    fault = from_exception(error)
    assert (fault.kind, fault.message, fault.headers) == (Kind.INTERNAL, "An internal error occurred.", {})


def test_a_plugins_exception_is_treated_as_its_base_class():
    class PoolFull(errors.BackendUnavailable):
        pass

    class NoSuchImage(errors.VolumeNotFound):
        pass

    assert from_exception(PoolFull(SECRET)).message == "The volume backend is not available."
    assert from_exception(NoSuchImage("9")).kind is Kind.NOT_FOUND


def test_a_dialect_can_replace_the_message_of_an_exception():
    messages = {errors.MultiattachUnsupported: "Only from 2.60 on."}
    assert from_exception(errors.MultiattachUnsupported("No."), messages).message == "Only from 2.60 on."
    assert from_exception(errors.Unsupported("No."), messages).message == "No."


def test_a_fault_stays_the_fault_it_is():
    fault = Fault(Kind.BAD_METHOD, "No.", {"Allow": "GET, HEAD"})
    assert from_exception(fault) is fault


def test_a_bad_request_is_a_fault_without_headers():
    fault = BadRequest("No.")
    assert (fault.kind, fault.message, fault.headers, str(fault)) == (Kind.BAD_REQUEST, "No.", {}, "No.")


@pytest.mark.parametrize(
    ("raw", "printed"),
    [
        ("a\x00b", "a\\u0000b"),
        ("\x1b[31m", "\\u001b[31m"),
        ("\ud800", "\\ud800"),
        ("\ufffe\uffff", "\\ufffe\\uffff"),
        ("\t\n\r <&>\"'", "\t\n\r <&>\"'"),
        ("\u03b1 \U0001f600 \x7f \x85", "\u03b1 \U0001f600 \x7f \x85"),
    ],
)
def test_what_xml_can_not_hold_is_escaped(raw, printed):
    assert BadRequest(raw).message == printed
    assert from_exception(errors.Conflict(raw)).message == printed


@given(st.text(st.characters()))
@example("\ud800\udc00")
@example("]]>\x00\ufffe\U0010ffff")
def test_any_message_can_be_written_in_both_formats_and_is_read_the_same(text):
    message = BadRequest(text).message
    root = etree.fromstring(XML.fault("badRequest", 400, message, message))
    assert [each.text or "" for each in root] == [message, message]
    assert root[0].tag == f"{{{NAMESPACE}}}message"
    assert json.loads(JSON.fault("badRequest", 400, message, "")) == {
        "badRequest": {"code": 400, "message": message, "details": ""}
    }
