"""What the cinder catalog makes of responses that no healthy Cinder sends, against a server on 127.0.0.1."""

import json

import pytest

from os_volume_ext.catalog.base import CatalogUnavailable, RequestContext, Volume, VolumeAttached, VolumeNotFound
from os_volume_ext.catalog.cinder import CinderCatalog
from os_volume_ext.context import operator_context
from os_volume_ext.errors import ConfigurationError
from os_volume_ext.testing.running import run_in_child
from tests.support import scripted_cinder

VOLUME, SERVER = "e5d1b0a8-3c47-4b9e-a2f6-00000000d001", "1c6a2b2e-61b9-4f0e-8a3e-5b0f2f0b9a01"
PATH = f"/volume/v3/here/volumes/{VOLUME}"
OPERATORS_PATH = f"/volume/v3/service/volumes/{VOLUME}"
SHOWN = {
    "id": VOLUME,
    "status": "available",
    "multiattach": False,
    "size": 2,
    "os-vol-tenant-attr:tenant_id": "here",
}
MISSING = {"itemNotFound": {"code": 404, "message": "Volume could not be found."}}


@pytest.fixture
def services():
    with scripted_cinder.running() as services:
        yield services


@pytest.fixture
def catalog(services):
    return CinderCatalog(services.options, None)


def caller(is_admin=False):
    credentials = {"project_id": "here", "is_admin": is_admin}
    return RequestContext("req-1", credentials, lambda *_: True, {"HTTP_X_AUTH_TOKEN": "of-the-caller"})


def unavailable(catalog, context=None):
    with pytest.raises(CatalogUnavailable) as caught:
        catalog.volume(context or caller(), VOLUME)
    assert "hush" not in str(caught.value)
    assert "of-the-" not in str(caught.value)
    return str(caught.value)


def test_a_caller_is_asked_for_with_both_tokens(services, catalog):
    services.respond(PATH, {"volume": SHOWN})
    assert catalog.volume(caller(), VOLUME) == Volume(VOLUME, "here")
    [(_, _, headers)] = services.requests
    assert (headers["X-Auth-Token"], headers["X-Service-Token"]) == ("of-the-caller", "of-the-service")
    assert headers["OpenStack-API-Version"] == "volume 3.44"


def test_the_operator_is_the_service_user_in_its_project(services, catalog):
    services.respond(OPERATORS_PATH, {"volume": {**SHOWN, "multiattach": True}})
    assert catalog.volume(operator_context(), VOLUME) == Volume(VOLUME, "here", multiattach=True)
    assert services.requests[0][2]["X-Auth-Token"] == "of-the-service"


@pytest.mark.parametrize("status", [401, 400, 409, 413, 429, 500, 502, 503, 301, 302, 307])
def test_an_error_or_a_redirect_is_unavailable(services, catalog, status):
    services.respond(PATH, {"fault": {"code": status, "message": "the reason"}}, status)
    message = unavailable(catalog)
    assert f"responded to GET with {status} (the reason)" in message
    assert len(services.requests) == 1


def test_a_401_names_the_role_and_gets_a_new_token(services, catalog):
    services.respond(PATH, b"", 401)
    for number in (1, 2):
        assert unavailable(catalog).endswith("check that the user of catalog.* has the role service")
        assert services.issued == number


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_uses_the_token_of_its_parent(services, catalog):
    services.respond(PATH, {"volume": SHOWN})
    catalog.volume(caller(), VOLUME)
    assert run_in_child(lambda: catalog.volume(caller(), VOLUME)) == Volume(VOLUME, "here")
    assert (services.issued, len(services.requests)) == (1, 2)


def test_what_the_caller_may_not_see_is_not_found_and_for_the_operator_it_is_unavailable(services, catalog):
    for path in (PATH, OPERATORS_PATH):
        services.respond(path, {"forbidden": {"code": 403, "message": "no"}}, 403)
    with pytest.raises(VolumeNotFound):
        catalog.volume(caller(), VOLUME)
    assert "has the role admin" in unavailable(catalog, operator_context())


