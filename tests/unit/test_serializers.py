"""JSON and XML, written and read."""

import json
import re
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from os_volume_ext.api.discovery import EXTENSION
from os_volume_ext.api.serializers import (
    DESERIALIZERS,
    JSON,
    NAMESPACE,
    SERIALIZERS,
    XML,
    Malformed,
    read_json,
    read_xml,
)

CYCLADES_9 = {"device": "", "serverId": 1134, "id": 9, "volumeId": 9}
CYCLADES_99 = {"device": "", "serverId": 1134, "id": 99, "volumeId": 99}
UUID = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
OPENSTACK = {"device": "/dev/vdb", "serverId": "4335bab6-6086-4247-8274-8b8b048edaaa", "id": UUID, "volumeId": UUID}
SPECIFICATIONS_EXAMPLE = b'{\n    "volumeAttachment": {\n        "volumeId": 9,\n    }\n}\n'


def reason(read, body):
    with pytest.raises(Malformed) as caught:
        read(body)
    return str(caught.value)


def named(name):
    return f"{{{NAMESPACE}}}{name}"


# Writing.


@pytest.mark.parametrize("format_", [JSON, XML])
def test_the_content_type_has_the_charset(format_):
    assert format_.content_type.endswith("; charset=UTF-8")


def test_each_media_type_has_a_writer_and_a_reader_of_the_same_format():
    assert SERIALIZERS.keys() == DESERIALIZERS.keys()
    for media_type, serializer in SERIALIZERS.items():
        is_xml = media_type.endswith("xml")
        assert serializer is (XML if is_xml else JSON)
        assert DESERIALIZERS[media_type] is (read_xml if is_xml else read_json)


@pytest.mark.parametrize("shown", [CYCLADES_9, OPENSTACK])
def test_an_attachment_in_json_is_the_specifications(shown):
    assert json.loads(JSON.attachment(shown)) == {"volumeAttachment": shown}


def test_a_list_in_json_is_the_specifications():
    assert json.loads(JSON.attachments(iter([CYCLADES_9, CYCLADES_99]))) == {
        "volumeAttachments": [CYCLADES_9, CYCLADES_99]
    }


def test_an_empty_list_in_json_is_a_list():
    assert json.loads(JSON.attachments([])) == {"volumeAttachments": []}


@pytest.mark.parametrize("shown", [CYCLADES_9, OPENSTACK])
def test_an_attachment_in_xml_is_one_element_with_attributes_and_no_namespace(shown):
    root = etree.fromstring(XML.attachment(shown))
    assert (root.tag, root.text, len(root)) == ("volumeAttachment", None, 0)
    assert dict(root.attrib) == {name: str(value) for name, value in shown.items()}


def test_a_list_in_xml_has_an_element_for_each_in_order():
    root = etree.fromstring(XML.attachments(iter([CYCLADES_99, CYCLADES_9])))
    assert root.tag == "volumeAttachments"
    assert [(each.tag, each.get("id")) for each in root] == [("volumeAttachment", "99"), ("volumeAttachment", "9")]


def test_an_empty_list_in_xml_is_an_empty_element():
    root = etree.fromstring(XML.attachments([]))
    assert (root.tag, len(root)) == ("volumeAttachments", 0)


def test_an_extension_in_json_is_novas():
    assert json.loads(JSON.extension(EXTENSION)) == {"extension": EXTENSION}
    assert json.loads(JSON.extensions([EXTENSION])) == {"extensions": [EXTENSION]}


def test_an_extension_in_xml_is_novas():
    root = etree.fromstring(XML.extension(EXTENSION))
    assert root.tag == named("extension")
    assert dict(root.attrib) == {name: EXTENSION[name] for name in ("name", "namespace", "alias", "updated")}
    assert [(each.tag, each.text) for each in root] == [(named("description"), "Volumes support.")]


def test_a_list_of_extensions_in_xml_has_an_element_for_each():
    root = etree.fromstring(XML.extensions([EXTENSION, EXTENSION]))
    assert root.tag == named("extensions")
    assert [(each.tag, each.get("alias")) for each in root] == [(named("extension"), "os-volumes")] * 2


@pytest.mark.parametrize("details", ["", "more", None])
def test_a_fault_in_json_is_the_specifications(details):
    written = json.loads(JSON.fault("badRequest", 400, "Said so.", details))
    expected = {"code": 400, "message": "Said so."}
    assert written == {"badRequest": expected if details is None else {**expected, "details": details}}


