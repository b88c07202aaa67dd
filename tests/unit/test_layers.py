"""The layers of the package: imports run downward only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT, TEMPLATES

PACKAGE = "os_volume_ext"
MAX_MODULES = 12
# Modules and packages at the package's top level, the highest layer first.
LAYERS = (
    {"filter", "cli", "demo"},
    {"assembly", "records", "settings"},
    {"api"},
    {"attachments"},
    {"compute", "catalog", "registry", "backends", "observers"},
    {"policy", "context", "models", "errors", "plugins", "wsgi", "perprocess", "threadpool", "outbound"},
)
# Imports within a layer.
SIDEWAYS = {
    ("cli", "filter"),
    ("demo", "cli"),
    ("assembly", "records"),
    ("assembly", "settings"),
    ("records", "settings"),
    ("catalog", "registry"),
    ("outbound", "errors"),
    ("outbound", "perprocess"),
    ("outbound", "threadpool"),
    ("plugins", "errors"),
    ("policy", "context"),
    ("policy", "errors"),
    ("policy", "perprocess"),
}
# Plugin authors import it, and nothing in the package does.
TESTING = {"testing": {"backends", "catalog"} | LAYERS[-1]}
DEPTH = {unit: depth for depth, layer in enumerate(LAYERS) for unit in layer}


def imported_names(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the absolute name of each import of a file, wherever in the file it is."""
    package = [root.name, *path.relative_to(root).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = [*base, *([node.module] if node.module else [])]
            yield from ((node.lineno, ".".join([*prefix, alias.name])) for alias in node.names)


def violations(root: Path) -> list[str]:
    """Return the imports that do not run downward, as ``file:line: importer imports imported``."""
    found = []
    for path in sorted(root.rglob("*.py")):
        if TEMPLATES in path.parents:
            continue
        importer = path.relative_to(root).parts[0].removesuffix(".py")
        for line, name in imported_names(path, root):
            package, _, rest = name.partition(".")
            imported = rest.partition(".")[0]
            if package == root.name and imported != importer and not is_allowed(importer, imported):
                found.append(f"{path.relative_to(root)}:{line}: {importer} imports {imported or 'the package'}")
    return found


def is_allowed(importer: str, imported: str) -> bool:
    if importer in TESTING:
        return imported in TESTING[importer]
    if importer not in DEPTH or imported not in DEPTH:
        return False
    return DEPTH[importer] < DEPTH[imported] or (importer, imported) in SIDEWAYS


def test_imports_run_downward() -> None:
    assert violations(ROOT / PACKAGE) == []


def test_every_module_has_a_layer() -> None:
    paths = [*(ROOT / PACKAGE).glob("*.py"), *(path.parent for path in (ROOT / PACKAGE).glob("*/__init__.py"))]
    assert {path.stem for path in paths} - {"__init__"} == {*DEPTH, *TESTING}


def test_there_are_few_modules_at_the_top_level() -> None:
    assert len(list((ROOT / PACKAGE).glob("[!_]*.py"))) <= MAX_MODULES


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("models.py", "from .registry.database import Database", ["models.py:1: models imports registry"]),
        ("models.py", "from . import registry", ["models.py:1: models imports registry"]),
        ("models.py", "import os_volume_ext.registry", ["models.py:1: models imports registry"]),
        ("models.py", "from os_volume_ext import filter", ["models.py:1: models imports filter"]),
        (
            "registry/leases.py",
            "from ..attachments import claims",
            ["registry/leases.py:1: registry imports attachments"],
        ),
        ("registry/leases.py", "from .. import api", ["registry/leases.py:1: registry imports api"]),
        (
            "registry/migrations/env.py",
            "from ...api import faults",
            ["registry/migrations/env.py:1: registry imports api"],
        ),
        ("compute/remote.py", "def f():\n    from ..api import faults", ["compute/remote.py:2: compute imports api"]),
        (
            "compute/remote.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..api import faults",
            ["compute/remote.py:3: compute imports api"],
        ),
        ("api/bodies.py", "from ..settings import Settings", ["api/bodies.py:1: api imports settings"]),
        ("observers/log.py", "from ..registry import leases", ["observers/log.py:1: observers imports registry"]),
        ("backends/base.py", "from ..testing import BackendContract", ["backends/base.py:1: backends imports testing"]),
        ("testing/contract.py", "from ..registry import leases", ["testing/contract.py:1: testing imports registry"]),
        ("unknown.py", "from .errors import Kind", ["unknown.py:1: unknown imports errors"]),
        ("api/bodies.py", "import json\nfrom ..errors import Kind\nfrom .faults import x", []),
        ("settings/__init__.py", "from ..api.dialects import DIALECTS", []),
        ("catalog/sql.py", "from ..registry.database import Database", []),
        ("testing/contract.py", "from ..backends.base import Backend", []),
    ],
)
def test_an_import_that_runs_upward_is_found(tmp_path: Path, file: str, text: str, found: list[str]) -> None:
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert violations(tmp_path / PACKAGE) == found
