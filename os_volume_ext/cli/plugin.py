"""``os-volume-ext plugin``: distributions of backends and catalogs."""

import argparse
import importlib.util
import keyword
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from cliff.command import Command

from ..errors import ConfigurationError
from . import config
from .extras import is_installed

EXAMPLES = {"backend": "marks", "catalog": "inventory"}
"""The name of the plugin in the template of each kind; its class has that name too."""

NAME = re.compile(r"[a-z]([a-z0-9_]{0,38}[a-z0-9])?")
"""Names of plugins, which become names of modules and of distributions."""

GROUPS = ("os_volume_ext.backends", "os_volume_ext.catalogs")

_TAKEN_BY_TOOLS = {"conftest": "pytest", "setup": "setuptools", "test": "pytest"}
"""The tools that use a module of their own accord, by how its name begins."""


class New(config.OwnCommand, Command):  # type: ignore[misc]
    """Write a new plugin: a distribution with a backend or a catalog, and with its tests, which pass."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", action=config.Text, help="the name of the plugin and of its module")
        parser.add_argument("--kind", required=True, choices=list(EXAMPLES), help="what the plugin is")
        parser.add_argument(
            "--directory",
            metavar="DIR",
            action=config.Text,
            maximum=config.MAX_PATH,
            help="the directory to create for it (default: ./NAME)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        name, kind = parsed_args.name, parsed_args.kind
        directory = Path(parsed_args.directory or name).absolute()
        if not NAME.fullmatch(name):
            raise ConfigurationError(f"NAME is {name!r}: it must match ^{NAME.pattern}$, as acme_disks does")
        if reason := next(_reasons_against(name), None):
            raise ConfigurationError(f"NAME is {name!r}: {reason}: choose another name")
        files = _render(kind, name)
        _write(directory, files)
        self.app.stdout.write(
            f"{directory} has the {kind} {name} and its tests. Its README.rst has the next steps: "
            "pip install -e '.[test]', pytest, os-volume-ext check, os-volume-ext serve.\n"
        )


def _reasons_against(name: str) -> Iterator[str]:
    """Yield why a plugin, its module and its distribution can't have a name."""
    if keyword.iskeyword(name):
        yield "it is a keyword of Python"
    for start, tool in _TAKEN_BY_TOOLS.items():
        if name.startswith(start):
            yield f"{tool} gives modules whose names begin with {start} a meaning of its own"
    for point in _plugins(name):
        yield f"{point.dist.name if point.dist else 'a distribution'} has a plugin of that name"
    if name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        yield "there is a Python module of that name"
    if is_installed(name):
        yield "a distribution of that name is installed"


def _plugins(name: str) -> Iterator[EntryPoint]:
    for group in GROUPS:
        yield from entry_points(group=group, name=name)


def _render(kind: str, name: str) -> Mapping[str, str]:
    """Return the text of each file of a plugin: those of the template, with the example's names replaced."""
    example = EXAMPLES[kind]
    replacements = {example: name, example.title(): name.title().replace("_", "")}
    found = re.compile("|".join(replacements))

    def replace(text: str) -> str:
        return found.sub(lambda match: replacements[match[0]], text)

    template = resources.files(__package__) / "templates" / kind
    return {replace(file.name): replace(file.read_text()) for file in template.iterdir() if file.is_file()}


def _write(directory: Path, files: Mapping[str, str]) -> None:
    """Create a directory with these files, or nothing.

    :raises ConfigurationError: if it exists, or can't be created.
    """
    try:
        directory.mkdir()
    except OSError as error:
        raise ConfigurationError(
            f"--directory: {directory} can't be created: {error.strerror}: name another"
        ) from error
    try:
        for name, text in files.items():
            (directory / name).write_text(text)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise ConfigurationError(f"--directory: {directory} can't be written: {error.strerror}") from error
