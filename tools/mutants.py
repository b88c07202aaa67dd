"""Run mutation tests: change one thing in a module at a time, and list the changes that its tests do not notice.

The mutations are cosmic-ray's, since mutmut 3 changes neither decorated functions nor statements outside of functions,
which are most of ``registry``; and two more, of strings and of statements. Its commands are not used, because they
change the files of the tree itself. This changes a copy in ``build/mutants``.
"""

import argparse
import ast
import contextlib
import difflib
import importlib
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import parso
import pytest
import yaml
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "mutants"
TREE = BUILD / "tree"
OUTPUT = BUILD / "output.txt"
IMPORTED = BUILD / "imported.txt"
TESTS = ROOT / "tests" / "mutants" / "modules.yaml"
EQUIVALENT = ROOT / "tests" / "mutants" / "equivalent.yaml"
MAX_SURVIVED = 5  # percent, in each module
FORK = multiprocessing.get_context("fork")

# Of cosmic-ray's replacements of one operator by any other, those that a programmer could confuse.
COMPARISONS = (
    *("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is"),
    *("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"),
)
BINARY = (
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Div", "Pow_Mul"),
    *("BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitOr", "LShift_RShift", "RShift_LShift"),
)
NAMES = (
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "NumberReplacer"),
    *("RemoveDecorator", "ZeroIterationForLoop"),
    *(f"ReplaceUnaryOperator_Delete_{name}" for name in ("Not", "USub", "Invert")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in COMPARISONS),
    *(f"ReplaceBinaryOperator_{pair}" for pair in BINARY),
)


class ChangeString(Operator):
    """Insert something at the beginning of a string that is not a docstring."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "fstring_string" or (node.type == "string" and node.parent.type != "simple_stmt"):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        start = 0 if node.type == "fstring_string" else len(node.string_prefix) + 1
        node.value = f"{node.value[:start]}XX{node.value[start:]}"
        return node

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return (Example("x = 'a'", "x = 'XXa'"), Example("x = f'a{b}'", "x = f'XXa{b}'"))


class RemoveStatement(Operator):
    """Replace a statement that is a call, a raise or an augmented assignment by ``pass``."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "simple_stmt" and self._is_removed(node.children[0]):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        statement = node.children[0]
        node.children[0] = parso.python.tree.Name("pass", statement.start_pos, statement.get_first_leaf().prefix)
        return node

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return (Example("f(x)\n", "pass\n"), Example("x += 1\n", "pass\n"))

    @staticmethod
    def _is_removed(statement: Any) -> bool:
        if statement.type == "expr_stmt":
            return bool(statement.children[1].type == "operator" and statement.children[1].value not in ("=", ":="))
        return statement.type in ("atom_expr", "await_expr", "raise_stmt")


OPERATORS: tuple[type[Operator], ...] = (
    *(get_operator(f"core/{name}") for name in NAMES),
    ChangeString,
    RemoveStatement,
)


@dataclass(frozen=True, order=True)
class Mutant:
    """One change of a module, without its line number, so that it stays the same when other lines change."""

    module: str
    """The path of its file."""
    function: str
    """The qualified name of the function or class, or an empty string."""
    before: str
    after: str
    number: int = 1
    """To tell apart several with the same text in the same function."""

    def __str__(self) -> str:
        number = f" ({self.number})" if self.number > 1 else ""
        return f"{self.module} {self.function}{number}\n    - {self.before}\n    + {self.after}"


def mutants(module: str, source: str) -> dict[Mutant, str]:
    """Return the mutants of a module and the source of each.

    :param module: the path of its file.
    :param source: what is in it.
    """
    # Annotations are left out, since they have no effect. So is what differs from another mutant in spaces only.
    seen = {without_annotations(source)}
    found: dict[Mutant, str] = {}
    for mutated in mutated_sources(source):
        try:
            parsed = without_annotations(mutated)
        except (SyntaxError, ValueError):
            continue
        if parsed not in seen:
            seen.add(parsed)
            found[describe(module, source, mutated, found)] = mutated
    return found


def mutated_sources(source: str) -> Iterator[str]:
    """Yield the source with one change after the other."""
    for operator in OPERATORS:
        count = sum(len(list(operator().mutation_positions(node))) for node in ast_nodes(get_ast(source)))
        for occurrence in range(count):
            with contextlib.suppress(AttributeError):  # cosmic-ray can't replace an exception with a dotted name
                yield mutate_code(source, operator(), occurrence)


