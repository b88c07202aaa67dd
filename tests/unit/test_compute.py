"""The compute API, called in-process as the caller."""

import contextlib
import io
import json
import logging
import sys

import pytest

from os_volume_ext.api.dialects import DIALECTS, OPENSTACK
from os_volume_ext.backends.base import Server
from os_volume_ext.compute.remote import RemoteComputeAPI
from os_volume_ext.compute.wrapped import ComputeAPI
from os_volume_ext.context import RequestContext
from os_volume_ext.errors import ComputeRefused, ComputeUnavailable, RequestFailed, ServerMissing
from os_volume_ext.outbound.client import Client

UUID = "4335bab6-6086-4247-8274-8b8b048edaaa"
FOUND = {"server": {"id": 1134, "tenant_id": "demo", "status": "ACTIVE"}}


class Host:
    """A compute API with one response, which records the request and whether the response was closed."""

    def __init__(self, document=None, status="200 OK", body=None):
        self.status = status
        self.body = json.dumps(FOUND if document is None else document).encode() if body is None else body
        self.environs, self.closed = [], 0

    def __call__(self, environ, start_response):
        self.environs.append(environ)
        start_response(self.status, [("Content-Type", "application/json")])
        return self

    def __iter__(self):
        yield from (self.body[:5], self.body[5:])

    def close(self):
        self.closed += 1


def context(environ=None, path_project=None):
    return RequestContext("req-1", {}, pytest.fail, environ or {}, path_project)


def server(host, server_id="1134", headers=(), **more):
    return ComputeAPI(app=host, headers=dict(headers)).server(context(**more), server_id)


def environ_of(**environ):
    """Look up a server with an environ; return the one that the compute API got."""
    host = Host()
    server(host, environ=environ)
    (seen,) = host.environs
    return seen


# Requests


class Unread:
    """The caller's body, which is not the compute API's to read."""

    def read(self, *_):
        pytest.fail("the caller's body was read")


CALLERS = {
    "REQUEST_METHOD": "POST",
    "SCRIPT_NAME": "/v2.1",
    "PATH_INFO": "/servers/1134/os-volume_attachments",
    "QUERY_STRING": "xml",
    "CONTENT_LENGTH": "40",
    "HTTP_ACCEPT": "application/xml",
    "wsgi.input": Unread(),
}
DROPPED = [
    "CONTENT_TYPE",
    "HTTP_TRANSFER_ENCODING",
    "wsgi.input_terminated",
    "HTTP_EXPECT",
    "HTTP_RANGE",
    "HTTP_IF_MATCH",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_IF_RANGE",
    "HTTP_ACCEPT_ENCODING",
    "HTTP_X_HTTP_METHOD_OVERRIDE",
    "HTTP_OPENSTACK_API_VERSION",
    "HTTP_X_OPENSTACK_NOVA_API_VERSION",
    "webob.adhoc_attrs",
    "webob._parsed_query_vars",
    "routes.route",
    "routes.url",
    "wsgiorg.routing_args",
]
KEPT = [
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "HTTP_HOST",
    "HTTP_X_AUTH_TOKEN",
    "HTTP_X_IDENTITY_STATUS",
    "HTTP_X_PROJECT_ID",
    "HTTP_X_ROLES",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_COOKIE",
    "keystone.token_info",
    "keystone.token_auth",
    "openstack.request_id",
    "nova.context",
    "paste.config",
    "wsgi.errors",
    "wsgi.url_scheme",
    "wsgi.multithread",
]


