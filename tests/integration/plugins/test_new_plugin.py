"""What ``os-volume-ext plugin new`` writes is installed, passes its tests, is found, and works in the sample."""

import configparser
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import plugins
from tests.support.paths import PASTE

KINDS = ("backend", "catalog")
TIMEOUT = 60  # seconds
SERVER = "4335bab6-6086-4247-8274-8b8b048edaaa"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"  # of the sample, and of the template of a catalog


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Give one kind of plugin after the other."""
    return str(request.param)


@pytest.fixture(scope="module")
def plugin(kind: str, run_command: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory of a new plugin, under a name that needs its underscore replaced in the class's."""
    directory = tmp_path_factory.mktemp("new")
    run_command(
        sys.executable, "-m", "os_volume_ext.cli.main", "plugin", "new", "acme_disks", "--kind", kind, cwd=directory
    )
    return directory / "acme_disks"


@pytest.fixture(scope="module")
def site(plugin: Path, run_command: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory that it is installed into."""
    site = tmp_path_factory.mktemp("site")
    plugins.install(run_command, shutil.copytree(plugin, site / "source"), site)
    return site


def test_a_new_plugin_passes_its_tests(
    plugin: Path, site: Path, run_command: Callable[..., str], tmp_path: Path
) -> None:
    tests = shutil.copy(plugin / "test_acme_disks.py", tmp_path)  # without the module: the installed one is tested
    printed = run_command(sys.executable, "-m", "pytest", tests, cwd=tmp_path, PYTHONPATH=str(site))
    assert " passed" in printed


def test_a_new_plugin_is_loaded_by_its_name(
    kind: str, plugin: Path, site: Path, run_command: Callable[..., str], tmp_path: Path
) -> None:
    environment = {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path)}
    (plugin / "servers").mkdir(exist_ok=True)
    command = ("check", "--paste", plugin / "api-paste.ini", "-f", "value", "-c", "check", "-c", "details")
    printed = run_command(sys.executable, "-m", "os_volume_ext.cli.main", *command, cwd=plugin, **environment)
    assert f"{kind} acme_disks of acme" in printed


@pytest.fixture
def sample(kind: str, plugin: Path, tmp_path: Path) -> Path:
    """Give the sample's paste file with the plugin in both sections."""
    parser = configparser.RawConfigParser()
    parser.read(PASTE)
    for dialect in ("cyclades", "openstack"):
        section = f"filter:volumes_{dialect}"
        parser.set(section, kind, "acme_disks")
        if kind == "backend":
            parser.set(section, "backend.root", f"%(var)s/{dialect}/servers")
        else:
            parser.set(section, "catalog.path", str(plugin / "volumes.json"))
    with (tmp_path / "api-paste.ini").open("w") as file:
        parser.write(file)
    return tmp_path / "api-paste.ini"


def test_the_sample_works_with_a_new_plugin(
    kind: str, site: Path, sample: Path, start_server: Callable[..., object], free_port: int
) -> None:
    environment = ("env", f"PYTHONPATH={site}", f"XDG_CACHE_HOME={sample.parent}")
    serve = (sys.executable, "-m", "os_volume_ext.cli.main", "serve", "--paste", sample, "--port", str(free_port))
    start_server(*environment, *serve, port=free_port)

    def send_request(method: str, path: str, **options: Any) -> requests.Response:
        headers = {"X-Auth-Token": "demo-token"}
        return requests.request(
            method, f"http://127.0.0.1:{free_port}{path}", headers=headers, timeout=TIMEOUT, **options
        )

    attachments = f"/v2.1/servers/{SERVER}/os-volume_attachments"
    assert send_request("POST", attachments, json={"volumeAttachment": {"volumeId": VOLUME}}).status_code == 200
    shown = send_request("GET", f"/volume/v3/demo/volumes/{VOLUME}").json()["volume"]
    assert (shown["status"], shown["attachments"][0]["server_id"]) == ("in-use", SERVER)
    assert send_request("GET", f"/volume/v3/demo/volumes/{SERVER}").status_code == 404
    assert send_request("GET", "/volume/v3/demo/volumes").status_code == {"backend": 200, "catalog": 501}[kind]
    assert send_request("DELETE", f"{attachments}/{VOLUME}").status_code == 202
