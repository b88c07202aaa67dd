"""What docs/write-a-backend.rst builds passes its own tests, and is found by its name."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "write-a-backend.rst"

# Which block each file is: by its kind, and by something that only it contains.
FILES = {
    "marks.py": ("python", "class MarksBackend"),
    "test_marks.py": ("python", "class TestMarksBackend"),
    "pyproject.toml": ("toml", "entry-points"),
    "api-paste.ini": ("ini", "[filter:volumes]"),
}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the files that the page shows."""
    settings = {"_disable_config": True, "report_level": 1, "halt_level": 1}
    page = publish_doctree(PAGE.read_text(), source_path=str(PAGE), settings_overrides=settings)
    blocks = list(page.findall(nodes.literal_block))
    folder = tmp_path_factory.mktemp("marks")
    for name, (kind, text) in FILES.items():
        [found] = [block.astext() for block in blocks if kind in block["classes"] and text in block.astext()]
        (folder / name).write_text(f"{found}\n")
    return folder


@pytest.fixture(scope="module")
def site(plugin: Path, run_command: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that it is installed into; this environment stays as it is."""
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
    # stevedore remembers entry points in a folder below the cache's.
    environment = {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path)}
    paste = ("--paste", plugin / "api-paste.ini")
    printed = run_command(sys.executable, "-m", "os_volume_ext.cli.main", *command, *paste, cwd=tmp_path, **environment)
    assert printed == "attached\n"