def without_annotations(source: str) -> str:
    """Return what does not differ where only layout and annotations do."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arguments):  # cosmic-ray takes the "*" before keyword arguments for an operator
            node.args, node.posonlyargs, node.kwonlyargs = node.posonlyargs + node.args + node.kwonlyargs, [], []
            node.defaults, node.kw_defaults = node.defaults + [each for each in node.kw_defaults if each], []
    return ast.dump(tree)


def describe(module: str, source: str, mutated: str, others: dict[Mutant, str]) -> Mutant:
    """Return the mutant that a changed source is.

    :param module: the path of the module's file.
    :param source: what is in it.
    :param mutated: the changed source.
    :param others: those before it.
    """
    old, new = source.splitlines(), mutated.splitlines()
    changes = [
        each for each in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if each[0] != "equal"
    ]
    first, last = changes[0], changes[-1]
    before, after = (" ".join(" ".join(lines).split()) for lines in (old[first[1] : last[2]], new[first[3] : last[4]]))
    function = qualified_name(source, first[1] + 1)
    number = 1
    while (mutant := Mutant(module, function, before, after, number)) in others:
        number += 1
    return mutant


def qualified_name(source: str, line: int) -> str:
    """Return the qualified name of the function or class that a line is in, or an empty string."""
    names = []
    nodes: list[ast.stmt] = ast.parse(source).body
    while nodes:
        inside = [
            node
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and min([node.lineno, *(each.lineno for each in node.decorator_list)]) <= line <= (node.end_lineno or 0)
        ]
        names += [node.name for node in inside]
        nodes = [child for node in inside for child in node.body]
    return ".".join(names)


def run_tests(arguments: str, timeout: float | None = None) -> str:
    """Run tests in the copy until one fails, in a process of their own.

    :param arguments: pytest's.
    :param timeout: seconds; None: this is the run without a mutant, which compiles the copy and lists what it imported.
    :returns: "survived", if all passed, "killed" or "timed out".
    """
    process = FORK.Process(target=run_pytest, args=(arguments, timeout is None))
    process.start()
    process.join(timeout)
    result = {None: "timed out", 0: "survived"}.get(process.exitcode, "killed")
    with contextlib.suppress(ProcessLookupError):  # there is none left
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
    process.join()
    return result


def run_pytest(arguments: str, unchanged: bool) -> None:
    """Be the process that runs the tests."""
    os.setsid()
    os.chdir(TREE)
    sys.path.insert(0, str(TREE))
    os.environ["PYTHONPATH"] = str(TREE)  # for the processes that tests start
    # What is compiled has its source's time in seconds only, so a mutant's must not be kept.
    sys.dont_write_bytecode = not unchanged
    with OUTPUT.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    # Hypothesis must try the same for each mutant.
    options = "-x -q -p no:xdist -p no:cacheprovider --hypothesis-seed=0 -W ignore::pytest.PytestAssertRewriteWarning"
    status = pytest.main([*shlex.split(options), *shlex.split(arguments)])
    if unchanged:
        IMPORTED.write_text("\n".join(name for name, module in sys.modules.items() if is_dependency(name, module)))
    sys.exit(int(status))


def is_dependency(name: str, module: Any) -> bool:
    """Return whether an imported module is installed, and not part of the copy."""
    path = Path(getattr(module, "__file__", None) or "/")
    return module.__name__ == name != "__main__" and any(map(path.is_relative_to, (sys.prefix, sys.base_prefix)))


def import_dependencies() -> None:
    """Import what the run without a mutant did, so that the processes begin with it, which saves most of their time."""
    for name in IMPORTED.read_text().splitlines():
        with contextlib.suppress(
            Exception
        ):  # some can't be imported in this order, and will be by those that need them
            importlib.import_module(name)


def copy_tree() -> None:
    """Copy the tree to where it can be changed."""
    shutil.rmtree(TREE, ignore_errors=True)
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    shutil.copytree(ROOT, TREE, symlinks=True, ignore=shutil.ignore_patterns(".git", *ignored))


class Results:
    """What became of the mutants of a module, in a file."""

    def __init__(self, module: str) -> None:
        self._path = BUILD / f"{module.replace('/', '.')}.json"

    def read(self) -> dict[Mutant, str]:
        """Return the results of the last run."""
        if not self._path.exists():
            return {}
        return {Mutant(**each["mutant"]): each["result"] for each in json.loads(self._path.read_text())}

    def write(self, results: dict[Mutant, str]) -> None:
        """Replace them."""
        found = [{"mutant": asdict(mutant), "result": result} for mutant, result in results.items()]
        self._path.write_text(json.dumps(found, indent=1))


def test_module(module: str, arguments: str, again: bool) -> dict[Mutant, str]:
    """Run the tests of a module with each of its mutants.

    :param module: the path of its file.
    :param arguments: pytest's, which choose the tests.
    :param again: whether to run only what did not fail in the last run.
    :returns: the result of each mutant.
    """
    path = TREE / module
    source = (ROOT / module).read_text()
    began = time.monotonic()
    if run_tests(arguments) != "survived":
        sys.exit(f"{module}: its tests fail without a mutant: {arguments}\n{OUTPUT.read_text()}")
    import_dependencies()
    timeout = 10 + 5 * (time.monotonic() - began)
    found = mutants(module, source)
    previous = Results(module).read() if again else {}
    results = {mutant: result for mutant, result in previous.items() if mutant in found and result != "survived"}
    try:
        for mutant, mutated in found.items():
            if mutant not in results:
                path.write_text(mutated)
                results[mutant] = run_tests(arguments, timeout)
                Results(module).write(results)
                print(f"{len(results)}/{len(found)} {results[mutant]}: {mutant}", file=sys.stderr, flush=True)
    finally:
        path.write_text(source)
    return results


def read_equivalent() -> dict[Mutant, str]:
    """Return the mutants that no test can notice, and why."""
    found = {}
    for each in yaml.safe_load(EQUIVALENT.read_text()) or []:
        reason = each.pop("reason")
        found[Mutant(**{name: str(value) for name, value in each.items()} | {"number": each.get("number", 1)})] = reason
    return found


def report(results: dict[str, dict[Mutant, str]], equivalent: dict[Mutant, str]) -> tuple[str, bool]:
    """Return a table of modules with what survived below it, and whether it is as it should be.

    :param results: those of each module.
    :param equivalent: the mutants that no test can notice.
    """
    line = "{:<52}{:>8}{:>8}{:>10}{:>12}{:>11}{:>11}".format
    lines = [line("Module", "mutants", "killed", "timed out", "equivalent", "survived", "percent")]
    survivors, good = [], True
    for module, found in results.items():
        counts = Counter(found.values())
        survived = [mutant for mutant, result in found.items() if result == "survived" and mutant not in equivalent]
        listed = counts["survived"] - len(survived)
        percent = 100 * len(survived) / max(1, len(found) - listed)
        good = good and percent <= MAX_SURVIVED
        survivors += survived
        numbers = (len(found), counts["killed"], counts["timed out"], listed, len(survived), f"{percent:.1f}")
        lines.append(line(module, *numbers))
    lines += [f"\nSurvived: {mutant}" for mutant in survivors]
    wrong = [each for each in equivalent if each.module in results and results[each.module].get(each) != "survived"]
    lines += [f"\nListed as equivalent, but killed or not a mutant any more: {mutant}" for mutant in wrong]
    return "\n".join(lines), good and not wrong


def main() -> None:
    """Run the command."""
    tests: dict[str, str] = yaml.safe_load(TESTS.read_text())
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="a path or a directory; none: all modules")
    parser.add_argument("--again", action="store_true", help="run what survived or did not run last time")
    parser.add_argument("--report", action="store_true", help="report the last results, and run nothing")
    arguments = parser.parse_args()
    chosen = [each for each in tests if not arguments.modules or each.startswith(tuple(arguments.modules))]
    if not chosen:
        parser.error(f"no module of {TESTS.relative_to(ROOT)} is in {' '.join(arguments.modules)}")
    BUILD.mkdir(parents=True, exist_ok=True)
    if arguments.report:
        results = {module: Results(module).read() for module in chosen}
    else:
        copy_tree()
        results = {module: test_module(module, tests[module], arguments.again) for module in chosen}
    text, good = report(results, read_equivalent())
    print(text)
    sys.exit(not good)


if __name__ == "__main__":
    main()
