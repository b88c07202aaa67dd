"""Request bodies, from the environ to the members."""

import io
import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from webob.exc import HTTPRequestEntityTooLarge

from os_volume_ext.api import bodies
from os_volume_ext.api.dialects import CYCLADES, OPENSTACK
from os_volume_ext.api.endpoints import endpoints_of
from os_volume_ext.api.faults import BadRequest, Fault
from os_volume_ext.api.serializers import DESERIALIZERS, NAMESPACE
from os_volume_ext.errors import Kind
from os_volume_ext.models import AttachRequest

MAX_BODY = 65536
UUID = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
SPECIFICATIONS_EXAMPLE = b'{\n    "volumeAttachment": {\n        "volumeId": 9,\n    }\n}\n'

DIALECTS = {"cyclades": (CYCLADES, "9"), "openstack": (OPENSTACK, UUID)}
by_dialect = pytest.mark.parametrize(("dialect", "volume_id"), DIALECTS.values(), ids=DIALECTS)
by_media_type = pytest.mark.parametrize("media_type", DESERIALIZERS)
in_both_formats = pytest.mark.parametrize("format_", ["json", "xml"])


class Unread:
    """A stream that must not be read."""

    def read(self, size=-1):
        pytest.fail("the body was read")

    readline = readlines = __iter__ = read


class Broken:
    """A stream whose other end goes away after a while."""

    def __init__(self, first=b""):
        self._first = first

    def read(self, size=-1):
        if self._first:
            given, self._first = self._first[:size], self._first[size:]
            return given
        raise ConnectionResetError("the peer went away")


class Dripping:
    """A stream that returns less than requested, as a socket does."""

    def __init__(self, content):
        self._rest = content
        self.sizes = []

    def read(self, size):
        self.sizes.append(size)
        given, self._rest = self._rest[: min(size, 7)], self._rest[min(size, 7) :]
        return given


