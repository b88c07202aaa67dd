"""What docs/catalog.rst builds passes its own tests, and is found by its name."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import plugins
from tests.support.paths import TEMPLATES

SERVER = "4335bab6-6086-4247-8274-8b8b048edaaa"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"  # of the page's volumes.json
MISSING = "00000000-c47b-4654-abb5-dfadf7d3f803"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory of one's own with the files that the page shows."""
    return Path(shutil.copytree(TEMPLATES / "catalog", tmp_path_factory.mktemp("inventory"), dirs_exist_ok=True))


@pytest.fixture(scope="module")
def site(plugin: Path, run_command: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory that it is installed into."""
    site = tmp_path_factory.mktemp("site")
    plugins.install(run_command, plugin, site)
    return site


def test_its_catalog_passes_its_tests(plugin: Path, site: Path, run_command: Callable[..., str]) -> None:
    printed = run_command(sys.executable, "-m", "pytest", "test_inventory.py", cwd=plugin, PYTHONPATH=str(site))
    assert " passed" in printed
    assert " skipped" not in printed


def test_its_paste_file_chooses_it_by_its_name(
    plugin: Path, site: Path, run_command: Callable[..., str], tmp_path: Path
) -> None:
    (plugin / "servers" / "servers" / SERVER).mkdir(parents=True)
    # stevedore remembers entry points in a directory below the cache's.
    environment = {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path)}
    responses = [
        plugins.attach(run_command, plugin / "api-paste.ini", SERVER, volume_id, **environment)
        for volume_id in (VOLUME, MISSING)
    ]
    assert [response["status"] for response in responses] == [200, 404]
    assert responses[0]["body"]["volumeAttachment"]["volumeId"] == VOLUME
