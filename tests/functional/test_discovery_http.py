"""``/extensions``: our entry beside the wrapped API's own."""

import gzip
import json

import pytest
from lxml import etree
from webob import Request
from webtest import TestApp, lint

from os_volume_ext.filter import make_filter
from tests.support.sample import close_later

OURS = {
    "alias": "os-volumes",
    "name": "Volumes",
    "namespace": "http://docs.openstack.org/compute/ext/volumes/api/v1.1",
    "description": "Volumes support.",
    "updated": "2011-03-25T00:00:00Z",
    "links": [],
}
XML_OURS = (
    '<extension{} name="Volumes" namespace="http://docs.openstack.org/compute/ext/volumes/api/v1.1" '
    'alias="os-volumes" updated="2011-03-25T00:00:00Z"><description>Volumes support.</description></extension>'
)
XMLNS = ' xmlns="http://docs.openstack.org/compute/api/v1.1"'
DEMO = {"X-Auth-Token": "demo-token"}
XML = {"Accept": "application/xml"}


def without_declaration(body):
    return body.decode().partition("?>\n")[2]


@pytest.mark.changes_nothing
class TestSample:
    def test_openstack_lists_its_own_and_then_ours(self, sample):
        response = sample.get("/v2.1/extensions", headers=DEMO)
        aliases = [extension["alias"] for extension in response.json["extensions"]]
        assert aliases == ["flavors", "os-extended-server-attributes", "os-volumes"]
        assert response.json["extensions"][-1] == OURS
        assert list(response.json) == ["extensions"]

    def test_the_content_length_is_updated(self, sample):
        response = sample.get("/v2.1/extensions", headers=DEMO)
        assert response.headers.getall("Content-Length") == [str(len(response.body))]

    def test_the_hosts_own_headers_stay(self, sample):
        response = sample.get("/v2.1/extensions", headers=DEMO)
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["OpenStack-API-Version"] == "compute 2.1"
        assert "Cache-Control" not in response.headers

    def test_openstack_returns_our_entry_by_its_alias(self, sample):
        response = sample.get("/v2.1/extensions/os-volumes", headers=DEMO)
        assert (response.status_int, response.json) == (200, {"extension": OURS})

    def test_the_hosts_others_are_the_hosts(self, sample):
        assert sample.get("/v2.1/extensions/flavors", headers=DEMO).json["extension"]["alias"] == "flavors"
        assert sample.get("/v2.1/extensions/unheard-of", headers=DEMO, status=404).json["itemNotFound"]["code"] == 404

    def test_cyclades_which_has_none_lists_ours(self, sample):
        response = sample.get("/compute/v2.0/extensions", headers=DEMO)
        assert (response.status_int, response.json) == (200, {"extensions": [OURS]})
        assert response.headers["Content-Type"] == "application/json; charset=UTF-8"

    def test_cyclades_returns_our_entry_by_its_alias(self, sample):
        response = sample.get("/compute/v2.0/extensions/os-volumes", headers=DEMO)
        assert (response.status_int, response.json) == (200, {"extension": OURS})

    @pytest.mark.parametrize(
        ("path", "headers"),
        [("", XML), (".xml", {}), ("?xml", {}), ("?format=xml", {}), ("/?xml", {}), (".xml", {"Accept": "text/html"})],
    )
    def test_our_entry_alone_has_the_requested_format(self, sample, path, headers):
        response = sample.get(f"/compute/v2.0/extensions{path}", headers=DEMO | headers)
        assert response.headers["Content-Type"] == "application/xml; charset=UTF-8"
        assert without_declaration(response.body) == f"<extensions{XMLNS}>{XML_OURS.format('')}</extensions>"
        assert etree.fromstring(response.body) is not None

    def test_our_entry_by_its_alias_has_the_requested_format(self, sample):
        for base in ("/compute/v2.0", "/v2.1"):
            response = sample.get(f"{base}/extensions/os-volumes", headers=DEMO | XML)
            assert without_declaration(response.body) == XML_OURS.format(XMLNS)

    def test_of_two_formats_at_once_json_is_given(self, sample):
        response = sample.get("/compute/v2.0/extensions?json&xml", headers=DEMO)
        assert response.json == {"extensions": [OURS]}

    @pytest.mark.parametrize("base", ["/compute/v2.0", "/v2.1"])
    def test_without_a_token_the_hosts_401_passes(self, sample, base):
        assert list(sample.get(f"{base}/extensions", status=401).json) == ["unauthorized"]

    @pytest.mark.parametrize("base", ["/compute/v2.0", "/v2.1"])
    @pytest.mark.parametrize("path", ["", "/os-volumes"])
    def test_head_is_get_without_the_body(self, sample, base, path):
        response = sample.head(f"{base}/extensions{path}", headers=DEMO)
        assert (response.status_int, response.body) == (200, b"")
        expected = sample.get(f"{base}/extensions{path}", headers=DEMO)
        assert response.headers["Content-Length"] == str(len(expected.body))
        assert response.headers["Content-Type"] == expected.headers["Content-Type"]

    @pytest.mark.parametrize("base", ["/compute/v2.0", "/v2.1"])
    def test_head_without_a_token_gets_the_hosts_401(self, sample, base):
        assert sample.head(f"{base}/extensions", status=401).body == b""

    @pytest.mark.parametrize("base", ["/compute/v2.0", "/v2.1"])
    def test_other_methods_are_the_hosts(self, sample, base):
        status = {"/compute/v2.0": 404, "/v2.1": 405}[base]
        assert sample.post(f"{base}/extensions", headers=DEMO, status="*").status_int == status