def environ_of(body, media_type="application/json", **more):
    environ = {"CONTENT_TYPE": media_type, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    environ.update((name.replace("wsgi_", "wsgi."), value) for name, value in more.items())
    return {name: value for name, value in environ.items() if value is not None}


def chunked(body, **more):
    terms = {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked", "wsgi_input_terminated": True}
    return environ_of(body, **{**terms, **more})


def refused(environ, limit=MAX_BODY, kind=Kind.BAD_REQUEST):
    with pytest.raises(Fault) as caught:
        bodies.read(environ, limit)
    assert caught.value.kind is kind
    return caught.value.message


def written(format_, members):
    """Write a request in a format; in XML all members are text."""
    if format_ == "json":
        return json.dumps({"volumeAttachment": members}).encode()
    attributes = "".join(f" {name}='{value}'" for name, value in members.items())
    return f"<volumeAttachment{attributes}/>".encode()


def attach(body, dialect, format_="json", minor=1, **more):
    """Read a request the whole way."""
    document = bodies.read(environ_of(body, f"application/{format_}", **more), MAX_BODY)
    request = attach_request(document, dialect, minor)
    return request.volume_id, request.device


def attach_request(document, dialect, minor=1):
    """Return what the body of a POST requests."""
    known = endpoints_of(dialect.name, minor)["collection"]["POST"].members
    return bodies.attach_request(bodies.read_members(document, known, dialect))


def complaint(body, dialect, format_="json", minor=1):
    with pytest.raises(BadRequest) as caught:
        attach(body, dialect, format_, minor)
    assert caught.value.kind is Kind.BAD_REQUEST
    return caught.value.message


# Members that name the volume.


@by_dialect
@by_media_type
@pytest.mark.parametrize("spelling", [str, str.upper, str.title])
@pytest.mark.parametrize("parameters", ["", "; charset=utf-8", ';charset="UTF-8"', " ; CharSet = utf8", "; version=1"])
def test_each_media_type_is_taken_in_any_case_and_with_parameters(dialect, volume_id, media_type, spelling, parameters):
    body = written("xml" if media_type.endswith("xml") else "json", {"volumeId": volume_id})
    document = bodies.read(environ_of(body, spelling(media_type) + parameters), MAX_BODY)
    assert attach_request(document, dialect) == AttachRequest(volume_id)


@by_dialect
@pytest.mark.parametrize("namespace", ["", f" xmlns='{NAMESPACE}'"])
def test_xml_is_read_with_and_without_the_namespace(dialect, volume_id, namespace):
    body = f"<?xml version='1.0' encoding='UTF-8'?>\n<volumeAttachment{namespace} volumeId='{volume_id}'/>"
    assert attach(body.encode(), dialect, "xml") == (volume_id, None)


@by_dialect
@in_both_formats
def test_a_byte_order_mark_is_skipped(dialect, volume_id, format_):
    assert attach(b"\xef\xbb\xbf" + written(format_, {"volumeId": volume_id}), dialect, format_) == (volume_id, None)


@pytest.mark.parametrize("value", [9, "9", "09", "009", "0" * 17 + "9"])
def test_an_integer_and_its_decimal_string_are_one_id_in_the_cyclades_dialect(value):
    assert attach(written("json", {"volumeId": value}), CYCLADES) == ("9", None)
    assert attach(written("xml", {"volumeId": value}), CYCLADES, "xml") == ("9", None)


@pytest.mark.parametrize("value", [0, "0", 10**18 - 1, "9" * 18])
def test_an_id_may_be_zero_or_have_18_digits_in_the_cyclades_dialect(value):
    assert attach(written("json", {"volumeId": value}), CYCLADES) == (str(value), None)


@in_both_formats
@pytest.mark.parametrize("value", [UUID.upper(), UUID.title()])
def test_a_uuid_is_returned_in_lowercase(format_, value):
    assert attach(written(format_, {"volumeId": value}), OPENSTACK, format_) == (UUID, None)


# Malformed ids.

NO_DIGITS = [
    "",
    "-1",
    "+9",
    "9_9",
    " 9",
    "9 ",
    "\u0669",
    "\uff19",
    "9.0",
    "9e0",
    "0x9",
    "nine",
    "9" * 19,
    "0" * 19,
    UUID,
]


@in_both_formats
@pytest.mark.parametrize("value", NO_DIGITS)
def test_a_string_that_is_not_ascii_digits_is_no_id_in_the_cyclades_dialect(format_, value):
    called = repr(value) if value else "an empty string"
    assert complaint(written(format_, {"volumeId": value}), CYCLADES, format_) == (
        f"volumeId must be an integer of up to 18 digits, not {called}."
    )


NO_UUIDS = [
    "",
    "9",
    UUID.replace("-", ""),
    f"{{{UUID}}}",
    f"urn:uuid:{UUID}",
    f" {UUID}",
    f"{UUID} ",
    f"{UUID}0",
    UUID[1:],
]
NO_UUIDS += [UUID.replace("a", "g"), UUID.replace("-", "_"), UUID.replace("8", "\u0668"), UUID.replace("a", "\uff41")]


@in_both_formats
@pytest.mark.parametrize("value", NO_UUIDS)
def test_a_string_that_is_not_8_4_4_4_12_is_no_id_in_the_openstack_dialect(format_, value):
    called = repr(value) if value else "an empty string"
    assert complaint(written(format_, {"volumeId": value}), OPENSTACK, format_) == (
        f"volumeId must be a UUID such as {UUID}, not {called}."
    )


NO_IDS = {
    "null": "null",
    "true": "a boolean",
    "false": "a boolean",
    "9.0": "a number with a fraction or an exponent",
    "9.5": "a number with a fraction or an exponent",
    "1e1": "a number with a fraction or an exponent",
    "1e400": "a number with a fraction or an exponent",
    "-1": "the number -1",
    "1" + "0" * 18: "the number 1" + "0" * 18,
    "9" * 50: "the number " + "9" * 50,
    "1" + "0" * 50: "a number of more than 50 digits",
    "-1" + "0" * 50: "a number of more than 50 digits",
    "1" + "0" * 4000: "a number of more than 50 digits",
    "[]": "an array",
    "[9]": "an array",
    "{}": "an object",
    '{"id": 9}': "an object",
    '"\\ud800"': "'\\ud800'",
    '"\\u0000"': "'\\x00'",
    '"9\\n"': "'9\\n'",
}


@by_dialect
@pytest.mark.parametrize(("value", "called"), NO_IDS.items(), ids=lambda text: text[:20])
def test_json_that_is_no_id_is_described_by_its_type(dialect, volume_id, value, called):
    body = b'{"volumeAttachment": {"volumeId": %s}}' % value.encode()
    assert complaint(body, dialect) == f"volumeId must be {dialect.id_syntax}, not {called}."


def test_a_json_number_is_no_id_in_the_openstack_dialect():
    assert (
        complaint(written("json", {"volumeId": 9}), OPENSTACK)
        == f"volumeId must be a UUID such as {UUID}, not the number 9."
    )


@by_dialect
def test_a_long_id_is_cut_in_the_message(dialect, volume_id):
    message = complaint(written("json", {"volumeId": "x" * 60_000}), dialect)
    assert f"{'x' * 50!r}" in message
    assert len(message) < 200


# Shapes that are no request.


@by_dialect
@in_both_formats
def test_a_missing_volume_id_is_named(dialect, volume_id, format_):
    assert complaint(written(format_, {}), dialect, format_) == "The body must have the member volumeId."


@by_dialect
@pytest.mark.parametrize(
    ("format_", "body"),
    [
        ("json", b"{}"),
        ("json", b'{"volumeId": 9}'),
        ("json", b'{"volumeattachment": {"volumeId": 9}}'),
        ("xml", b"<x/>"),
        ("xml", b"<server volumeId='9'/>"),
    ],
)
def test_a_missing_volume_attachment_is_named(dialect, volume_id, format_, body):
    assert complaint(body, dialect, format_) == "The body must have the member volumeAttachment."


@by_dialect
@pytest.mark.parametrize(
    ("value", "called"),
    [
        (None, "null"),
        ([], "an array"),
        ([{"volumeId": 9}], "an array"),
        ("", "an empty string"),
        ("9", "'9'"),
        (9, "the number 9"),
        (1.5, "a number with a fraction or an exponent"),
        (False, "a boolean"),
    ],
)
def test_a_volume_attachment_that_is_no_object_is_described_by_its_type(dialect, volume_id, value, called):
    body = json.dumps({"volumeAttachment": value}).encode()
    assert complaint(body, dialect) == f"volumeAttachment must be an object, not {called}."


@by_dialect
@pytest.mark.parametrize(
    ("body", "called"),
    [
        (b"null", "null"),
        (b"[]", "an array"),
        (b"9", "the number 9"),
        (b'"a"', "'a'"),
        (b'""', "an empty string"),
        (b"true", "a boolean"),
    ],
)
def test_a_body_that_is_no_object_is_described_by_its_type(dialect, volume_id, body, called):
    assert complaint(body, dialect) == f"The body must be an object, not {called}."


# Further members.


@in_both_formats
def test_unknown_members_are_ignored_in_the_cyclades_dialect(format_):
    body = written(format_, {"volumeId": "9", "tag": "x", "delete_on_termination": "true"})
    assert attach(body, CYCLADES, format_) == ("9", None)


def test_unknown_members_beside_the_attachment_are_ignored_in_the_cyclades_dialect():
    assert attach(b'{"volumeAttachment": {"volumeId": 9}, "tag": 1}', CYCLADES) == ("9", None)


@in_both_formats
@pytest.mark.parametrize("name", ["tag", "delete_on_termination", "VolumeId", "serverId", "id"])
def test_unknown_members_are_refused_by_name_in_the_openstack_dialect(format_, name):
    body = written(format_, {"volumeId": UUID, name: "x"})
    assert complaint(body, OPENSTACK, format_) == f"The body has the unknown member {name!r}."


def test_unknown_members_beside_the_attachment_are_refused_in_the_openstack_dialect():
    body = json.dumps({"volumeAttachment": {"volumeId": UUID}, "\ud800": 1}).encode()
    assert complaint(body, OPENSTACK) == "The body has the unknown member '\\ud800'."


def test_an_attribute_of_another_namespace_is_an_unknown_member():
    body = f"<volumeAttachment volumeId='{UUID}' xmlns:x='urn:x' x:device='/dev/vdb'/>".encode()
    assert complaint(body, OPENSTACK, "xml") == "The body has the unknown member '{urn:x}device'."
    assert attach(body.replace(UUID.encode(), b"9"), CYCLADES, "xml") == ("9", None)


# Tag and delete_on_termination.

TRUE = [True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"]
FALSE = [False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"]
TAG_MESSAGE = "tag must be a string of 1 to 60 characters, without commas, slashes or control characters."


def wanted(members, dialect, format_="json", minor=1):
    document = bodies.read(environ_of(written(format_, members), f"application/{format_}"), MAX_BODY)
    return attach_request(document, dialect, minor)


@in_both_formats
@pytest.mark.parametrize("tag", ["t", "the root of all", "\xe4\u0431\U0001f4be", "x" * 60])
def test_a_tag_may_be_any_string_from_2_49_on(format_, tag):
    assert wanted({"volumeId": UUID, "tag": tag}, OPENSTACK, format_, 49) == AttachRequest(UUID, None, tag)


@pytest.mark.parametrize("tag", ["", "x" * 61, "a,b", "a/b", "\0", "\x1f", "\ud800", "\uffff", None, 1, True, [], {}])
def test_a_malformed_tag_is_refused(tag):
    assert complaint(written("json", {"volumeId": UUID, "tag": tag}), OPENSTACK, minor=49) == TAG_MESSAGE


@pytest.mark.parametrize(("value", "read"), [*((each, True) for each in TRUE), *((each, False) for each in FALSE)])
def test_delete_on_termination_is_as_nova_reads_it_from_2_79_on(value, read):
    assert wanted({"volumeId": UUID, "delete_on_termination": value}, OPENSTACK, minor=79) == AttachRequest(
        UUID, None, None, read
    )


def test_xml_spells_delete_on_termination():
    assert wanted({"volumeId": UUID, "delete_on_termination": "true"}, OPENSTACK, "xml", 79).delete_on_termination


@pytest.mark.parametrize("value", [None, 1, 0, 1.0, "", "tRUE", "t", "2", [], {}])
def test_delete_on_termination_that_is_no_boolean_is_refused(value):
    body = written("json", {"volumeId": UUID, "delete_on_termination": value})
    assert complaint(body, OPENSTACK, minor=79) == "delete_on_termination must be true or false."


@pytest.mark.parametrize(("name", "minor"), [("tag", 20), ("delete_on_termination", 75)])
def test_a_member_is_unknown_before_its_version(name, minor):
    body = written("json", {"volumeId": UUID, name: "true"})
    assert complaint(body, OPENSTACK, minor=minor) == f"The body has the unknown member {name!r}."


def test_novas_members_are_ignored_in_the_cyclades_dialect():
    assert wanted({"volumeId": "9", "tag": "a,b", "delete_on_termination": "x"}, CYCLADES) == AttachRequest("9")


# What is to be changed.


def changes(members, minor):
    known = endpoints_of("openstack", minor)["member"]["PUT"].members
    return bodies.read_members({"volumeAttachment": members}, known, OPENSTACK)


def test_a_swap_names_the_other_volume_and_nothing_else():
    assert changes({"volumeId": UUID.upper()}, 1) == {"volumeId": UUID}
    with pytest.raises(BadRequest, match="unknown member 'device'"):
        changes({"volumeId": UUID, "device": "/dev/vdb"}, 79)


def test_an_update_may_have_the_members_of_a_response():
    given = {"device": "/dev/vdb", "tag": "mine", "delete_on_termination": "yes", "id": UUID.upper(), "serverId": UUID}
    read = given | {"delete_on_termination": True, "id": UUID}
    assert changes({"volumeId": UUID, **given}, 85) == {"volumeId": UUID, **read}
    assert changes({"volumeId": UUID}, 85) == {"volumeId": UUID}


@pytest.mark.parametrize("name", ["id", "serverId"])
@pytest.mark.parametrize("value", [None, 9, "9", ""])
def test_a_malformed_id_in_an_update_is_refused(name, value):
    with pytest.raises(BadRequest, match="id and serverId must each be a UUID"):
        changes({"volumeId": UUID, name: value}, 85)


@pytest.mark.parametrize("name", ["attachment_id", "bdm_uuid", "volume_id"])
def test_other_members_of_an_update_are_unknown(name):
    with pytest.raises(BadRequest, match=f"unknown member {name!r}"):
        changes({"volumeId": UUID, name: UUID}, 102)


# The device.


@in_both_formats
@pytest.mark.parametrize("device", ["/dev/vdb", "", "nonsense", "x" * 5000])
def test_a_device_is_ignored_in_the_cyclades_dialect(format_, device):
    assert attach(written(format_, {"volumeId": "9", "device": device}), CYCLADES, format_) == ("9", None)


@pytest.mark.parametrize("device", [None, 1, True, [], {}])
def test_a_device_that_is_no_string_is_ignored_in_the_cyclades_dialect(device):
    assert attach(written("json", {"volumeId": 9, "device": device}), CYCLADES) == ("9", None)


@in_both_formats
@pytest.mark.parametrize("device", ["/dev/vdb", "/dev/sda1", "/dev/xvdzz99", "/dev/a", "/dev/" + "a" * 250])
def test_a_device_can_be_requested_in_the_openstack_dialect(format_, device):
    assert attach(written(format_, {"volumeId": UUID, "device": device}), OPENSTACK, format_) == (UUID, device)


def test_a_device_that_is_null_is_not_requested():
    assert attach(written("json", {"volumeId": UUID, "device": None}), OPENSTACK) == (UUID, None)


NO_DEVICES = [
    "",
    "vdb",
    "/dev/",
    "/dev/VDB",
    "/dev/vd-b",
    "/dev/1",
    "/dev/vdb1a",
    "/dev/../etc/passwd",
    "/dev/v/db",
    " /dev/vdb",
]
NO_DEVICES += ["/dev/vdb ", "/dev/vd\u0431", "/dev/vdb\u0661", "/dev/" + "a" * 251, "/dev/" + "a" * 60_000]
DEVICE_MESSAGE = "device must match ^/dev/[a-z]+[0-9]*$ and have at most 255 characters."


@in_both_formats
@pytest.mark.parametrize("device", NO_DEVICES, ids=lambda text: text[:20])
def test_a_malformed_device_is_refused_in_the_openstack_dialect(format_, device):
    assert complaint(written(format_, {"volumeId": UUID, "device": device}), OPENSTACK, format_) == DEVICE_MESSAGE


@pytest.mark.parametrize("device", [1, True, False, 0, 1.5, [], ["/dev/vdb"], {}, "/dev/vdb\n", "\ud800"])
def test_a_device_that_is_no_string_is_refused_in_the_openstack_dialect(device):
    assert complaint(written("json", {"volumeId": UUID, "device": device}), OPENSTACK) == DEVICE_MESSAGE


# The headers.

ACCEPTED = (
    "must be one of application/json, application/vnd.openstack.compute+json, "
    "application/xml, application/vnd.openstack.compute+xml."
)


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        ";",
        "application/json".ljust(256, ";"),
        "json",
        "application/json+x",
        "application/*",
        "*/*",
    ],
)
def test_another_content_type_is_refused_with_those_accepted_and_the_body_unread(media_type):
    environ = environ_of(b"{}", media_type, wsgi_input=Unread())
    assert refused(environ, kind=Kind.UNSUPPORTED_MEDIA_TYPE) == f"Content-Type {ACCEPTED}"


def test_a_content_type_may_have_255_characters():
    body = written("json", {"volumeId": "9"})
    assert bodies.read(environ_of(body, "application/json".ljust(255, ";")), MAX_BODY) == json.loads(body)


@pytest.mark.parametrize("media_type", [None, "", " "])
def test_a_missing_content_type_is_a_bad_request_with_those_accepted(media_type):
    environ = environ_of(b"{}", media_type, wsgi_input=Unread())
    assert refused(environ) == f"Content-Type is missing; it {ACCEPTED}"


@by_media_type
@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", '"us-ascii"', "", "utf-8x", "X-UTF-8"])
def test_another_charset_is_refused_and_the_body_unread(media_type, charset):
    environ = environ_of(b"{}", f"{media_type}; boundary=x; charset={charset}", wsgi_input=Unread())
    assert refused(environ) == f"The body must be UTF-8, but its Content-Type has charset {charset.strip(chr(34))!r}."


@pytest.mark.parametrize("length", [None, ""])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi_input_terminated": False},
        {"HTTP_TRANSFER_ENCODING": "gzip", "wsgi_input_terminated": True},
        {"HTTP_TRANSFER_ENCODING": "", "wsgi_input_terminated": True},
        {"wsgi_input_terminated": True},
    ],
)
def test_a_missing_content_length_is_refused_unless_a_chunked_bodys_end_is_known(length, more):
    assert (
        refused(environ_of(b"{}", CONTENT_LENGTH=length, wsgi_input=Unread(), **more)) == "Content-Length is missing."
    )


