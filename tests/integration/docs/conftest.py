"""The pages in docs/, built and taken apart."""

import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from docutils import nodes

from tests.support.paths import DOCS, ROOT


@pytest.fixture(scope="session")
def site(run_command: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory with the built pages in ``html``, and what Sphinx read in ``doctrees``."""
    made = tmp_path_factory.mktemp("docs")
    run_command(sys.executable, "-m", "sphinx", "-d", made / "doctrees", DOCS, made / "html", cwd=ROOT)
    return made


@pytest.fixture(scope="session")
def pages(site: Path) -> Mapping[str, nodes.document]:
    """Give the document of each page, by its name, as Sphinx reads it."""
    return {path.stem: pickle.loads(path.read_bytes()) for path in (site / "doctrees").glob("*.doctree")}
