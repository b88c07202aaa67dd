"""The format of a response."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from os_volume_ext.api.faults import BadRequest
from os_volume_ext.api.negotiation import choose
from os_volume_ext.api.serializers import JSON, XML
from os_volume_ext.errors import Kind

FORMATS = {"json": JSON, "xml": XML}
BOTH = pytest.mark.parametrize("name", FORMATS)


def other(name):
    return "xml" if name == "json" else "json"


def test_by_default_it_is_json():
    assert choose([], None, None) is JSON
    assert choose([], None, "") is JSON


@BOTH
@pytest.mark.parametrize("value", ["", "1", "false"])
def test_a_word_in_the_query_decides_with_or_without_a_value(name, value):
    assert choose([("limit", "1"), (name, value)], other(name), f"application/{other(name)}") is FORMATS[name]


@BOTH
def test_format_in_the_query_decides(name):
    assert choose([("format", name)], other(name), f"application/{other(name)}") is FORMATS[name]


@BOTH
def test_the_suffix_decides_where_the_query_does_not(name):
    assert choose([("limit", "1")], name, f"application/{other(name)}") is FORMATS[name]


@BOTH
@pytest.mark.parametrize("again", [lambda name: (name, ""), lambda name: (name, "1"), lambda name: ("format", name)])
def test_the_same_format_twice_is_one(name, again):
    assert choose([(name, ""), again(name)], None, None) is FORMATS[name]


@pytest.mark.parametrize(
    "query",
    [
        [("json", ""), ("xml", "")],
        [("xml", "1"), ("json", "")],
        [("format", "json"), ("format", "xml")],
        [("format", "json"), ("xml", "")],
        [("xml", ""), ("format", "yaml")],
    ],
)
@pytest.mark.parametrize("ending", [None, "json", "xml"])
def test_two_formats_in_the_query_exclude_each_other(query, ending):
    with pytest.raises(BadRequest, match="one format only") as caught:
        choose(query, ending, "application/xml")
    assert caught.value.kind is Kind.BAD_REQUEST


@pytest.mark.parametrize("value", ["yaml", "", "JSON", "application/json", "\x00"])
def test_an_unknown_format_is_refused_and_named(value):
    with pytest.raises(BadRequest) as caught:
        choose([("format", value)], "xml", None)
    assert caught.value.message == f"format must be json or xml, not {value[:50]!r}."


@pytest.mark.parametrize("name", ["JSON", "Xml", "jsonp", "callback"])
def test_other_parameters_do_not_decide(name):
    assert choose([(name, "")], None, "application/xml") is XML


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", JSON),
        ("application/xml", XML),
        ("application/vnd.openstack.compute+json", JSON),
        ("application/vnd.openstack.compute+xml", XML),
        ("APPLICATION/XML", XML),
        ("application/xml; charset=UTF-8", XML),
        ("application/xml;q=0.2, application/json;q=0.1", XML),
        ("application/xml;q=0.1, application/json;q=0.2", JSON),
        ("application/xml, application/json;q=0.999", XML),
        ("text/html, application/xml;q=0.1", XML),
        ("application/vnd.openstack.compute+xml;q=0.9, application/json;q=0.8", XML),
        # As welcome as the other.
        ("application/xml, application/json", JSON),
        ("application/json, application/xml", JSON),
        ("application/xml;q=0.5, application/json;q=0.5", JSON),
        ("application/xml, */*", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/xml, */*;q=0.1", XML),
        # Not welcome at all.
        ("application/json;q=0, */*", JSON),
        ("application/json;q=0, application/xml;q=0.1", XML),
        ("application/xml;q=0", JSON),
        ("application/json;q=0, application/vnd.openstack.compute+json;q=0, */*;q=0.5", XML),
        # Unknown, or not an Accept header.
        ("text/html", JSON),
        ("image/*;q=0.8", JSON),
        ("application/xml;version=2", JSON),
        ("application", JSON),
        (",;=q", JSON),
        ("application/xml;q=2", JSON),
        ("\xff\x00", JSON),
    ],
)
def test_the_accept_header_decides_by_its_q_values_and_an_unknown_one_means_json(accept, expected):
    assert choose([], None, accept) is expected
    assert choose([("limit", "1")], None, accept) is expected


MEDIA_RANGES = st.builds(
    "{}{}".format,
    st.sampled_from(["application/json", "application/xml", "*/*", "application/*", "text/html", "x", ""]) | st.text(),
    st.sampled_from(["", ";q=0", ";q=1", ";q=0.5", ";charset=utf-8", ";q", ";=", ';a="b"']) | st.text(),
)


@given(
    st.lists(st.tuples(st.sampled_from(["json", "xml", "format", "limit"]) | st.text(), st.text()), max_size=3),
    st.sampled_from([None, "json", "xml"]),
    st.none() | st.text() | st.lists(MEDIA_RANGES, max_size=5).map(",".join),
)
def test_any_request_has_a_format_or_is_a_bad_request(query, ending, accept):
    try:
        chosen = choose(query, ending, accept)
    except BadRequest:
        assert any(name in ("json", "xml", "format") for name, _ in query)
    else:
        assert chosen in (JSON, XML)


def test_a_very_long_accept_header_is_not_parsed():
    beginning = "application/xml, text/"
    ranges = ["application/xml", *["text/html;q=0.1"] * 99]
    assert choose([], None, ",".join(ranges)) is XML
    assert choose([], None, ",".join([*ranges, "x/y"])) is JSON
    assert choose([], None, beginning.ljust(4096, "x")) is XML
    assert choose([], None, beginning.ljust(4097, "x")) is JSON
