"""What the cinder backend asks of Cinder and of the backend inside, against a server on 127.0.0.1."""

from types import SimpleNamespace

import pytest

from os_volume_ext import plugins
from os_volume_ext.backends.base import AttachRefused, Server, Volume
from os_volume_ext.backends.cinder import CinderBackend
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
        self.connections, self.forgotten = [], []

    def attach(self, server, volume, device):
        self.connections.append(volume.connection)
        return super().attach(server, volume, device)

    def forget(self, server, volume):
        self.forgotten.append((server, volume))


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


def test_a_volume_of_a_gone_server_is_freed_in_the_inner_backend_and_in_cinder(services, backend, inner):
    services.respond(ATTACHMENT, {"attachments": []}, method="DELETE")
    backend.forget(SERVER, VOLUME)
    assert inner.forgotten == [(SERVER, VOLUME)]
    assert [(method, path) for method, path, _ in services.requests] == [("GET", LIST), ("DELETE", ATTACHMENT)]


@pytest.mark.parametrize("device", ["/dev/" + "v" * 251, "vdb", "/dev/vdb\n", "/dev/VDB", ""])
def test_a_malformed_device_is_refused_before_cinder_hears_of_it(services, backend, device):
    services.respond(LIST, {"attachments": []})
    with pytest.raises(AttachRefused, match="can't be used: it must match"):
        backend.attach(SERVER, VOLUME, device)
    assert [method for method, _, _ in services.requests] == ["GET"]
