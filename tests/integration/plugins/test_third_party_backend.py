"""A third-party backend: its own distribution, found by its entry point, attaches the disks."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DISTRIBUTION = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"
""",
    "setup.cfg": """\
[metadata]
name = acme-volumes
version = 1.0

[options]
py_modules = acme_volumes

[options.entry_points]
os_volume_ext.backends =
    acme = acme_volumes:MemoryBackend
""",
    "acme_volumes.py": '''\
"""Keeps in memory who has which disk; /dev/acme0 is the first."""

from os_volume_ext.backends.base import Backend


class MemoryBackend(Backend):
    def __init__(self, options):
        self.prefix = options["prefix"]
        self.disks = {}

    def attach(self, server, volume, device):
        disks = self.disks.setdefault(server.id, {})
        return disks.setdefault(volume.id, f"{self.prefix}{len(disks)}")

    def detach(self, server, volume, device):
        self.disks.get(server.id, {}).pop(volume.id, None)

    def attached(self, server):
        return dict(self.disks.get(server.id, {}))

    def check(self):
        pass
''',
}

# What the host does, in a process of its own: a compute API with one server, the filter around it, one request.
HOST = """\
import datetime
import json
import sys

import webob
from sqlalchemy import create_engine

from os_volume_ext.filter import make_filter
from os_volume_ext.registry.tables import volumes

SERVER, VOLUME, DATABASE = sys.argv[1:]


def compute(environ, start_response):
    server = {"id": SERVER, "tenant_id": "demo", "status": "ACTIVE", "locked": False}
    return webob.Response(json_body={"server": server})(environ, start_response)


options = {"dialect": "openstack", "database.url": DATABASE, "backend": "acme", "backend.prefix": "/dev/acme"}
application = make_filter(compute, **options)

engine = create_engine(DATABASE)
with engine.begin() as connection:
    now = datetime.datetime.now(datetime.UTC)
    connection.execute(volumes.insert().values(id=VOLUME, project_id="demo", multiattach=False, created_at=now))
engine.dispose()

request = webob.Request.blank(f"/servers/{SERVER}/os-volume_attachments", method="POST")
request.json_body = {"volumeAttachment": {"volumeId": VOLUME}}
request.content_type = "application/json"
request.headers.update({
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "alice",
    "X-Project-Id": "demo",
    "X-Roles": "member,reader",
})
request.environ["keystone.token_info"] = {"token": {}}
response = request.get_response(application)
print(json.dumps({"status": response.status_code, "body": response.json_body}))
"""

SERVER = "4335bab6-6086-4247-8274-8b8b048edaaa"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"


@pytest.fixture
def installed(run_command: Callable[..., str], tmp_path: Path) -> Path:
    """Install the distribution into a directory of its own; this environment stays as it is."""
    source, target = tmp_path / "acme-volumes", tmp_path / "site"
    source.mkdir()
    for name, text in DISTRIBUTION.items():
        (source / name).write_text(text)
    run_command(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, source, cwd=tmp_path
    )
    return target


def test_a_third_party_backend_attaches(run_command: Callable[..., str], installed: Path, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/attachments.sqlite"
    printed = run_command(sys.executable, "-c", HOST, SERVER, VOLUME, database, cwd=tmp_path, PYTHONPATH=str(installed))
    response = json.loads(printed)
    assert response["status"] == 200, response
    assert response["body"]["volumeAttachment"]["device"] == "/dev/acme0"
