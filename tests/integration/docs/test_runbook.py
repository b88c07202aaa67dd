"""docs/runbook.rst has every line of level WARNING and above that the package logs, and no other."""

import ast
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest
from docutils import nodes

from tests.support.pages import table
from tests.support.paths import ROOT

PACKAGE = ROOT / "os_volume_ext"
LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR"}
WARNING = ("WARNING", "ERROR")

_DIRECTIVE = re.compile(r"%(?:\.\d+)?[sdrgf]")
_WORD = "[A-Z0-9_]+"  # what the page has in the place of a directive


class Line(NamedTuple):
    """A line that is logged."""

    level: str
    format: str
    """With the directives of ``logging``, such as ``%s``."""
    where: str

    def is_shown_as(self, level: str, text: str) -> bool:
        """Return whether an entry of the page describes this line."""
        pattern = _WORD.join(re.escape(part) for part in _DIRECTIVE.split(self.format))
        return level == self.level and re.fullmatch(pattern, text) is not None

    @property
    def entry(self) -> str:
        """How the page could show it."""
        return f"``{_DIRECTIVE.sub('WORD', self.format)}`` : {self.level}"


def lines_of(source: str, name: str) -> Iterator[Line]:
    """Yield the lines that a module logs; one whose level differs from time to time counts as a WARNING."""
    for call in ast.walk(ast.parse(source)):
        match call:
            case ast.Call(ast.Attribute(ast.Name("LOG"), "log"), [_, ast.Constant(str(format)), *_]):
                yield Line("WARNING", format, f"{name}:{call.lineno}")
            case ast.Call(ast.Attribute(ast.Name("LOG"), method), [ast.Constant(str(format)), *_]):
                yield Line(LEVELS[method], format, f"{name}:{call.lineno}")
            case ast.Call(ast.Attribute(ast.Name("LOG"), "isEnabledFor")):
                continue
            case ast.Call(ast.Attribute(ast.Name("LOG"), _)):
                pytest.fail(
                    f"{name}:{call.lineno}: let the first argument be a string, so that the runbook can have it"
                )


def logged() -> list[Line]:
    return [
        line
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in lines_of(path.read_text(), str(path.relative_to(ROOT)))
    ]


@pytest.fixture
def entries(pages: Mapping[str, nodes.document]) -> list[tuple[str, str]]:
    """Give the level and the text of each entry of the page."""
    return [
        (item.next_node(nodes.classifier).astext(), item.next_node(nodes.literal).astext().replace("\n", " "))
        for item in pages["runbook"].findall(nodes.definition_list_item)
    ]


def test_each_warning_and_error_that_is_logged_has_an_entry(entries: list[tuple[str, str]]) -> None:
    missing = [
        f"{line.where}: add to docs/runbook.rst, in the section of what logs it, what the line means and what to do:\n"
        f"    {line.entry}\n        ..."
        for line in logged()
        if line.level in WARNING and not any(line.is_shown_as(*entry) for entry in entries)
    ]
    assert not missing, "\n" + "\n".join(missing)


def test_each_entry_is_a_line_that_is_logged(entries: list[tuple[str, str]]) -> None:
    stale = [entry for entry in entries if not any(line.is_shown_as(*entry) for line in logged())]
    assert stale == []
    assert len(entries) == len(set(entries))


def test_each_line_of_level_info_on_the_page_is_logged(pages: Mapping[str, nodes.document]) -> None:
    formats = [line.format for line in logged() if line.level == "INFO"]
    texts = [row[0].astext().replace("\n", " ") for row in table(pages["runbook"], "Text in the line")]
    assert [text for text in texts if not any(text in format for format in formats)] == []


def test_every_logger_has_the_name_that_these_tests_look_for() -> None:
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    names = {name for source in sources for name in re.findall(r"(\w+) = logging\.getLogger\(__name__\)", source)}
    assert names == {"LOG"}


def test_a_line_is_shown_with_words_for_its_directives() -> None:
    [line] = lines_of('LOG.warning("%s of %.300r")', "module.py")
    assert line == ("WARNING", "%s of %.300r", "module.py:1")
    assert line.entry == "``WORD of WORD`` : WARNING"
    assert line.is_shown_as("WARNING", "ONE of OTHER")
    assert not line.is_shown_as("ERROR", "ONE of OTHER")
    assert not line.is_shown_as("WARNING", "ONE of OTHER and more")


def test_an_exception_is_an_error_and_a_level_that_differs_a_warning() -> None:
    [line] = lines_of('LOG.exception("it failed")', "module.py")
    assert line.entry == "``it failed`` : ERROR"
    [line] = lines_of('LOG.log(level, "it failed")', "module.py")
    assert line.entry == "``it failed`` : WARNING"
