"""What the cinder backend asks of Cinder and of the backend inside, against a server on 127.0.0.1."""

import json
from types import SimpleNamespace

import pytest

from os_volume_ext import plugins
from os_volume_ext.backends.base import (
    AttachRefused,
    BackendUnavailable,
    ConfigurationError,
    OutcomeUnknown,
    Server,
    Volume,
)
from os_volume_ext.backends.cinder import CinderBackend, keys
from os_volume_ext.backends.directory import DirectoryBackend
from tests.support import scripted_cinder

SERVER = Server("1c6a2b2e-61b9-4f0e-8a3e-5b0f2f0b9a01", "here", "ACTIVE")
VOLUME = Volume("e5d1b0a8-3c47-4b9e-a2f6-00000000d001", "here")
ID = "7f0c1f5e-55a5-4a2f-9d0b-00000000a001"
SHOWN = {"id": ID, "volume_id": VOLUME.id, "instance": SERVER.id, "status": "reserved"}
ROOT = "/volume/v3/service"
LIST, ATTACHMENT = f"{ROOT}/attachments?all_tenants=1&volume_id={VOLUME.id}", f"{ROOT}/attachments/{ID}"


class Inner(DirectoryBackend):
    """Keeps what it is called with."""

    def __init__(self, options):
        super().__init__(options)
        self.connections, self.forgotten, self.cut = [], [], []

    def attach(self, server, volume, device):
        self.connections.append(volume.connection)
        return super().attach(server, volume, device)

    def forget(self, server, volume):
        self.forgotten.append((server, volume))

    def find_clients(self, server, volume):
        return ["192.0.2.5:0/11"]

    def cut_off(self, server, volume, clients):
        self.cut.append((server, volume, clients))


@pytest.fixture
def services():
    with scripted_cinder.running() as services:
        services.respond(LIST, {"attachments": [SHOWN]})
        services.respond(f"{ATTACHMENT}/action", b"", 204, method="POST")
        yield services


@pytest.fixture
def inner(tmp_path):
    (tmp_path / "servers" / SERVER.id).mkdir(parents=True)
    inner = Inner({"root": str(tmp_path), "operation_timeout": "10"})
    inner.prepare()
    return inner


@pytest.fixture
def backend(services, inner, monkeypatch):
    monkeypatch.setattr(plugins, "load", lambda *_: SimpleNamespace(make=lambda _: inner))
    return CinderBackend({**services.options, "inner": "recording", "operation_timeout": "80"})


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_the_mode_of_an_attachment_reaches_the_inner_backend(services, backend, inner, tmp_path, mode):
    (tmp_path / "volumes" / "data").touch()
    info = {"driver_volume_type": "local", "device_path": str(tmp_path / "volumes" / "data"), "access_mode": "rw"}
    connected = {"attachment": {**SHOWN, "attach_mode": mode, "connection_info": info}}
    services.respond(ATTACHMENT, connected, method="PUT")
    backend.attach(SERVER, VOLUME, None)
    assert inner.connections == [{**info, "attach_mode": mode}]


@pytest.mark.parametrize("mode", [None, "null"])
def test_an_attachment_without_a_mode_gives_the_inner_backend_none(services, backend, inner, tmp_path, mode):
    (tmp_path / "volumes" / "data").touch()
    info = {"driver_volume_type": "local", "device_path": str(tmp_path / "volumes" / "data"), "access_mode": "rw"}
    connected = {"attachment": {**SHOWN, "attach_mode": mode, "connection_info": info}}
    services.respond(ATTACHMENT, connected, method="PUT")
    backend.attach(SERVER, VOLUME, None)
    assert inner.connections == [info]


def test_a_volume_of_a_gone_server_is_freed_in_the_inner_backend_and_in_cinder(services, backend, inner):
    services.respond(ATTACHMENT, {"attachments": []}, method="DELETE")
    backend.forget(SERVER, VOLUME)
    assert inner.forgotten == [(SERVER, VOLUME)]
    assert [(method, path) for method, path, _ in services.requests] == [("GET", LIST), ("DELETE", ATTACHMENT)]