class Host:
    """A compute API with one response to every request, which records how it was used."""

    def __init__(self, status, headers, *chunks):
        self.status, self.headers, self.chunks = status, headers, chunks
        self.closed = 0
        self.called_with = None

    def __call__(self, environ, start_response):
        self.called_with = environ, start_response
        start_response(self.status, list(self.headers))
        return self

    def __iter__(self):
        return iter(self.chunks)

    def close(self):
        self.closed += 1


def listing(*extensions, **more):
    return json.dumps({"extensions": list(extensions), **more}).encode()


PLAIN = ("Content-Type", "application/json")
ANOTHER = {"alias": "os-another", "name": "Another"}


@pytest.fixture
def behind(tmp_path):
    """Give ``behind(host)``: the host with our filter in front of it."""

    def put(host):
        options = {"backend.root": tmp_path / "disks", "database.url": f"sqlite:///{tmp_path}/registry.db"}
        return TestApp(close_later(make_filter(host, backend="directory", **options)))

    return put


class TestHosts:
    @pytest.mark.parametrize(
        "content_type", ["application/json", "application/json; charset=UTF-8", "Application/JSON;charset=utf-8"]
    )
    def test_ours_is_added_to_a_json_list(self, behind, content_type):
        host = Host("200 OK", [("Content-Type", content_type)], listing(ANOTHER))
        response = behind(host).get("/extensions")
        assert json.loads(response.body) == {"extensions": [ANOTHER, OURS]}
        assert response.headers["Content-Type"] == content_type
        assert host.closed == 1

    def test_what_else_the_document_holds_stays(self, behind):
        host = Host("200 OK", [PLAIN], listing(ANOTHER, links=["é"]))
        assert behind(host).get("/extensions").json == {"extensions": [ANOTHER, OURS], "links": ["é"]}

    def test_a_list_in_pieces_is_put_together(self, behind):
        body = listing(ANOTHER)
        host = Host("200 OK", [PLAIN], *(body[i : i + 1] for i in range(len(body))))
        assert behind(host).get("/extensions").json == {"extensions": [ANOTHER, OURS]}

    def test_an_empty_list_is_one_too(self, behind):
        assert behind(Host("200 OK", [PLAIN], listing())).get("/extensions").json == {"extensions": [OURS]}

    def test_the_length_and_the_entity_tag_were_of_the_other_body(self, behind):
        body = listing(ANOTHER)
        headers = [PLAIN, ("Content-Length", str(len(body))), ("ETag", '"of-that-body"'), ("X-Kept", "yes")]
        response = behind(Host("200 OK", headers, body)).get("/extensions")
        assert response.headers.getall("Content-Length") == [str(len(response.body))]
        assert "ETag" not in response.headers
        assert response.headers["X-Kept"] == "yes"

    def test_where_the_alias_is_there_already_the_hosts_entry_stays(self, behind):
        body = listing({"alias": "os-volumes", "name": "In other words"}, ANOTHER)
        response = behind(Host("200 OK", [PLAIN], body)).get("/extensions")
        assert response.body == body

    @pytest.mark.parametrize(
        "path", ["/0123456789abcdef0123456789abcdef/extensions", "/extensions.json", "/extensions/"]
    )
    def test_the_path_may_have_a_project_an_ending_or_a_slash(self, behind, path):
        response = behind(Host("200 OK", [PLAIN], listing(ANOTHER))).get(path)
        assert response.json == {"extensions": [ANOTHER, OURS]}

    @pytest.mark.parametrize(
        ("status", "headers", "body"),
        [
            ("200 OK", [("Content-Type", "application/xml")], b"<extensions/>"),
            ("200 OK", [("Content-Type", "text/html")], listing(ANOTHER)),
            ("200 OK", [PLAIN, ("Content-Encoding", "gzip")], gzip.compress(listing(ANOTHER), mtime=0)),
            ("200 OK", [PLAIN], b'{"extensions": [{"alias": '),
            ("200 OK", [PLAIN], b"\xff\xfe"),
            ("200 OK", [PLAIN], b""),
            ("200 OK", [PLAIN], b"[]"),
            ("200 OK", [PLAIN], b"null"),
            ("200 OK", [PLAIN], b"7"),
            ("200 OK", [PLAIN], b'{"extension": []}'),
            ("200 OK", [PLAIN], b'{"extensions": null}'),
            ("200 OK", [PLAIN], b'{"extensions": {}}'),
            ("200 OK", [PLAIN], b'{"extensions": "none"}'),
            ("200 OK", [PLAIN], b'{"extensions": [null]}'),
            ("200 OK", [PLAIN], b'{"extensions": [{"name": "without an alias"}]}'),
            ("200 OK", [PLAIN], b"[" * 100_000),
            ("203 Non-Authoritative Information", [PLAIN], listing(ANOTHER)),
            ("300 Multiple Choices", [PLAIN], listing(ANOTHER)),
            ("401 Unauthorized", [PLAIN, ("WWW-Authenticate", "Keystone")], b'{"unauthorized": {}}'),
            ("403 Forbidden", [PLAIN], b'{"forbidden": {}}'),
            ("500 Internal Server Error", [PLAIN], listing(ANOTHER)),
            ("503 Service Unavailable", [PLAIN, ("Retry-After", "7")], b"{}"),
        ],
    )
    def test_every_other_response_passes_unchanged(self, behind, status, headers, body):
        host = Host(status, [*headers, ("Content-Length", str(len(body)))], body)
        # Not as a TestApp does it, which would unpack the body.
        response = Request.blank("/extensions").get_response(lint.middleware(behind(host).app))
        assert (response.status, response.body) == (status, body)
        assert list(response.headers.items()) == host.headers
        assert host.closed == 1

    def test_a_404_of_the_hosts_becomes_the_list_of_one(self, behind):
        host = Host("404 Not Found", [("Content-Type", "text/html"), ("X-Host", "yes")], b"<h1>Not here</h1>")
        response = behind(host).get("/extensions")
        assert response.json == {"extensions": [OURS]}
        assert "X-Host" not in response.headers
        assert host.closed == 1

    def test_our_alias_is_the_hosts_where_it_has_one(self, behind):
        body = b'{"extension": {"alias": "os-volumes", "name": "In other words"}}'
        assert behind(Host("200 OK", [PLAIN], body)).get("/extensions/os-volumes").body == body

    def test_head_passes_with_the_headers_of_the_hosts_response(self, behind):
        host = Host("200 OK", [("Content-Type", "text/html"), ("Content-Length", "2")], b"no")
        response = behind(host).head("/extensions")
        assert (list(response.headers.items()), response.body) == (host.headers, b"")
        assert host.closed == 1

    def test_head_has_the_length_of_the_list_with_ours(self, behind):
        body = listing(ANOTHER)
        host = Host("200 OK", [PLAIN, ("Content-Length", str(len(body)))], body)
        assert behind(host).head("/extensions").content_length > len(body)

    @pytest.mark.parametrize("path", ["/", "/servers/extensions", "/extensions/os-another", "/servers/1/os-volume_x"])
    def test_what_is_not_ours_reaches_the_host_as_it_came(self, tmp_path, behind, path):
        host = Host("404 Not Found", [PLAIN], b"{}")
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path}

        def start_response(status, headers):
            return None

        assert behind(host).app(environ, start_response) is host
        assert host.called_with[0] is environ
        assert host.called_with[1] is start_response
        assert environ == {"REQUEST_METHOD": "GET", "PATH_INFO": path}