@pytest.mark.parametrize(
    "length", ["x", "-1", "+2", " 2", "2 ", "2.0", "0x2", "2_0", "\u0662", "\xb2", "2, 2", "9" * 19, "9" * 5000]
)
@pytest.mark.parametrize("more", [{}, {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi_input_terminated": True}])
def test_a_content_length_that_is_no_number_is_refused(length, more):
    environ = environ_of(b"{}", CONTENT_LENGTH=length, wsgi_input=Unread(), **more)
    assert refused(environ) == "Content-Length must be a number of bytes."


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "gzip, chunked"])
def test_a_chunked_body_is_read_where_the_server_ends_the_input(coding):
    body = written("json", {"volumeId": 9})
    assert bodies.read(chunked(body, HTTP_TRANSFER_ENCODING=coding), MAX_BODY) == {"volumeAttachment": {"volumeId": 9}}


# The size.


def padded(size):
    return b'{"a": 1}'.ljust(size)


def test_a_body_of_exactly_the_limit_is_fine():
    assert bodies.read(environ_of(padded(MAX_BODY)), MAX_BODY) == {"a": 1}
    assert bodies.read(chunked(padded(MAX_BODY)), MAX_BODY) == {"a": 1}


@pytest.mark.parametrize("length", [MAX_BODY + 1, 10**17, int("9" * 18)])
@by_media_type
def test_a_body_of_one_byte_more_is_over_the_limit_and_is_not_read(media_type, length):
    environ = environ_of(b"", media_type, CONTENT_LENGTH=str(length), wsgi_input=Unread())
    assert refused(environ, kind=Kind.OVER_LIMIT) == "The body must have at most 65536 bytes."


def test_a_chunked_body_over_the_limit_is_read_no_further_than_it_takes_to_see_that():
    environ = chunked(padded(MAX_BODY * 2))
    assert refused(environ, kind=Kind.OVER_LIMIT) == "The body must have at most 65536 bytes."
    assert environ["wsgi.input"].tell() == MAX_BODY + 1


def test_no_more_is_read_than_the_content_length():
    environ = environ_of(b'{"a": 1}{"b": 2}', CONTENT_LENGTH="8")
    assert bodies.read(environ, MAX_BODY) == {"a": 1}
    assert environ["wsgi.input"].tell() == 8


def test_a_body_that_comes_in_pieces_is_put_together_and_never_overread():
    stream = Dripping(b'{"abcdefghij": 12345}AND THE NEXT REQUEST')
    assert bodies.read(environ_of(b"", CONTENT_LENGTH="21", wsgi_input=stream), MAX_BODY) == {"abcdefghij": 12345}
    assert stream.sizes == [21, 14, 7]


def test_an_empty_body_is_not_read_and_is_not_json():
    assert refused(environ_of(b"", wsgi_input=Unread())) == "The body is not JSON: line 1, column 1."


@pytest.mark.parametrize("body", [b"", b'{"a": 1}'])
def test_a_body_that_ends_early_is_refused(body):
    assert refused(environ_of(body, CONTENT_LENGTH="10")) == f"The body ended after {len(body)} of 10 bytes."


@pytest.mark.parametrize("stream", [Broken, lambda: Broken(b'{"a"')])
@pytest.mark.parametrize("make", [environ_of, chunked])
def test_a_connection_that_breaks_is_a_bad_request(stream, make):
    assert refused(make(b'{"a": 1}', wsgi_input=stream())) == "The body could not be read completely."


class Limited:
    """A stream behind a filter that counts what is read, as oslo.middleware's does."""

    def read(self, size=-1):
        raise HTTPRequestEntityTooLarge


def test_a_chunked_body_that_an_outer_filter_finds_too_large_is_over_the_limit():
    message = refused(chunked(b"{}", wsgi_input=Limited()), kind=Kind.OVER_LIMIT)
    assert message == "The body is larger than this server accepts."


# The syntax; test_serializers has the malformed ones.


@by_dialect
def test_the_specifications_own_example_is_refused_for_its_trailing_comma(dialect, volume_id):
    database_kind = "line 3, column 22" if sys.version_info >= (3, 13) else "line 4, column 5"
    assert complaint(SPECIFICATIONS_EXAMPLE, dialect) == (
        f"The body is not JSON: {database_kind}: a trailing comma before '}}'."
    )


ENTITY = b"<!DOCTYPE a [<!ENTITY e '9'>]><volumeAttachment volumeId='&e;'/>"
MALFORMED = [
    ("json", b"{", "The body is not JSON: line 1, column 2."),
    ("json", b"<volumeAttachment/>", "The body is not JSON: line 1, column 1."),
    ("json", b'{"volumeAttachment": {"volumeId": NaN}}', "The body's JSON has NaN, which is not a JSON value."),
    ("json", b"[" * 60_000, "The body's JSON is nested too deeply."),
    (
        "json",
        b'{"volumeAttachment": {"volumeId": %s}}' % (b"9" * 5000),
        "The body's JSON has a number that is too long.",
    ),
    (
        "json",
        b'{"volumeAttachment": {"volumeId": 9, "volumeId": 9}}',
        "The body's JSON has a member of an object twice.",
    ),
    ("json", b'{"volumeAttachment": {"volumeId": "\xff"}}', "The body must be UTF-8, but byte 36 is not."),
    ("json", '{"volumeAttachment": {"volumeId": 9}}'.encode("utf-16"), "The body must be UTF-8, but byte 1 is not."),
    ("xml", b'{"volumeAttachment": {"volumeId": 9}}', "The body is not XML: line 1, column 1."),
    ("xml", ENTITY, "The body's XML must not have a DOCTYPE."),
    ("xml", b"<volumeAttachment volumeId='\xe9'/>", "The body must be UTF-8, but byte 29 is not."),
    (
        "xml",
        b"<volumeAttachment><volumeId>9</volumeId></volumeAttachment>",
        "The body's XML must have its members as attributes of one element.",
    ),
    (
        "xml",
        b"<volumeAttachment xmlns='urn:x' volumeId='9'/>",
        f"The body's XML must be in the namespace {NAMESPACE}, or in none.",
    ),
    (
        "xml",
        b"<?xml version='1.0' encoding='ISO-8859-1'?><volumeAttachment volumeId='9'/>",
        "The body must be UTF-8, but its XML declares encoding 'ISO-8859-1'.",
    ),
]


@by_dialect
@pytest.mark.parametrize(("format_", "body", "message"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_body_is_a_bad_request_with_the_reason(dialect, volume_id, format_, body, message):
    assert complaint(body, dialect, format_) == message


# A hundred thousand levels are over the limit already; the reader holds out by itself, too.
@by_media_type
def test_a_body_nested_a_hundred_thousand_deep_is_refused_whatever_the_limit(media_type):
    body = (b"<a>" if media_type.endswith("xml") else b"[") * 100_000
    refused(environ_of(body, media_type), kind=Kind.OVER_LIMIT)
    assert refused(environ_of(body, media_type), limit=10**6).startswith(("The body's JSON", "The body is not XML"))


# Whatever comes.

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["9", UUID, "/dev/vdb"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["volumeAttachment", "volumeId", "device"]) | st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)
CONTENT = st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode())
ENVIRONS = st.fixed_dictionaries(
    {"wsgi.input": st.builds(io.BytesIO, CONTENT) | st.builds(Broken, CONTENT)},
    optional={
        "CONTENT_TYPE": st.sampled_from(list(DESERIALIZERS)) | st.text() | st.none(),
        "CONTENT_LENGTH": st.integers(-1, 80).map(str) | st.text() | st.none(),
        "HTTP_TRANSFER_ENCODING": st.sampled_from(["chunked", "gzip"]) | st.text() | st.none(),
        "wsgi.input_terminated": st.booleans(),
    },
)


@given(ENVIRONS, st.integers(1, 60))
@example({"wsgi.input": io.BytesIO(b"")}, 1)
def test_any_request_has_a_value_or_is_a_fault(environ, limit):
    kind = None
    try:
        bodies.read(environ, limit)
    except Fault as fault:
        kind = fault.kind
    assert kind in (None, Kind.BAD_REQUEST, Kind.UNSUPPORTED_MEDIA_TYPE, Kind.OVER_LIMIT)


@given(JSON_VALUES, st.sampled_from([CYCLADES, OPENSTACK]))
@example({"volumeAttachment": {"volumeId": "9", "device": float("nan")}}, OPENSTACK)
def test_any_document_has_a_valid_volume_id_or_is_a_bad_request(document, dialect):
    try:
        wanted = attach_request(document, dialect)
    except BadRequest:
        return
    assert dialect.read_id(wanted.volume_id) == wanted.volume_id
    assert wanted.device is None or wanted.device.startswith("/dev/")