def test_a_lost_server_is_cut_off_in_the_inner_backend_before_the_volume_is_freed_in_cinder(services, backend, inner):
    services.respond(ATTACHMENT, {"attachments": []}, method="DELETE")
    clients = backend.find_clients(SERVER, VOLUME)
    assert services.requests == []
    backend.cut_off(SERVER, VOLUME, clients)
    assert inner.cut == [(SERVER, VOLUME, ["192.0.2.5:0/11"])]
    assert methods(services) == ["GET", "GET", "DELETE"]


def test_nobody_is_cut_off_while_cinder_does_not_respond(services, backend, inner):
    services.respond(LIST, {}, 503)
    with pytest.raises(BackendUnavailable):
        backend.cut_off(SERVER, VOLUME, ["192.0.2.5:0/11"])
    assert inner.cut == []


def test_a_volume_that_cinder_does_not_free_is_an_unknown_outcome(services, backend, inner):
    services.respond(ATTACHMENT, {}, 503, method="DELETE")
    with pytest.raises(OutcomeUnknown):
        backend.cut_off(SERVER, VOLUME, ["192.0.2.5:0/11"])
    assert len(inner.cut) == 1


@pytest.mark.parametrize("device", ["/dev/" + "v" * 251, "vdb", "/dev/vdb\n", "/dev/VDB", ""])
def test_a_malformed_device_is_refused_before_cinder_hears_of_it(services, backend, device):
    services.respond(LIST, {"attachments": []})
    with pytest.raises(AttachRefused, match="can't be used: it must match"):
        backend.attach(SERVER, VOLUME, device)
    assert [method for method, _, _ in services.requests] == ["GET"]


CONNECTED = {"attachment": {**SHOWN, "connection_info": {"driver_volume_type": "local"}}}
ATTACHED = {**SHOWN, "status": "attached"}
OF_SERVER = f"{ROOT}/attachments?all_tenants=1&instance_id={SERVER.id}"
RESERVE = f"{ROOT}/attachments"
STATUS = f"{ROOT}/volumes/{VOLUME.id}"


@pytest.fixture
def connects(services, inner, tmp_path):
    """Let Cinder connect the volume to a file."""
    (tmp_path / "volumes" / "data").touch()
    info = {"driver_volume_type": "local", "device_path": str(tmp_path / "volumes" / "data")}
    services.respond(ATTACHMENT, {"attachment": {**SHOWN, "connection_info": info}}, method="PUT")
    services.respond(ATTACHMENT, {"attachments": []}, method="DELETE")


def methods(services):
    return [method for method, _, _ in services.requests]


def refuse(services, status, path=RESERVE, method="POST"):
    services.respond(path, {"badRequest": {"code": status, "message": "the reason"}}, status, method=method)


def test_a_volume_that_both_sides_have_is_not_attached_again(services, connects, backend):
    device = backend.attach(SERVER, VOLUME, None)
    services.respond(LIST, {"attachments": [ATTACHED]})
    services.respond(OF_SERVER, {"attachments": [ATTACHED]})
    services.requests.clear()
    assert backend.attach(SERVER, VOLUME, "/dev/vdz") == device
    assert methods(services) == ["GET"]
    assert backend.attached(SERVER) == {VOLUME.id: device}
    assert backend.incomplete(SERVER) == {}


def test_what_only_one_side_has_is_incomplete(services, connects, backend):
    services.respond(OF_SERVER, {"attachments": [SHOWN]})
    text = "Cinder has an attachment in status reserved, and the server has no disk"
    assert backend.incomplete(SERVER) == {VOLUME.id: text}
    backend.attach(SERVER, VOLUME, None)
    services.respond(OF_SERVER, {"attachments": []})
    assert backend.incomplete(SERVER) == {VOLUME.id: "the server has the disk, and Cinder's attachment is missing"}
    assert backend.attached(SERVER) == {}


