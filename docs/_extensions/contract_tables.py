"""The directive ``contract``: what the author of a plugin declares and provides, from the docstrings of the tests."""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from os_volume_ext import testing

TEST = "test_"
PART = " (in part)"
"""What follows a test that is skipped with some of its parameters."""


class Contract(SphinxDirective):
    """``.. contract:: BackendContract``: the attributes and the fixtures of a class of ``os_volume_ext.testing``."""

    has_content = False
    required_arguments = 1

    def run(self) -> list[Any]:
        """Return the tables."""
        source = Source(getattr(testing, self.arguments[0]))
        for path in source.paths:
            self.env.note_dependency(path)
        return self.parse_text_to_nodes("\n".join(source.lines()))


class Source:
    """The source of a contract."""

    def __init__(self, contract: Any) -> None:
        """Parse the modules of the contract's classes."""
        self._contract = contract
        classes = [each for each in contract.__mro__ if each.__module__.startswith(testing.__name__)]
        modules = [sys.modules[name] for name in sorted({each.__module__ for each in classes})]
        self.paths = [str(module.__file__) for module in modules]
        nodes = [node for module in modules for node in ast.walk(ast.parse(inspect.getsource(module)))]
        self._functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
        names = {each.__name__ for each in classes}
        self._classes = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name in names]

    def lines(self) -> Iterator[str]:
        """Yield the tables as reStructuredText."""
        contract = self._contract
        attributes = ((name, text, self._skipped_by(name)) for name, text in self._attributes())
        yield from _table(
            "Attributes", ("Attribute", "What it declares", "Skipped where it is None or False"), attributes
        )
        fixtures = ((name, self._provided(name), ()) for name in contract.fixtures)
        yield from _table("Fixtures that are required", ("Fixture", "What it provides"), fixtures)
        absent = ((name, self._provided(name), self._tests(name, _fixtures)) for name in contract.absent_fixtures)
        yield from _table("Fixtures that may be absent", ("Fixture", "What it provides", "Skipped without it"), absent)

    def _attributes(self) -> Iterator[tuple[str, str]]:
        """Yield each attribute that has a docstring, but those that name attributes and fixtures."""
        for node in self._classes:
            for each, doc in zip(node.body, node.body[1:], strict=False):
                match each, doc:
                    case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                        if "ClassVar" not in ast.unparse(each.annotation):
                            default = f" The default is ``{ast.unparse(each.value)}``." if each.value else ""
                            yield name, text + default

    def _provided(self, fixture: str) -> str:
        text = " ".join((ast.get_docstring(self._functions[fixture]) or "").split()).removeprefix("Provide ")
        return text if text.startswith("``") else text[:1].upper() + text[1:]

    def _skipped_by(self, attribute: str) -> list[str]:
        """Return the tests that are skipped for one value of an attribute."""
        skip = re.compile(rf"pytest\.skip\(['\"]{attribute} is (None|False)")
        skipping = [name for name, node in self._functions.items() if skip.search(ast.unparse(node))]
        return [test for name in skipping for test in self._tests(name, _names)]

    def _tests(self, name: str, step: Callable[[ast.FunctionDef], set[str]]) -> list[str]:
        """Return the tests that lead to a function, as sentences."""
        tests = [test for test in self._functions if test.startswith(TEST)]
        whole = [test for test in tests if name in self._reached(test, step)]
        part = [test for test in tests if name in self._reached(test, lambda node: step(node) | _by_parameter(node))]
        return [_sentence(test) + ("" if test in whole else PART) for test in part]

    def _reached(self, name: str, step: Callable[[ast.FunctionDef], set[str]]) -> set[str]:
        reached, new = set[str](), {name}
        while new:
            reached |= new
            found = {other for each in new for other in step(self._functions[each])}
            new = (found & self._functions.keys()) - reached
        return reached


def _fixtures(function: ast.FunctionDef) -> set[str]:
    """Return the names of a function's fixtures."""
    requested = {name.value for name in _requested(function) if isinstance(name, ast.Constant)}
    return {argument.arg for argument in function.args.args} | requested


def _by_parameter(function: ast.FunctionDef) -> set[str]:
    """Return the names of the fixtures of which a parametrized fixture requests one for each parameter."""
    lists = [each.value for node in ast.walk(function) if isinstance(node, ast.Call) for each in node.keywords]
    parameters = [value.value for each in lists if isinstance(each, ast.List) for value in each.elts]
    starts = [name.values[0].value for name in _requested(function) if isinstance(name, ast.JoinedStr)]
    return {f"{start}{parameter}" for start in starts for parameter in parameters}


def _requested(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """Yield what a function passes to pytest's ``getfixturevalue``."""
    for node in ast.walk(function):
        match node:
            case ast.Call(ast.Attribute(_, "getfixturevalue"), [name]):
                yield name


def _names(function: ast.FunctionDef) -> set[str]:
    """Return the names of its fixtures, and of what it calls."""
    nodes = list(ast.walk(function))
    called = {node.id for node in nodes if isinstance(node, ast.Name)}
    return _fixtures(function) | called | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, str, Iterable[str]]]) -> Iterator[str]:
    yield from (f".. list-table:: {title}", "   :header-rows: 1", "   :class: contract")
    yield from (f"   :widths: {' '.join(map(str, (20, 40, 40)[: len(head)]))}", "")
    yield from (f"   {'  ' if number else '* '}- {cell}" for number, cell in enumerate(head))
    for name, text, tests in rows:
        yield from (f"   * - ``{name}``", f"     - {text}")
        if len(head) > 2:
            yield from (f"     {' ' if number else '-'} - {test}" for number, test in enumerate(tests))
            if not tests:
                yield "     -"
    yield ""


def _sentence(test: str) -> str:
    """Return the name of a test, which is a sentence, as one."""
    return test.removeprefix(TEST).replace("_", " ")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("contract", Contract)
    return {"parallel_read_safe": True}
