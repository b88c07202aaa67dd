"""What docs/troubleshooting.rst quotes is what the package sends and prints, and it has each status."""

import ast
import re
from collections.abc import Iterator, Mapping

import pytest
from docutils import nodes

from os_volume_ext import errors
from os_volume_ext.api.dialects import DIALECTS
from os_volume_ext.errors import Kind
from tests.support.pages import literals
from tests.support.paths import ROOT

_PLACEHOLDER = re.compile(r"\b[A-Z]{4,}\b")  # what the page has in the place of a value


def strings() -> Iterator[str]:
    """Yield the strings in the package's source, with a placeholder for each value of an f-string."""
    for path in (ROOT / "os_volume_ext").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Constant(str(text)):
                    yield text
                case ast.JoinedStr(parts):
                    yield "".join(part.value if isinstance(part, ast.Constant) else "VALUE" for part in parts)


@pytest.fixture(scope="module")
def source() -> str:
    return "\n".join(strings())


def column(page: nodes.document, title: str) -> Iterator[nodes.entry]:
    """Yield the entries of each column of this title."""
    for table in page.findall(nodes.table):
        head, *rows = [list(row.findall(nodes.entry)) for row in table.findall(nodes.row)]
        titles = [entry.astext() for entry in head]
        if title in titles:
            yield from [row[titles.index(title)] for row in rows]


@pytest.mark.parametrize("title", ["Message", "Detail"])
def test_the_messages_on_the_page_are_those_of_the_package(
    title: str, pages: Mapping[str, nodes.document], source: str
) -> None:
    quoted = [text for entry in column(pages["troubleshooting"], title) for text in literals(entry)]
    assert len(quoted) >= 10
    # Of a message with values, the words between them are looked for.
    missing = [text for text in quoted if any(part not in source for part in _PLACEHOLDER.split(text))]
    assert missing == []


def test_each_status_of_a_fault_has_a_section(pages: Mapping[str, nodes.document]) -> None:
    [by_status] = [
        section
        for section in pages["troubleshooting"].findall(nodes.section)
        if section.next_node(nodes.title).astext() == "By status"
    ]
    titles = [section.next_node(nodes.title).astext() for section in by_status.findall(nodes.section)]
    sections = {status for title in titles for status in re.findall(r"\b[45]\d\d\b", title)}
    assert sections == {str(status) for dialect in DIALECTS.values() for _, status in dialect.faults.values()}


def test_each_exception_that_becomes_a_503_is_explained(pages: Mapping[str, nodes.document]) -> None:
    raised = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.OSVolumeExtError) and each.kind is Kind.UNAVAILABLE
    }
    # Those that others replace before the response is made, and their base class.
    replaced = {
        "BackendError",
        "RequestFailed",
        "RequestRefused",
        "ServerNotFound",
        "DeviceInUse",
        "TransactionAborted",
    }
    explained = {entry.astext() for entry in column(pages["troubleshooting"], "Exception in the log")}
    assert explained == raised - replaced
