"""The filter: what is not ours passes through it as if it were not there."""

import logging
import sys

import pytest
import webob

from os_volume_ext import filter as filter_module
from os_volume_ext.api.dialects import CYCLADES, OPENSTACK
from os_volume_ext.backends.base import ConfigurationError
from os_volume_ext.filter import filter_factory, make_filter

OPTIONS = {"backend": "directory", "database.url": "sqlite:////nowhere"}
LIST = "/servers/1134/os-volume_attachments"


class FakeAssembly:
    """An assembly that records its settings, the wrapped applications and the requests."""

    def __init__(self):
        self.settings, self.apps, self.requests, self.background_calls = [], [], [], 0

    def assemble(self, settings):
        self.settings.append(settings)
        return self

    def resource(self, app):
        self.apps.append(app)

        def resource(environ, start_response, match):
            self.requests.append((environ, match))
            start_response("200 OK", [])
            return [b"ours"]

        return resource

    def background(self):
        self.background_calls += 1


class Chunks:
    """An answer that must not be read, copied or closed by anyone but the server."""

    def __iter__(self):
        pytest.fail("the answer was read")

    def close(self):
        pytest.fail("the answer was closed")


class Host:
    """The wrapped application: remembers what it was called with."""

    def __init__(self):
        self.calls, self.chunks = [], Chunks()

    def __call__(self, environ, start_response):
        self.calls.append((environ, start_response))
        return self.chunks


@pytest.fixture
def assembly(monkeypatch):
    assembly = FakeAssembly()
    monkeypatch.setattr(filter_module, "assemble_current", assembly.assemble)
    return assembly


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def filtered(assembly, host):
    return make_filter(host, **OPTIONS)


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
    assert (assembly.requests, assembly.background_calls) == ([], 0)


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

    make_filter(host, **OPTIONS)({"REQUEST_METHOD": "GET", "PATH_INFO": "/servers"}, start_response)
    assert written == [b"by hand"]
    assert calls[0] == ("200 OK", [("X", "y")])
    assert calls[1][0] == "500 Oops"
    assert calls[1][2][0] is LookupError


def test_an_exception_of_the_host_stays_its_own(assembly):
    def host(environ, start_response):
        raise KeyError("PATH_INFO")

    for environ in ({}, {"PATH_INFO": "/servers"}):
        with pytest.raises(KeyError, match="PATH_INFO"):
            make_filter(host, **OPTIONS)(environ, unused)


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
    assert (host.calls, assembly.background_calls) == ([], 1)


def test_what_stands_in_the_script_name_is_no_business_of_ours(filtered, host, assembly):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/servers", "SCRIPT_NAME": f"/v2.1{LIST}"}
    assert filtered(environ, unused) is host.chunks
    filtered({"REQUEST_METHOD": "GET", "PATH_INFO": LIST, "SCRIPT_NAME": "/v2.1/x_/extensions"}, lambda *_: None)
    assert len(assembly.requests) == 1


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/extensions", "/extensions/os-volumes"])
def test_another_method_than_get_on_discovery_passes(filtered, host, method, path):
    environ = Environ(REQUEST_METHOD=method, PATH_INFO=path)
    assert filtered(environ, unused) is host.chunks
    assert host.calls[0][0] is environ


@pytest.mark.parametrize("project", ["", "/6f70656e737461636b20342065766572", "/a26887c6-c47b-4654-abb5-dfadf7d3f803"])
@pytest.mark.parametrize("path", ["/extensions", "/extensions/os-volumes"])
def test_get_on_discovery_gets_our_entry(assembly, project, path):
    def host(environ, start_response):
        start_response("404 Not Found", [])
        return [b""]

    filtered = make_filter(host, **OPTIONS)
    chunks = filtered({"REQUEST_METHOD": "GET", "PATH_INFO": project + path}, lambda *_: None)
    assert b'"os-volumes"' in b"".join(chunks)
    assert (assembly.requests, assembly.background_calls) == ([], 0)


# How it is made.


def test_the_factory_makes_a_filter_as_pastedeploy_expects(assembly, host):
    wrap = filter_factory({"here": "/etc"}, **OPTIONS, dialect="openstack")
    assert assembly.settings == []
    filtered = wrap(host)
    (settings,) = assembly.settings
    assert settings.dialect is OPENSTACK
    assert assembly.apps == [host]
    assert filtered({"PATH_INFO": "/"}, unused) is host.chunks


def test_a_filter_can_be_made_without_pastedeploy(assembly, host):
    make_filter(host, **OPTIONS)
    (settings,) = assembly.settings
    assert (settings.dialect, settings.backend) == (CYCLADES, "directory")
    assert assembly.apps == [host]


@pytest.mark.parametrize(
    "make", [lambda options: filter_factory({}, **options), lambda options: make_filter(Host(), **options)]
)
@pytest.mark.parametrize("options", [{}, {**OPTIONS, "dialekt": "x"}, {**OPTIONS, "max_body": "x"}])
def test_wrong_options_stop_start_up(assembly, make, options):
    with pytest.raises(ConfigurationError):
        make(options)
    assert assembly.settings == []


def test_what_default_holds_is_the_hosts_but_what_it_hides_of_ours_is_warned_of(assembly, caplog):
    filter_factory({"here": "/etc", "debug": "true", "max_body": "1"}, **OPTIONS)(Host())
    assert assembly.settings[0].max_body == 65536
    assert [(record.levelno, record.args) for record in caplog.records] == [(logging.WARNING, ("max_body",))]


def test_one_application_can_be_wrapped_twice(monkeypatch, host):
    assemblies = [FakeAssembly(), FakeAssembly()]
    rest = iter(assemblies)
    monkeypatch.setattr(filter_module, "assemble_current", lambda settings: next(rest).assemble(settings))
    wrap = filter_factory({}, **OPTIONS)
    for filtered in (wrap(host), wrap(host)):
        filtered({"REQUEST_METHOD": "GET", "PATH_INFO": LIST}, lambda *_: None)
    assert [len(assembly.requests) for assembly in assemblies] == [1, 1]


def test_nothing_but_the_path_is_asked_of_what_is_not_ours(filtered, host):
    class OnlyThePath:
        def __getitem__(self, key):
            assert key == "PATH_INFO"
            return "/servers/detail"

    assert filtered(OnlyThePath(), unused) is host.chunks
