"""Encrypted volumes whose keys are in a real Barbican; Cinder's responses are given ones."""

import logging
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from os_volume_ext import plugins
from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, Server, Volume
from os_volume_ext.backends.cinder import CinderBackend
from os_volume_ext.backends.cinder.keys import KeyManager
from os_volume_ext.backends.directory import DirectoryBackend
from tests.support import scripted_cinder

SERVER = Server("1c6a2b2e-61b9-4f0e-8a3e-5b0f2f0b9a01", "here", "ACTIVE")
VOLUME = Volume("e5d1b0a8-3c47-4b9e-a2f6-00000000d001", "here")
ID = "7f0c1f5e-55a5-4a2f-9d0b-00000000a001"
SHOWN = {"id": ID, "volume_id": VOLUME.id, "instance": SERVER.id, "status": "reserved"}
ROOT = "/volume/v3/service"
ATTACHMENT = f"{ROOT}/attachments/{ID}"
ENCRYPTION = f"{ROOT}/volumes/{VOLUME.id}/encryption"


class Inner(DirectoryBackend):
    """Keeps the connections that it is called with."""

    decrypts = True

    def __init__(self, options):
        super().__init__(options)
        self.connections = []

    def attach(self, server, volume, device):
        self.connections.append(volume.connection)
        return super().attach(server, volume, device)


@pytest.fixture
def inner(tmp_path):
    (tmp_path / "servers" / SERVER.id).mkdir(parents=True)
    inner = Inner({"root": str(tmp_path), "operation_timeout": "10"})
    inner.prepare()
    return inner


@pytest.fixture
def services(tmp_path):
    with scripted_cinder.running() as services:
        path = tmp_path / "volumes" / "data"
        info = {"driver_volume_type": "local", "device_path": str(path), "encrypted": True}
        services.respond(f"{ROOT}/attachments?all_tenants=1&volume_id={VOLUME.id}", {"attachments": [SHOWN]})
        services.respond(ATTACHMENT, {"attachment": {**SHOWN, "connection_info": info}}, method="PUT")
        services.respond(ATTACHMENT, {"attachments": []}, method="DELETE")
        services.respond(f"{ATTACHMENT}/action", b"", 204, method="POST")
        yield services


@pytest.fixture
def new_backend(services, inner, monkeypatch, tmp_path):
    """Give ``new_backend(conf, key_id, **members)``: a backend, and what Cinder says of the encryption."""
    (tmp_path / "volumes" / "data").touch()
    monkeypatch.setattr(plugins, "load", lambda *_: SimpleNamespace(make=lambda _: inner))

    def make(conf, key_id, **members):
        shown = {"provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64", "key_size": 256}
        services.respond(ENCRYPTION, {**shown, "encryption_key_id": key_id, **members})
        options = {**services.options, "inner": "recording", "operation_timeout": "80", "key_manager_conf": conf}
        return CinderBackend(options)

    return make


@pytest.fixture
def key():
    return os.urandom(32)


def test_the_passphrase_is_the_key_in_hexadecimal_digits(barbican, people, new_conf, new_backend, inner, key, caplog):
    backend = new_backend(new_conf(), barbican.store(people.tokens["volumes"], key))
    with caplog.at_level(logging.DEBUG):
        assert backend.attach(SERVER, VOLUME, None)
    [connection] = inner.connections
    assert connection["encryption_passphrase"] == key.hex()
    assert connection["encrypted"] is True
    assert key.hex() not in caplog.text


def test_a_key_of_another_project_needs_the_owners_permission(barbican, people, new_conf, new_backend, inner, key):
    owner = people.tokens["member"]
    key_id = barbican.store(owner, key)
    backend = new_backend(new_conf(), key_id)
    with pytest.raises(BackendUnavailable, match="the key manager failed"):
        backend.attach(SERVER, VOLUME, None)
    assert inner.connections == []
    barbican.allow(owner, key_id, people.users["volumes"])
    backend.attach(SERVER, VOLUME, None)
    assert inner.connections[0]["encryption_passphrase"] == key.hex()


def test_a_key_that_is_not_there_is_refused_and_nothing_stays_reserved(
    barbican, people, services, new_conf, new_backend, inner
):
    backend = new_backend(new_conf(), "0a9b8c7d-6e5f-4a3b-8c1d-9e8f7a6b5c04")
    with pytest.raises(AttachRefused, match="the key manager does not have its key"):
        backend.attach(SERVER, VOLUME, None)
    assert [method for method, _, _ in services.requests][-1] == "DELETE"
    assert inner.connections == []


def test_a_wrong_password_of_the_service_is_unavailable_and_not_shown(barbican, people, new_conf, new_backend, key):
    backend = new_backend(new_conf("wrong-password"), barbican.store(people.tokens["volumes"], key))
    with pytest.raises(BackendUnavailable) as caught:
        backend.attach(SERVER, VOLUME, None)
    assert "wrong-password" not in str(caught.value)


def test_a_key_manager_that_is_down_is_unavailable(barbican, people, services, new_conf, new_backend, key):
    backend = new_backend(new_conf(), barbican.store(people.tokens["volumes"], key))
    with barbican.down(), pytest.raises(BackendUnavailable, match="the key manager failed"):
        backend.attach(SERVER, VOLUME, None)
    assert [method for method, _, _ in services.requests][-1] == "DELETE"
    backend.attach(SERVER, VOLUME, None)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"provider": "luks2"}, "in a way that is not supported: it must be luks"),
        ({"provider": "plain"}, "in a way that is not supported"),
        ({"provider": None}, "in a way that is not supported"),
        ({"control_location": "back-end"}, "in a way that is not supported"),
        ({"encryption_key_id": None}, "Cinder does not have the id of its key"),
    ],
)
def test_another_encryption_is_refused(barbican, new_conf, new_backend, inner, members, message):
    with pytest.raises(AttachRefused, match=message):
        new_backend(new_conf(), "some-key", **members).attach(SERVER, VOLUME, None)
    assert inner.connections == []


@pytest.mark.parametrize("members", [{"provider": 5}, {"encryption_key_id": ["x"]}])
def test_a_malformed_encryption_is_unavailable(barbican, new_conf, new_backend, members):
    with pytest.raises(BackendUnavailable, match="invalid"):
        new_backend(new_conf(), "some-key", **members).attach(SERVER, VOLUME, None)


def test_the_check_reads_the_configuration(barbican, services, new_conf, new_backend, tmp_path):
    services.respond(f"{ROOT}/os-services?binary=cinder-volume", {"services": [{"state": "up"}]})
    new_backend(new_conf(), "some-key").check()
    with pytest.raises(BackendUnavailable, match="the key manager failed"):
        new_backend(str(tmp_path / "missing.conf"), "some-key").check()


def test_a_key_manager_that_does_not_respond_is_unavailable_in_time(barbican, new_conf):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        conf = Path(new_conf())
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        conf.write_text(re.sub("(?m)^auth_url = .*", f"auth_url = {url}", conf.read_text()))
        with pytest.raises(BackendUnavailable, match=r"the key manager did not respond within 0\.5 seconds"):
            KeyManager(str(conf)).passphrase(VOLUME, "some-key", 0.5)
