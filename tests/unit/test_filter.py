"""The filter: other requests pass unchanged; how it is made and closed."""

import contextlib
import logging
import re
import sys
import threading
from pathlib import Path

import pytest
import webob

from os_volume_ext.backends.base import Backend, ConfigurationError, ServerNotFound, Volume
from os_volume_ext.catalog.base import CatalogUnavailable, VolumeCatalog, VolumeNotFound
from os_volume_ext.filter import filter_factory, make_filter
from tests.support.inprocess import ask, compute_api

LIST = "/servers/1134/os-volume_attachments"
THREAD = "os-volume-ext-reconcile"


class NullBackend(Backend):
    """A backend without any server."""

    def __init__(self, options=None):
        pass

    def attach(self, server, volume, device):
        raise ServerNotFound(server.id)

    def detach(self, server, volume, device):
        raise ServerNotFound(server.id)

    def attached(self, server):
        raise ServerNotFound(server.id)

    def check(self):
        pass


class EmptyCatalog(VolumeCatalog):
    """A catalog without any volume."""

    def __init__(self, options=None, database=None):
        pass

    def volume(self, context, volume_id):
        raise VolumeNotFound(volume_id)


class Chunks:
    """A response that only the server may read or close."""

    def __iter__(self):
        pytest.fail("the response was read")

    def close(self):
        pytest.fail("the response was closed")


class Host:
    """The wrapped application, which records its calls."""

    def __init__(self):
        self.calls, self.chunks = [], Chunks()

    def __call__(self, environ, start_response):
        self.calls.append((environ, start_response))
        return self.chunks


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('filter')}/registry.db"


@pytest.fixture
def make(url):
    """Give ``make(host, ...)``: the host behind a filter with these options, which is closed at the end."""
    with contextlib.ExitStack() as stack:

        def put(host, backend=None, **options):
            backend = backend or NullBackend()
            return stack.enter_context(
                contextlib.closing(make_filter(host, backend=backend, **{"database.url": url} | options))
            )

        yield put


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def filtered(make, host):
    return make(host, reconcile_interval=3600)


def reconcilers():
    """Return the threads of periodic reconcilers."""
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def call(app, method, path, **environ):
    """Send a request; return the status, the headers and the body of the response."""
    responses = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", **environ}
    chunks = app(environ, lambda status, headers, exc_info=None: responses.append((status, dict(headers))))
    ((status, headers),) = responses
    return int(status.split()[0]), headers, b"".join(chunks)