@pytest.mark.parametrize("details", ["", "more", None])
def test_a_fault_in_xml_is_in_the_apis_namespace(details):
    root = etree.fromstring(XML.fault("badRequest", 400, "a < b & c", details))
    assert (root.tag, dict(root.attrib)) == (named("badRequest"), {"code": "400"})
    expected = [(named("message"), "a < b & c")]
    if details is not None:
        expected.append((named("details"), details or None))
    assert [(each.tag, each.text) for each in root] == expected


def test_a_fault_in_xml_is_the_specifications():
    assert XML.fault("badRequest", 400, "..", "").split(b"\n", 1)[1] == (
        b'<badRequest xmlns="http://docs.openstack.org/compute/api/v1.1" code="400">'
        b"<message>..</message><details/></badRequest>"
    )


# Reading JSON.


def test_json_is_read_as_it_is():
    assert read_json(b' {"a": [1, 1.5, null, true, "\\u03b1"]} ') == {"a": [1, 1.5, None, True, "\u03b1"]}
    assert read_json(b'{"a": 1e400, "b": "\\ud800"}') == {"a": float("inf"), "b": "\ud800"}


@pytest.mark.parametrize(
    ("body", "at_comma", "behind", "bracket"),
    [
        (SPECIFICATIONS_EXAMPLE, "line 3, column 22", "line 4, column 5", "}"),
        (b'{"volumeAttachment": {"volumeId": 9,}}', "line 1, column 36", "line 1, column 37", "}"),
        (b"[9,]", "line 1, column 3", "line 1, column 4", "]"),
        (b'{"a": [1\n,\n]}', "line 2, column 1", "line 3, column 1", "]"),
        (b'{"a": 9,\r\n\t }', "line 1, column 8", "line 2, column 3", "}"),
    ],
)
def test_a_trailing_comma_is_named_with_its_line_and_column(body, at_comma, behind, bracket):
    # Python 3.13 stops at the comma, older ones behind it.
    database_kind = at_comma if sys.version_info >= (3, 13) else behind
    assert reason(read_json, body) == f"The body is not JSON: {database_kind}: a trailing comma before {bracket!r}."


@pytest.mark.parametrize(
    ("body", "position"),
    [
        (b"", "line 1, column 1"),
        (b"  \n ", "line 2, column 2"),
        (b"{", "line 1, column 2"),
        (b"{}x", "line 1, column 3"),
        (b"[1,,2]", "line 1, column 4"),
        (b"{'a': 1}", "line 1, column 2"),
        (b'{"a": 1 "b": 2}', "line 1, column 9"),
        (b'{"a":\n 01}', "line 2, column 3"),
        (b'"a\tb"', "line 1, column 3"),
        (b'{"device": ""  # Unused\n}', "line 1, column 16"),
        (b"\x00", "line 1, column 1"),
        ("{}".encode("utf-16-le"), "line 1, column 2"),
    ],
)
def test_other_broken_json_is_named_with_its_line_and_column(body, position):
    assert reason(read_json, body) == f"The body is not JSON: {position}."


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("shape", ["%s", "[%s]", '{"volumeAttachment": {"volumeId": %s}}'])
def test_a_constant_that_is_no_json_is_refused(word, shape):
    assert reason(read_json, (shape % word).encode()) == f"The body's JSON has {word}, which is not a JSON value."


@pytest.mark.parametrize("body", [b"9" * 5000, b"-" + b"9" * 5000, b'{"a": [' + b"9" * 60000 + b"]}"])
def test_an_integer_of_thousands_of_digits_is_refused(body):
    assert reason(read_json, body) == "The body's JSON has a number that is too long."


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 60_000, b"[" * 30_000 + b"]" * 30_000])
def test_json_nested_too_deep_is_refused(body):
    assert reason(read_json, body) == "The body's JSON is nested too deeply."


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 1}', b'[{"b": {"a": 1, "c": 2, "a": 3}}]', b'{"a": 1, "\\u0061": 1}'])
def test_a_member_given_twice_is_refused(body):
    assert reason(read_json, body) == "The body's JSON has a member of an object twice."


# Reading XML.


@pytest.mark.parametrize("space", [b"", b' xmlns="http://docs.openstack.org/compute/api/v1.1"'])
@pytest.mark.parametrize("end", [b"/>", b"></volumeAttachment>", b"> <!-- here --> </volumeAttachment>\n"])
def test_xml_is_read_as_an_object_with_and_without_the_namespace(space, end):
    body = b"<volumeAttachment" + space + b" volumeId='9' device='&amp;'" + end
    assert read_xml(body) == {"volumeAttachment": {"volumeId": "9", "device": "&"}}


