"""The sample, served for the whole session, and the clients."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path

import pytest
import requests

from tests.integration.clients.clients import CommandLine, PythonClient
from tests.support.paths import PASTE
from tests.support.ports import free_port
from tests.support.waiting import TIMEOUT


@pytest.fixture(scope="session")
def url(start_lasting_server: Callable[..., subprocess.Popen[bytes]], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give where the sample is served."""
    port = free_port()
    command = (sys.executable, "-m", "os_volume_ext.cli.main", "serve", "--paste", PASTE)
    start_lasting_server(*command, "--var", tmp_path_factory.mktemp("var"), "--port", str(port), port=port)
    return f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def _detached(url: str) -> Iterator[None]:
    """Leave the sample as it was."""
    yield
    with requests.Session() as session:
        session.headers["X-Auth-Token"] = "demo-token"
        for server in session.get(f"{url}/v2.1/servers", timeout=TIMEOUT).json()["servers"]:
            attachments = f"{url}/v2.1/servers/{server['id']}/os-volume_attachments"
            for each in session.get(attachments, timeout=TIMEOUT).json()["volumeAttachments"]:
                session.delete(f"{attachments}/{each['id']}", timeout=TIMEOUT)  # but for the root volume


@pytest.fixture(scope="session")
def venv(service_venv: Callable[[str], Path]) -> Path:
    """Give the virtualenv of the clients."""
    return service_venv("clients")


@pytest.fixture(scope="session")
def environment(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the environment of the clients: the user demo, and nothing from the environment of the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHON"))}
    return kept | {
        "HOME": str(tmp_path_factory.mktemp("home")),
        "no_proxy": "127.0.0.1",
        "OS_AUTH_URL": f"{url}/identity/v3",
        "OS_USERNAME": "demo",
        "OS_PASSWORD": "demo",
        "OS_PROJECT_NAME": "demo",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
    }


@pytest.fixture(scope="session")
def python_client(venv: Path, environment: dict[str, str]) -> Iterator[Callable[..., PythonClient]]:
    """Give ``python_client(name, version=None)``: a client with a Python API."""
    with ExitStack() as stack:

        def start(name: str, version: str | None = None) -> PythonClient:
            return stack.enter_context(closing(PythonClient(name, version, venv, environment)))

        yield cache(start)


@pytest.fixture
def command_line(venv: Path, environment: dict[str, str]) -> Callable[..., CommandLine]:
    """Give ``command_line(*options)``: the command ``openstack``."""
    return lambda *options: CommandLine(venv, environment, options)
