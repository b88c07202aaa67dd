"""The steps that every request goes through, with a scripted controller; and the log line of a failed one."""

import json
import logging
import sys
from collections import Counter

import pytest
from webob import Request

from os_volume_ext import errors
from os_volume_ext.api.controller import Controller
from os_volume_ext.api.dialects import OPENSTACK
from os_volume_ext.api.microversions import Versions
from os_volume_ext.api.resource import Resource
from os_volume_ext.api.routing import Router
from os_volume_ext.policy import Policy

SERVER = "4335bab6-6086-4247-8274-8b8b048edaaa"
VOLUME, OTHER = "a26887c6-c47b-4654-abb5-dfadf7d3f803", "a26887c6-c47b-4654-abb5-dfadf7d3f804"
LIST = f"/servers/{SERVER}/os-volume_attachments"
LOGGER = "os_volume_ext.api.resource"


class Manager:
    """Records the calls; each raises a given exception."""

    def __init__(self, error=None):
        self.called = []
        self._error = error

    def __getattr__(self, name):
        def call(*arguments, **options):
            self.called.append(name)
            if self._error:
                raise self._error
            return []

        return call


@pytest.fixture
def respond():
    """Give ``respond(method, path)``: a response of the resource."""

    def call(
        method="GET",
        path=LIST,
        *,
        error=None,
        roles="reader,member",
        version="2.85",
        manager=None,
        body=None,
        **environ,
    ):
        controller = Controller(manager=manager or Manager(error), max_limit=1000)
        resource = Resource(controller=controller, policy=Policy(), versions=Versions(OPENSTACK), max_body=65536)
        request = Request.blank(path, method=method)
        if body is not None:
            request.content_type, request.json = "application/json", {"volumeAttachment": body}
        request.headers.update(
            {"X-Identity-Status": "Confirmed", "X-Project-Id": "demo", "X-Roles": roles}
            | {"OpenStack-API-Version": f"compute {version}"}
        )
        request.environ |= {"keystone.token_info": {}, "openstack.request_id": "req-1"} | environ
        match = Router().match(path)
        return request.send(lambda environ, start_response: resource(environ, start_response, match))

    return call


# The log line.


