"""The two dialects."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from os_volume_ext.api.dialects import CYCLADES, DIALECTS, OPENSTACK
from os_volume_ext.errors import Kind
from os_volume_ext.models import AttachmentSummary, Constraints

UUID = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
SERVER = "4335bab6-6086-4247-8274-8b8b048edaaa"
by_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


def test_there_are_two_by_name():
    assert DIALECTS == {"cyclades": CYCLADES, "openstack": OPENSTACK}


@by_dialect
def test_a_dialect_is_frozen(dialect):
    with pytest.raises(dataclasses.FrozenInstanceError):
        dialect.name = "x"


@by_dialect
def test_a_dialect_names_every_fault_there_is(dialect):
    assert dialect.faults.keys() == set(Kind)


@by_dialect
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (Kind.BAD_REQUEST, ("badRequest", 400)),
        (Kind.UNAUTHORIZED, ("unauthorized", 401)),
        (Kind.FORBIDDEN, ("forbidden", 403)),
        (Kind.NOT_FOUND, ("itemNotFound", 404)),
        (Kind.NOT_ACCEPTABLE, ("computeFault", 406)),
        (Kind.VOLUME_IN_USE, ("badRequest", 400)),
        (Kind.OVER_LIMIT, ("overLimit", 413)),
        (Kind.UNAVAILABLE, ("serviceUnavailable", 503)),
    ],
)
def test_most_faults_have_the_same_name_in_both(dialect, kind, fault):
    assert dialect.faults[kind] == fault


@pytest.mark.parametrize(
    ("kind", "cyclades", "openstack"),
    [
        (Kind.UNSUPPORTED_MEDIA_TYPE, ("badRequest", 400), ("badMediaType", 415)),
        (Kind.BAD_METHOD, ("notAllowed", 405), ("badMethod", 405)),
        (Kind.CONFLICT, ("badRequest", 400), ("conflictingRequest", 409)),
        (Kind.TOO_MANY_ATTACHMENTS, ("badRequest", 400), ("forbidden", 403)),
        (Kind.INTERNAL, ("internalServerError", 500), ("computeFault", 500)),
    ],
)
def test_some_faults_differ(kind, cyclades, openstack):
    assert (CYCLADES.faults[kind], OPENSTACK.faults[kind]) == (cyclades, openstack)


def test_details_are_shown_in_the_cyclades_dialect_only():
    assert (CYCLADES.fault_details, OPENSTACK.fault_details) == (True, False)


def test_attach_and_detach_have_the_dialects_status():
    assert (CYCLADES.attach_status, CYCLADES.detach_status) == (200, 200)
    assert (OPENSTACK.attach_status, OPENSTACK.detach_status) == (200, 202)


def test_the_server_states_that_take_disks():
    assert CYCLADES.server_states == {"ACTIVE", "STOPPED"}
    assert OPENSTACK.server_states == {
        "ACTIVE",
        "PAUSED",
        "SHUTOFF",
        "VERIFY_RESIZE",
        "SOFT_DELETED",
    }


def test_the_states_without_a_machine():
    assert (CYCLADES.offloaded_states, OPENSTACK.offloaded_states) == (set(), {"SHELVED_OFFLOADED"})


@by_dialect
def test_the_constraints_are_those_of_the_dialect(dialect):
    assert dialect.constraints == Constraints(
        dialect.server_states, dialect.transient_states, dialect.multiattach, dialect.offloaded_states
    )


def test_multiattach_volumes_are_not_supported_in_nova_2_1():
    assert (CYCLADES.multiattach, OPENSTACK.multiattach) == (True, False)


@by_dialect
def test_servers_in_a_transient_state_take_no_disks(dialect):
    assert not dialect.transient_states & dialect.server_states


def test_the_transient_states_are_those_that_a_task_ends():
    both = {"BUILD", "REBOOT", "REBUILD", "RESIZE"}
    assert CYCLADES.transient_states == both
    assert OPENSTACK.transient_states == both | {"HARD_REBOOT", "MIGRATING", "PASSWORD", "REVERT_RESIZE"}


def test_only_the_openstack_dialect_requests_a_microversion():
    assert CYCLADES.lookup_headers == {}
    assert OPENSTACK.lookup_headers["OpenStack-API-Version"] == "compute 2.9"
    assert OPENSTACK.lookup_headers["X-OpenStack-Nova-API-Version"] == "2.9"


# Ids.


@pytest.mark.parametrize(
    ("text", "read"), [("9", "9"), ("009", "9"), ("0", "0"), ("000", "0"), ("9" * 18, "9" * 18), ("0" * 17 + "9", "9")]
)
def test_leading_zeros_do_not_count_in_the_cyclades_dialect(text, read):
    assert CYCLADES.read_id(text) == read
    assert CYCLADES.body_id(text) == read


@pytest.mark.parametrize(
    "text", ["", "9" * 19, "0" * 19, "+9", "-9", "9_9", " 9", "9 ", "9\n", "\u0669", "\xb2", "9.0", "0x9", "nine", UUID]
)
def test_what_is_not_up_to_18_ascii_digits_is_no_id_in_the_cyclades_dialect(text):
    assert CYCLADES.read_id(text) is None
    assert CYCLADES.body_id(text) is None


@pytest.mark.parametrize("text", [UUID, UUID.upper(), UUID.title()])
def test_ids_are_case_insensitive_in_the_openstack_dialect(text):
    assert OPENSTACK.read_id(text) == UUID
    assert OPENSTACK.body_id(text) == UUID


@pytest.mark.parametrize(
    "text",
    ["", "9", UUID.replace("-", ""), f"{{{UUID}}}", f"urn:uuid:{UUID}", f"{UUID}\n", f"{UUID}0", f"{UUID}-", UUID[1:]],
)
def test_what_is_not_8_4_4_4_12_is_no_id_in_the_openstack_dialect(text):
    assert OPENSTACK.read_id(text) is None
    assert OPENSTACK.body_id(text) is None


@pytest.mark.parametrize(("value", "read"), [(0, "0"), (9, "9"), (10**18 - 1, "9" * 18)])
def test_a_number_in_a_body_is_an_id_in_the_cyclades_dialect_only(value, read):
    assert CYCLADES.body_id(value) == read
    assert OPENSTACK.body_id(value) is None


@by_dialect
@pytest.mark.parametrize(
    "value", [None, True, False, 9.0, -1, 10**18, 10**5000, float("inf"), [], [9], {}, b"9"], ids=type
)
def test_another_value_in_a_body_is_no_id(dialect, value):
    assert dialect.body_id(value) is None


@by_dialect
@given(st.text() | st.integers(0).map(str) | st.uuids().map(str))
def test_an_id_that_was_read_is_read_as_itself(dialect, text):
    read = dialect.read_id(text)
    assert read is None or dialect.read_id(read) == read == dialect.body_id(read)
    assert dialect.body_id(text) == read


# What an attachment looks like.


@pytest.mark.parametrize("device", [None, "", "/dev/vdb"])
def test_the_cyclades_dialect_shows_integers_and_no_device(device):
    shown = CYCLADES.show(AttachmentSummary("9", "1134", device, "demo"))
    assert shown == {"device": "", "serverId": 1134, "id": 9, "volumeId": 9}
    assert {type(value) for value in shown.values()} == {str, int}


@pytest.mark.parametrize(
    ("device", "shown"), [(None, {}), ("", {}), ("/dev/vdb", {"device": "/dev/vdb"})], ids=["None", "empty", "vdb"]
)
def test_the_openstack_dialect_shows_strings_and_the_device_where_there_is_one(device, shown):
    row = AttachmentSummary(UUID, SERVER, device, "demo")
    rest = {"serverId": SERVER, "id": UUID, "volumeId": UUID}
    assert OPENSTACK.show(row) == shown | rest
    assert OPENSTACK.show_attached(row) == {"device": None} | shown | rest


def test_unknown_members_are_ignored_in_the_cyclades_dialect_only():
    assert (CYCLADES.ignores_unknown_members, OPENSTACK.ignores_unknown_members) == (True, False)
