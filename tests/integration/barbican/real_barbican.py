"""A real Barbican, with its keys in SQLite."""

import base64
import os
from dataclasses import dataclass

import requests

from tests.support.paths import ROOT
from tests.support.real_keystone import PASSWORD, Keystone
from tests.support.waiting import TIMEOUT
from tests.support.wsgi_service import WSGIService

CONF = """
[DEFAULT]
host_href = {url}
use_stderr = true
[database]
connection = sqlite:///{directory}/barbican.db
[secretstore]
enabled_secretstore_plugins = store_crypto
[crypto]
enabled_crypto_plugins = simple_crypto
[simple_crypto_plugin]
kek = {kek}
[keystone_authtoken]
auth_url = {keystone}
auth_type = password
username = volumes
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
memcached_servers =
"""


@dataclass
class Barbican(WSGIService):
    """Barbican's API."""

    module: str = "tests.integration.barbican.barbican_app"
    ready_status: int = 300

    @property
    def environment(self) -> dict[str, str]:
        paste = self.venv / "etc/barbican/barbican-api-paste.ini"
        return {"HOME": str(self.directory), "PYTHONPATH": str(ROOT), "BARBICAN_PASTE": str(paste)}

    def set_up(self, keystone: Keystone, admin: str) -> None:
        """Make its database and configuration, and name it in Keystone's catalog."""
        directory = self.directory / ".barbican"
        directory.mkdir()
        kek = base64.urlsafe_b64encode(os.urandom(32)).decode()
        values = {"url": self.url, "directory": self.directory, "keystone": keystone.url, "password": PASSWORD}
        (directory / "barbican.conf").write_text(CONF.format(**values, kek=kek))
        self.run("barbican-manage", "db", "upgrade")
        service = keystone.make("service", admin, type="key-manager", name="barbican")
        for interface in ("internal", "public"):
            values = {"service_id": service["id"], "interface": interface, "region_id": "RegionOne"}
            keystone.make("endpoint", admin, url=self.url, **values)

    def store(self, token: str, key: bytes) -> str:
        """Store a key as Cinder does it; return its id."""
        document = {
            "payload": base64.b64encode(key).decode(),
            "payload_content_type": "application/octet-stream",
            "payload_content_encoding": "base64",
            "secret_type": "symmetric",
            "algorithm": "aes",
            "bit_length": 8 * len(key),
        }
        headers = {"X-Auth-Token": token}
        response = requests.post(f"{self.url}/v1/secrets", json=document, headers=headers, timeout=TIMEOUT)
        assert response.status_code == 201, response.text
        return str(response.json()["secret_ref"]).rpartition("/")[2]

    def allow(self, token: str, key_id: str, user_id: str) -> None:
        """Let a user of another project read a key."""
        url, headers = f"{self.url}/v1/secrets/{key_id}/acl", {"X-Auth-Token": token}
        response = requests.put(url, json={"read": {"users": [user_id]}}, headers=headers, timeout=TIMEOUT)
        assert response.ok, response.text