def logged(caplog):
    (record,) = caplog.records
    return record, record.getMessage()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (errors.ServerMissing("9"), 404, "not_found: 'Server 9 could not be found.'"),
        (errors.Conflict("It is in status BUILD.", retryable=True), 409, "conflict: 'It is in status BUILD.'"),
        (errors.ComputeRefused(403, "No."), 403, "forbidden: 'No.'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refused_request_is_logged_with_the_kind_and_the_message(respond, caplog, error, status, line):
    caplog.set_level(logging.DEBUG, LOGGER)
    assert respond(error=error).status_int == status
    record, message = logged(caplog)
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert message == f"req-1 'GET' {LIST!r}: {status}: {line}"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.RegistryUnavailable("no route to host"), "unavailable: RegistryUnavailable: no route to host"),
        (errors.BackendUnavailable("libvirt is down"), "unavailable: BackendUnavailable: libvirt is down"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_unavailable_service_is_logged_with_the_exception_that_callers_do_not_see(respond, caplog, error, line):
    caplog.set_level(logging.DEBUG, LOGGER)
    response = respond(error=error)
    assert (response.status_int, response.headers["Retry-After"]) == (503, "10")
    assert str(error) not in response.text
    record, message = logged(caplog)
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert message == f"req-1 'GET' {LIST!r}: 503: {line}"


def test_a_very_long_method_and_path_are_cut_in_the_log(respond, caplog):
    caplog.set_level(logging.DEBUG, LOGGER)
    path = f"/servers/{'1' * 5000}/os-volume_attachments"
    assert respond("X" * 5000, path).status_int == 405
    _, message = logged(caplog)
    assert message.startswith(f"req-1 '{'X' * 50}' {path[:1024]!r}: 405: bad_method: ")
    assert len(message) < 1300


def test_an_internal_error_is_logged_with_its_traceback(respond, caplog):
    caplog.set_level(logging.DEBUG, LOGGER)
    error = RuntimeError("a bug")
    response = respond(error=error)
    assert (response.status_int, "a bug" in response.text) == (500, False)
    record, message = logged(caplog)
    assert (record.levelname, record.exc_info[1]) == ("ERROR", error)
    assert message == f"req-1 'GET' {LIST!r}: 500: internal"


def test_a_successful_request_is_not_logged(respond, caplog):
    caplog.set_level(logging.DEBUG, LOGGER)
    assert respond().status_int == 200
    assert caplog.records == []


# Methods.


@pytest.mark.parametrize(("path", "allow"), [(LIST, "GET, HEAD, POST"), (f"{LIST}/{VOLUME}", "GET, HEAD, DELETE, PUT")])
def test_another_method_is_refused_with_those_allowed(respond, path, allow):
    response = respond("PATCH", path)
    assert (response.status_int, response.headers["Allow"]) == (405, allow)
    assert response.json["badMethod"]["message"] == f"Method PATCH is not allowed; use one of {allow}."


def test_head_is_handled_as_get(respond):
    manager = Manager()
    response = respond("HEAD", manager=manager)
    assert (response.status_int, response.body, manager.called) == (200, b"", ["list_attachments"])
    assert response.headers["Content-Length"] == str(len(json.dumps({"volumeAttachments": []})))


# The order of the steps.

NO_TOKEN = {"keystone.token_info": None}


@pytest.mark.parametrize(
    ("method", "roles", "environ", "status"),
    [
        ("PATCH", "", {"QUERY_STRING": "format=x", "HTTP_OPENSTACK_API_VERSION": "compute 9.9", **NO_TOKEN}, 405),
        ("PATCH", "", {"QUERY_STRING": "x" * 5000, **NO_TOKEN}, 405),
        ("GET", "", {"QUERY_STRING": "format=x", "HTTP_OPENSTACK_API_VERSION": "compute 9.9", **NO_TOKEN}, 400),
        ("GET", "", {"QUERY_STRING": "x" * 5000, "HTTP_OPENSTACK_API_VERSION": "compute 9.9", **NO_TOKEN}, 400),
        ("GET", "", {"HTTP_OPENSTACK_API_VERSION": "compute 9.9", **NO_TOKEN}, 401),
        ("GET", "", {"HTTP_OPENSTACK_API_VERSION": "compute x", **NO_TOKEN}, 401),
        ("GET", "", {"HTTP_OPENSTACK_API_VERSION": "compute 9.9"}, 406),
        ("GET", "", {"HTTP_OPENSTACK_API_VERSION": "compute x"}, 400),
        ("GET", "", {"QUERY_STRING": "x=y"}, 403),
        ("GET", "reader", {"QUERY_STRING": "x=y"}, 400),
        ("POST", "reader", {"CONTENT_TYPE": "text/plain"}, 403),
        ("POST", "member", {"CONTENT_TYPE": "text/plain"}, 415),
        ("POST", "member", {"CONTENT_TYPE": ""}, 400),
    ],
)
def test_of_several_faults_the_first_in_the_order_of_steps_is_reported(respond, method, roles, environ, status):
    assert respond(method, roles=roles, **environ).status_int == status


def test_a_query_that_is_too_long_is_refused_in_the_format_of_path_or_accept(respond):
    response = respond(QUERY_STRING="json&".ljust(3000, "x"), HTTP_ACCEPT="application/xml")
    assert (response.status_int, response.content_type) == (400, "application/xml")
    assert b"<message>The query string must have at most 2048 characters.</message>" in response.body


@pytest.mark.parametrize(
    "environ",
    [
        {"QUERY_STRING": "a=1&" * 62_500},
        {"QUERY_STRING": "a=" + "%C3" * 80_000},
        {"QUERY_STRING": ("a&" * 1024)[:2048]},
        {"HTTP_ACCEPT": "a/b," * 62_500},
        {"HTTP_ACCEPT": ",".join(["a/b"] * 1000)},
        {"HTTP_OPENSTACK_API_VERSION": "compute 2.1," * 20_000},
        {"HTTP_X_OPENSTACK_NOVA_API_VERSION": "2." + "1" * 250_000},
        {"CONTENT_TYPE": "application/json" + ";" * 250_000},
        {"HTTP_X_ROLES": "a," * 125_000},
        {"HTTP_TRANSFER_ENCODING": "chunked," * 31_250},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_a_request_without_a_token_costs_little_whatever_it_sends(respond, environ):
    calls = Counter()
    respond("POST", **NO_TOKEN)  # what is done once is done
    sys.setprofile(lambda frame, event, argument: calls.update([event]))
    try:
        response = respond("POST", **environ, **NO_TOKEN)
    finally:
        sys.setprofile(None)
    assert response.status_int in (400, 401)
    assert calls["call"] + calls["c_call"] < 22_000  # the longest query that is parsed takes 20,000


# A PUT updates or swaps.


@pytest.mark.parametrize(
    ("roles", "version", "volume", "called"),
    [
        ("member", "2.85", VOLUME, ["find_for_update"]),
        ("service", "2.85", OTHER, ["swap"]),
        ("admin", "2.85", VOLUME, ["find_for_update"]),
        ("admin", "2.85", OTHER, ["swap"]),
        ("service", "2.84", VOLUME, ["swap"]),
        ("member", "2.85", OTHER, []),
        ("service", "2.85", VOLUME, []),
        ("reader", "2.85", VOLUME, []),
        ("member", "2.84", VOLUME, []),
    ],
)
def test_a_put_needs_the_policy_rule_of_what_it_does(respond, roles, version, volume, called):
    manager = Manager(errors.Conflict("No."))
    response = respond(
        "PUT", f"{LIST}/{VOLUME}", roles=roles, version=version, manager=manager, body={"volumeId": volume}
    )
    assert (response.status_int, manager.called) == (409 if called else 403, called)


@pytest.mark.parametrize("roles", ["member", "service"])
@pytest.mark.parametrize("path", [f"{LIST}/nonsense", f"/servers/nonsense/os-volume_attachments/{VOLUME}"])
def test_a_put_with_a_malformed_id_is_404_for_authorized_callers(respond, roles, path):
    for volume in (VOLUME, OTHER):
        assert respond("PUT", path, roles=roles, body={"volumeId": volume}).status_int == 404


def test_a_put_by_an_unauthorized_caller_is_refused_before_the_body_is_read(respond):
    assert respond("PUT", f"{LIST}/{VOLUME}", roles="reader", body={}).status_int == 403
    assert respond("PUT", f"{LIST}/{VOLUME}", roles="member", body={}).status_int == 400