def test_a_detach_deletes_cinders_attachment_after_the_disk_has_left(services, connects, backend, inner):
    backend.attach(SERVER, VOLUME, None)
    services.requests.clear()
    backend.detach(SERVER, VOLUME, None)
    assert inner.attached(SERVER) == {}
    assert methods(services) == ["GET", "GET", "DELETE"]


def test_a_disk_that_stays_keeps_cinders_attachment(services, connects, backend, inner, monkeypatch):
    backend.attach(SERVER, VOLUME, None)
    services.requests.clear()
    monkeypatch.setattr(inner, "detach", lambda *_: None)
    with pytest.raises(OutcomeUnknown, match="still has volume"):
        backend.detach(SERVER, VOLUME, None)
    monkeypatch.setattr(inner, "attached", unreachable)
    with pytest.raises(OutcomeUnknown, match="whether the disk has left is not known: no route"):
        backend.detach(SERVER, VOLUME, None)
    assert "DELETE" not in methods(services)


def unreachable(*_):
    raise BackendUnavailable("no route")


@pytest.mark.parametrize("path", [ATTACHMENT, f"{ATTACHMENT}/action"])
def test_a_failure_after_the_disk_is_attached_is_an_unknown_outcome(services, connects, backend, inner, path):
    if path == ATTACHMENT:  # the second time, when it learns the device
        first = services.responses["PUT", path]
        services.responses["PUT", path] = [first, (503, b"")]
    else:
        refuse(services, 503, path)
    with pytest.raises(OutcomeUnknown):
        backend.attach(SERVER, VOLUME, None)
    assert VOLUME.id in inner.attached(SERVER)
    assert "DELETE" not in methods(services)


@pytest.mark.parametrize(
    ("status", "shown", "message"),
    [
        (400, "in-use", "is attached to another server"),
        (400, "error", "is in status error"),
        (413, "available", "Cinder refused to attach volume .*: the reason"),
        (404, None, "does not exist in Cinder"),
    ],
)
def test_a_refused_reservation_is_refused_with_the_volumes_status(services, backend, status, shown, message):
    services.respond(LIST, {"attachments": []})
    refuse(services, status)
    services.respond(STATUS, {"volume": {"status": shown}} if shown else b"", 200 if shown else 404)
    with pytest.raises(AttachRefused, match=message):
        backend.attach(SERVER, VOLUME, None)


def test_a_forbidden_reservation_is_the_operators_matter(services, backend):
    services.respond(LIST, {"attachments": []})
    refuse(services, 403)
    services.respond(STATUS, {"volume": {"status": "available"}})
    with pytest.raises(BackendUnavailable, match=r"check that the user of backend\.\* has the role admin"):
        backend.attach(SERVER, VOLUME, None)


def test_a_reservation_that_no_attachment_has_is_waited_for_and_then_refused(services, backend):
    services.respond(LIST, {"attachments": []})
    refuse(services, 400)
    services.respond(STATUS, {"volume": {"status": "reserved"}})
    with pytest.raises(AttachRefused, match="is reserved in Cinder, by no attachment"):
        backend.attach(SERVER, VOLUME, None)
    assert methods(services).count("POST") > 1


def test_a_reservation_by_a_call_at_the_same_time_is_used(services, connects, backend):
    services.respond_in_turn(LIST, ({"attachments": []}, 200), ({"attachments": [SHOWN]}, 200))
    refuse(services, 400)
    backend.attach(SERVER, VOLUME, None)
    assert "PUT" in methods(services)


def test_an_attach_lists_the_attachments_once(services, connects, backend):
    services.respond(LIST, {"attachments": []})
    services.respond(RESERVE, {"attachment": SHOWN}, method="POST")
    backend.attach(SERVER, VOLUME, None)
    assert methods(services) == ["GET", "POST", "PUT", "PUT", "POST"]  # the second PUT has the device