def test_only_a_404_of_cinder_itself_is_not_found(services, catalog):
    assert "responded to GET with 404" in unavailable(catalog)
    services.respond(PATH, MISSING, 404)
    with pytest.raises(VolumeNotFound):
        catalog.volume(caller(), VOLUME)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"volume": []}',
        b'{"volume": null}',
        b"[" * 100_000,
        b'{"volume": ' * 10_000,
        b'{"volume": {"id": ' + b"9" * 10_000 + b"}}",
        b"\xff\xfe\x00",
        json.dumps({"volume": {**SHOWN, "id": SERVER}}).encode(),
        json.dumps({"volume": {**SHOWN, "status": None}}).encode(),
        json.dumps({"volume": {**SHOWN, "multiattach": "no"}}).encode(),
        json.dumps({"volume": {**SHOWN, "size": "2"}}).encode(),
        json.dumps({"volume": {**SHOWN, "size": -1}}).encode(),
        json.dumps({"volume": {**SHOWN, "size": True}}).encode(),
        json.dumps({"volume": {**SHOWN, "os-vol-tenant-attr:tenant_id": 7}}).encode(),
        json.dumps({"volume": {**SHOWN, "more": "x" * 5 * 1024 * 1024}}).encode(),
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_a_malformed_document_is_unavailable(services, catalog, body):
    services.respond(PATH, body)
    unavailable(catalog)


@pytest.mark.parametrize(
    ("size", "status", "found"),
    [
        (1, "in-use", 2**30),
        (3, "available", 3 * 2**30),
        (3, "extending", None),  # the storage may have more already
        (0, "creating", None),  # such as one that Cinder takes over from elsewhere
    ],
)
def test_the_size_is_in_bytes_and_unknown_while_it_changes(services, catalog, size, status, found):
    services.respond(PATH, {"volume": {**SHOWN, "size": size, "status": status}})
    assert catalog.volume(caller(), VOLUME).size == found


def test_a_hidden_project_is_the_callers_own(services, catalog):
    hidden = {name: SHOWN[name] for name in ("id", "status", "multiattach", "size")}
    for path in (PATH, OPERATORS_PATH):
        services.respond(path, {"volume": hidden})
    assert catalog.volume(caller(), VOLUME).project_id == "here"
    for context in (caller(is_admin=True), operator_context()):  # who see the volumes of others too
        assert "does not show os-vol-tenant-attr:tenant_id" in unavailable(catalog, context)


def test_without_an_endpoint_in_keystone_the_option_is_named(services, catalog):
    services.token = lambda: {"token": {**scripted_cinder.Services.token(services)["token"], "catalog": []}}
    assert "set catalog.endpoint" in unavailable(catalog)


def test_the_check_names_a_missing_role(services, catalog):
    services.roles = ["admin"]
    with pytest.raises(CatalogUnavailable, match="has the roles admin: Cinder needs the role service"):
        catalog.check()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"services": [{"state": "down"}]}, "no cinder-volume of Cinder is up"),
        ({"services": []}, "no cinder-volume of Cinder is up"),
        ({"versions": []}, "not a list of Cinder's services"),
    ],
)
def test_the_check_names_what_cinder_lacks(services, catalog, document, reason):
    services.respond("/volume/v3/service/os-services?binary=cinder-volume", document)
    with pytest.raises(CatalogUnavailable, match=reason):
        catalog.check()


def test_a_volume_with_snapshots_is_not_deleted(services, catalog):
    services.respond(OPERATORS_PATH, {"volume": SHOWN})
    services.respond(OPERATORS_PATH, {"badRequest": {"code": 400, "message": "has snapshots"}}, 400, "DELETE")
    with pytest.raises(CatalogUnavailable, match="has snapshots"):
        catalog.delete(volume_id=VOLUME)


def test_a_volume_that_was_reserved_meanwhile_is_attached(services, catalog):
    services.respond(OPERATORS_PATH, {"volume": SHOWN})
    services.respond(OPERATORS_PATH, b"", 400, "DELETE")
    original = services.responses[("GET", OPERATORS_PATH)]
    assert json.loads(original[1])["volume"]["status"] == "available"

    class Reserved(dict):
        """The volume is available when it is shown first, and reserved after that."""

        def get(self, key, default=None):
            found = super().get(key, default)
            if key == ("GET", OPERATORS_PATH):
                self[key] = 200, json.dumps({"volume": {**SHOWN, "status": "reserved"}}).encode()
            return found

    services.responses = Reserved(services.responses)
    with pytest.raises(VolumeAttached):
        catalog.delete(volume_id=VOLUME)


def test_a_deletion_that_fails_in_cinder_is_unavailable(services, catalog):
    services.respond(OPERATORS_PATH, {"volume": SHOWN})
    services.respond(OPERATORS_PATH, b"", 202, "DELETE")
    with pytest.raises(CatalogUnavailable, match=r"did not delete volume .* in status available"):
        catalog.delete(volume_id=VOLUME)