def test_a_server_is_requested_by_get_as_json_without_query_and_body():
    seen = environ_of(**CALLERS)
    assert (seen["REQUEST_METHOD"], seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("GET", "/v2.1", "/servers/1134")
    assert (seen["QUERY_STRING"], seen["CONTENT_LENGTH"], seen["HTTP_ACCEPT"]) == ("", "0", "application/json")
    assert seen["wsgi.input"].read() == b""


@pytest.mark.parametrize("name", DROPPED)
def test_what_belongs_to_the_callers_request_alone_is_dropped(name):
    assert name not in environ_of(**CALLERS, **{name: "x"})


@pytest.mark.parametrize("name", KEPT)
def test_what_identifies_the_caller_is_passed_as_the_same_object(name):
    value = object()
    assert environ_of(**CALLERS, **{name: value})[name] is value


def test_the_callers_own_environ_is_left_as_it_is():
    environ = CALLERS | dict.fromkeys(DROPPED, "x")
    before = dict(environ)
    host = Host()
    server(host, environ=environ, headers=OPENSTACK.lookup_headers)
    assert environ == before
    assert host.environs[0] is not environ


@pytest.mark.parametrize("project", ["demo", "6f70656e737461636b20342065766572", "\xce\xb1"])
def test_the_project_of_the_path_is_in_the_request(project):
    host = Host()
    server(host, environ=CALLERS, path_project=project)
    assert host.environs[0]["PATH_INFO"] == f"/{project}/servers/1134"


@pytest.mark.parametrize("name", DIALECTS)
def test_the_dialects_microversion_replaces_the_callers(name):
    host = Host()
    caller = {"HTTP_OPENSTACK_API_VERSION": "compute 2.89", "HTTP_X_OPENSTACK_NOVA_API_VERSION": "2.89"}
    server(host, headers=DIALECTS[name].lookup_headers, environ=caller)
    (seen,) = host.environs
    versions = [seen.get("HTTP_OPENSTACK_API_VERSION"), seen.get("HTTP_X_OPENSTACK_NOVA_API_VERSION")]
    assert versions == (["compute 2.9", "2.9"] if name == "openstack" else [None, None])


# Responses


def test_a_server_is_read_as_nova_shows_it():
    shown = {
        "id": UUID.upper(),
        "tenant_id": "demo",
        "status": "active",
        "locked": True,
        "OS-EXT-SRV-ATTR:host": "node1",
        "OS-EXT-SRV-ATTR:instance_name": "instance-0001",
        "name": "more",
    }
    assert server(Host({"server": shown}), UUID) == Server(UUID, "demo", "ACTIVE", True, "node1", "instance-0001")


def test_a_server_is_read_as_cyclades_shows_it():
    assert server(Host()) == Server("1134", "demo", "ACTIVE", False, None, None)


@pytest.mark.parametrize(("shown", "expected"), [("u1", "u1"), (None, None), (5, None), ("", "")])
def test_a_server_has_its_user(shown, expected):
    assert server(Host({"server": {**FOUND["server"], "user_id": shown}})).user_id == expected


@pytest.mark.parametrize(("locked", "expected"), [(True, True), (False, False), (None, False)])
def test_a_server_has_its_lock(locked, expected):
    assert server(Host({"server": {**FOUND["server"], "locked": locked}})).locked is expected


@pytest.mark.parametrize("name", ["OS-EXT-STS:task_state", "SNF:task_state"])
@pytest.mark.parametrize(("shown", "expected"), [("rebuilding", "rebuilding"), (None, None), ("", None)])
def test_a_server_has_its_pending_task(name, shown, expected):
    assert server(Host({"server": {**FOUND["server"], name: shown}})).task_state == expected


@pytest.mark.parametrize("shown", [5, ["rebuilding"], {"task": "rebuilding"}, True])
def test_a_pending_task_that_is_no_string_is_not_ignored(shown):
    with pytest.raises(ComputeUnavailable):
        server(Host({"server": {**FOUND["server"], "OS-EXT-STS:task_state": shown}}))


@pytest.mark.parametrize("status", ["200 OK", "200", "404 Not Found", "500 Oops"])
def test_the_response_is_closed(status):
    host = Host(status=status)
    with contextlib.suppress(ServerMissing, ComputeUnavailable):
        server(host)
    assert host.closed == 1


def test_an_incomplete_response_is_closed_and_unavailable():
    class Breaking(Host):
        def __iter__(self):
            yield b"{"
            raise OSError("gone")

    host = Breaking()
    with pytest.raises(ComputeUnavailable):
        server(host)
    assert host.closed == 1


def test_a_response_without_close_is_accepted():
    def host(environ, start_response):
        start_response("200 OK", [])
        return [json.dumps(FOUND).encode()]

    assert server(host).id == "1134"


def test_what_was_sent_with_write_is_read_first():
    closed = []

    class Rest(list):
        def close(self):
            closed.append(True)

    def host(environ, start_response):
        body = json.dumps(FOUND).encode()
        write = start_response("200 OK", [])
        write(body[:10])
        write(body[10:20])
        return Rest([body[20:]])

    assert server(host).id == "1134"
    assert closed == [True]


def test_an_application_may_start_its_response_late():
    def host(environ, start_response):
        yield b""
        start_response("200 OK", [])
        yield json.dumps(FOUND).encode()

    # WSGI requires start_response before the first chunk; a generator calls it at its first iteration.
    assert server(host).id == "1134"


def test_a_missing_server_is_named():
    with pytest.raises(ServerMissing) as caught:
        server(Host(status="404 Not Found", body=b"<h1>not ours</h1>"))
    assert str(caught.value) == "Server 1134 could not be found."


REFUSALS = pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden"])


@REFUSALS
@pytest.mark.parametrize("name", ["badRequest", "forbidden", "computeFault"])
def test_a_refusal_is_passed_on_in_the_compute_apis_words(status, name):
    with pytest.raises(ComputeRefused) as caught:
        server(Host({name: {"code": 1, "message": "Malformed request url"}}, status))
    assert (caught.value.code, str(caught.value)) == (int(status[:3]), "Malformed request url")


@REFUSALS
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html/>",
        b"[]",
        b"{}",
        b"null",
        b'{"a": {}, "b": {}}',
        b'{"a": 1}',
        b'{"a": {"code": 1}}',
        b"\xff",
        b"[" * 100_000,
    ],
    ids=range(10),
)
def test_a_refusal_without_words_gets_some(status, body):
    with pytest.raises(ComputeRefused) as caught:
        server(Host(status=status, body=body))
    assert caught.value.code == int(status[:3])
    assert str(caught.value) == "The compute API refused to show server 1134."


