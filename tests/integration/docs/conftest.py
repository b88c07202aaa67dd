"""The pages in docs/, taken apart."""

import pickle
import sys
from collections.abc import Callable, Mapping

import pytest
from docutils import nodes

from tests.support.paths import DOCS, ROOT


@pytest.fixture(scope="session")
def pages(run_command: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, nodes.document]:
    """Give the document of each page, by its name, as Sphinx reads it."""
    made = tmp_path_factory.mktemp("docs")
    run_command(sys.executable, "-m", "sphinx", "-d", made / "doctrees", DOCS, made / "html", cwd=ROOT)
    return {path.stem: pickle.loads(path.read_bytes()) for path in (made / "doctrees").glob("*.doctree")}
