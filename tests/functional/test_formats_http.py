"""Which format a response has, over HTTP."""

import json

import pytest
from lxml import etree

only_json = pytest.mark.parametrize("format", ["json"], indirect=True)

# The path's suffix and query, the Accept header, and the format of the response.
BY_QUERY = [
    ("?json", "json"),
    ("?xml", "xml"),
    ("?json=", "json"),
    ("?xml=1", "xml"),
    ("?xml=0", "xml"),
    ("?json=1", "json"),
    ("?format=json", "json"),
    ("?format=xml", "xml"),
    ("?json&json=1", "json"),
    ("?xml&format=xml", "xml"),
    ("?limit=1&xml", "xml"),
]
BY_ENDING = [(".json", "json"), (".xml", "xml")]
BY_ACCEPT = [
    ("application/json", "json"),
    ("application/xml", "xml"),
    ("application/vnd.openstack.compute+json", "json"),
    ("application/vnd.openstack.compute+xml", "xml"),
    ("application/xml; charset=utf-8", "xml"),
    ("APPLICATION/XML", "xml"),
    ("application/xml;q=0.9, application/json;q=0.8", "xml"),
    ("application/xml;q=0.8, application/json;q=0.9", "json"),
    ("application/json;q=0.1, application/vnd.openstack.compute+xml;q=0.2", "xml"),
    ("text/html, application/xml;q=0.001", "xml"),
    ("application/json;q=0, application/xml;q=0.5", "xml"),
    # As welcome as each other: JSON, whatever comes first.
    ("application/xml, application/json", "json"),
    ("application/xml;q=0.5, application/json;q=0.5", "json"),
    ("application/*", "json"),
    ("*/*", "json"),
    # Nothing that we have: JSON.
    ("text/html", "json"),
    ("text/xml", "json"),
    ("image/png, text/*;q=0.1", "json"),
    ("application/xml;q=0", "json"),
    ("", "json"),
    ("nonsense", "json"),
    (";;;,,,", "json"),
    ("application/xml;q=nonsense", "json"),
]
CONTRADICTIONS = ["?json&xml", "?xml&json", "?json&format=xml", "?format=json&xml=1", "?format=json&format=xml"]


def format_of(response):
    """Return the format that a response declares, after parsing it."""
    media_type = response.headers["Content-Type"]
    if media_type == "application/xml; charset=UTF-8":
        assert etree.fromstring(response.body) is not None
        return "xml"
    assert media_type == "application/json; charset=UTF-8"
    json.loads(response.body)
    return "json"


@pytest.mark.parametrize("format", ["json", "xml"], indirect=True)
class TestByQuery:
    @pytest.mark.parametrize(("query", "expected"), BY_QUERY)
    @pytest.mark.changes_nothing
    def test_a_format_in_the_query_overrides_the_accept_header(self, client, query, expected):
        response = client.request("GET", client.path() + query)
        assert (response.status, format_of(response)) == (200, expected)

    @pytest.mark.parametrize(("ending", "_"), BY_ENDING)
    @pytest.mark.parametrize(("query", "expected"), [("?json", "json"), ("?format=xml", "xml")])
    @pytest.mark.changes_nothing
    def test_a_format_in_the_query_overrides_the_suffix(self, client, ending, _, query, expected):
        assert format_of(client.request("GET", client.path() + ending + query)) == expected

    @pytest.mark.parametrize("query", CONTRADICTIONS)
    @pytest.mark.parametrize("ending", ["", ".xml"])
    @pytest.mark.changes_nothing
    def test_two_formats_are_400_in_json(self, client, ending, query):
        response = client.request("GET", client.path() + ending + query)
        assert (response.failure, format_of(response)) == (("badRequest", 400), "json")
        assert "one format only" in response.fault.message

    @pytest.mark.parametrize("word", ["yaml", "", "XML", "application/xml", "%01"])
    @pytest.mark.changes_nothing
    def test_another_word_is_400_in_json(self, client, word):
        response = client.request("GET", f"{client.path()}.xml?format={word}")
        assert (response.failure, format_of(response)) == (("badRequest", 400), "json")
        assert "format must be json or xml" in response.fault.message

    @pytest.mark.parametrize("query", ["?json&xml", "?format=yaml"])
    def test_then_nothing_is_done(self, client, query):
        client.attach()
        other = client.dialect.other_volume
        posted = client.request("POST", client.path() + query, client.format.request(other))
        deleted = client.request("DELETE", client.path(volume=client.dialect.volume) + query)
        assert (posted.status, deleted.status) == (400, 400)
        assert client.list().volumes == [client.dialect.volume]


@pytest.mark.changes_nothing
@only_json
class TestByAccept:
    @pytest.mark.parametrize(("accept", "expected"), BY_ACCEPT)
    def test_the_accept_header_decides_where_nothing_else_does(self, client, accept, expected):
        response = client.request("GET", client.path(), headers={"Accept": accept})
        assert (response.status, format_of(response)) == (200, expected)

    def test_without_one_it_is_json(self, client):
        response = client.request("GET", client.path(), without=("HTTP_ACCEPT",))
        assert (response.status, format_of(response)) == (200, "json")


@pytest.mark.changes_nothing
class TestByEnding:
    @pytest.mark.parametrize(("ending", "expected"), BY_ENDING)
    def test_the_suffix_overrides_the_accept_header(self, client, ending, expected):
        assert format_of(client.request("GET", client.path() + ending)) == expected


@pytest.mark.changes_nothing
class TestFaults:
    """Each fault has the format that the response would have had."""

    def faults(self, client, suffix):
        dialect = client.dialect
        attach = client.format.request(dialect.volume)
        yield 400, client.request("POST", client.path() + suffix, b"not a body")
        yield 400, client.request("GET", f"{client.path()}{suffix}{'&' if '?' in suffix else '?'}limit=x")
        yield 401, client.by(None).request("GET", client.path() + suffix)
        yield 403, client.by("reader").request("POST", client.path() + suffix, attach)
        yield 404, client.request("GET", client.path(dialect.unknown_server) + suffix)
        yield 404, client.request("DELETE", client.path(volume=dialect.unknown_volume) + suffix)
        yield 405, client.request("PUT", client.path() + suffix)
        yield 413, client.request("POST", client.path() + suffix, b" " * 65537)
        yield dialect.conflict[1], client.request("POST", client.path(dialect.building) + suffix, attach)

    def test_by_the_accept_header(self, client):
        for status, response in self.faults(client, ""):
            assert (response.fault.code, format_of(response)) == (status, client.format.name)

    @pytest.mark.parametrize(("suffix", "expected"), [("?xml", "xml"), ("?format=json", "json"), *BY_ENDING])
    def test_by_query_and_ending(self, client, suffix, expected):
        for status, response in self.faults(client, suffix):
            assert (response.fault.code, format_of(response)) == (status, expected)


class TestRequestsFormat:
    """The format of a request does not decide that of its response's."""

    def test_the_content_type_does_not_decide(self, client):
        other = {"json": "xml", "xml": "json"}[client.format.name]
        response = client.request("POST", f"{client.path()}?{other}", client.format.request(client.dialect.volume))
        assert (response.status, format_of(response)) == (200, other)

    @pytest.mark.parametrize("dialect", ["cyclades"], indirect=True)
    @pytest.mark.parametrize("format", ["xml"], indirect=True)
    def test_without_an_accept_header_a_request_in_xml_gets_json(self, client):
        response = client.request("POST", client.path(), client.format.request(9), without=("HTTP_ACCEPT",))
        assert (response.status, format_of(response)) == (200, "json")