def test_a_prefix_for_the_namespace_is_as_good():
    assert read_xml(f'<n:a xmlns:n="{NAMESPACE}" b="1"/>'.encode()) == {"a": {"b": "1"}}


@pytest.mark.parametrize(
    "namespace", ["http://docs.openstack.org/compute/api/v1.0", f"{NAMESPACE}/", "urn:x", NAMESPACE.upper()]
)
def test_another_namespace_is_refused(namespace):
    message = reason(read_xml, f'<volumeAttachment xmlns="{namespace}" volumeId="9"/>'.encode())
    assert message == f"The body's XML must be in the namespace {NAMESPACE}, or in none."


@pytest.mark.parametrize(
    "body",
    [
        b"<volumeAttachment><volumeId>9</volumeId></volumeAttachment>",
        b"<volumeAttachment volumeId='9'><x/></volumeAttachment>",
        b"<volumeAttachment volumeId='9'>\n<!-- a --><x xmlns='urn:x'/></volumeAttachment>",
    ],
)
def test_child_elements_are_refused(body):
    assert reason(read_xml, body) == "The body's XML must have its members as attributes of one element."


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"", 1),
        (b"{}", 1),
        (b"<a", 1),
        (b"<a>\n<b></a>", 2),
        (b"<a b=9/>", 1),
        (b"<a b='1' b='2'/>", 1),
        (b"<a b='&nbsp;'/>", 1),
        (b"<a\n\nb='\x01'/>", 3),
        (b"<a/>\n<a/>", 2),
        ("<a/>".encode("utf-16-le"), 1),
    ],
)
def test_broken_xml_is_named_with_its_line_and_column(body, line):
    # libxml2's releases differ in the column.
    assert re.fullmatch(rf"The body is not XML: line {line}, column [1-9]\d*\.", reason(read_xml, body))


BILLION_LAUGHS = (
    b"<!DOCTYPE lolz [<!ENTITY lol0 'lol'>"
    + b"".join(b"<!ENTITY lol%d '%s'>" % (each, b"&lol%d;" % (each - 1) * 10) for each in range(1, 10))
    + b"]><volumeAttachment volumeId='&lol9;'/>"
)


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE volumeAttachment><volumeAttachment volumeId='9'/>",
        b"<?xml version='1.0' encoding='UTF-8'?>\n<!DOCTYPE a SYSTEM 'http://localhost:1/a.dtd'><a/>",
        b"<!DOCTYPE a [<!ENTITY nine '9'>]><volumeAttachment volumeId='&nine;'/>",
        b"<!DOCTYPE a [<!ENTITY f SYSTEM 'file:///etc/passwd'>]><volumeAttachment>&f;</volumeAttachment>",
        b"<!DOCTYPE a [<!ENTITY % p SYSTEM 'file:///etc/passwd'> %p;]><volumeAttachment volumeId='9'/>",
        b"<!DOCTYPE volumeAttachment [<!ATTLIST volumeAttachment volumeId CDATA '9'>]><volumeAttachment/>",
        BILLION_LAUGHS,
        b"<!-- c --><!DOCTYPE a><a/>",
    ],
)
def test_a_doctype_is_refused_and_with_it_every_entity(body):
    assert reason(read_xml, body) == "The body's XML must not have a DOCTYPE."


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "utf-16", "UTF-7", "us-ascii", "utf8x", ""])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_xml_that_declares_another_encoding_is_refused(encoding, quote):
    body = f"<?xml version={quote}1.0{quote} encoding = {quote}{encoding}{quote}?><a/>".encode()
    assert reason(read_xml, body) == f"The body must be UTF-8, but its XML declares encoding {encoding!r}."


@pytest.mark.parametrize("encoding", ["UTF-8", "utf-8", "Utf-8"])
def test_xml_may_declare_utf_8_in_any_case(encoding):
    body = f"<?xml version='1.0' encoding='{encoding}' standalone='yes'?><a b='\u03b1'/>".encode()
    assert read_xml(body) == {"a": {"b": "\u03b1"}}


@pytest.mark.parametrize("count", [100_000, 20_000, 9_000])
def test_xml_nested_too_deep_is_refused(count):
    assert reason(read_xml, b"<a>" * count).startswith("The body is not XML: line 1, column ")
    assert reason(read_xml, b"<a>" * count + b"</a>" * count).startswith("The body is not XML: line 1, column ")


