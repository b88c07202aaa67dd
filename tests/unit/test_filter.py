"""The filter: what is not ours passes through it as if it were not there."""

import contextlib
import logging
import sys

import pytest
import webob

from os_volume_ext.backends.base import Backend
from os_volume_ext.catalog.base import VolumeCatalog
from os_volume_ext.errors import ConfigurationError
from os_volume_ext.filter import filter_factory, make_filter, wrap

LIST = "/servers/1134/os-volume_attachments"


class FakeAssembly:
    """An assembly that records the requests."""

    def __init__(self):
        self.requests, self.reconciler_starts, self.closed = [], 0, 0

    def resource(self, app):
        def resource(environ, start_response, match):
            self.requests.append((environ, match))
            start_response("200 OK", [])
            return [b"ours"]

        return resource

    def start_periodic_reconciler(self):
        self.reconciler_starts += 1

    def close(self):
        self.closed += 1


class Chunks:
    """A response that must not be read, copied or closed by anyone but the server."""

    def __iter__(self):
        pytest.fail("the response was read")

    def close(self):
        pytest.fail("the response was closed")


class Host:
    """The wrapped application: remembers what it was called with."""

    def __init__(self):
        self.calls, self.chunks = [], Chunks()

    def __call__(self, environ, start_response):
        self.calls.append((environ, start_response))
        return self.chunks


@pytest.fixture
def assembly():
    return FakeAssembly()


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def filtered(assembly, host):
    return wrap(host, assembly)


class Environ(dict):
    """An environ that notices what is read of it, and that nothing is written to it."""

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
def test_other_requests_pass_with_the_same_environ_and_an_untouched_response(filtered, host, assembly, path, method):
    environ = Environ(REQUEST_METHOD=method, PATH_INFO=path, SCRIPT_NAME="/v2.1")
    assert filtered(environ, unused) is host.chunks
    ((seen, start_response),) = host.calls
    assert seen is environ
    assert start_response is unused
    assert environ.read <= {"PATH_INFO", "REQUEST_METHOD"}
    assert (assembly.requests, assembly.reconciler_starts) == ([], 0)


def test_a_request_without_a_path_passes(filtered, host):
    environ = Environ(REQUEST_METHOD="GET", SCRIPT_NAME="/v2.1")
    assert filtered(environ, unused) is host.chunks
    assert host.calls == [(environ, unused)]
    assert host.calls[0][0] is environ


@pytest.mark.parametrize("path", OTHERS)
def test_no_request_object_is_made_of_what_is_not_ours(filtered, host, path, monkeypatch):
    monkeypatch.setattr(webob.request.BaseRequest, "__init__", lambda *_, **__: pytest.fail("a Request was made"))
    assert filtered({"REQUEST_METHOD": "GET", "PATH_INFO": path}, unused) is host.chunks


def test_what_the_host_writes_and_reports_reaches_the_server_unaltered(assembly):
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

    wrap(host, assembly)({"REQUEST_METHOD": "GET", "PATH_INFO": "/servers"}, start_response)
    assert written == [b"by hand"]
    assert calls[0] == ("200 OK", [("X", "y")])
    assert calls[1][0] == "500 Oops"
    assert calls[1][2][0] is LookupError


def test_an_exception_of_the_host_stays_its_own(assembly):
    def host(environ, start_response):
        raise KeyError("PATH_INFO")

    for environ in ({}, {"PATH_INFO": "/servers"}):
        with pytest.raises(KeyError, match="PATH_INFO"):
            wrap(host, assembly)(environ, unused)


@pytest.mark.parametrize("prefix", ["", "/demo"])
@pytest.mark.parametrize(("path", "resource"), [(LIST, "collection"), (f"{LIST}/9", "member")])
@pytest.mark.parametrize("ending", ["", "/", ".json", ".xml"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "BREW"])
def test_what_is_ours_goes_to_the_resource_whatever_the_method(
    filtered, host, assembly, prefix, path, resource, ending, method
):
    environ = {"REQUEST_METHOD": method, "PATH_INFO": prefix + path + ending, "SCRIPT_NAME": "/v2.1"}
    before = dict(environ)
    started = []
    assert filtered(environ, lambda *arguments: started.append(arguments)) == [b"ours"]
    ((seen, match),) = assembly.requests
    assert seen is environ
    assert environ == before
    assert (match.resource, match.server_id, match.project_id) == (resource, "1134", prefix[1:] or None)
    assert started == [("200 OK", [])]
    assert (host.calls, assembly.reconciler_starts) == ([], 1)


def test_what_stands_in_the_script_name_is_no_business_of_ours(filtered, host, assembly):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/servers", "SCRIPT_NAME": f"/v2.1{LIST}"}
    assert filtered(environ, unused) is host.chunks
    filtered({"REQUEST_METHOD": "GET", "PATH_INFO": LIST, "SCRIPT_NAME": "/v2.1/x_/extensions"}, lambda *_: None)
    assert len(assembly.requests) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/extensions", "/extensions/os-volumes"])
def test_another_method_than_get_and_head_on_discovery_passes(filtered, host, method, path):
    environ = Environ(REQUEST_METHOD=method, PATH_INFO=path)
    assert filtered(environ, unused) is host.chunks
    assert host.calls[0][0] is environ


