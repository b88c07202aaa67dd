"""What all responses have in common."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from os_volume_ext.api.faults import BadRequest
from os_volume_ext.api.responses import make_response, query_of, request_id_of
from os_volume_ext.api.serializers import JSON, XML

FORMATS = pytest.mark.parametrize("serializer", [JSON, XML], ids=["json", "xml"])


def headers_of(response):
    names = [name for name, _ in response.headerlist]
    assert len(set(names)) == len(names)
    return dict(response.headerlist)


@FORMATS
@pytest.mark.parametrize("status", [200, 202, 404, 503])
def test_a_response_has_the_common_headers(serializer, status):
    response = make_response(status, b"body", serializer, "req-1")
    assert (response.status_int, response.body) == (status, b"body")
    assert headers_of(response) == {
        "Content-Length": "4",
        "Content-Type": serializer.content_type,
        "X-Openstack-Request-Id": "req-1",
        "Vary": "Accept, X-Auth-Token",
        "Cache-Control": "no-cache, no-store, must-revalidate",
    }


@FORMATS
@pytest.mark.parametrize("status", [200, 202])
def test_an_empty_response_has_no_content_type(serializer, status):
    response = make_response(status, b"", serializer, "req-1")
    assert (response.status_int, response.body) == (status, b"")
    assert "Content-Type" not in headers_of(response)
    assert headers_of(response)["Content-Length"] == "0"


def test_additional_headers_are_added():
    response = make_response(405, b"x", JSON, "req-1", {"Allow": "GET, HEAD", "Retry-After": "10"})
    assert headers_of(response)["Allow"] == "GET, HEAD"
    assert headers_of(response)["Retry-After"] == "10"


@FORMATS
def test_the_response_to_head_has_the_headers_and_no_body(serializer):
    response = make_response(200, b"body", serializer, "req-1")
    seen = []
    chunks = response({"REQUEST_METHOD": "HEAD"}, lambda status, headers: seen.append((status, dict(headers))))
    assert b"".join(chunks) == b""
    ((status, headers),) = seen
    assert (status, headers["Content-Length"]) == ("200 OK", "4")
    assert headers["Content-Type"] == serializer.content_type


def test_a_request_keeps_the_id_that_an_outer_filter_gave_it():
    assert request_id_of({"openstack.request_id": "req-outer"}) == "req-outer"


@pytest.mark.parametrize("environ", [{}, {"openstack.request_id": None}, {"openstack.request_id": ""}])
def test_a_request_without_an_id_gets_a_new_one_each_time(environ):
    first, second = request_id_of(environ), request_id_of(environ)
    assert first != second
    assert re.fullmatch(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first)


def test_a_client_can_not_choose_the_id():
    environ = {"HTTP_X_OPENSTACK_REQUEST_ID": "req-mine", "HTTP_X_REQUEST_ID": "req-mine"}
    assert request_id_of(environ) != "req-mine"


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (None, []),
        ("", []),
        ("json", [("json", "")]),
        ("xml=&limit=5", [("xml", ""), ("limit", "5")]),
        ("limit=1&limit=2", [("limit", "1"), ("limit", "2")]),
        ("changes-since=2011-01-24T17:08+02:00", [("changes-since", "2011-01-24T17:08 02:00")]),
        ("changes-since=2011-01-24T17:08%2B02:00", [("changes-since", "2011-01-24T17:08+02:00")]),
        ("a=%CE%B1", [("a", "\u03b1")]),
        ("a=%FF%zz", [("a", "\\xff%zz")]),
        ("&&a=b=c&", [("a", "b=c")]),
        ("a;b", [("a;b", "")]),
    ],
)
def test_a_query_is_parsed_and_what_is_not_utf_8_stays_visible(text, query):
    assert query_of({} if text is None else {"QUERY_STRING": text}) == query


def test_a_very_long_query_is_a_bad_request():
    assert query_of({"QUERY_STRING": "x" * 2048}) == [("x" * 2048, "")]
    with pytest.raises(BadRequest, match="at most 2048 characters"):
        query_of({"QUERY_STRING": "x" * 2049})


@given(st.text(st.characters(codec="latin-1")))
def test_any_query_can_be_parsed(text):
    for pair in query_of({"QUERY_STRING": text}):
        assert [part.encode().decode() for part in pair] == list(pair)
