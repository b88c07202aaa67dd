"""What docs/backend.rst builds passes its own tests, and is found by its name."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import TEMPLATES

PLUGIN = TEMPLATES / "backend"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory of one's own with the files that the page shows."""
    return Path(shutil.copytree(PLUGIN, tmp_path_factory.mktemp("marks"), dirs_exist_ok=True))


@pytest.fixture(scope="module")
def site(plugin: Path, run_command: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory that it is installed into; this environment stays as it is."""
    site = tmp_path_factory.mktemp("site")
    run_command(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, plugin, cwd=plugin)
    return site


def test_its_backend_passes_its_tests(plugin: Path, site: Path, run_command: Callable[..., str]) -> None:
    printed = run_command(sys.executable, "-m", "pytest", "test_marks.py", cwd=plugin, PYTHONPATH=str(site))
    assert " passed" in printed


def test_its_paste_file_chooses_it_by_its_name(
    plugin: Path, site: Path, run_command: Callable[..., str], tmp_path: Path
) -> None:
    mark = plugin / "servers" / "1134" / "9"
    mark.parent.mkdir(parents=True)
    mark.touch()
    command = ("attachment", "adopt", "1134", "9", "--project", "demo", "-c", "state", "-f", "value")
    # stevedore remembers entry points in a directory below the cache's.
    environment = {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path)}
    paste = ("--paste", plugin / "api-paste.ini")
    printed = run_command(sys.executable, "-m", "os_volume_ext.cli.main", *command, *paste, cwd=tmp_path, **environment)
    assert printed == "attached\n"
