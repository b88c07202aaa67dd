"""What this package requests from the compute API and from Keystone, against servers on 127.0.0.1."""

import base64
import contextlib
import gc
import io
import json
import logging
import os
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import trustme

from os_volume_ext.assembly import make_compute
from os_volume_ext.backends.base import ConfigurationError
from os_volume_ext.compute.remote import RemoteComputeAPI
from os_volume_ext.errors import ComputeUnavailable, RequestFailed
from os_volume_ext.outbound.client import CHUNK, Client
from os_volume_ext.outbound.tokens import TokenSource
from os_volume_ext.settings import Settings
from tests.support.waiting import wait_until

LIST = "/v2.1/servers/detail?all_tenants=1"
SHORT = 0.3  # seconds that a request may take, where the server does not respond
LONG = 20  # seconds after which a request counts as one that has no deadline

pytestmark = pytest.mark.only_on("sqlite")


class HTTPServer(ThreadingHTTPServer):
    """Has a given response for each path, and records the requests."""

    block_on_close = False
    daemon_threads = True

    def __init__(self, tls=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.responses, self.requests = {}, []
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.configure_cert(context)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.origin = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"
        self.url = f"{self.origin}/v2.1"

    def respond(self, path, document, status=200, **headers):
        self.responses[path] = status, json.dumps(document).encode(), headers

    def list_servers(self, path, ids=(), following=None):
        links = [{"rel": "next", "href": following}] if following else []
        servers = [{"id": each, "tenant_id": "demo", "status": "ACTIVE"} for each in ids]
        self.respond(path, {"servers": servers, "servers_links": links})

    def handle_error(self, request, client_address):
        """Do not print that a client has gone."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.command, self.path, self.headers))
        status, body, headers = self.server.responses.get(self.path, (404, b"{}", {}))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    do_CONNECT = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(tls=None):
    with HTTPServer(tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def reluctant(sends):
    """A server that sends chunks of bytes, one every tenth of a second, and then stays silent; yield its address."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        ended = threading.Event()

        def talk(connection):
            with connection, contextlib.suppress(OSError):
                for chunk in sends():
                    connection.sendall(chunk)
                    if ended.wait(0.1):
                        return
                ended.wait()

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
        stack.callback(ended.set)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def drip(begin, byte):
    def sends():
        yield begin
        while True:
            yield byte

    return sends


RELUCTANT = {
    "silent": lambda: (),
    "headers": drip(b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
    "body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}
# The header of a TLS record with a handshake of 16 kB, byte by byte.
TLS_RELUCTANT = {"silent": lambda: (), "handshake": drip(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03", b"\x00")}


@pytest.fixture
def host():
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def cafile(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def tls_host(authority):
    with serving(authority.issue_cert("127.0.0.1")) as server:
        server.list_servers(LIST, ["s1"])
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def configured(**options):
    """Return the compute API of a section with these ``compute.*`` options."""
    section = {f"compute.{name}": value for name, value in options.items()}
    return make_compute(Settings.parse({"backend": "directory", "database.url": "sqlite:////x"} | section))


def listed(api):
    return [server.id for server in api.servers()]


def failure(function, *arguments):
    with pytest.raises(ComputeUnavailable) as caught:
        function(*arguments)
    return str(caught.value)


def password_options(auth_url):
    return {
        "auth_type": "v3password",
        "auth_url": auth_url,
        "username": "volumes",
        "password": "hush",
        "user_domain_id": "default",
        "project_name": "service",
        "project_domain_id": "default",
    }


def token_source(auth_type, options, timeout):
    client = Client(prefix="compute.", timeout=timeout)
    return TokenSource("compute.", "keystone", auth_type, options, client).token


TOKEN = {
    "token": {
        "expires_at": "2099-01-01T00:00:00.000000Z",
        "issued_at": "2020-01-01T00:00:00.000000Z",
        "methods": ["password"],
        "user": {"id": "u", "name": "volumes", "domain": {"id": "default", "name": "Default"}},
    }
}


# -- the deadline ---------------------------------------------------------------------------------------


def request_threads():
    return [thread for thread in threading.enumerate() if thread.name == "os-volume-ext-http"]


@pytest.mark.parametrize("how", RELUCTANT)
def test_a_request_ends_at_its_deadline_whatever_the_server_sends(how):
    with reluctant(RELUCTANT[how]) as address:
        client = Client(prefix="compute.", timeout=SHORT)
        api = RemoteComputeAPI(url=f"http://{address}", token=lambda: "t1", headers={}, client=client)
        start = time.monotonic()
        message = failure(api.server, "s1")
        assert time.monotonic() - start < LONG
        assert message == f"http://{address}/servers/s1 did not respond within 0.3 seconds"
        assert wait_until(lambda: not request_threads())


@pytest.mark.parametrize("how", TLS_RELUCTANT)
def test_a_tls_handshake_ends_at_the_deadline(how):
    with reluctant(TLS_RELUCTANT[how]) as address:
        client = Client(prefix="compute.", timeout=SHORT)
        api = RemoteComputeAPI(url=f"https://{address}", token=lambda: "t1", headers={}, client=client)
        assert "did not respond within 0.3 seconds" in failure(api.server, "s1")
        assert wait_until(lambda: not request_threads())


@pytest.mark.parametrize("how", RELUCTANT)
def test_a_token_request_ends_at_its_deadline(how):
    with reluctant(RELUCTANT[how]) as address:
        options = password_options(f"http://{address}/v3")
        source = token_source(options.pop("auth_type"), options, SHORT)
        for _ in range(2):
            with pytest.raises(RequestFailed) as caught:
                source()
            assert str(caught.value) == f"http://{address}/v3 did not respond within 0.3 seconds"
        assert wait_until(lambda: not request_threads())


def test_token_requests_that_wait_for_each_other_end_at_their_deadlines():
    with reluctant(RELUCTANT["silent"]) as address:
        options = password_options(f"http://{address}/v3")
        source = token_source(options.pop("auth_type"), options, SHORT)
        start = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            errors = [each.exception() for each in [pool.submit(source) for _ in range(8)]]
        assert {str(each) for each in errors} == {f"http://{address}/v3 did not respond within 0.3 seconds"}
        assert time.monotonic() - start < LONG
        assert wait_until(lambda: not request_threads())


def test_a_response_that_is_too_long_is_not_read(host):
    client = Client(prefix="compute.", max_body=1000)
    host.respond(LIST, {"servers": [], "more": "x" * 4 * CHUNK})
    message = failure(listed, RemoteComputeAPI(url=host.url, token=lambda: "t1", headers={}, client=client))
    assert message == f"{host.url}/servers/detail?all_tenants=1 sent more than 1000 bytes"
    gc.collect()  # which warns of a socket that is still open


@pytest.mark.parametrize("options", [{"token": "t1"}, password_options("http://{address}/v3")], ids=["url", "auth_url"])
def test_a_connection_that_the_server_closes_is_reported(options):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close():
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.close()

        thread = threading.Thread(target=close)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        options = {name: value.format(address=address) for name, value in options.items()}
        message = failure(configured(url=f"http://{address}", **options).check)
        thread.join()
    assert message.endswith((" can't be reached: no connection", " can't be reached: Connection reset by peer"))


# -- TLS ------------------------------------------------------------------------------------------------


def test_a_server_of_a_configured_ca_is_trusted(tls_host, cafile):
    assert listed(configured(url=tls_host.url, token="t1", cafile=cafile)) == ["s1"]


def test_a_certificate_that_is_not_trusted_is_reported_as_such(tls_host):
    message = failure(listed, configured(url=tls_host.url, token="t1"))
    assert message.startswith(f"{tls_host.url}/servers/detail?all_tenants=1 has a certificate that is not trusted: ")
    assert message.endswith(": check compute.cafile")
    assert tls_host.requests == []


def test_a_certificate_for_another_host_is_reported_as_such(authority, cafile):
    with serving(authority.issue_cert("nova.example")) as server:
        message = failure(listed, configured(url=server.url, token="t1", cafile=cafile))
    assert "has a certificate that is not trusted: IP address mismatch" in message


def test_a_server_without_tls_is_reported_as_such(host):
    message = failure(listed, configured(url=host.url.replace("http:", "https:"), token="t1"))
    assert "can't be reached: TLS failed: " in message


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("value", ["true", True])
def test_any_certificate_is_accepted_where_that_is_configured(tls_host, value):
    assert listed(configured(url=tls_host.url, token="t1", insecure=value)) == ["s1"]


def test_the_environment_does_not_choose_the_ca(tls_host, cafile, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", cafile)
    assert "is not trusted" in failure(listed, configured(url=tls_host.url, token="t1"))


def test_the_ca_applies_to_keystone_too(tls_host, cafile):
    tls_host.respond("/v3/auth/tokens", TOKEN, 201, **{"X-Subject-Token": "t2"})
    options = password_options(f"{tls_host.origin}/v3")
    assert listed(configured(url=tls_host.url, cafile=cafile, **options)) == ["s1"]
    assert [(method, path) for method, path, _ in tls_host.requests] == [("POST", "/v3/auth/tokens"), ("GET", LIST)]
    assert tls_host.requests[1][2]["X-Auth-Token"] == "t2"
    message = failure(listed, configured(url=tls_host.url, **options))
    assert message.startswith(f"{tls_host.origin}/v3 has a certificate that is not trusted: ")


@pytest.mark.parametrize(("text", "reason"), [(None, "it can't be read: No such file"), ("x", "it must be a file of")])
def test_a_ca_file_without_certificates_is_a_configuration_error(tmp_path, text, reason):
    path = tmp_path / "broken.pem"
    if text:
        path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        configured(url="https://127.0.0.1:9", token="t1", cafile=str(path))
    assert str(caught.value).startswith(f"compute.cafile is '{path}': {reason}")


# -- proxies and .netrc ---------------------------------------------------------------------------------


@pytest.fixture
def proxy(monkeypatch):
    with serving() as server:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, server.origin)
        yield server


def test_proxies_of_the_environment_are_ignored(host, proxy):
    host.list_servers(LIST, ["s1"])
    host.respond("/v3/auth/tokens", TOKEN, 201, **{"X-Subject-Token": "t2"})
    assert listed(configured(url=host.url, token="t1")) == ["s1"]
    assert listed(configured(url=host.url, **password_options(f"{host.origin}/v3"))) == ["s1"]
    assert proxy.requests == []


def test_proxies_of_the_environment_are_used_where_configured(host, proxy):
    proxy.list_servers(f"{host.origin}{LIST}", ["s2"])
    assert listed(configured(url=host.url, token="t1", proxies_from_environment="true")) == ["s2"]
    assert host.requests == []


def test_no_proxy_is_respected_where_proxies_are_configured(host, proxy, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    host.list_servers(LIST, ["s1"])
    assert listed(configured(url=host.url, token="t1", proxies_from_environment="true")) == ["s1"]


def test_a_proxy_that_refuses_is_reported_without_its_password(tls_host, proxy, monkeypatch):
    monkeypatch.setenv("https_proxy", proxy.origin.replace("//", "//u:hush@"))
    message = failure(listed, configured(url=tls_host.url, token="t1", proxies_from_environment="true"))
    assert "can't be reached through the proxy" in message
    assert "hush" not in message
    assert proxy.requests[0][0] == "CONNECT"


def test_a_proxy_that_does_not_respond_is_waited_for_until_the_deadline(monkeypatch):
    with reluctant(RELUCTANT["silent"]) as address:
        monkeypatch.setenv("https_proxy", f"http://{address}")
        client = Client(prefix="compute.", timeout=SHORT, proxies_from_environment=True)
        with pytest.raises(RequestFailed, match="did not respond"):
            client.get("https://127.0.0.1:9", {})
        assert wait_until(lambda: not request_threads())


def test_netrc_is_ignored(host, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    (tmp_path / ".netrc").chmod(0o600)
    host.list_servers(LIST, ["s1"])
    assert listed(configured(url=host.url, token="t1")) == ["s1"]
    assert host.requests[0][2]["Authorization"] is None


# -- pages ----------------------------------------------------------------------------------------------


def test_a_link_below_another_path_is_followed(host):
    host.list_servers(LIST, ["s1"], f"{host.origin}/compute/v2.1/servers?marker=s1&a=%20b")
    host.list_servers("/compute/v2.1/servers?marker=s1&a=%20b", ["s2"])
    assert listed(configured(url=host.url, token="t1")) == ["s1", "s2"]


@pytest.mark.parametrize("href", ["/more?marker=s1", "//{netloc}/more?marker=s1"])
def test_a_relative_link_is_followed(host, href):
    host.list_servers(LIST, ["s1"], href.format(netloc=f"127.0.0.1:{host.server_port}"))
    host.list_servers("/more?marker=s1", ["s2"])
    assert listed(configured(url=host.url, token="t1")) == ["s1", "s2"]


@pytest.mark.parametrize("change", [("127.0.0.1", "localhost"), ("http:", "https:"), ("http:", "ftp:"), (":", "_:")])
def test_a_link_to_another_origin_is_refused(host, change):
    with serving() as other:
        link = f"{host.url}/more".replace(*change) if change != (":", "_:") else f"{other.url}/more"
        host.list_servers(LIST, ["s1"], link)
        api = configured(url=host.url, token="t1")
        message = failure(listed, api)
        origin = link.removesuffix("/v2.1/more")
        assert message == f"{host.url} links to a page at {origin}: only compute.url's own host is requested"
        assert (len(host.requests), other.requests) == (1, [])


def test_a_link_with_a_malformed_port_is_reported(host):
    host.list_servers(LIST, ["s1"], "http://127.0.0.1:x/more")
    assert "did not respond with a list of servers" in failure(listed, configured(url=host.url, token="t1"))


def test_a_link_without_tls_is_followed_with_tls(tls_host, cafile):
    tls_host.list_servers(LIST, ["s1"], f"{tls_host.url}/more".replace("https:", "http:"))
    tls_host.list_servers("/v2.1/more", ["s2"])
    assert listed(configured(url=tls_host.url, token="t1", cafile=cafile)) == ["s1", "s2"]


class Pages:
    """Used as a client: one page that links to a URL, and an empty one."""

    def __init__(self, following):
        self.pages = [{"servers": [], "servers_links": [{"rel": "next", "href": following}]}, {"servers": []}]
        self.requested = []

    def get(self, url, headers):
        self.requested.append(url)
        response = requests.Response()
        response.status_code = 200
        response.raw = io.BytesIO(json.dumps(self.pages.pop(0)).encode())
        return response


def pages(url, following):
    """List the servers at a URL of an API without an address; return the URL of the second page."""
    client = Pages(following)
    list(RemoteComputeAPI(url=url, token=lambda: "t1", headers={}, client=client).servers())
    return client.requested[1]


@pytest.mark.parametrize("origin", ["http://nova.example", "http://nova.example:443", "https://NOVA.example:443"])
def test_a_default_port_may_be_left_out_or_be_that_of_http(origin):
    assert pages("https://nova.example", f"{origin}/more?a=b") == "https://nova.example/more?a=b"
    assert pages("https://nova.example:443", f"{origin}/more") == "https://nova.example:443/more"


@pytest.mark.parametrize("origin", ["http://nova.example:8080", "https://nova.example:80", "http://nova.example:8774"])
def test_another_port_is_another_origin(origin):
    with pytest.raises(ComputeUnavailable, match=f"links to a page at {origin}: "):
        pages("https://nova.example", f"{origin}/more")


@pytest.mark.parametrize("origin", ["http://nova.example", "https://nova.example"])
def test_a_link_without_the_configured_port_is_refused(origin):
    with pytest.raises(ComputeUnavailable, match=f"links to a page at {origin}: "):
        pages("https://nova.example:8774", f"{origin}/more")


@pytest.mark.parametrize("link", [LIST, "/v2.1/more"])
def test_a_list_that_repeats_a_link_ends_with_an_error(host, link):
    host.list_servers(LIST, ["s1"], f"{host.origin}{link}")
    host.list_servers("/v2.1/more", ["s2"], f"{host.origin}/v2.1/more")
    message = failure(listed, configured(url=host.url, token="t1"))
    assert message.endswith(f" links to {host.origin}{link}, a page that it has listed already")


@pytest.fixture
def discovery(host):
    """Give ``discovery(origin)``: Keystone's document of versions, which has this origin in its links."""
    host.respond("/v3/auth/tokens", TOKEN, 201, **{"X-Subject-Token": "t2"})
    host.list_servers(LIST, ["s1"])

    def link(origin):
        version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{origin}/v3/"}]}
        host.respond("/", {"versions": {"values": [version]}}, 300)
        return configured(url=host.url, **password_options(f"{host.origin}/") | {"auth_type": "password"})

    return link


def test_versions_of_keystone_are_discovered(host, discovery):
    assert listed(discovery(host.origin)) == ["s1"]
    assert [path for _, path, _ in host.requests] == ["/", "/v3/auth/tokens", LIST]


def test_the_password_is_not_sent_to_a_host_that_a_response_names(host, discovery):
    with serving() as other:
        assert listed(discovery(other.origin)) == ["s1"]
        assert other.requests == []


def test_a_plugin_can_not_request_a_host_that_no_option_names(host):
    client = Client(prefix="compute.")
    with serving() as other:
        with pytest.raises(RequestFailed) as caught:
            client.call("plugin", [host.url], lambda session: session.get(f"{other.url}/x"))
        assert str(caught.value) == f"{host.url} refers to {other.origin}, which no option names"
        assert other.requests == []


# -- secrets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["hush\nX-Evil: 1", "hush\r\n", " hush", "hush\x00", "hüsh", "hush\n"])
def test_a_token_that_no_header_can_have_is_not_shown(host, caplog, token):
    caplog.set_level(logging.DEBUG)
    message = failure(configured(url=host.url, token=token).check)
    assert message == "X-Auth-Token can't be sent: it has a line break or another invalid character"
    assert "sh" not in caplog.text
    assert host.requests == []


def test_a_password_in_the_url_is_sent_and_not_shown(host, caplog):
    caplog.set_level(logging.DEBUG)
    api = configured(url=host.url.replace("//", "//u:hush@"), token="t1")
    host.list_servers(LIST, ["s1"], "/more")
    host.respond("/v2.1/servers/s1", {}, 500)
    messages = [failure(api.server, "s1"), failure(listed, api), str(api)]
    assert host.requests[0][2]["Authorization"] == f"Basic {base64.b64encode(b'u:hush').decode()}"
    host.list_servers(LIST, ["s1"], LIST)
    messages.append(failure(listed, api))
    host.list_servers(LIST, ["s1"], "http://u:hush@127.0.0.1:1/")
    messages += [failure(listed, api), failure(configured(url="http://u:hush@127.0.0.1:1", token="t1").check)]
    for message in messages:
        assert "127.0.0.1" in message
        assert "hush" not in message
    assert "hush" not in caplog.text


def test_a_password_with_an_at_sign_in_a_url_is_not_shown():
    message = failure(configured(url="http://u:hu@sh@127.0.0.1:1", token="t1").check)
    assert "sh@" not in message
    assert "hu" not in message


@pytest.mark.parametrize("status", [300, 302, 307, 400, 401, 403, 500])
def test_a_status_of_keystone_is_reported_without_its_body(host, status):
    fault = {"error": {"code": status, "title": "x", "message": "the password hush"}}
    host.respond("/v3/auth/tokens", fault, status, Location=f"{host.origin}/elsewhere")
    message = failure(configured(url=host.url, **password_options(f"{host.origin}/v3")).check)
    assert message.startswith(f"{host.origin}/v3 ")
    assert "hush" not in message
    if status >= 400:
        assert message == f"{host.origin}/v3 responded with {status}"
    assert [path for _, path, _ in host.requests] == ["/v3/auth/tokens"]


def test_a_password_in_the_url_of_keystone_is_not_shown():
    api = configured(url="http://127.0.0.1:9", **password_options("http://u:hush@127.0.0.1:1/v3"))
    assert failure(api.check) == "http://u:***@127.0.0.1:1/v3 can't be reached: Connection refused"


def test_no_traceback_shows_what_could_not_be_sent(host, caplog):
    api = configured(url=host.url, token="hush\nx")
    try:
        api.check()
    except ComputeUnavailable:
        logging.getLogger("os_volume_ext.test").exception("failed")
    assert "X-Auth-Token" in caplog.text
    assert "hush" not in caplog.text


# -- threads and forks ----------------------------------------------------------------------------------


def test_one_client_serves_many_threads(host):
    host.list_servers(LIST, ["s1"])
    host.respond("/v3/auth/tokens", TOKEN, 201, **{"X-Subject-Token": "t2"})
    api = configured(url=host.url, **password_options(f"{host.origin}/v3"))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: listed(api), range(40))) == [["s1"]] * 40
    assert sum(method == "POST" for method, _, _ in host.requests) == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_requests_work_after_a_fork_in_parent_and_child(host):
    host.list_servers(LIST, ["s1"])
    host.respond("/v3/auth/tokens", TOKEN, 201, **{"X-Subject-Token": "t2"})
    api = configured(url=host.url, **password_options(f"{host.origin}/v3"))
    assert listed(api) == ["s1"]
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if listed(api) == ["s1"] else 1)
        finally:
            os._exit(2)
    assert listed(api) == ["s1"]
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_during_a_token_request_does_not_block_the_child():
    with reluctant(RELUCTANT["silent"]) as address, serving() as host, ThreadPoolExecutor(1) as pool:
        options = password_options(f"http://{address}/v3")
        auth_type = options.pop("auth_type")
        source = token_source(auth_type, options, 3)
        host.list_servers(LIST, ["s1"])
        waiting = pool.submit(source)
        assert wait_until(request_threads)
        child = os.fork()
        if child == 0:
            try:
                start = time.monotonic()
                api = configured(url=host.url, token="t1")
                os._exit(0 if listed(api) == ["s1"] and time.monotonic() - start < 3 else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert isinstance(waiting.exception(), RequestFailed)
