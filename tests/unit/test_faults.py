"""Which exception becomes which fault, and what may stand in one."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from os_volume_ext import catalog, claims, compute, manager, operations, reservations
from os_volume_ext.backends import base
from os_volume_ext.faults import BadRequest, Fault, Kind, from_exception
from os_volume_ext.registry.database import RegistryUnavailable
from os_volume_ext.serializers import JSON, NAMESPACE, XML

SECRET = "the inside: mysql://root:hush@db"  # must not reach a caller

NAMED = [
    (compute.ServerMissing("9"), Kind.NOT_FOUND, "Server 9 could not be found."),
    (catalog.base.VolumeNotFound("9"), Kind.NOT_FOUND, "Volume 9 could not be found."),
    (reservations.AttachmentMissing("1134", "9"), Kind.NOT_FOUND, "Volume 9 is not attached to server 1134."),
    (reservations.Conflict("It is BUILD."), Kind.CONFLICT, "It is BUILD."),
    (reservations.VolumeInUse("It is in use."), Kind.VOLUME_IN_USE, "It is in use."),
    (manager.RootVolume("It is the root."), Kind.BAD_REQUEST, "It is the root."),
    (manager.Unsupported("It is shared."), Kind.BAD_REQUEST, "It is shared."),
    (base.TooManyAttachments(3), Kind.TOO_MANY_ATTACHMENTS, "A server takes 3 volumes at most."),
    (base.AttachRefused("no qcow2"), Kind.CONFLICT, "no qcow2"),
]
UNAVAILABLE = [
    (base.BackendUnavailable(SECRET), "The volume backend is not available."),
    (base.ServerNotFound(SECRET), "The volume backend is not available."),
    (base.DeviceInUse(SECRET), "The volume backend is not available."),
    (base.BackendError(SECRET), "The volume backend is not available."),
    (base.OutcomeUnknown(SECRET), "The volume backend did not say whether it was done: ask again later."),
    (claims.Unfinished(SECRET), "The operation could not be brought to its end: ask again later."),
    (operations.Overloaded(), "Too many operations are under way."),
    (compute.ComputeUnavailable(SECRET), "The compute API is not available."),
    (catalog.base.CatalogUnavailable(SECRET), "The volume catalog is not available."),
    (RegistryUnavailable(SECRET), "The registry of attachments is not available."),
]


def named(error):
    return type(error).__name__


@pytest.mark.parametrize(("error", "kind", "message"), NAMED, ids=named)
def test_what_callers_may_know_is_told_in_its_own_words(error, kind, message):
    fault = from_exception(error)
    assert (fault.kind, fault.message, fault.headers) == (kind, message, [])


@pytest.mark.parametrize(("error", "message"), UNAVAILABLE, ids=named)
def test_what_is_not_available_says_nothing_of_the_inside_and_when_to_ask_again(error, message):
    fault = from_exception(error)
    assert (fault.kind, fault.message, fault.headers) == (Kind.UNAVAILABLE, message, [("Retry-After", "10")])


@pytest.mark.parametrize("conflict", [reservations.Conflict, reservations.VolumeInUse])
@pytest.mark.parametrize(("passes", "headers"), [(True, [("Retry-After", "10")]), (False, [])])
def test_a_conflict_says_when_to_ask_again_only_if_it_passes_by_itself(conflict, passes, headers):
    assert from_exception(conflict("It is BUILD.", passes)).headers == headers


@pytest.mark.parametrize(("code", "kind"), [(400, Kind.BAD_REQUEST), (401, Kind.UNAUTHORIZED), (403, Kind.FORBIDDEN)])
def test_a_refusal_of_the_compute_api_is_passed_on_in_its_words(code, kind):
    fault = from_exception(compute.ComputeRefused(code, "Malformed request url"))
    assert (fault.kind, fault.message, fault.headers) == (kind, "Malformed request url", [])


@pytest.mark.parametrize(
    "error", [Exception(SECRET), RuntimeError(SECRET), KeyError(SECRET), MemoryError(), OSError(SECRET)]
)
def test_what_nobody_expected_is_internal_and_tells_nothing(error):
    fault = from_exception(error)
    assert (fault.kind, fault.message, fault.headers) == (Kind.INTERNAL, "An internal error occurred.", [])


def test_an_exception_made_by_a_plugin_is_what_it_is_made_from():
    class PoolFull(base.BackendUnavailable):
        pass

    class NoSuchImage(catalog.base.VolumeNotFound):
        pass

    assert from_exception(PoolFull(SECRET)).message == "The volume backend is not available."
    assert from_exception(NoSuchImage("9")).kind is Kind.NOT_FOUND


def test_a_fault_stays_the_fault_it_is():
    fault = Fault(Kind.BAD_METHOD, "No.", Allow="GET, HEAD")
    assert from_exception(fault) is fault


def test_the_headers_of_a_fault_have_dashes():
    assert Fault(Kind.UNAVAILABLE, "Later.", Retry_After="10", Allow="GET").headers == [
        ("Retry-After", "10"),
        ("Allow", "GET"),
    ]


def test_a_bad_request_is_a_fault_without_headers():
    fault = BadRequest("No.")
    assert (fault.kind, fault.message, fault.headers, str(fault)) == (Kind.BAD_REQUEST, "No.", [], "No.")


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
    assert from_exception(reservations.Conflict(raw)).message == printed


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
