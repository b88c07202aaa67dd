"""A third-party backend: its own distribution, found by its entry point, attaches the disks."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import plugins

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

PASTE = """\
[filter:volumes]
use = egg:os-volume-ext
dialect = openstack
database.url = sqlite:///%(here)s/attachments.sqlite
backend = acme
backend.prefix = /dev/acme
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
    plugins.install(run_command, source, target)
    return target


def test_a_third_party_backend_attaches(run_command: Callable[..., str], installed: Path, tmp_path: Path) -> None:
    paste = tmp_path / "api-paste.ini"
    paste.write_text(PASTE)
    create = ("volume", "create", VOLUME, "--project", "demo", "--paste", paste)
    run_command(sys.executable, "-m", "os_volume_ext.cli.main", *create, cwd=tmp_path)
    # stevedore remembers entry points in a directory below the cache's.
    environment = {"PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(tmp_path)}
    response = plugins.attach(run_command, paste, SERVER, VOLUME, **environment)
    assert response["status"] == 200, response
    assert response["body"]["volumeAttachment"]["device"] == "/dev/acme0"
