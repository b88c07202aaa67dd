"""A real Keystone as a process, the sample in front of it, and a client of that."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from lxml import etree
from webtest import TestApp

TestApp.__test__ = False  # its name makes pytest take it for a class of tests

ROOT = Path(__file__).resolve().parents[3]
PASTE = ROOT / "etc" / "api-paste-keystone.ini"
CLI = (sys.executable, "-m", "os_volume_ext.cli.main")
TIMEOUT = 60  # seconds for a start, a request, or whatever else is waited for
VENV_TIMEOUT = 900  # seconds in which the virtualenv has to be made

CONF = """
[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///{state}/keystone.db
[fernet_tokens]
key_repository = {state}/fernet
[fernet_receipts]
key_repository = {state}/receipts
[credential]
key_repository = {state}/credential
[cache]
enabled = false
[identity]
password_hash_rounds = 4
[token]
expiration = {expiration}
"""
# waitress-serve would not do: Keystone reads sys.argv.
SERVE = """
import sys
port = int(sys.argv.pop())
from keystone.wsgi.api import application
import waitress
waitress.serve(application, host="127.0.0.1", port=port)
"""
PASSWORD = "secret"  # of everybody, as in the sample
DOMAIN = {"id": "default"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


# -- Keystone -----------------------------------------------------------------------------------------


@dataclass
class Keystone:
    """A Keystone, as a process of its own; several may share one state."""

    venv: Path
    state: Path
    expiration: int = 3600
    port: int = field(default_factory=_free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, without a version."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def _conf(self) -> Path:
        path = self.state / f"keystone-{self.port}.conf"
        path.write_text(CONF.format(state=self.state, expiration=self.expiration))
        return path

    def bootstrap(self) -> None:
        """Make its database, keys and administrator."""
        for name in ("fernet", "receipts", "credential"):
            (self.state / name).mkdir(mode=0o700)
        self._manage("db_sync")
        self._manage("fernet_setup", "--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid()))
        # authtoken asks at the internal endpoint.
        endpoint = ("--bootstrap-internal-url", f"{self.url}/v3", "--bootstrap-region-id", "RegionOne")
        self._manage("bootstrap", "--bootstrap-password", PASSWORD, *endpoint)

    def _manage(self, *arguments: str) -> None:
        done = subprocess.run(
            [self.venv / "bin/keystone-manage", "--config-file", self._conf, *arguments],
            cwd=self.state,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stdout

    def start(self) -> None:
        """Serve until ``stop``; return when it answers."""
        log = self.state / f"keystone-{self.port}.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self.venv / "bin/python", "-c", SERVE, str(self.port)],
                cwd=self.state,
                env=os.environ | {"OS_KEYSTONE_CONFIG_FILES": str(self._conf)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if not wait_until(self._answers):
            self.stop()
            pytest.fail(f"Keystone does not answer\n{log.read_text()}")

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """End it, and serve again at the same place afterwards."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.state / f"keystone-{self.port}.log").read_text()
        try:
            return requests.get(f"{self.url}/v3", timeout=TIMEOUT).status_code == 200
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        """End it, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(
        self, method: str, path: str, token: str, document: Any = None, subject: str | None = None
    ) -> requests.Response:
        """Send a request, as the owner of a token."""
        headers = {"X-Auth-Token": token} | ({"X-Subject-Token": subject} if subject else {})
        return requests.request(method, f"{self.url}/v3{path}", json=document, headers=headers, timeout=TIMEOUT)

    def make(self, kind: str, token: str, **values: Any) -> dict[str, Any]:
        """Make a project, a user or an application credential; return it."""
        path = values.pop("path", f"/{kind}s")
        answer = self.ask("POST", path, token, {kind: values})
        assert answer.status_code == 201, answer.text
        return answer.json()[kind]

    def token(self, user: str, scope: Any = None) -> str:
        """Return a new token of a user, by the password; without a scope it is unscoped."""
        password = {"user": {"name": user, "domain": DOMAIN, "password": PASSWORD}}
        return self.authenticate({"methods": ["password"], "password": password}, scope or "unscoped")

    def authenticate(self, identity: Mapping[str, Any], scope: Any = None) -> str:
        """Return a new token."""
        auth = {"identity": identity} | ({"scope": scope} if scope else {})
        answer = requests.post(f"{self.url}/v3/auth/tokens", json={"auth": auth}, timeout=TIMEOUT)
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]


def wait_until(true: Callable[[], bool]) -> bool:
    """Ask again and again, for ``TIMEOUT`` seconds at most; return the last answer."""
    deadline = time.monotonic() + TIMEOUT
    while not (answer := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def project(name: str) -> dict[str, Any]:
    """Return the scope of a project."""
    return {"project": {"name": name, "domain": DOMAIN}}


@dataclass(frozen=True)
class People:
    """Who is there: the ids of projects and users by their names, and ``tokens`` that last."""

    projects: Mapping[str, str]
    users: Mapping[str, str]
    tokens: Mapping[str, str]


# -- the sample ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dialect:
    """Where a dialect is, and what it says of what the tests look at."""

    name: str
    base: str
    number: type
    volumes: Mapping[str, str]
    device: str
    detached: int


DIALECTS = {
    "cyclades": Dialect("cyclades", "/compute/v2.0", int, {"here": "501", "there": "502"}, "", 200),
    "openstack": Dialect(
        "openstack",
        "/v2.1",
        str,
        {"here": "11111111-2222-4333-8444-555555555501", "there": "11111111-2222-4333-8444-555555555502"},
        "/dev/vdb",
        202,
    ),
}


@dataclass(frozen=True)
class State:
    """The sample's folder with a server and a volume in each project, of each dialect."""

    folder: Path
    servers: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Client:
    """Sends requests in one dialect and one format."""

    app: TestApp
    dialect: Dialect
    format: str
    servers: Mapping[str, str]

    def request(
        self, method: str, token: str | None, where: str, volume: str | None = None, body: bytes = b"", **headers: str
    ) -> Any:
        """Send a request about the attachments of a project's server."""
        path = f"{self.dialect.base}/servers/{self.servers[where]}/os-volume_attachments"
        media_type = f"application/{self.format}"
        request = self.app.RequestClass.blank(path + (f"/{volume}" if volume else ""), method=method)
        if body:
            request.body, request.content_type = body, media_type
        request.headers.update({"Accept": media_type} | ({} if token is None else {"X-Auth-Token": token}))
        request.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return self.app.do_request(request, expect_errors=True)

    def list(self, token: str | None, where: str = "here", **headers: str) -> Any:
        """List attachments."""
        return self.request("GET", token, where, **headers)

    def show(self, token: str | None, where: str = "here", **headers: str) -> Any:
        """Show the attachment of the project's volume."""
        return self.request("GET", token, where, self.dialect.volumes[where], **headers)

    def attach(self, token: str | None, where: str = "here", **headers: str) -> Any:
        """Attach the project's volume."""
        volume = self.dialect.number(self.dialect.volumes[where])
        if self.format == "json":
            body = json.dumps({"volumeAttachment": {"volumeId": volume}}).encode()
        else:
            body = f'<volumeAttachment volumeId="{volume}"/>'.encode()
        return self.request("POST", token, where, body=body, **headers)

    def detach(self, token: str | None, where: str = "here", **headers: str) -> Any:
        """Detach the project's volume."""
        return self.request("DELETE", token, where, self.dialect.volumes[where], **headers)

    def all_four(self, token: str | None, where: str = "here", **headers: str) -> Sequence[Any]:
        """Attach, list, show and detach, whatever comes of it."""
        return [each(token, where, **headers) for each in (self.attach, self.list, self.show, self.detach)]

    def attachment(self, where: str = "here") -> dict[str, Any]:
        """Return what the attachment of the project's volume looks like."""
        dialect, text = self.dialect, str if self.format == "xml" else self.dialect.number
        volume = text(dialect.volumes[where])
        return {"device": dialect.device, "serverId": text(self.servers[where]), "id": volume, "volumeId": volume}

    def read(self, answer: Any) -> Any:
        """Return the attachment in an answer, or the list of them."""
        assert answer.status_int == 200, answer.body
        assert answer.content_type == f"application/{self.format}"
        if self.format == "json":
            [(name, value)] = json.loads(answer.body).items()
        else:
            root = etree.fromstring(answer.body)
            name = root.tag
            value = dict(root.attrib) if name == "volumeAttachment" else [dict(child.attrib) for child in root]
        assert name == ("volumeAttachments" if isinstance(value, list) else "volumeAttachment")
        return value

    def fault(self, answer: Any) -> tuple[int, str]:
        """Return the status of a fault and its name, which it must have in the format that was asked for."""
        assert answer.content_type == f"application/{self.format}", answer.body
        if self.format == "json":
            [(name, fault)] = json.loads(answer.body).items()
            code, message = fault["code"], fault["message"]
        else:
            root = etree.fromstring(answer.body)
            name, code = etree.QName(root).localname, int(root.get("code"))
            message = root.findtext("{*}message")
        assert code == answer.status_int
        assert message
        return code, name
