"""Which microversion a request requires, and what changes from one to the next."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from os_volume_ext.api.dialects import CYCLADES, DIALECTS, LAST, OPENSTACK, Dialect
from os_volume_ext.api.endpoints import endpoints_of
from os_volume_ext.api.faults import BadRequest, Fault
from os_volume_ext.api.microversions import CHANGES, MICROVERSIONS, Negotiated, Versions
from os_volume_ext.errors import Kind, MultiattachUnsupported
from os_volume_ext.models import AttachmentDetail, AttachmentSummary

NEW, OLD = "HTTP_OPENSTACK_API_VERSION", "HTTP_X_OPENSTACK_NOVA_API_VERSION"
SHELVED = {"SHELVED", "SHELVED_OFFLOADED"}


def changed(minor):
    """Return the fields that a microversion changes, with what it makes of them."""
    before, now = (MICROVERSIONS["openstack"][f"2.{each}"].dialect for each in (minor - 1, minor))
    fields = [field.name for field in dataclasses.fields(Dialect)]
    return {name: getattr(now, name) for name in fields if getattr(now, name) != getattr(before, name)}


def negotiate(**environ):
    return Versions(OPENSTACK).negotiate(environ)


def version_of(found):
    headers = dict(found.headers)
    version, legacy, vary = headers.values()
    assert list(headers) == ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version", "Vary"]
    assert version == f"compute {legacy}"
    assert vary == "Accept, X-Auth-Token, OpenStack-API-Version, X-OpenStack-Nova-API-Version"
    return legacy


def test_every_dialect_has_its_versions():
    assert MICROVERSIONS.keys() == DIALECTS.keys()
    assert list(MICROVERSIONS["openstack"]) == [f"2.{minor}" for minor in range(1, 105)]
    assert MICROVERSIONS["cyclades"] == {}


def test_the_first_is_the_dialect_itself():
    assert MICROVERSIONS["openstack"]["2.1"].dialect is OPENSTACK


def test_a_version_without_a_change_is_as_the_one_before():
    versions = MICROVERSIONS["openstack"]
    changing = [minor for minor in range(2, LAST + 1) if versions[f"2.{minor}"] != versions[f"2.{minor - 1}"]]
    assert changing == [minor for minor in CHANGES if minor > 1] == sorted(changing)


def test_2_20_attaches_to_shelved_servers():
    assert changed(20) == {"server_states": OPENSTACK.server_states | SHELVED}


def show_all(minor, **more):
    """Return the members that the versions from one on have of a row: listed, and in the response to an attach."""
    dialect = CHANGES[minor].dialect
    row = AttachmentDetail("a", "b", "/dev/vdb", more.get("tag"), more.get("delete_on_termination", False), "c")
    return dialect.show(row), dialect.show_attached(row)


PLAIN = {"device": "/dev/vdb", "serverId": "b", "id": "a", "volumeId": "a"}


def test_2_60_takes_multiattach_volumes():
    assert changed(60) == {"multiattach": True}
    assert OPENSTACK.messages[MultiattachUnsupported].endswith("starting with compute API version 2.60.")


@pytest.mark.parametrize("tag", [None, "mine"])
def test_2_70_shows_the_tag(tag):
    assert list(changed(70)) == ["projection", "show", "show_attached"]
    assert (CHANGES[60].dialect.projection, CHANGES[70].dialect.projection) == (AttachmentSummary, AttachmentDetail)
    assert show_all(60, tag=tag) == (PLAIN, PLAIN)
    assert show_all(70, tag=tag) == (PLAIN | {"tag": tag},) * 2


@pytest.mark.parametrize("response", [True, False])
def test_2_79_shows_delete_on_termination(response):
    assert set(changed(79)) == {"show", "show_attached"}
    shown = PLAIN | {"tag": "mine", "delete_on_termination": response}
    assert show_all(79, tag="mine", delete_on_termination=response) == (shown, shown)


def test_2_89_shows_ids_of_the_attachment_and_not_the_volumes_but_not_on_attach():
    assert list(changed(89)) == ["show"]
    before = PLAIN | {"tag": None, "delete_on_termination": False}
    after = {name: value for name, value in before.items() if name != "id"} | {"attachment_id": "c", "bdm_uuid": "c"}
    assert show_all(79) == (before, before)
    assert show_all(89) == (after, before)


@pytest.mark.parametrize("minor", [1, 70, 79])
def test_an_unknown_device_is_left_out_but_in_the_response_to_an_attach(minor):
    row = AttachmentDetail("a", "b", None, None, False, "c")
    shown = CHANGES[minor].dialect.show(row)
    assert "device" not in shown
    assert CHANGES[minor].dialect.show_attached(row) == shown | {"device": None}


def test_2_101_responds_to_an_attach_with_202_and_no_body():
    assert changed(101) == {"attach_status": 202, "show_attached": None}


@pytest.mark.parametrize(
    ("environ", "version"),
    [
        ({}, "2.1"),
        ({NEW: "compute 2.30"}, "2.30"),
        ({NEW: "Compute   2.30 "}, "2.30"),
        ({NEW: "volume 3.1, compute 2.30,identity 3.0"}, "2.30"),
        ({NEW: "volume 3.1"}, "2.1"),
        ({NEW: "compute"}, "2.1"),
        ({NEW: "2.30"}, "2.1"),
        ({NEW: ""}, "2.1"),
        ({OLD: "2.30"}, "2.30"),
        ({OLD: ""}, "2.1"),
        ({NEW: "compute 2.30", OLD: "2.40"}, "2.30"),
        ({NEW: "volume 3.1", OLD: "2.40"}, "2.40"),
        ({NEW: "compute latest"}, "2.104"),
        ({OLD: "latest"}, "2.104"),
        ({NEW: "compute 2.104"}, "2.104"),
    ],
)
def test_a_version_is_requested_as_from_nova(environ, version):
    found = negotiate(**environ)
    assert version_of(found) == version
    assert found[:2] == MICROVERSIONS["openstack"][version]


@pytest.mark.parametrize("text", ["2", "2.", ".1", "2.01", "02.1", "2.1.1", "-2.1", "2.x", "two", "Latest", "2.\u0661"])
def test_a_malformed_version_is_a_bad_request(text):
    with pytest.raises(BadRequest, match="it must be such as") as caught:
        negotiate(**{OLD: text})
    assert repr(text) in caught.value.message
    assert caught.value.headers == {}


@pytest.mark.parametrize("version", ["2.0", "2.105", "1.1", "3.0", "2." + "9" * 48])
def test_an_unsupported_version_is_not_acceptable_and_named(version):
    with pytest.raises(Fault) as caught:
        negotiate(**{NEW: f"compute {version}"})
    fault = caught.value
    assert fault.kind is Kind.NOT_ACCEPTABLE
    expected = f"Version {version} is not supported by the API. Minimum is 2.1 and maximum is 2.104."
    assert fault.message == expected
    assert version_of(fault) == version


@pytest.mark.parametrize("header", [NEW, OLD])
def test_a_very_long_version_is_a_bad_request_and_cut(header):
    prefix = "compute " if header == NEW else ""
    with pytest.raises(BadRequest) as caught:
        negotiate(**{header: f"{prefix}2.{'9' * 500}"})
    assert caught.value.message == f"Microversion '2.{'9' * 48}' is invalid; it must be such as 2.1, or latest."


@pytest.mark.parametrize("header", [NEW, OLD])
def test_a_very_long_header_is_a_bad_request_and_not_parsed(header):
    text = ("compute " if header == NEW else "") + "2.1"
    assert negotiate(**{header: text.rjust(1024)}).headers
    with pytest.raises(BadRequest, match="at most 1024 characters"):
        negotiate(**{header: text.rjust(1025)})


@given(st.text())
def test_any_requested_version_is_negotiated_or_a_fault(text):
    headers = {NEW: f"compute {text}", OLD: text}
    try:
        refused = None if negotiate(**headers).headers else "without a version"
    except Fault as fault:
        refused = fault.kind
    assert refused in (None, Kind.BAD_REQUEST, Kind.NOT_ACCEPTABLE)


@pytest.mark.parametrize("last", ["2.1", "2.19", "2.20", "2.74"])
def test_an_operator_limits_the_newest_version(last):
    versions = Versions(OPENSTACK, last)
    assert version_of(versions.negotiate({OLD: "latest"})) == version_of(versions.negotiate({OLD: last})) == last
    assert versions.newest == MICROVERSIONS["openstack"][last].dialect
    assert versions.oldest == OPENSTACK
    with pytest.raises(Fault, match=f"maximum is {last}"):
        versions.negotiate({OLD: f"2.{int(last[2:]) + 1}"})


def test_the_operators_overrides_apply_to_every_version():
    versions = Versions(OPENSTACK, attach_status=200, server_states=frozenset(("ACTIVE",)))
    for version in MICROVERSIONS["openstack"]:
        dialect = versions.negotiate({OLD: version}).dialect
        assert (dialect.attach_status, dialect.constraints.server_states) == (200, {"ACTIVE"})
    assert versions.oldest.server_states == versions.newest.server_states == {"ACTIVE"}


@pytest.mark.parametrize("environ", [{}, {NEW: "compute 2.30"}, {OLD: "two"}])
def test_cyclades_reads_no_header_and_sends_none(environ):
    versions = Versions(CYCLADES)
    assert versions.negotiate(environ) == Negotiated(CYCLADES, endpoints_of("cyclades", 1), {})
    assert versions.oldest == versions.newest == CYCLADES