OTHERS = [201, 202, 203, 204, 206, 300, 301, 302, 304, 402, 405, 406, 409, 410, 413, 429, 500, 502, 503, 504, 0, 999]


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden", "500 Oops"])
def test_the_log_has_what_the_compute_api_refused(status, caplog):
    caplog.set_level(logging.INFO)
    with contextlib.suppress(ServerMissing, ComputeRefused, ComputeUnavailable):
        server(Host(status=status))
    messages = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert messages == [("INFO", f"req-1 compute API refused GET '/servers/1134': {status[:3]}")]


def test_another_status_is_named():
    with pytest.raises(ComputeUnavailable) as caught:
        server(Host(status="500 Oops"))
    assert str(caught.value) == "the compute API responded with 500"


@pytest.mark.parametrize("status", [*(f"{code} Other" for code in OTHERS), "500", "-200 OK", "OK", "", "200OK"])
def test_every_other_status_is_not_available(status):
    with pytest.raises(ComputeUnavailable):
        server(Host(status=status))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html/>",
        b"\xff",
        b"null",
        b"[]",
        b"9",
        b"{}",
        b'{"server": null}',
        b'{"server": []}',
        b'{"server": "1134"}',
        b'{"server": {}}',
        b'{"server": {"id": 1134}}',
        b'{"server": {"id": 1134, "tenant_id": "demo"}}',
        b'{"server": {"id": 1134, "status": "ACTIVE"}}',
        b'{"server": {"id": 1134, "tenant_id": null, "status": "ACTIVE"}}',
        b'{"server": {"id": 1134, "tenant_id": "demo", "status": null}}',
        b'{"server": {"tenant_id": "demo", "status": "ACTIVE"}}',
        b'{"servers": [{"id": 1134, "tenant_id": "demo", "status": "ACTIVE"}]}',
        json.dumps(FOUND).encode()[:-1],
        b"[" * 100_000,
    ],
    ids=range(20),
)
def test_a_broken_body_is_not_available(body):
    with pytest.raises(ComputeUnavailable) as caught:
        server(Host(body=body))
    assert str(caught.value) == "the compute API's response for server 1134 is invalid"


@pytest.mark.parametrize("wrong", [1135, "1135", "01134", "", None, 1134.0, True, [1134]])
def test_a_response_about_another_server_is_unavailable(wrong):
    with pytest.raises(ComputeUnavailable) as caught:
        server(Host({"server": {**FOUND["server"], "id": wrong}}))
    assert str(caught.value) == f"the compute API returned server {str(wrong).lower()!r} instead of 1134"


def raising(environ, start_response):
    raise LookupError("inside")


def silent(environ, start_response):
    return []


def reporting(environ, start_response):
    try:
        raise LookupError("inside")
    except LookupError:
        start_response("500 Oops", [], sys.exc_info())
    return [b"sorry"]


def reporting_late(environ, start_response):
    start_response("200 OK", [])
    return reporting(environ, start_response)


def no_bytes(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps(FOUND)]


@pytest.mark.parametrize("host", [raising, silent, reporting, reporting_late, no_bytes])
def test_an_application_that_fails_is_not_available_and_the_log_has_the_request(host, caplog):
    with pytest.raises(ComputeUnavailable) as caught:
        server(host, environ={"HTTP_X_AUTH_TOKEN": "hush"})
    assert str(caught.value) == "GET /servers/1134 failed"
    assert caught.value.__cause__ is not None
    (record,) = caplog.records
    assert record.getMessage() == "req-1 compute API: GET '/servers/1134' failed"
    assert record.exc_info
    assert "hush" not in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_order_to_stop_is_not_held_up(error):
    def host(environ, start_response):
        raise error

    with pytest.raises(error):
        server(host)


