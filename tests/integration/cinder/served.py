"""The filter served by ``os-volume-ext serve``, between a real Keystone, Cinder, Ceph and libvirt."""

import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.paths import ROOT

PASTE = ROOT / "etc" / "api-paste-cinder.ini"
CLI = (sys.executable, "-m", "os_volume_ext.cli.main")
TIMEOUT = 100  # seconds; more than the filter's operation_timeout
OPERATION_TIMEOUT = 80  # seconds, of which the backend libvirt has 10
_INNER = "backend.inner = directory\nbackend.inner.root = %(var)s/openstack\n"


def write_paste(path: Path, database: Path, **inner: str) -> None:
    """Write the paste file of the page with the backend libvirt instead of directories.

    :param database: the registry's file.
    :param inner: options of the backend libvirt.
    """
    options = {"backend.inner": "libvirt", **{f"backend.inner.{name}": value for name, value in inner.items()}}
    text = PASTE.read_text()
    for old, new in (
        (_INNER, "".join(f"{name} = {value}\n" for name, value in options.items())),
        ("operation_timeout = 120\n", f"operation_timeout = {OPERATION_TIMEOUT}\n"),
        ("sqlite:///%(var)s/openstack.db\n", f"sqlite:///{database}\n"),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


@dataclass(frozen=True)
class Served:
    """Sends requests to it."""

    url: str
    tokens: Mapping[str, str]
    database: Path
    command: Sequence[str | Path]
    """``os-volume-ext`` with the environment that it needs."""
    options: Sequence[str | Path]
    """Of each command: the paste file and what it needs."""

    def new_server(self) -> str:
        """Make a server of the project ``here``; return its id."""
        response = self._send("POST", "", "member", {"server": {"name": "made"}})
        return response.json()["server"]["id"]

    def attach(self, server_id: str, volume_id: str, who: str = "member") -> requests.Response:
        """Attach a volume."""
        return self._send("POST", _attachments(server_id), who, {"volumeAttachment": {"volumeId": volume_id}})

    def detach(self, server_id: str, volume_id: str, who: str = "member") -> requests.Response:
        """Detach a volume."""
        return self._send("DELETE", f"{_attachments(server_id)}/{volume_id}", who)

    def attached(self, server_id: str) -> dict[str, str]:
        """Return the device of each attached volume of a server."""
        response = self._send("GET", _attachments(server_id), "member")
        return {each["volumeId"]: each["device"] for each in response.json()["volumeAttachments"]}

    def rows(self, volume_id: str) -> list[tuple[str, str]]:
        """Return the server and the state of each row of a volume."""
        return self._execute("SELECT server_id, state FROM attachments WHERE volume_id = ?", volume_id)

    def reconcile(self) -> bool:
        """Let all rows be stale, and repair them; return whether nothing is left unresolved."""
        self._execute("UPDATE attachments SET updated_at = '2026-01-01 00:00:00.000000'")
        done = self._run("reconcile", "--all")
        assert done.returncode in (0, 1), done.stderr
        return done.returncode == 0

    def run(self, *words: str) -> str:
        """Run a command with the paste file's options; return what it printed."""
        done = self._run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = (*self.command, *words, *self.options)
        return subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def _execute(self, statement: str, *values: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def _send(self, method: str, path: str, who: str, document: Any = None) -> requests.Response:
        headers = {"X-Auth-Token": self.tokens[who], "OpenStack-API-Version": "compute 2.60"}
        return requests.request(
            method, f"{self.url}/v2.1/servers{path}", json=document, headers=headers, timeout=TIMEOUT
        )


def _attachments(server_id: str) -> str:
    return f"/{server_id}/os-volume_attachments"


def fault(response: requests.Response) -> tuple[int, str]:
    """Return the status and the message of a fault."""
    [document] = response.json().values()
    return response.status_code, document["message"]