@pytest.mark.parametrize("count", [100, 101])
def test_xml_has_at_most_a_hundred_attributes(count):
    body = b"<a %s/>" % b" ".join(b'a%d="1"' % number for number in range(count))
    if count == 100:
        assert len(read_xml(body)["a"]) == count
    else:
        assert reason(read_xml, body) == "The body's XML has more than 100 attributes."


# Both.

BOTH = pytest.mark.parametrize(("read", "body"), [(read_json, '{"a": {"b": "1"}}'), (read_xml, "<a b='1'/>")])


@BOTH
def test_a_byte_order_mark_is_skipped(read, body):
    assert read(b"\xef\xbb\xbf" + body.encode()) == {"a": {"b": "1"}}


def test_a_second_byte_order_mark_is_not_json():
    assert reason(read_json, b"\xef\xbb\xbf\xef\xbb\xbf{}") == "The body is not JSON: line 1, column 1."


@BOTH
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_utf_16_and_utf_32_are_refused(read, body, encoding):
    assert reason(read, body.encode(encoding)) == "The body must be UTF-8, but byte 1 is not."


@BOTH
@pytest.mark.parametrize("wrong", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_what_is_not_utf_8_is_named_with_its_byte(read, body, wrong):
    assert reason(read, body.replace("1", "*").encode().replace(b"*", wrong)) == (
        f"The body must be UTF-8, but byte {body.index('1') + 1} is not."
    )


def value_or_malformed(read, body):
    try:
        return read(body)
    except Malformed as error:
        return str(error)


# Parts of each, put together in any order.
JSON_PARTS = [*'{}[],:"0198.eE-+ \n\\u', "null", "NaN", '"a"', "\ud800", "\ufeff", "true"]
XML_MARKS = ["<?xml", "?>", "<!--", "-->", "<![CDATA[", "]]>", "<!DOCTYPE", "&amp;", "&#0;", "&#x41;"]
XML_PARTS = [*XML_MARKS, *"</>&'\":= \x00\ufffe", "<a", "</a>", "<a/>", " b=", "xmlns", " version='1.0'", " encoding='"]


def put_together(parts):
    return st.lists(st.sampled_from(parts), max_size=30).map(
        lambda chosen: "".join(chosen).encode("utf-8", "surrogatepass")
    )


NEARLY_JSON = put_together(JSON_PARTS)
NEARLY_XML = put_together(XML_PARTS)


@given(st.binary() | NEARLY_JSON | NEARLY_XML)
@example(b"")
@example(b"\xff\xfe")
@example(b"9" * 5000)
@example(b"[" * 70_000)
def test_any_bytes_are_a_value_in_json_or_malformed(body):
    value = value_or_malformed(read_json, body)
    assert json.loads(json.dumps(value)) == value


@given(st.binary() | NEARLY_XML | NEARLY_JSON)
@example(b"<?pi?>")
@example(b"<!---->")
@example(b"<a\x00/>")
@example(b"<a:b/>")
@example(b"<a xmlns:b=''/>")
@example(b"<a xmlns='\xef\xbf\xbe'/>")
def test_any_bytes_are_an_object_in_xml_or_malformed(body):
    value = value_or_malformed(read_xml, body)
    if not isinstance(value, str):
        ((name, members),) = value.items()
        assert isinstance(name, str)
        assert all(isinstance(part, str) for pair in members.items() for part in pair)


XML_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))
SHOWN = st.fixed_dictionaries(
    {
        "device": XML_TEXT,
        "serverId": st.integers(0, 10**18) | XML_TEXT,
        "id": st.integers(0, 10**18) | XML_TEXT,
        "volumeId": st.integers(0, 10**18) | XML_TEXT,
    }
)


@given(SHOWN)
def test_what_is_written_as_an_attachment_in_xml_is_read_back_as_strings(shown):
    assert read_xml(XML.attachment(shown)) == {"volumeAttachment": {name: str(value) for name, value in shown.items()}}


SCALARS = st.text() | st.integers(-(10**18), 10**18) | st.booleans() | st.none()


@given(st.dictionaries(st.text(), SCALARS | st.floats() | st.lists(SCALARS)))
def test_an_attachment_is_written_as_the_standard_library_writes_it(shown):
    assert JSON.attachment(shown) == json.dumps({"volumeAttachment": shown}).encode()


@given(st.dictionaries(st.text(), SCALARS))
def test_what_is_written_as_an_attachment_in_json_is_read_back_equal(shown):
    assert read_json(JSON.attachment(shown)) == {"volumeAttachment": shown}
