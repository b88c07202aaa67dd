"""The extension's entry in the wrapped API's list of extensions."""

import json
import sys

import pytest
from lxml import etree

from os_volume_ext.api.discovery import EXTENSION, Discovery
from os_volume_ext.api.routing import Router
from os_volume_ext.api.serializers import NAMESPACE

JSON_TYPE = ("Content-Type", "application/json")
HOSTS = {"alias": "os-keypairs", "name": "Keypairs", "links": []}


class Host:
    """A wrapped API with one response, which records whether its body was closed."""

    def __init__(self, status="200 OK", headers=(JSON_TYPE,), body=b"", write=b"", exc_info=False):
        self.status, self.headers, self.body, self.written, self.exc_info = status, list(headers), body, write, exc_info
        self.environs, self.closed = [], 0

    def __call__(self, environ, start_response):
        self.environs.append(environ)
        if self.exc_info:
            try:
                raise LookupError("inside")
            except LookupError:
                start_response(self.status, self.headers, sys.exc_info())
        else:
            write = start_response(self.status, self.headers)
            if self.written:
                write(self.written)
        return self

    def __iter__(self):
        yield from (self.body[:3], self.body[3:])

    def close(self):
        self.closed += 1


def listing(*extensions, **more):
    return Host(body=json.dumps({"extensions": list(extensions), **more}).encode())


def get(host, path="/extensions", **environ):
    """Request a path; return the response's status, headers and body."""
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": "/v2.1", **environ}
    started = []
    discovery = Discovery(host)
    chunks = discovery(environ, lambda *arguments: started.append(arguments), Router().match(path))
    body = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    ((status, headers, *_),) = started
    return status, headers, body


# 200 of the host's.


def test_our_entry_is_added_at_the_end_of_the_hosts_list():
    status, _, body = get(listing(HOSTS))
    assert status == "200 OK"
    assert json.loads(body) == {"extensions": [HOSTS, EXTENSION]}


def test_our_entry_is_the_documented_one():
    _, _, body = get(listing())
    assert json.loads(body) == {
        "extensions": [
            {
                "alias": "os-volumes",
                "name": "Volumes",
                "namespace": "http://docs.openstack.org/compute/ext/volumes/api/v1.1",
                "description": "Volumes support.",
                "updated": "2011-03-25T00:00:00Z",
                "links": [],
            }
        ]
    }


def test_other_members_of_the_hosts_response_stay():
    _, _, body = get(listing(HOSTS, extensions_links=[1]))
    assert json.loads(body)["extensions_links"] == [1]