@pytest.mark.parametrize(
    "url", ["controller:8776/v3", "http://controller:99999/v3", "http://controller/v3?x", "ftp://c"]
)
def test_an_endpoint_that_cannot_be_requested_is_refused(services, url):
    with pytest.raises(ConfigurationError, match=r"^catalog.endpoint: it must be a URL such as http://controller:8776"):
        CinderCatalog({**services.options, "endpoint": url}, None)


# -- deletions ----------------------------------------------------------------------------------------

ATTACHMENTS = f"/volume/v3/service/attachments?all_tenants=1&volume_id={VOLUME}"


def in_status(status):
    return {"volume": {**SHOWN, "status": status}}


def deleted(services):
    return [path for method, path, _ in services.requests if method == "DELETE"]


def test_a_deletion_waits_until_the_volume_is_gone(services, catalog):
    shown = [(in_status("available"), 200), (in_status("deleting"), 200), (MISSING, 404)]
    services.respond_in_turn(OPERATORS_PATH, *shown)
    services.respond(OPERATORS_PATH, b"", 202, method="DELETE")
    catalog.delete(volume_id=VOLUME, project_id="here")
    assert [method for method, _, _ in services.requests] == ["GET", "DELETE", "GET", "GET"]


def test_the_attachments_to_the_deleted_server_are_deleted_first(services, catalog):
    services.respond_in_turn(OPERATORS_PATH, (in_status("in-use"), 200), (MISSING, 404))
    services.respond(ATTACHMENTS, {"attachments": [{"id": "a1", "instance": SERVER}]})
    for path in ("/volume/v3/service/attachments/a1", OPERATORS_PATH):
        services.respond(path, b"", 202, method="DELETE")
    catalog.delete(volume_id=VOLUME, server_id=SERVER)
    assert deleted(services) == ["/volume/v3/service/attachments/a1", OPERATORS_PATH]


@pytest.mark.parametrize("server_id", [None, "another"])
def test_a_volume_that_another_server_has_is_kept(services, catalog, server_id):
    services.respond(OPERATORS_PATH, in_status("in-use"))
    services.respond(ATTACHMENTS, {"attachments": [{"id": "a1", "instance": SERVER}]})
    with pytest.raises(VolumeAttached, match="attached to another server"):
        catalog.delete(volume_id=VOLUME, server_id=server_id)
    assert deleted(services) == []


def test_a_volume_that_is_attached_meanwhile_is_kept(services, catalog):
    services.respond_in_turn(OPERATORS_PATH, (in_status("available"), 200), (in_status("reserved"), 200))
    services.respond(OPERATORS_PATH, {"badRequest": {"code": 400, "message": "status"}}, 400, method="DELETE")
    with pytest.raises(VolumeAttached, match="is reserved"):
        catalog.delete(volume_id=VOLUME)


def test_a_volume_that_cinder_keeps_is_unavailable(services, catalog):
    services.respond_in_turn(OPERATORS_PATH, (in_status("available"), 200), (in_status("error_deleting"), 200))
    services.respond(OPERATORS_PATH, b"", 202, method="DELETE")
    with pytest.raises(CatalogUnavailable, match="is in status error_deleting"):
        catalog.delete(volume_id=VOLUME)


@pytest.mark.parametrize(
    ("volume_id", "status", "project_id"),
    [("9", "available", None), (VOLUME, "deleting", None), (VOLUME, "available", "there")],
)
def test_what_is_no_volume_any_more_is_not_found(services, catalog, volume_id, status, project_id):
    services.respond(OPERATORS_PATH, in_status(status))
    with pytest.raises(VolumeNotFound):
        catalog.delete(volume_id=volume_id, project_id=project_id)
    assert deleted(services) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"auth_type": ""}, r"^catalog\.auth_type is missing"),
        ({"insecure": "perhaps"}, r"^catalog\.insecure is 'perhaps': it must be true or false"),
        ({"insecure": "true", "cafile": "/ca.pem"}, r"^catalog\.cafile is not an option beside catalog\.insecure"),
    ],
)
def test_an_invalid_option_is_named(services, changed, message):
    with pytest.raises(ConfigurationError, match=message):
        CinderCatalog({**services.options, **changed}, None)


@pytest.mark.parametrize("document", [b"[]", {"services": None}, {"services": [{"binary": "cinder-volume"}]}])
def test_a_check_of_something_else_than_cinder_fails(services, catalog, document):
    services.respond("/volume/v3/service/os-services?binary=cinder-volume", document)
    with pytest.raises(CatalogUnavailable, match=r"is not a list of Cinder's services|JSON that is not an object"):
        catalog.check()
