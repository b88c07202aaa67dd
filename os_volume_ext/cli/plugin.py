"""``os-volume-ext plugin``: distributions of backends and catalogs."""

import argparse
import importlib.util
import keyword
import re
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from cliff.command import Command

from ..errors import ConfigurationError
from . import config

EXAMPLES = {"backend": "marks", "catalog": "inventory"}
"""The name of the plugin in the template of each kind; its class has that name too."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""Names of plugins, which become names of modules."""


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
        _check_name(name)
        files = _render(kind, name)
        _write(directory, files)
        self.app.stdout.write(
            f"{directory} has the {kind} {name} and its tests. Run them there: pip install '.[test]', then pytest.\n"
        )


def _check_name(name: str) -> None:
    """Check that a plugin's module can have a name.

    :raises ConfigurationError: if not.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"NAME is {name!r}: it must match ^{NAME.pattern}$")
    if keyword.iskeyword(name):
        raise ConfigurationError(f"NAME is {name!r}, a keyword of Python: choose another name")
    if importlib.util.find_spec(name) is not None:
        raise ConfigurationError(f"NAME is {name!r}, and there is a Python module of that name: choose another name")


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
        raise ConfigurationError(f"--directory: {directory} can't be created: {error.strerror}") from error
    try:
        for name, text in files.items():
            (directory / name).write_text(text)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise ConfigurationError(f"--directory: {directory} can't be written: {error.strerror}") from error