def test_headers_of_the_old_body_are_replaced_or_removed():
    host = listing(HOSTS)
    host.headers += [
        ("content-length", str(len(host.body))),
        ("ETag", '"1"'),
        ("Content-MD5", "x"),
        ("Digest", "x"),
        ("X-Openstack-Request-Id", "req-host"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
    ]
    _, headers, body = get(host)
    assert headers == [
        JSON_TYPE,
        ("X-Openstack-Request-Id", "req-host"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("Content-Length", str(len(body))),
    ]


def test_a_list_that_was_written_with_write_is_added_to_as_well():
    host = Host(body=b' "extensions": []}', write=b"{")
    assert json.loads(get(host)[2]) == {"extensions": [EXTENSION]}
    assert host.closed == 1


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;a=b"]
)
def test_json_is_recognized_by_its_media_type(content_type):
    host = Host(headers=[("content-type", content_type)], body=b'{"extensions": []}')
    assert json.loads(get(host)[2]) == {"extensions": [EXTENSION]}


@pytest.mark.parametrize(
    "host",
    [
        listing(HOSTS, {"alias": "os-volumes", "name": "Volumes", "description": "In other words."}),
        Host(headers=[("Content-Type", "application/xml")], body=b"<extensions/>"),
        Host(headers=[], body=b'{"extensions": []}'),
        Host(headers=[JSON_TYPE, ("Content-Encoding", "gzip")], body=b'{"extensions": []}'),
        Host(body=b"not JSON"),
        Host(body=b'{"extensions": {}'),
        Host(body=b'{"extension": []}'),
        Host(body=b"[]"),
        Host(body=b"null"),
        Host(body=b'{"extensions": null}'),
        Host(body=b'{"extensions": {}}'),
        Host(body=b'{"extensions": [1]}'),
        Host(body=b'{"extensions": [{"name": "x"}]}'),
        Host(body=b"\xff"),
        Host(body=b"[" * 100_000),
        Host("203 Non-Authoritative Information", body=b'{"extensions": []}'),
        Host("204 No Content", headers=[]),
        Host("300 Multiple Choices", body=b'{"extensions": []}'),
        Host("401 Unauthorized", [JSON_TYPE, ("WWW-Authenticate", "Keystone")], b"{}"),
        Host("403 Forbidden", body=b"{}"),
        Host("500 Oops", body=b'{"extensions": []}'),
        Host("503 Service Unavailable", [("Retry-After", "5")], b"later"),
    ],
    ids=range(22),
)
def test_every_other_response_passes_unchanged(host):
    assert get(host) == (host.status, host.headers, host.body)
    assert host.closed == 1


def test_an_error_that_the_host_reports_with_exc_info_passes_unchanged():
    host = Host("500 Internal Server Error", [("Content-Type", "text/plain")], b"sorry", exc_info=True)
    assert get(host) == (host.status, host.headers, b"sorry")


def test_a_response_that_passes_is_not_read_ahead():
    class Endless(Host):
        def __iter__(self):
            yield b"first"
            pytest.fail("read ahead")

    host = Endless("403 Forbidden")
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/extensions"}
    chunks = Discovery(host)(environ, lambda *_: None, Router().match("/extensions"))
    assert next(iter(chunks)) == b"first"


# 404 of the host's.


def missing():
    return Host("404 Not Found", [("Content-Type", "text/html")], b"<h1>Not Found</h1>")


@pytest.mark.parametrize("path", ["/extensions", "/extensions/", "/extensions.json"])
def test_where_the_host_has_no_extensions_ours_is_the_only_one(path):
    host = missing()
    status, headers, body = get(host, path)
    assert (status, json.loads(body)) == ("200 OK", {"extensions": [EXTENSION]})
    assert dict(headers)["Content-Type"] == "application/json; charset=UTF-8"
    assert dict(headers)["Content-Length"] == str(len(body))
    assert host.closed == 1


@pytest.mark.parametrize(
    ("path", "environ"),
    [
        ("/extensions", {"QUERY_STRING": "xml"}),
        ("/extensions", {"QUERY_STRING": "format=xml"}),
        ("/extensions.xml", {}),
        ("/extensions", {"HTTP_ACCEPT": "application/xml"}),
    ],
)
def test_the_only_entry_has_the_requested_format(path, environ):
    status, headers, body = get(missing(), path, **environ)
    root = etree.fromstring(body)
    assert (status, root.tag) == ("200 OK", f"{{{NAMESPACE}}}extensions")
    assert [each.get("alias") for each in root] == ["os-volumes"]
    assert dict(headers)["Content-Type"] == "application/xml; charset=UTF-8"


@pytest.mark.parametrize("query", ["json&xml", "format=yaml"])
def test_a_format_that_makes_no_sense_means_json_here(query):
    assert json.loads(get(missing(), QUERY_STRING=query)[2]) == {"extensions": [EXTENSION]}


def test_our_response_has_the_request_id():
    _, headers, _ = get(missing(), **{"openstack.request_id": "req-1"})
    assert dict(headers)["X-Openstack-Request-Id"] == "req-1"


# /extensions/os-volumes


def test_the_hosts_own_entry_of_that_name_passes_unchanged():
    host = Host(body=b'{"extension": {"alias": "os-volumes", "name": "In other words."}}')
    assert get(host, "/extensions/os-volumes") == (host.status, host.headers, host.body)
    assert host.closed == 1


def test_where_the_host_has_no_entry_of_that_name_ours_is_shown():
    status, _, body = get(missing(), "/extensions/os-volumes")
    assert (status, json.loads(body)) == ("200 OK", {"extension": EXTENSION})
    root = etree.fromstring(get(missing(), "/extensions/os-volumes.xml")[2])
    assert (root.tag, root.get("alias")) == (f"{{{NAMESPACE}}}extension", "os-volumes")


def test_a_list_at_that_place_is_not_added_to():
    host = listing(HOSTS)
    assert get(host, "/extensions/os-volumes") == (host.status, host.headers, host.body)


# The host gets the client's request.


def test_the_host_is_called_with_the_clients_environ():
    host = listing()
    get(host, QUERY_STRING="a=b", HTTP_ACCEPT="application/xml", HTTP_X_AUTH_TOKEN="t")
    (environ,) = host.environs
    assert environ == {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/extensions",
        "SCRIPT_NAME": "/v2.1",
        "QUERY_STRING": "a=b",
        "HTTP_ACCEPT": "application/xml",
        "HTTP_X_AUTH_TOKEN": "t",
    }


# HEAD


@pytest.mark.parametrize("path", ["/extensions", "/extensions/os-volumes", "/extensions.xml"])
@pytest.mark.parametrize("make_host", [lambda: listing(HOSTS), missing, lambda: Host("403 Forbidden", body=b"no")])
def test_the_response_to_head_is_that_to_get_without_the_body(path, make_host):
    status, headers, _ = get(make_host(), path)
    host = make_host()
    head_status, head_headers, head_body = get(host, path, REQUEST_METHOD="HEAD")
    kept = [[each for each in found if each[0] != "X-Openstack-Request-Id"] for found in (headers, head_headers)]
    assert (head_status, kept[1], head_body) == (status, kept[0], b"")
    assert host.closed == 1
    assert [environ["REQUEST_METHOD"] for environ in host.environs] == ["GET"]


def test_adding_our_entry_again_and_again_does_not_change_it():
    before = json.dumps(EXTENSION)
    for _ in range(3):
        assert len(json.loads(get(listing(HOSTS))[2])["extensions"]) == 2
    assert json.dumps(EXTENSION) == before


def test_an_exception_of_the_host_stays_its_own():
    def host(environ, start_response):
        raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        get(host)


def test_an_exception_in_the_middle_of_the_list_closes_it_and_stays_the_hosts_own():
    class Breaking(Host):
        def __iter__(self):
            yield b"{"
            raise LookupError("inside")

    host = Breaking()
    with pytest.raises(LookupError, match="inside"):
        get(host)
    assert host.closed == 1
