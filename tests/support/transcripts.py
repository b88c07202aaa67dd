"""The documents that show what the sample prints: their blocks, and the examples in them.

A block of the kind ``console`` is run: lines that begin with ``$`` are commands, what follows is what they print.
A block of the kind ``sh`` is not run. Only dates and request ids may differ, and the newlines at the end.
"""

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.core import publish_doctree

from tests.support.paths import DOCS, ROOT

README = ROOT / "README.rst"
API = DOCS / "api.rst"
COMMANDS = DOCS / "commands.rst"
DOCUMENTS = (README, API, COMMANDS)

MASKS = {
    "req-ID": re.compile(r"\breq-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),
    "Date: DATE": re.compile(r"^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$", re.MULTILINE),
}

_ALL, _NONE = 1, 5  # levels of docutils' messages


class Example(NamedTuple):
    """A command, and what it prints."""

    command: str
    printed: str


@functools.cache
def document(path: Path) -> nodes.document:
    """Return the document; in the README, anything that docutils has to say is an exception.

    Pages have roles and directives of Sphinx, which checks them when it builds the documentation.
    """
    level = _ALL if path == README else _NONE
    settings: dict[str, Any] = {
        "_disable_config": True,
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "report_level": level,
        "halt_level": level,
    }
    return publish_doctree(path.read_text(), source_path=str(path), settings_overrides=settings)


def blocks(path: Path, kind: str) -> list[str]:
    """Return the blocks of a kind, such as ``console``; there is one at least."""
    found = [block.astext() for block in document(path).findall(nodes.literal_block) if kind in block["classes"]]
    assert found, f"{path.name} has no block of the kind {kind}"
    return found


def block(path: Path, kind: str, containing: str) -> str:
    """Return the only block of a kind that contains a string."""
    [found] = [text for text in blocks(path, kind) if containing in text]
    return found


def examples(path: Path) -> list[Example]:
    """Return the examples in the blocks ``console``, in order."""
    found = []
    for text in blocks(path, "console"):
        assert text.startswith("$ "), text
        for example in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            matched = re.fullmatch(r"((?:.*\\\n)*.*)\n?((?s:.*))", example)
            assert matched
            found.append(Example(*matched.groups()))
    return found


def masked(text: str) -> str:
    """Return the text without what may differ."""
    for name, pattern in MASKS.items():
        text = pattern.sub(name, text)
    return text.rstrip("\n")
