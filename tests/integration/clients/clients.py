"""Clients under test: their Python APIs, each in a process of its own, or their commands."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT = 60  # seconds that a command may take


class Refused(Exception):
    """What a client raised: ``name`` is the exception's, the text is the client's message."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class PythonClient:
    """A client with a Python API, wrapped by the module ``with_NAME``; without a version it uses its default."""

    def __init__(
        self,
        name: str,
        version: str | None,
        venv: Path,
        environment: Mapping[str, str],
        password: str | None = None,
    ) -> None:
        """Start its process.

        :param environment: with ``OS_AUTH_URL`` and ``OS_PROJECT_NAME``.
        :param password: of each user; None: the user's name.
        """
        words = [f"with_{name}", *([version] if version else [])]
        given = {"OS_PASSWORD": password or ""}
        self._process = subprocess.Popen(
            [venv / "bin/python", Path(__file__).with_name("exercise.py"), *words],
            env={**environment, **given},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send_request(self, method: str, *arguments: str, user: str = "demo", **named: Any) -> Any:
        """Return what a method of the module's ``Client`` returns. :raises Refused: what it raises."""
        self._process.stdin.write(json.dumps([user, method, arguments, named]) + "\n")
        self._process.stdin.flush()
        response = json.loads(self._process.stdout.readline())
        if "raised" in response:
            raise Refused(response["raised"], response["message"])
        return response["returned"]

    def close(self) -> None:
        """End its process."""
        self._process.communicate()


@dataclass(frozen=True)
class CommandLine:
    """The command ``openstack``, with some options."""

    venv: Path
    environment: Mapping[str, str]
    options: tuple[str, ...] = ()
    password: str | None = None
    """Of each user; None: the user's name."""

    def run(self, *words: str, user: str = "demo") -> str:
        """Return what a command prints. :raises Refused: if it fails; the first word of the error is the name."""
        done = subprocess.run(
            [self.venv / "bin/openstack", *self.options, *words],
            env={**self.environment, "OS_USERNAME": user, "OS_PASSWORD": self.password or user},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        if done.returncode:
            raise Refused(done.stderr.partition(":")[0], done.stderr)
        return done.stdout

    def read(self, *words: str, user: str = "demo") -> Any:
        """Return what a command prints in JSON. :raises Refused: if it fails."""
        return json.loads(self.run(*words, "-f", "json", user=user))

    def send_request(self, method: str, *arguments: str, user: str = "demo") -> Any:
        """Do what a ``PythonClient`` does. :raises Refused: if the command fails."""
        if method == "attach":
            return _shown(self.read("server", "add", "volume", *arguments, user=user))
        if method == "detach":
            return self.run("server", "remove", "volume", *arguments, user=user) or None
        server, *volume = arguments
        shown = [_shown(row) for row in self.read("server", "volume", "list", server, user=user)]
        return shown if method == "list" else next(each for each in shown if each["volumeId"] in volume)


def _shown(row: Mapping[str, str]) -> dict[str, str]:
    # From 2.89 on the command shows no id, which would be the volume's.
    volume = row["Volume ID"]
    return {"device": row["Device"], "serverId": row["Server ID"], "id": row.get("ID", volume), "volumeId": volume}