@pytest.mark.parametrize("name", ["volume_id", "instance"])
def test_a_reservation_that_is_of_another_server_or_volume_is_not_used(services, connects, backend, inner, name):
    services.respond(LIST, {"attachments": []})
    services.respond(RESERVE, {"attachment": {**SHOWN, name: ID}}, method="POST")
    with pytest.raises(OutcomeUnknown, match="an attachment of another server or volume"):
        backend.attach(SERVER, VOLUME, None)
    assert "PUT" not in methods(services)
    assert inner.connections == []


@pytest.mark.parametrize(("status", "error"), [(500, BackendUnavailable), (200, OutcomeUnknown)])
def test_after_a_failed_reservation_nothing_stays_reserved(services, connects, backend, status, error):
    services.respond_in_turn(LIST, ({"attachments": []}, 200), ({"attachments": [SHOWN]}, 200))
    services.respond(RESERVE, b"garbage", status, method="POST")
    with pytest.raises(error):
        backend.attach(SERVER, VOLUME, None)
    assert methods(services)[-1] == "DELETE"


def test_a_reservation_that_can_not_be_deleted_is_an_unknown_outcome(services, backend):
    refuse(services, 500, ATTACHMENT, "PUT")
    refuse(services, 500, ATTACHMENT, "DELETE")
    with pytest.raises(OutcomeUnknown, match="may still be reserved"):
        backend.attach(SERVER, VOLUME, None)


@pytest.mark.parametrize(
    ("info", "error", "message"),
    [
        ({}, BackendUnavailable, "returned no connection"),
        ({"encrypted": True}, AttachRefused, "is encrypted"),
    ],
)
def test_a_connection_that_can_not_be_used_leaves_nothing_reserved(services, connects, backend, info, error, message):
    services.respond(ATTACHMENT, {"attachment": {**SHOWN, "connection_info": info}}, method="PUT")
    with pytest.raises(error, match=message):
        backend.attach(SERVER, VOLUME, None)
    assert methods(services)[-1] == "DELETE"


def test_reservations_that_prevent_a_connection_are_deleted(services, connects, backend):
    attaching = {**SHOWN, "id": ID.replace("a001", "a000"), "status": "attaching"}
    other = f"{ROOT}/attachments/{attaching['id']}"
    services.respond(LIST, {"attachments": [SHOWN, attaching]})
    connected = json.loads(services.responses["PUT", ATTACHMENT][1])
    services.respond_in_turn(other, ({}, 409), (connected, 200), method="PUT")
    services.respond(f"{other}/action", b"", 204, method="POST")
    backend.attach(SERVER, VOLUME, None)
    assert ("DELETE", ATTACHMENT) in [(method, path) for method, path, _ in services.requests]


def test_an_attachment_that_is_deleted_meanwhile_is_unavailable(services, backend):
    services.respond_in_turn(LIST, ({"attachments": [SHOWN]}, 200), ({"attachments": []}, 200))
    with pytest.raises(BackendUnavailable, match="was deleted meanwhile"):
        backend.attach(SERVER, VOLUME, None)


@pytest.mark.parametrize("document", [b"[]", b"{}", {"attachments": [{**SHOWN, "status": 1}]}])
def test_a_malformed_list_is_unavailable(services, backend, document):
    services.respond(LIST, document)
    with pytest.raises(BackendUnavailable, match=r"invalid|not an object"):
        backend.attach(SERVER, VOLUME, None)


