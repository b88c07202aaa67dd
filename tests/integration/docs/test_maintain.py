"""The pages for maintainers: what they name exists, and what the code cites of them does too."""

import re
from pathlib import Path

import pytest

from tests.integration.docs.test_diagrams import parse_source
from tests.support.paths import DOCS, ROOT
from tests.unit.test_layers import LAYERS

PACKAGE = ROOT / "os_volume_ext"
FILES = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]


# -- docs/protocol.rst --------------------------------------------------------------------------------

# A line may end within a citation, in a comment too.
_CITATION = re.compile(r"protocol\.rst,[\s#]+([A-Z]\w*)")


def citations(text: str) -> list[str]:
    return _CITATION.findall(text)


@pytest.fixture(scope="module")
def numbers() -> list[str]:
    """Give the labels of the rules and invariants on the page, in order."""
    page = (DOCS / "protocol.rst").read_text()
    labelled = re.findall(r"^\.\. _([RI]\d+):\n\n\*\*([RI]\d+)\. ?", page, flags=re.MULTILINE)
    assert all(label == number for label, number in labelled)
    assert len(labelled) == len(re.findall(r"^\.\. _", page, flags=re.MULTILINE))
    return [label for label, _ in labelled]


def test_rules_and_invariants_are_numbered_in_order(numbers: list[str]) -> None:
    rules, invariants = [[number for number in numbers if number[0] == kind] for kind in "RI"]
    assert rules == sorted(set(rules), key=lambda rule: int(rule[1:]))  # a removed rule leaves a gap
    assert invariants == ["I1", "I2", "I3", "I4", "I5"]


def test_each_cited_rule_or_invariant_exists(numbers: list[str]) -> None:
    cited = {number: path for path in FILES if path != Path(__file__) for number in citations(path.read_text())}
    assert {number: str(path.relative_to(ROOT)) for number, path in cited.items() if number not in numbers} == {}


def test_citations_are_found_wherever_a_line_ends() -> None:
    assert citations("# docs/protocol.rst, R4") == ["R4"]
    assert citations("see docs/protocol.rst, R4, and docs/protocol.rst,\n    # I12.") == ["R4", "I12"]
    assert citations("docs/protocol.rst, Rule and docs/protocol.rst has the rules") == ["Rule"]


# -- docs/architecture.rst ----------------------------------------------------------------------------


def modules() -> set[str]:
    """Return the modules and packages at the top level of the package."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return packages | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}


def layers() -> list[list[str]]:
    """Return the modules of each layer of the diagram, the highest first."""
    diagram = parse_source((DOCS / "diagrams" / "architecture.dot").read_text())
    assert list(diagram.edges) == list(zip(diagram.nodes, list(diagram.nodes)[1:], strict=False))
    # A line is a list of modules or a remark.
    lists = [[line for line in label if re.fullmatch(r"[a-z]+(, [a-z]+)*,?", line)] for label in diagram.nodes.values()]
    return [re.findall(r"\w+", " ".join(lines)) for lines in lists]


def test_the_table_of_modules_names_each_of_them_and_no_other() -> None:
    named = re.findall(r"^   \* - ``(\w+)``$", (DOCS / "architecture.rst").read_text(), flags=re.MULTILINE)
    assert sorted(named) == sorted(modules())


def test_the_diagram_of_layers_names_each_module_and_no_other() -> None:
    assert sorted(word for layer in layers() for word in layer) == sorted(modules())


def test_the_diagram_has_the_layers_that_imports_keep_to() -> None:
    assert [set(layer) - {"testing"} for layer in layers()] == list(LAYERS)


def test_the_files_that_the_pages_name_exist() -> None:
    named = set()
    for page in ("architecture", "protocol", "contributing"):
        text = re.sub(r"\s+", " ", (DOCS / f"{page}.rst").read_text())
        named |= set(re.findall(r"``([\w/.-]+(?:\.(?:py|rst|yaml|cfg|txt|dot)|/))``", text))
    named |= set(re.findall(r"``(docs/[\w.]+)``", (ROOT / "CONTRIBUTING.rst").read_text()))
    assert {name for name in named if not any((root / name).exists() for root in (ROOT, PACKAGE))} <= {
        "docs/NAME.rst",
        "os_volume_ext/backends/NAME.py",
        "os_volume_ext/registry/migrations/versions/NNNN_what.py",
    }
