"""The scripts in ``examples/``, run against the served sample as their own first lines say."""

import os
import re
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest
import requests

from tests.integration.clients.clients import TIMEOUT
from tests.support.paths import ROOT
from tests.support.services import require_service

WEB, VOLUME = "4335bab6-6086-4247-8274-8b8b048edaaa", "a26887c6-c47b-4654-abb5-dfadf7d3f803"
SAMPLE = "http://127.0.0.1:8774"  # where the examples have it


@pytest.fixture
def run(url, environment, venv, tmp_path):
    """Give ``run(name)``: the lines that a script prints, which leaves nothing attached."""
    directory = shutil.copytree(ROOT / "examples", tmp_path / "examples")
    port = str(urlsplit(url).port)

    def script(name):
        usage = re.search(r"usage: (.*)", (directory / name).read_text())[1]
        for word, value in {SAMPLE: url, "SERVER_ID": WEB, "SERVER": "web", "VOLUME_ID": VOLUME}.items():
            usage = usage.replace(word, value)
        done = subprocess.run(
            ["bash", "-c", usage],
            cwd=tmp_path,
            env={
                **environment,
                "OS_VOLUME_EXT_PORT": port,
                "PATH": os.pathsep.join([str(venv / "bin"), environment["PATH"]]),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert (done.returncode, done.stderr) == (0, "")
        attachments = f"{url}/v2.1/servers/{WEB}/os-volume_attachments"
        assert requests.get(attachments, headers={"X-Auth-Token": "demo-token"}, timeout=TIMEOUT).json() == {
            "volumeAttachments": []
        }
        return done.stdout.splitlines()

    return script


def test_curl(run):
    require_service(shutil.which("curl"), "curl is not installed")
    shown = f'{{"device": "/dev/vdb", "serverId": "{WEB}", "id": "{VOLUME}", "volumeId": "{VOLUME}"}}'
    assert run("with-curl") == [f'{{"volumeAttachment": {shown}}}', f'{{"volumeAttachments": [{shown}]}}', ""]


def test_openstack(run):
    assert [line for line in run("with-openstack") if line.startswith(f"| /dev/vdb | {WEB} | {VOLUME} |")]


def test_openstacksdk(run):
    assert run("with_openstacksdk.py") == ["attached at /dev/vdb", f"/dev/vdb is {VOLUME}", "detached"]


def test_libcloud(run):
    assert run("with_libcloud.py") == [f"/dev/vdb is {VOLUME}", "detached"]


def test_the_readme_links_to_every_example():
    readme = (ROOT / "README.rst").read_text()
    for path in (ROOT / "examples").glob("with*"):
        assert f"<examples/{path.name}>`_" in readme
