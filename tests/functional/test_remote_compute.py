"""The compute API called over HTTP, with the operator's credentials."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from os_volume_ext.api.dialects import CYCLADES, OPENSTACK
from os_volume_ext.backends.base import Server
from os_volume_ext.compute.remote import RemoteComputeAPI
from os_volume_ext.errors import ComputeUnavailable, ServerMissing
from os_volume_ext.outbound.client import Client
from tests.support.waiting import TIMEOUT

CLIENT = Client(prefix="compute.")


def shown(server_id, **more):
    return {"id": server_id, "tenant_id": "demo", "status": "ACTIVE", **more}


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


class Host:
    """A compute API with a given response for each path, which records the requests."""

    def __init__(self):
        self.responses, self.environs, self.url = {}, [], None

    def __call__(self, environ, start_response):
        self.environs.append(environ)
        query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
        status, body, headers = self.responses.get(environ["PATH_INFO"] + query, ("404 Not Found", b"", []))
        start_response(status, [("Content-Length", str(len(body))), *headers])
        return [body]

    def response(self, path, document=None, status="200 OK", body=None, headers=()):
        self.responses[path] = status, json.dumps(document).encode() if body is None else body, list(headers)


@pytest.fixture
def host():
    host = Host()
    with make_server("127.0.0.1", 0, host, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        host.url = f"http://127.0.0.1:{server.server_port}/v2.1"
        yield host
        server.shutdown()
        thread.join()


@pytest.fixture
def api(host):
    return RemoteComputeAPI(url=host.url + "/", token=lambda: "t1", headers=OPENSTACK.lookup_headers, client=CLIENT)


def test_a_server_is_requested_with_the_token_and_the_microversion(host, api):
    host.response("/v2.1/servers/s1", {"server": shown("S1", locked=True, **{"OS-EXT-SRV-ATTR:host": "node1"})})
    assert api.server("s1") == Server("s1", "demo", "ACTIVE", True, "node1", None)
    (environ,) = host.environs
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["HTTP_X_AUTH_TOKEN"] == "t1"
    assert environ["HTTP_ACCEPT"] == "application/json"
    assert environ["HTTP_OPENSTACK_API_VERSION"] == "compute 2.9"


def test_a_token_is_requested_each_time(host):
    tokens = iter(["t1", "t2"])
    host.response("/v2.1/servers/1134", {"server": shown(1134)})
    api = RemoteComputeAPI(url=host.url, token=lambda: next(tokens), headers=CYCLADES.lookup_headers, client=CLIENT)
    assert [api.server("1134").id, api.server("1134").id] == ["1134", "1134"]
    assert [environ["HTTP_X_AUTH_TOKEN"] for environ in host.environs] == ["t1", "t2"]
    assert "HTTP_OPENSTACK_API_VERSION" not in host.environs[0]


NOT_FOUND = {"itemNotFound": {"code": 404, "message": "Instance s1 could not be found."}}


def test_a_server_is_gone_if_the_api_that_lists_all_projects_does_not_find_it(host, api):
    host.response("/v2.1/servers/s1", NOT_FOUND, "404 Not Found")
    host.response("/v2.1/servers/detail?all_tenants=1&limit=1", {"servers": [shown("s2")]})
    with pytest.raises(ServerMissing, match="Server s1 could not be found"):
        api.server("s1")


@pytest.mark.parametrize("changes", [{"status": "DELETED"}, {"status": "deleted"}, {"deleted": True}], ids=repr)
def test_a_server_that_is_shown_as_deleted_is_gone(host, api, changes):
    host.response("/v2.1/servers/s1", {"server": shown("s1") | changes})
    with pytest.raises(ServerMissing, match="Server s1 could not be found"):
        api.server("s1")


@pytest.mark.parametrize("changes", [{"status": "SOFT_DELETED"}, {"deleted": False}, {"deleted": None}], ids=repr)
def test_a_server_that_is_not_shown_as_deleted_is_not_gone(host, api, changes):
    host.response("/v2.1/servers/s1", {"server": shown("s1") | changes})
    assert api.server("s1").id == "s1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>404 Not Found</h1></html>",
        b"[]",
        b'"itemNotFound"',
        b'["itemNotFound"]',
        b'{"itemNotFound": null}',
        b'{"message": "The resource could not be found."}',
        b"[" * 100_000,
    ],
    ids=range(8),
)
def test_a_404_that_is_not_the_compute_apis_own_is_unavailable(host, api, body):
    host.response("/v2.1/servers/s1", body=body, status="404 Not Found")
    host.response("/v2.1/servers/detail?all_tenants=1&limit=1", {"servers": []})
    with pytest.raises(ComputeUnavailable) as caught:
        api.server("s1")
    assert str(caught.value) == (
        f"{host.url} responded with 404 for server s1, but without the fault itemNotFound: a proxy may have responded"
    )


@pytest.mark.parametrize("listed", [{"status": "403 Forbidden"}, {"status": "404 Not Found"}, {"body": b"{}"}])
def test_a_404_for_credentials_that_do_not_list_all_projects_is_unavailable(host, api, listed):
    host.response("/v2.1/servers/s1", NOT_FOUND, "404 Not Found")
    host.response("/v2.1/servers/detail?all_tenants=1&limit=1", **listed)
    with pytest.raises(ComputeUnavailable) as caught:
        api.server("s1")
    reason = f"{host.url} does not show server s1, nor that it shows the servers of all projects: {host.url}/servers/"
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize("status", ["204 x", "300 x", "400 x", "401 x", "403 x", "429 x", "500 x", "503 x"])
def test_every_other_status_is_not_available(host, api, status):
    host.response("/v2.1/servers/s1", {"server": shown("s1")}, status)
    host.response("/v2.1/servers/detail?all_tenants=1", {"servers": []}, status)
    with pytest.raises(ComputeUnavailable) as caught:
        api.server("s1")
    assert str(caught.value) == f"{host.url} responded with {status[:3]} for server s1"
    with pytest.raises(ComputeUnavailable) as caught:
        list(api.servers())
    assert str(caught.value) == f"{host.url}/servers/detail?all_tenants=1 responded with {status[:3]}"


def test_a_missing_list_is_not_available(api):
    with pytest.raises(ComputeUnavailable, match="404"):
        list(api.servers())


def test_the_token_is_not_sent_to_where_a_response_redirects(host, api):
    host.response("/v2.1/servers/s1", status="302 Found", headers=[("Location", f"{host.url}/elsewhere")])
    with pytest.raises(ComputeUnavailable, match="302"):
        api.server("s1")
    assert len(host.environs) == 1


@pytest.mark.parametrize("body", [b"", b"<html/>", b"{}", b'{"server": {}}', b"\xff", b"[" * 100_000], ids=range(6))
def test_a_broken_body_is_not_available(host, api, body):
    host.response("/v2.1/servers/s1", body=body)
    with pytest.raises(ComputeUnavailable):
        api.server("s1")


def test_a_response_about_another_server_is_unavailable(host, api):
    host.response("/v2.1/servers/s1", {"server": shown("s2")})
    with pytest.raises(ComputeUnavailable, match="s2"):
        api.server("s1")


def test_an_api_that_does_not_listen_is_not_available():
    api = RemoteComputeAPI(url="http://127.0.0.1:1", token=lambda: "t1", headers={}, client=CLIENT)
    with pytest.raises(ComputeUnavailable) as caught:
        api.server("s1")
    assert str(caught.value) == "http://127.0.0.1:1/servers/s1 can't be reached: Connection refused"


@pytest.mark.parametrize("url", ["", "nova", "ftp://127.0.0.1", "http://"])
def test_a_url_that_is_none_is_not_available(url):
    with pytest.raises(ComputeUnavailable, match="failed"):
        RemoteComputeAPI(url=url, token=lambda: "t1", headers={}, client=CLIENT).server("s1")


def test_it_is_shown_by_its_url_without_a_slash_at_the_end_and_without_a_password():
    api = RemoteComputeAPI(url="http://u:hush@nova.example/X/", token=lambda: "t1", headers={}, client=CLIENT)
    assert str(api) == "http://u:***@nova.example/X"


# All servers.


def test_the_servers_of_all_projects_are_listed_page_by_page(host, api):
    following = {"servers_links": [{"rel": "self", "href": "x"}, {"rel": "next", "href": f"{host.url}/more?marker=s2"}]}
    host.response("/v2.1/servers/detail?all_tenants=1", {"servers": [shown("s1"), shown("S2")], **following})
    host.response("/v2.1/more?marker=s2", {"servers": [shown("s3", tenant_id="other")], "servers_links": []})
    assert list(api.servers()) == [
        Server("s1", "demo", "ACTIVE"),
        Server("s2", "demo", "ACTIVE"),
        Server("s3", "other", "ACTIVE"),
    ]
    assert {environ["HTTP_X_AUTH_TOKEN"] for environ in host.environs} == {"t1"}


@pytest.mark.parametrize("servers", [[], [shown("s1")]])
def test_a_check_requests_one_server_of_all_projects(host, api, servers):
    following = {"servers_links": [{"rel": "next", "href": f"{host.url}/more"}]}
    host.response("/v2.1/servers/detail?all_tenants=1&limit=1", {"servers": servers} | (following if servers else {}))
    api.check()
    assert len(host.environs) == 1


@pytest.mark.parametrize("response", [{"status": "403 Forbidden"}, {"body": b"{}"}])
def test_a_check_tells_what_stands_against_it(host, api, response):
    host.response("/v2.1/servers/detail?all_tenants=1&limit=1", **response)
    with pytest.raises(ComputeUnavailable):
        api.check()


def test_a_list_without_links_is_all_there_is(host, api):
    host.response("/v2.1/servers/detail?all_tenants=1", {"servers": []})
    assert list(api.servers()) == []
    assert len(host.environs) == 1


def test_a_page_that_is_broken_ends_the_list_with_an_error_and_never_early(host, api):
    following = {"servers_links": [{"rel": "next", "href": f"{host.url}/more"}]}
    host.response("/v2.1/servers/detail?all_tenants=1", {"servers": [shown("s1")], **following})
    host.response("/v2.1/more", status="500 Oops")
    servers = api.servers()
    assert next(servers).id == "s1"
    with pytest.raises(ComputeUnavailable, match="500"):
        next(servers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"servers": null}',
        b'{"servers": [1]}',
        b'{"servers": [{"id": "s1"}]}',
        b'{"servers": [], "servers_links": [{}]}',
        b'{"servers": [], "servers_links": 5}',
        b'{"servers": [], "servers_links": [{"rel": "next"}]}',
        b"[" * 100_000,
    ],
    ids=range(11),
)
def test_a_list_that_makes_no_sense_is_not_available(host, api, body):
    host.response("/v2.1/servers/detail?all_tenants=1", body=body)
    with pytest.raises(ComputeUnavailable) as caught:
        list(api.servers())
    assert str(caught.value) == f"{host.url}/servers/detail?all_tenants=1 did not respond with a list of servers"


def test_a_page_that_links_to_a_page_before_it_is_not_available(host, api):
    first = f"{host.url}/servers/detail?all_tenants=1"
    for path, link in (("/v2.1/servers/detail?all_tenants=1", f"{host.url}/more"), ("/v2.1/more", first)):
        host.response(path, {"servers": [shown("s1")], "servers_links": [{"rel": "next", "href": link}]})
    with pytest.raises(ComputeUnavailable) as caught:
        list(api.servers())
    assert str(caught.value) == f"{host.url}/more links to {first}, a page that it has listed already"
    assert len(host.environs) == 2


def test_a_page_at_another_host_is_not_requested(host, api):
    following = {"servers_links": [{"rel": "next", "href": "http://u:hush@elsewhere.example:1/more"}]}
    host.response("/v2.1/servers/detail?all_tenants=1", {"servers": [], **following})
    with pytest.raises(ComputeUnavailable) as caught:
        list(api.servers())
    assert str(caught.value) == (
        f"{host.url} links to a page at http://elsewhere.example:1: only compute.url's own host is requested"
    )


def test_requests_beyond_the_limit_are_refused_at_once(host):
    """The URL is mostly that of the API itself, whose threads must not all wait for such requests."""
    started, resume = threading.Semaphore(0), threading.Event()

    def wait():
        started.release()
        assert resume.wait(TIMEOUT)
        return "t1"

    api = RemoteComputeAPI(url=host.url, token=wait, headers={}, client=CLIENT, max_concurrent=2)
    host.response("/v2.1/servers/s1", {"server": shown("s1")})
    with ThreadPoolExecutor() as threads:
        found = [threads.submit(api.server, "s1") for _ in range(2)]
        assert all(started.acquire(timeout=TIMEOUT) for _ in found)
        for _ in range(2):
            with pytest.raises(ComputeUnavailable, match=r"too many requests to \S+ are in progress"):
                api.server("s1")
        resume.set()
        assert [each.result(TIMEOUT).id for each in found] == ["s1", "s1"]
    assert api.server("s1").id == "s1"
