"""The diagrams in docs/diagrams: each SVG shows its source, and the sources show what the code has."""

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from os_volume_ext.models import STATES
from tests.support.paths import DOCS

SOURCES = sorted((DOCS / "diagrams").glob("*.dot"))
SVG = "{http://www.w3.org/2000/svg}"

# The part of graphviz's language that the sources use: one statement a line.
_NODE = re.compile(r'(\w+) \[label="([^"]*)"(?:, \w+=\w+)*\];')
_EDGE = re.compile(r'(\w+) -> (\w+)(?: \[label="([^"]*)"\])?;')
_OTHER = re.compile(r"//.*|digraph \w+ \{|\}|(node|edge) \[.*\];|\w+=\S+;( \w+=\S+;)*|")


class Diagram(NamedTuple):
    """Labels by node, and by a pair of nodes; a label is a tuple of lines."""

    nodes: dict[str, tuple[str, ...]]
    edges: dict[tuple[str, str], tuple[str, ...]]


def parse_source(source: str) -> Diagram:
    diagram = Diagram({}, {})
    for line in map(str.strip, source.splitlines()):
        if node := _NODE.fullmatch(line):
            diagram.nodes[node[1]] = lines_of(node[2])
        elif edge := _EDGE.fullmatch(line):
            diagram.edges[edge[1], edge[2]] = lines_of(edge[3] or "")
        else:
            assert _OTHER.fullmatch(line), f"not one of the statements that this test reads: {line}"
    return diagram


def parse_svg(svg: str) -> Diagram:
    diagram = Diagram({}, {})
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        title = group.findtext(f"{SVG}title", "")
        label = tuple(text.text.strip() for text in group.findall(f"{SVG}text"))
        if group.get("class") == "node":
            diagram.nodes[title] = label
        elif group.get("class") == "edge":
            start, end = title.split("->")
            diagram.edges[start, end] = label
    return diagram


def lines_of(label: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in label.split("\\n")) if label else ()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_an_svg_shows_exactly_its_source(source: Path) -> None:
    shown, described = parse_svg(source.with_suffix(".svg").read_text()), parse_source(source.read_text())
    assert shown == described, "run make diagrams and commit the result"


def test_each_svg_has_a_source_and_a_page() -> None:
    assert sorted(DOCS.glob("diagrams/*.svg")) == [source.with_suffix(".svg") for source in SOURCES]
    included = re.findall(r":file: diagrams/(\w+)\.svg", "".join(page.read_text() for page in DOCS.glob("*.rst")))
    assert sorted(included) == [source.stem for source in SOURCES]


def test_the_protocol_diagram_has_the_states_of_the_code() -> None:
    diagram = parse_source((DOCS / "diagrams" / "protocol.dot").read_text())
    assert [label for (label,) in diagram.nodes.values()] == ["no row", *STATES]
    assert diagram.nodes == {"none": ("no row",)} | {state: (state,) for state in STATES}


def test_the_table_of_transitions_has_those_of_the_diagram() -> None:
    diagram = parse_source((DOCS / "diagrams" / "protocol.dot").read_text())
    drawn = {label[0]: edge for edge, label in diagram.edges.items()}
    rows = re.findall(
        r"^   \* - (T\d+)\n     - (?:``(\w+)``|no row) to (?:``(\w+)``|no row)$",
        (DOCS / "protocol.rst").read_text(),
        flags=re.MULTILINE,
    )
    assert {label: (start or "none", end or "none") for label, start, end in rows} == drawn
    assert [label for label, _, _ in rows] == [f"T{number}" for number in range(1, len(drawn) + 1)]
    assert len(drawn) == len(diagram.edges)