class Environ(dict):
    """An environ that records which keys are read, and that must not be modified."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.read = set()

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.read.add(key)
        return super().get(key, default)

    def __setitem__(self, key, value):
        pytest.fail(f"{key} was written")

    setdefault = update = pop = popitem = clear = __delitem__ = __setitem__


def unused(*arguments):
    pytest.fail("start_response was called")


OTHERS = [
    "",
    "/",
    "/servers",
    "/servers/1134",
    "/servers/detail",
    "/servers/1134/action",
    "//servers/1134/os-volume_attachments",
    "/servers//os-volume_attachments",
    "/servers/1134/os-volume_attachments//",
    "/servers/1134/os-volume_attachments/9/x",
    "/servers/1134/os-volume_attachments;x=y",
    "/servers/1134/os-volume%5Fattachments",
    "/servers%2F1134%2Fos-volume_attachments",
    "/os-volume_attachments",
    "/servers/1134/os-volume_attachments\n",
    "/a/b/c/servers/1134/os-volume_attachments",
    "/\xce\xb1/\xff",
    "/_\xff\x00",
    "/x_",
    "/servers/extensions",
    "/extensions/os-keypairs",
    "/demo/extensions",
    "/extensionsx",
    "/servers/\udcff/os-volume_attachments/x/y",
]


@pytest.mark.parametrize("path", OTHERS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "BREW"])
def test_other_requests_pass_with_the_same_environ_and_an_untouched_response(filtered, host, path, method):
    environ = Environ(REQUEST_METHOD=method, PATH_INFO=path, SCRIPT_NAME="/v2.1")
    assert filtered(environ, unused) is host.chunks
    ((seen, start_response),) = host.calls
    assert seen is environ
    assert start_response is unused
    assert environ.read <= {"PATH_INFO", "REQUEST_METHOD"}
    assert reconcilers() == []


def test_a_request_without_a_path_passes(filtered, host):
    environ = Environ(REQUEST_METHOD="GET", SCRIPT_NAME="/v2.1")
    assert filtered(environ, unused) is host.chunks
    assert host.calls == [(environ, unused)]
    assert host.calls[0][0] is environ


@pytest.mark.parametrize("path", OTHERS)
def test_no_request_object_is_made_of_what_is_not_ours(filtered, host, path, monkeypatch):
    monkeypatch.setattr(webob.request.BaseRequest, "__init__", lambda *_, **__: pytest.fail("a Request was made"))
    assert filtered({"REQUEST_METHOD": "GET", "PATH_INFO": path}, unused) is host.chunks


def test_what_the_host_writes_and_reports_reaches_the_server_unaltered(make):
    def host(environ, start_response):
        write = start_response("200 OK", [("X", "y")])
        write(b"by hand")
        try:
            raise LookupError("inside")
        except LookupError:
            start_response("500 Oops", [], sys.exc_info())
        return iter(())

    calls, written = [], []

    def start_response(*arguments):
        calls.append(arguments)
        return written.append

    make(host)({"REQUEST_METHOD": "GET", "PATH_INFO": "/servers"}, start_response)
    assert written == [b"by hand"]
    assert calls[0] == ("200 OK", [("X", "y")])
    assert calls[1][0] == "500 Oops"
    assert calls[1][2][0] is LookupError


def test_an_exception_of_the_host_stays_its_own(make):
    def host(environ, start_response):
        raise KeyError("PATH_INFO")

    for environ in ({}, {"PATH_INFO": "/servers"}):
        with pytest.raises(KeyError, match="PATH_INFO"):
            make(host)(environ, unused)


@pytest.mark.parametrize("prefix", ["", "/demo"])
@pytest.mark.parametrize("path", [LIST, f"{LIST}/9"])
@pytest.mark.parametrize("ending", ["", "/", ".json", ".xml"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "BREW"])
def test_requests_of_the_extension_do_not_reach_the_host_whatever_the_method(
    filtered, host, prefix, path, ending, method
):
    environ = {"REQUEST_METHOD": method, "PATH_INFO": prefix + path + ending, "SCRIPT_NAME": "/v2.1"}
    before = dict(environ)
    responses = []
    b"".join(filtered(environ, lambda status, headers: responses.append((status, dict(headers)))))
    ((status, headers),) = responses
    assert status in ("401 Unauthorized", "405 Method Not Allowed")
    assert "X-Openstack-Request-Id" in headers
    assert environ == before
    assert host.calls == []


def test_the_script_name_is_ignored(filtered, host):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/servers", "SCRIPT_NAME": f"/v2.1{LIST}"}
    assert filtered(environ, unused) is host.chunks
    assert call(filtered, "GET", LIST, SCRIPT_NAME="/v2.1/x_/extensions")[0] == 401


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/extensions", "/extensions/os-volumes"])
def test_another_method_than_get_on_discovery_passes(filtered, host, method, path):
    environ = Environ(REQUEST_METHOD=method, PATH_INFO=path)
    assert filtered(environ, unused) is host.chunks
    assert host.calls[0][0] is environ


@pytest.mark.parametrize("project", ["", "/6f70656e737461636b20342065766572", "/a26887c6-c47b-4654-abb5-dfadf7d3f803"])
@pytest.mark.parametrize("path", ["/extensions", "/extensions/os-volumes"])
def test_get_on_discovery_gets_our_entry(make, project, path):
    def host(environ, start_response):
        start_response("404 Not Found", [])
        return [b""]

    assert b'"os-volumes"' in call(make(host, reconcile_interval=3600), "GET", project + path)[2]
    assert reconcilers() == []


# -- making and closing ----------------------------------------------------------------------------------


@pytest.fixture
def options(tmp_path):
    """Give the options of a filter with a new database, as a paste file has them."""
    return {
        "backend": "directory",
        "backend.root": str(tmp_path),
        "database.url": f"sqlite:///{tmp_path}/registry.db",
        "dialect": "openstack",
    }


def test_the_factory_makes_a_filter_as_pastedeploy_expects(options, host, tmp_path):
    wrap = filter_factory({"here": "/etc"}, **options)
    assert not (tmp_path / "registry.db").exists()
    with contextlib.closing(wrap(host)) as filtered:
        assert (tmp_path / "registry.db").exists()
        assert filtered({"PATH_INFO": "/"}, unused) is host.chunks
        assert "OpenStack-API-Version" in call(filtered, "GET", LIST)[1]["Vary"]


@pytest.mark.parametrize("factory", ["paste", "python"])
@pytest.mark.parametrize("wrong", [{"backend": None}, {"dialekt": "x"}, {"max_body": "x"}])
def test_wrong_options_stop_start_up(options, tmp_path, factory, wrong):
    options = {name: value for name, value in (options | wrong).items() if value is not None}
    with pytest.raises(ConfigurationError):
        filter_factory({}, **options) if factory == "paste" else make_filter(Host(), **options)
    assert not (tmp_path / "registry.db").exists()


def test_an_option_in_default_is_ignored_with_a_warning(options, host, caplog):
    filter_factory({"here": "/etc", "debug": "true", "max_body": "x"}, **options)(host).close()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.args for record in warnings] == [("max_body",)]


def test_one_application_can_be_wrapped_twice(options, host):
    wrap = filter_factory({}, **options)
    with contextlib.closing(wrap(host)) as one, contextlib.closing(wrap(host)) as another:
        assert [call(filtered, "GET", LIST)[0] for filtered in (one, another)] == [401, 401]


@pytest.fixture
def attach(make):
    """Give ``attach(**options)``: the response to an attach, before a compute API that shows every server."""
    return lambda **options: ask(
        make(compute_api(["1134"]), **options), "POST", LIST, {"volumeAttachment": {"volumeId": 9}}
    )


def test_a_catalog_object_is_asked_for_volumes(attach):
    class Unavailable(EmptyCatalog):
        def volume(self, context, volume_id):
            raise CatalogUnavailable("it is down")

    assert attach(catalog=EmptyCatalog())[0] == 404
    assert attach(catalog=Unavailable())[0] == 503


def test_a_backend_object_is_asked_to_attach(attach):
    calls = []

    class Attaching(NullBackend):
        def attach(self, server, volume, device):
            calls.append((server.id, volume.id))
            return "/dev/vdb"

    class Catalog(EmptyCatalog):
        def volume(self, context, volume_id):
            return Volume(volume_id, "demo")

    assert attach(backend=Attaching(), catalog=Catalog(), attach_status=202)[0] == 202
    assert calls == [("1134", "9")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_limit": 0}, "max_limit is 0: it must be an integer, 1 or more"),
        ({"max_limit": True}, "max_limit is True: it must be an integer, 1 or more"),
        ({"backend": None}, "backend is missing: it must be the name of a backend, such as directory"),
        ({"backend": 5}, "backend is 5: it must be a name or an object of the class Backend"),
        ({"backend": NullBackend}, "it must be a name or an object of the class Backend"),
        ({"catalog": 5}, "catalog is 5: it must be a name or an object of the class VolumeCatalog"),
        ({"backend.root": "/srv"}, "backend.root is not an option beside a backend object"),
        ({"catalog": EmptyCatalog(), "catalog.x": "y"}, "catalog.x is not an option beside a catalog object"),
    ],
)
def test_wrong_values_and_objects_are_refused(host, url, options, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make_filter(host, **{"backend": NullBackend(), "database.url": url} | options)


def test_the_first_request_of_the_extension_starts_the_periodic_reconciler_and_close_stops_it(filtered):
    call(filtered, "GET", LIST)
    call(filtered, "GET", LIST)
    assert len(reconcilers()) == 1
    filtered.close()
    assert reconcilers() == []
    filtered.close()


def test_without_reconcile_interval_there_is_no_periodic_reconciler(make, host):
    call(make(host), "GET", LIST)
    assert reconcilers() == []


def test_close_ends_the_database_connections(make, tmp_path):
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not show open files")
    path = tmp_path / "registry.db"
    filtered = make(compute_api(["1134"]), **{"database.url": f"sqlite:///{path}"})
    assert ask(filtered, "GET", LIST)[0] == 200
    assert is_open(path)
    filtered.close()
    assert not is_open(path)


def is_open(path):
    return path in [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


def test_nothing_but_the_path_is_asked_of_what_is_not_ours(filtered, host):
    class OnlyThePath:
        def __getitem__(self, key):
            assert key == "PATH_INFO"
            return "/servers/detail"

    assert filtered(OnlyThePath(), unused) is host.chunks
