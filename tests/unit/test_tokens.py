"""Tokens from keystoneauth's plugins. No test here needs a Keystone: no plugin calls it before a token is needed."""

import sys

import pytest
from keystoneauth1 import session

from os_volume_ext.backends.base import ConfigurationError
from os_volume_ext.outbound.client import Client
from os_volume_ext.outbound.tokens import TokenSource

PASSWORD = {
    "auth-url": "http://127.0.0.1:9/v3",
    "username": "u",
    "password": "hush",
    "user_domain_id": "default",
    "project-name": "admin",
    "project_domain_id": "default",
}


CLIENT = Client(prefix="compute.")


def token_source(auth_type, options, client):
    return TokenSource("compute.", "keystone", auth_type, options, client).token


def complaint(auth_type, options):
    with pytest.raises(ConfigurationError) as caught:
        token_source(auth_type, options, CLIENT)
    assert "hush" not in str(caught.value)
    return str(caught.value)


def test_a_plugin_provides_a_token_for_each_request():
    # keystoneauth's own plugin for a token that is known already.
    source = token_source("admin_token", {"endpoint": "http://127.0.0.1:9", "token": "t1"}, CLIENT)
    assert [source(), source()] == ["t1", "t1"]


def test_each_request_gets_the_token_anew_so_that_an_expiring_one_is_replaced(monkeypatch):
    tokens = iter(["t1", "t2"])
    seen = []

    def get_token(self):
        seen.append(self.auth)
        return next(tokens)

    monkeypatch.setattr(session.Session, "get_token", get_token)
    source = token_source("v3password", PASSWORD, CLIENT)
    assert seen == []
    assert [source(), source()] == ["t1", "t2"]
    assert seen[0].auth_url == "http://127.0.0.1:9/v3"
    assert seen[0].project_name == "admin"


@pytest.mark.parametrize("name", ["v3passwort", "", "keystone"])
def test_an_unknown_plugin_is_named(name):
    assert complaint(name, {}).startswith(f"compute.auth_type: {name}: ")


@pytest.mark.parametrize("name", ["user_name", "user-name", "url"])
def test_an_unknown_option_is_named(name):
    message = complaint("v3password", {**PASSWORD, name: "hush"})
    assert message.startswith(f"compute.{name.replace('-', '_')} is not an option of v3password: it has auth_url, ")


def test_a_missing_option_is_named():
    message = complaint("v3password", {name: value for name, value in PASSWORD.items() if name != "auth-url"})
    assert message.startswith("compute.auth_type: v3password: ")
    assert "auth_url" in message or "auth-url" in message


@pytest.mark.parametrize("module", ["keystoneauth1", "keystoneauth1.loading", "keystoneauth1.session"])
def test_without_keystoneauth_the_command_that_installs_it_is_reported(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    if module != "keystoneauth1":
        monkeypatch.delattr(sys.modules["keystoneauth1"], module.rpartition(".")[2])
    message = complaint("v3password", PASSWORD)
    assert message == "compute.auth_type needs keystoneauth: install os-volume-ext[keystone]"
