"""The directive ``options``: describes options of a filter's section, from their declarations in ``settings``."""

from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from os_volume_ext.settings import DECLARATIONS
from os_volume_ext.settings.options import Group, Option
from os_volume_ext.settings.types import Choice, Integer


class Options(SphinxDirective):
    """``.. options:: NAME ...``: a ``confval`` for each field of ``Settings``, or for each option of a group."""

    has_content = False
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[Any]:
        """Return the descriptions."""
        names = self.arguments[0].split()
        if unknown := set(names) - DECLARATIONS.keys():
            raise self.error(f"Settings has no field {', '.join(sorted(unknown))}")
        lines = [line for name in names for line in _describe(DECLARATIONS[name])]
        return self.parse_text_to_nodes("\n".join(lines))


def _describe(declaration: Option | Group) -> Iterator[str]:
    if isinstance(declaration, Group):
        for member in declaration.members:
            yield from _describe(member)
        yield from _confval(f"{declaration.prefix}*", "none", "", declaration.help)
    else:
        default = declaration.default_text or _literal(declaration)
        yield from _confval(declaration.name, default, _values(declaration), declaration.help)


def _values(option: Option) -> str:
    """Return which values an option may have, where that is a range or a choice."""
    if not isinstance(option.type, Choice | Integer):
        return ""
    return option.type.expected.removeprefix("it must be ").removeprefix("it may be ")


def _literal(option: Option) -> str:
    match option.default:
        case bool() as value:
            return f"``{str(value).lower()}``"
        case tuple() as names:
            return f"``{', '.join(names)}``"
        case value:
            return f"``{getattr(value, 'name', value)}``"


def _confval(name: str, default: str, values: str, text: str) -> Iterator[str]:
    yield f".. confval:: {name}"
    if values:
        yield f"   :type: {values}"
    yield from (f"   :default: {default}", "", f"   {text}", "")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("options", Options)
    return {"parallel_read_safe": True}
