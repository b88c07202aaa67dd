"""A real Keystone, and the people that the tests fill it with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from tests.support.waiting import TIMEOUT
from tests.support.wsgi_service import WSGIService

CONF = """
[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///{directory}/keystone.db
[fernet_tokens]
key_repository = {directory}/fernet
[fernet_receipts]
key_repository = {directory}/receipts
[credential]
key_repository = {directory}/credential
# In its memory: without it, each validation of a token takes a second.
[cache]
enabled = true
backend = dogpile.cache.memory
[identity]
password_hash_rounds = 4
[token]
expiration = {expiration}
"""
PASSWORD = "secret"  # of everybody, as in the sample
DOMAIN = {"id": "default"}


@dataclass
class Keystone(WSGIService):
    """A Keystone; ``expiration`` is how many seconds its tokens last."""

    module: str = "keystone.wsgi.api"
    ready: str = "/v3"
    expiration: int = 3600

    def __post_init__(self) -> None:
        self._conf = self.directory / f"keystone-{self.port}.conf"
        self._conf.write_text(CONF.format(directory=self.directory, expiration=self.expiration))

    @property
    def environment(self) -> dict[str, str]:
        return {"OS_KEYSTONE_CONFIG_FILES": str(self._conf)}

    def bootstrap(self) -> None:
        """Make its database, keys and administrator."""
        for name in ("fernet", "receipts", "credential"):
            (self.directory / name).mkdir(mode=0o700)
        self._manage("db_sync")
        self._manage("fernet_setup", "--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid()))
        # authtoken uses the internal endpoint.
        endpoint = ("--bootstrap-internal-url", f"{self.url}/v3", "--bootstrap-region-id", "RegionOne")
        self._manage("bootstrap", "--bootstrap-password", PASSWORD, *endpoint)

    def _manage(self, *arguments: str) -> None:
        self.run("keystone-manage", "--config-file", self._conf, *arguments)

    def send_request(
        self, method: str, path: str, token: str, document: Any = None, subject: str | None = None
    ) -> requests.Response:
        """Send a request, as the owner of a token."""
        headers = {"X-Auth-Token": token} | ({"X-Subject-Token": subject} if subject else {})
        return requests.request(method, f"{self.url}/v3{path}", json=document, headers=headers, timeout=TIMEOUT)

    def make(self, kind: str, token: str, **values: Any) -> dict[str, Any]:
        """Make a project, a user or whatever else Keystone has; return it."""
        path = values.pop("path", f"/{kind}s")
        response = self.send_request("POST", path, token, {kind: values})
        assert response.status_code == 201, response.text
        return response.json()[kind]

    def token(self, user: str, scope: Any = None) -> str:
        """Return a new token of a user, by the password; without a scope it is unscoped."""
        password = {"user": {"name": user, "domain": DOMAIN, "password": PASSWORD}}
        return self.authenticate({"methods": ["password"], "password": password}, scope or "unscoped")

    def authenticate(self, identity: Mapping[str, Any], scope: Any = None) -> str:
        """Return a new token."""
        auth = {"identity": identity} | ({"scope": scope} if scope else {})
        response = requests.post(f"{self.url}/v3/auth/tokens", json={"auth": auth}, timeout=TIMEOUT)
        assert response.status_code == 201, response.text
        return response.headers["X-Subject-Token"]


def project(name: str) -> dict[str, Any]:
    """Return the scope of a project."""
    return {"project": {"name": name, "domain": DOMAIN}}


@dataclass(frozen=True)
class People:
    """Who is there: the ids of projects and users by their names, and ``tokens`` that last."""

    projects: Mapping[str, str]
    users: Mapping[str, str]
    tokens: Mapping[str, str]


def fill(keystone: Keystone) -> People:
    """Make the projects ``here`` and ``there``, and who has which role where."""
    admin = keystone.token("admin", project("admin"))
    roles = {role["name"]: role["id"] for role in keystone.send_request("GET", "/roles", admin).json()["roles"]}
    projects = {
        name: keystone.make("project", admin, name=name, domain_id="default")["id"]
        for name in ("here", "there", "service")
    }
    users = {
        name: keystone.make("user", admin, name=name, password=PASSWORD, domain_id="default")["id"]
        for name in ("member", "reader", "outsider", "volumes", "domain-admin", "domain-member", "system-reader")
    }
    for where, user, role in [
        (f"/projects/{projects['here']}", "member", "member"),
        (f"/projects/{projects['here']}", "reader", "reader"),
        (f"/projects/{projects['there']}", "outsider", "member"),
        (f"/projects/{projects['service']}", "volumes", "service"),
        (f"/projects/{projects['service']}", "volumes", "admin"),
        ("/domains/default", "domain-admin", "admin"),
        ("/domains/default", "domain-member", "member"),
        ("/system", "system-reader", "reader"),
    ]:
        response = keystone.send_request("PUT", f"{where}/users/{users[user]}/roles/{roles[role]}", admin)
        assert response.status_code == 204, response.text
    tokens = {
        "member": keystone.token("member", project("here")),
        "reader": keystone.token("reader", project("here")),
        "outsider": keystone.token("outsider", project("there")),
        "volumes": keystone.token("volumes", project("service")),
        "admin": admin,
        "unscoped": keystone.token("member"),
        "domain-admin": keystone.token("domain-admin", {"domain": DOMAIN}),
        "domain-member": keystone.token("domain-member", {"domain": DOMAIN}),
        "system-admin": keystone.token("admin", {"system": {"all": True}}),
        "system-reader": keystone.token("system-reader", {"system": {"all": True}}),
    }
    return People(projects, users, tokens)
