"""What ``os-volume-ext plugin new`` writes is installed, passes its own tests, and is found by its name."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import plugins

KINDS = ("backend", "catalog")


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
    paste = plugin / "api-paste.ini"
    paste.write_text(paste.read_text() + PIPELINE)
    environment = {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path)}
    (plugin / "servers").mkdir()
    command = ("check", "--paste", paste, "-f", "value", "-c", "check", "-c", "details")
    printed = run_command(sys.executable, "-m", "os_volume_ext.cli.main", *command, cwd=plugin, **environment)
    assert f"{kind} acme_disks" in printed


# The filter's auth filter and application, which "check" looks for.
PIPELINE = """
[pipeline:main]
pipeline = tokens volumes compute

[filter:tokens]
use = egg:os-volume-ext#demo_tokens

[app:compute]
use = egg:os-volume-ext#demo_compute
"""