# The cheaper way to see that a server is there.


def find(host, read_path=None, server_id="1134", **more):
    return ComputeAPI(app=host, headers={}, read_path=read_path).find(context(**more), server_id)


def test_without_a_cheaper_path_the_server_itself_is_returned():
    host = Host({"server": {**FOUND["server"], "tenant_id": "other"}})
    assert find(host) == Server("1134", "other", "ACTIVE")
    assert host.environs[0]["PATH_INFO"] == "/servers/1134"


@pytest.mark.parametrize(("path_project", "prefix"), [(None, ""), ("demo", "/demo")])
def test_a_cheaper_path_is_requested_and_shows_no_server(path_project, prefix):
    host = Host(body=b"anything at all")
    assert find(host, "/servers/{server_id}/ips", path_project=path_project) is None
    assert host.environs[0]["PATH_INFO"] == f"{prefix}/servers/1134/ips"
    assert host.closed == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [("404 x", ServerMissing), ("403 x", ComputeRefused), ("500 x", ComputeUnavailable), ("204 x", ComputeUnavailable)],
)
def test_a_cheaper_path_refuses_as_the_dear_one_does(status, error):
    with pytest.raises(error):
        find(Host(status=status), "/servers/{server_id}/ips")


def test_the_server_itself_is_never_requested_by_the_cheaper_path():
    host = Host()
    assert (
        ComputeAPI(app=host, headers={}, read_path="/servers/{server_id}/ips").server(context(), "1134").project_id
        == "demo"
    )
    assert host.environs[0]["PATH_INFO"] == "/servers/1134"


def test_odd_letters_of_an_id_do_not_count_as_a_pattern():
    host = Host(status="404 x")
    with pytest.raises(ServerMissing):
        find(host, "/servers/{server_id}/{x}", server_id="{0}")
    assert host.environs[0]["PATH_INFO"] == "/servers/{0}/{x}"


# The host that only administrators get to see.


class Privileged:
    """Stands in for the compute API called with the operator's credentials."""

    def __init__(self, response):
        self.response, self.requested = response, []

    def server(self, server_id):
        self.requested.append(server_id)
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


def test_a_needed_host_is_looked_up_with_the_operators_credentials():
    privileged = Privileged(Server("1134", "not this", "NOR THIS", True, "node1", "instance-0001"))
    found = ComputeAPI(app=Host(), headers={}, privileged=privileged).server(context(), "1134")
    assert found == Server("1134", "demo", "ACTIVE", False, "node1", "instance-0001")
    assert privileged.requested == ["1134"]


def test_a_host_that_the_caller_sees_is_not_looked_up_again():
    privileged = Privileged(AssertionError("called"))
    shown = {**FOUND["server"], "OS-EXT-SRV-ATTR:host": "node2"}
    assert (
        ComputeAPI(app=Host({"server": shown}), headers={}, privileged=privileged).server(context(), "1134").host
        == "node2"
    )
    assert privileged.requested == []


def test_a_server_hidden_from_the_caller_is_not_looked_up_with_more_rights():
    privileged = Privileged(AssertionError("called"))
    with pytest.raises(ServerMissing):
        ComputeAPI(app=Host(status="404 x"), headers={}, privileged=privileged).server(context(), "1134")
    assert privileged.requested == []


def test_a_server_to_read_is_not_looked_up_with_more_rights():
    privileged = Privileged(AssertionError("called"))
    assert ComputeAPI(app=Host(), headers={}, privileged=privileged).find(context(), "1134").host is None
    assert privileged.requested == []


@pytest.mark.parametrize("error", [ServerMissing("1134"), ComputeUnavailable("gone")])
def test_a_host_that_can_not_be_had_is_an_error(error):
    with pytest.raises(type(error)):
        ComputeAPI(app=Host(), headers={}, privileged=Privileged(error)).server(context(), "1134")


# From outside, over HTTP: test_remote_compute; what needs no server is here.


def test_the_reason_for_a_missing_token_is_reported():
    def no_token():
        raise RequestFailed("keystone is down")

    client = Client(prefix="compute.")
    with pytest.raises(ComputeUnavailable, match="keystone is down"):
        RemoteComputeAPI(url="http://127.0.0.1:9", token=no_token, headers={}, client=client).server("1134")


def test_an_input_of_ones_own_is_given_each_time():
    host = Host()
    api = ComputeAPI(app=host, headers={})
    for _ in range(2):
        api.server(context({"wsgi.input": Unread()}), "1134")
    first, second = (environ["wsgi.input"] for environ in host.environs)
    assert first is not second
    assert isinstance(first, io.BytesIO)
