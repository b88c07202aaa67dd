"""OpenStack services as processes, each in its virtualenv and directory."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.waiting import TIMEOUT, wait_until

VENV_TIMEOUT = 900  # seconds in which a virtualenv has to be made

# waitress-serve would not do: the services read sys.argv.
SERVE = """
import importlib, sys
port = int(sys.argv.pop())
application = importlib.import_module(sys.argv.pop()).application
import waitress
waitress.serve(application, host="127.0.0.1", port=port)
"""


def venv(name: str) -> Path:
    """Return the virtualenv of a service, made if need be. :raises RuntimeError: if that can't be done."""
    try:
        done = subprocess.run(
            [ROOT / "tools" / "make-venv", name],
            env=os.environ | {"PYTHON": sys.executable},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VENV_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from error
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Path(done.stdout.strip())


@dataclass
class WSGIService:
    """A module's ``application``, served by a process of its own; several may share one directory.

    ``directory`` is the process's working directory; ``ready`` the path that returns ``ready_status`` once it serves;
    ``arguments`` are those that the service reads from its command line.
    """

    venv: Path
    directory: Path
    port: int = field(default_factory=free_port)
    module: str = ""
    ready: str = "/"
    ready_status: int = 200
    arguments: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, without a version."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What its processes have in their environment beside what the tests have."""
        return {}

    @property
    def _log(self) -> Path:
        return self.directory / f"{self.module}-{self.port}.log"

    def run(self, command: str, *arguments: str | Path, input: str | None = None, timeout: float = TIMEOUT) -> str:
        """Run a command of the virtualenv; return what it printed. ``timeout`` is in seconds."""
        done = subprocess.run(
            [self.venv / "bin" / command, *arguments],
            cwd=self.directory,
            env=os.environ | self.environment,
            input=input or "",
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self) -> None:
        """Serve until ``stop``; return when it responds."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [self.venv / "bin/python", "-c", SERVE, *self.arguments, self.module, str(self.port)],
                cwd=self.directory,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if not wait_until(self._is_ready):
            self.stop()
            pytest.fail(f"{self.module} does not respond\n{self._log.read_text()}")

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            return requests.get(f"{self.url}{self.ready}", timeout=TIMEOUT).status_code == self.ready_status
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        """End it, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serve meanwhile."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """End it, and serve again at the same place afterwards."""
        self.stop()
        try:
            yield
        finally:
            self.start()