def test_ids_that_cinder_can_not_have_are_refused_and_have_nothing_attached(services, backend, tmp_path):
    server = Server("1134", "here", "ACTIVE")
    (tmp_path / "servers" / "1134").mkdir()
    with pytest.raises(AttachRefused, match="UUIDs"):
        backend.attach(server, VOLUME, None)
    backend.detach(server, VOLUME, None)
    assert backend.attached(server) == {}
    assert services.requests == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"operation_timeout": "74"}, "operation_timeout is 74: .*rpc_response_timeout"),
        ({"inner": "cinder"}, "backend.inner is 'cinder': it must be another backend"),
        ({"inner": "directory"}, "backend.inner.root"),
        ({"inner": "directory", "inner.root": "relative"}, "backend.inner.root"),
    ],
)
def test_an_invalid_option_is_named(services, changed, message):
    options = {**services.options, "inner": "directory", "operation_timeout": "80", **changed}
    with pytest.raises(ConfigurationError, match=message):
        CinderBackend(options)


def test_a_backend_that_can_not_decrypt_needs_no_key_manager(services):
    options = {**services.options, "inner": "directory", "inner.root": "/srv", "operation_timeout": "80"}
    with pytest.raises(ConfigurationError, match=r"backend\.key_manager_conf needs a backend\.inner that can decrypt"):
        CinderBackend({**options, "key_manager_conf": "/etc/key-manager.conf"})


@pytest.mark.parametrize("conf", ["", "key-manager.conf", "/etc/\n"])
def test_the_configuration_of_a_key_manager_is_an_absolute_path(services, backend, inner, monkeypatch, conf):
    monkeypatch.setattr(inner, "decrypts", True)
    options = {**services.options, "inner": "recording", "operation_timeout": "80", "key_manager_conf": conf}
    with pytest.raises(ConfigurationError, match=r"backend\.key_manager_conf is '.*': it must be an absolute path"):
        CinderBackend(options)


def test_without_castellan_the_extra_is_named(services, backend, inner, monkeypatch):
    monkeypatch.setattr(inner, "decrypts", True)
    monkeypatch.setattr(keys, "find_spec", lambda name: None)
    options = {**services.options, "inner": "recording", "operation_timeout": "80", "key_manager_conf": "/etc/x.conf"}
    with pytest.raises(ConfigurationError, match=r"install os-volume-ext\[encryption\]"):
        CinderBackend(options)


def test_the_check_asks_cinder_and_the_inner_backend(services, backend):
    services.respond(f"{ROOT}/os-services?binary=cinder-volume", {"services": [{"state": "up"}]})
    backend.check()
    services.respond(f"{ROOT}/os-services?binary=cinder-volume", {"services": [{"state": "down"}]})
    with pytest.raises(BackendUnavailable, match="no cinder-volume of Cinder is up"):
        backend.check()


def test_calls_that_keep_changing_the_attachments_are_waited_for_and_then_unavailable(services, connects, backend):
    services.respond(ATTACHMENT, {"conflict": {"code": 409, "message": "busy"}}, 409, method="PUT")
    services.respond(STATUS, {"volume": {"status": "reserved"}})
    with pytest.raises(BackendUnavailable, match="other calls keep changing Cinder's attachments"):
        backend.attach(SERVER, VOLUME, None)
    assert methods(services)[-1] == "DELETE"


def test_a_connection_that_cinder_refuses_in_an_error_is_refused(services, connects, backend):
    services.respond(ATTACHMENT, {"conflict": {"code": 409, "message": "busy"}}, 409, method="PUT")
    services.respond(STATUS, {"volume": {"status": "error_attaching"}})
    with pytest.raises(AttachRefused, match="is in status error_attaching"):
        backend.attach(SERVER, VOLUME, None)


def test_a_connection_without_a_response_leaves_nothing_reserved(services, connects, backend):
    services.respond(ATTACHMENT, b"no JSON", method="PUT")
    with pytest.raises(BackendUnavailable, match="a body that is not JSON"):
        backend.attach(SERVER, VOLUME, None)
    assert methods(services)[-1] == "DELETE"


def test_the_requested_device_is_told_to_cinder_once(services, connects, backend):
    assert backend.attach(SERVER, VOLUME, "/dev/vdf") == "/dev/vdf"
    assert methods(services).count("PUT") == 1