@pytest.mark.parametrize("project", ["", "/6f70656e737461636b20342065766572", "/a26887c6-c47b-4654-abb5-dfadf7d3f803"])
@pytest.mark.parametrize("path", ["/extensions", "/extensions/os-volumes"])
def test_get_on_discovery_gets_our_entry(assembly, project, path):
    def host(environ, start_response):
        start_response("404 Not Found", [])
        return [b""]

    filtered = wrap(host, assembly)
    chunks = filtered({"REQUEST_METHOD": "GET", "PATH_INFO": project + path}, lambda *_: None)
    assert b'"os-volumes"' in b"".join(chunks)
    assert (assembly.requests, assembly.reconciler_starts) == ([], 0)


def test_one_application_can_be_wrapped_twice(host):
    assemblies = [FakeAssembly(), FakeAssembly()]
    for assembly in assemblies:
        wrap(host, assembly)({"REQUEST_METHOD": "GET", "PATH_INFO": LIST}, lambda *_: None)
    assert [len(assembly.requests) for assembly in assemblies] == [1, 1]


def test_closing_the_filter_closes_its_assembly(filtered, assembly):
    with contextlib.closing(filtered):
        assert assembly.closed == 0
    assert assembly.closed == 1


def test_of_a_foreign_request_only_the_path_is_read(filtered, host):
    class OnlyThePath:
        def __getitem__(self, key):
            assert key == "PATH_INFO"
            return "/servers/detail"

    assert filtered(OnlyThePath(), unused) is host.chunks


# How it is made.


@pytest.fixture
def options(tmp_path):
    return {"backend": "directory", "backend.root": str(tmp_path), "database.url": f"sqlite:///{tmp_path}/x.db"}


def respond(app, path):
    """Return the start of the response's status and body, for a request without credentials."""
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": ""}
    statuses = []
    chunks = app(environ, lambda status, headers: statuses.append(status))
    return statuses[0][:3], b"".join(chunks)[:16]


def test_the_factory_makes_a_filter_as_pastedeploy_expects(host, options):
    wrap_app = filter_factory({"here": "/etc"}, **options, dialect="openstack")
    with contextlib.closing(wrap_app(host)) as filtered:
        assert filtered({"PATH_INFO": "/"}, unused) is host.chunks
        assert respond(filtered, LIST) == ("401", b'{"unauthorized":')


def test_a_filter_can_be_made_without_pastedeploy(host, options):
    with contextlib.closing(make_filter(host, **options, max_limit=5)) as filtered:
        assert filtered({"PATH_INFO": "/"}, unused) is host.chunks
        assert respond(filtered, LIST) == ("401", b'{"unauthorized":')


def test_a_filter_without_a_backend_is_a_configuration_error(host):
    with pytest.raises(ConfigurationError, match=r"^backend is missing: it must be the name of a backend"):
        make_filter(host, max_limit=5)


@pytest.mark.parametrize(
    "make", [lambda options: filter_factory({}, **options), lambda options: make_filter(Host(), **options)]
)
@pytest.mark.parametrize("wrong", [{"backend": ""}, {"dialekt": "x"}, {"max_body": "x"}])
def test_wrong_options_stop_start_up(make, wrong, options, tmp_path):
    with pytest.raises(ConfigurationError):
        make(options | wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_factory_without_a_backend_stops_start_up():
    with pytest.raises(ConfigurationError, match=r"^backend is missing: "):
        filter_factory({})


def test_an_option_that_default_hides_is_warned_of(options, caplog):
    filter_factory({"here": "/etc", "debug": "true", "max_body": "1"}, **options)
    assert [(record.levelno, record.args) for record in caplog.records] == [(logging.WARNING, ("max_body",))]


class FakeBackend(Backend):
    """A backend that has no options."""

    def __init__(self, needs_host=False):
        self.needs_host = needs_host

    def attach(self, server, volume, device):
        pytest.fail("attach was called")

    detach = attached = check = attach


class FakeCatalog(VolumeCatalog):
    """A catalog that has no options."""

    def __init__(self):
        pass

    def volume(self, context, volume_id):
        pytest.fail("volume was called")


@pytest.fixture
def url(tmp_path):
    return {"database.url": f"sqlite:///{tmp_path}/x.db"}


def test_backend_and_catalog_may_be_objects(host, url):
    with contextlib.closing(make_filter(host, backend=FakeBackend(), catalog=FakeCatalog(), **url)) as filtered:
        assert respond(filtered, LIST) == ("401", b'{"unauthorized":')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend.root": "/a"}, "backend.root is not an option beside a backend object: give it to the object itself"),
        ({"catalog": object, "backend": FakeBackend()}, f"catalog is {object!r}: it must be the name of a catalog"),
        ({"backend": FakeBackend}, f"backend is {FakeBackend!r}: it must be the name of a backend, such as directory"),
        ({"backend": None}, "backend is missing: it must be the name of a backend"),
        ({"backend": "nothing"}, "backend is 'nothing': installed are cinder, directory, libvirt"),
        ({"backend": FakeBackend(needs_host=True)}, "compute.url is missing: this backend must know servers' hosts"),
    ],
)
def test_objects_are_checked_as_names_are(host, url, arguments, message):
    with pytest.raises(ConfigurationError) as caught:
        make_filter(host, **{"backend": FakeBackend()} | url | arguments)
    assert str(caught.value).startswith(message)


def test_a_backend_object_that_needs_hosts_is_taken_with_a_compute_url(host, url):
    options = url | {"compute.url": "http://127.0.0.1:1", "compute.token": "t"}
    make_filter(host, backend=FakeBackend(needs_host=True), **options).close()
