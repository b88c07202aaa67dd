"""What the tests of the pages share."""

import pickle
import sys
from collections.abc import Callable, Mapping

import pytest
from docutils import nodes

from tests.support.paths import DOCS, ROOT


@pytest.fixture(scope="session")
def pages(run_command: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, nodes.document]:
    """Give the pages by name, as Sphinx reads them."""
    made = tmp_path_factory.mktemp("docs")
    run_command(sys.executable, "-m", "sphinx", "-d", made / "doctrees", DOCS, made / "html", cwd=ROOT)
    return {path.stem: pickle.loads(path.read_bytes()) for path in (made / "doctrees").glob("*.doctree")}
