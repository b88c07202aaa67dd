"""Selecting the paste file and the filter section that a command is about."""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ConfigurationError
from ..records import Records, open_records
from ..registry import schema
from ..registry.database import Database
from ..settings import Settings
from .loading import filter_sections, loading, read_paste

if TYPE_CHECKING:
    from ..assembly import Assembly

T = TypeVar("T")

DEFAULT_PORT = "8774"
MAX_PORT = 65535
MAX_PATH = 4096  # characters
_MAX_SHOWN = 50  # longer values are cut in messages


class Text(argparse.Action):
    """Stores a value of 1 to ``maximum`` printable characters, by default as many as a column of the database has."""

    def __init__(self, *arguments: Any, maximum: int = 255, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._maximum = maximum

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        """Store the value.

        :raises ConfigurationError: if it is empty, too long, or has a character that can't be printed.
        """
        check_text(option_string or self.dest, values, self._maximum)
        setattr(namespace, self.dest, values)


def check_text(name: str, value: str, maximum: int, *, minimum: int = 1) -> None:
    """Check the characters of an argument; those that are not printable are NUL, line ends and malformed UTF-8.

    :param name: the argument, for the message.
    :raises ConfigurationError: if there are too few or too many, or one can't be printed.
    """
    if not minimum <= len(value) <= maximum or not value.isprintable():
        raise ConfigurationError(
            f"{name} is {value[:_MAX_SHOWN]!r}: it must have {minimum} to {maximum} printable characters"
        )


def add_paste(parser: argparse.ArgumentParser) -> None:
    """Add the options that select the paste file."""
    parser.add_argument(
        "--paste",
        metavar="FILE",
        action=Text,
        maximum=MAX_PATH,
        default=os.environ.get("OS_VOLUME_EXT_PASTE"),
        help="the compute API's paste file (default: $OS_VOLUME_EXT_PASTE)",
    )
    parser.add_argument(
        "--var",
        metavar="DIR",
        action=Text,
        maximum=MAX_PATH,
        default=os.environ.get("OS_VOLUME_EXT_VAR", "var"),
        help="the value of the variable var in that file (default: $OS_VOLUME_EXT_VAR, or ./var)",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        dest="variables",
        type=_variable,
        action="append",
        default=[],
        help="the value of the variable NAME in that file; may be given several times",
    )


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text[:_MAX_SHOWN]!r} is not NAME=VALUE")
    return name, value


class OwnCommand:
    """A command of this package; inherit from it before cliff's class."""

    def get_epilog(self) -> str:
        """Return nothing; cliff would read the metadata of all installed packages to name the one of the command."""
        return ""


class FilterCommand(OwnCommand):
    """A command about one filter of a paste file; inherit from it before cliff's class."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser, with the options that select the filter."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        add_paste(parser)
        parser.add_argument(
            "--filter",
            metavar="SECTION",
            action=Text,
            help="the filter's section, if the paste file has several filters",
        )
        self.add_arguments(parser)
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""


def paste_file(arguments: argparse.Namespace) -> Path:
    """Return the paste file's absolute path.

    :raises ConfigurationError: if none is given, it can't be read, or it is not a paste file.
    """
    if not arguments.paste:
        raise ConfigurationError("no paste file given: pass --paste FILE or set OS_VOLUME_EXT_PASTE")
    path = Path(arguments.paste).absolute()
    read_paste(path)
    return path


def variables(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the variables that the paste file may use besides its own.

    :raises ConfigurationError: if the value of one has characters that can't be printed, the port is invalid, or
        ``--var`` is no directory.
    """
    for name, value in arguments.variables:
        check_text(f"--set {name}", value, MAX_PATH, minimum=0)
    var = Path(arguments.var).absolute()
    if var.exists() and not var.is_dir() and "%(var)s" in paste_file(arguments).read_text():
        raise ConfigurationError(f"--var: {var} is not a directory: name the one that the paste file's files are in")
    return {"var": str(var), "port": str(port(arguments)), **dict(arguments.variables)}


def port(arguments: argparse.Namespace) -> int:
    """Return the port that ``serve`` listens on; the other commands have no ``--port``, and take the default.

    :raises ConfigurationError: if it is not the number of a port.
    """
    name, text = "--port", getattr(arguments, "port", None)
    if text is None:
        name, text = "OS_VOLUME_EXT_PORT", os.environ.get("OS_VOLUME_EXT_PORT", DEFAULT_PORT)
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_PORT))
    if not is_number or not 1 <= int(text) <= MAX_PORT:
        raise ConfigurationError(f"{name} is {text[:_MAX_SHOWN]!r}: it must be an integer, 1 to {MAX_PORT}")
    return int(text)


def make(arguments: argparse.Namespace, factory: Callable[[Settings], T], *, create: bool = True) -> T:
    """Make something from the settings of the selected filter.

    :param create: whether a missing SQLite file may be created.
    :raises ConfigurationError: if there is no such filter, several match, or an option is invalid; and if the factory
        raises anything, with the file and the section in the message.
    """
    path, name, options = _select(arguments)
    with loading(path, f"filter:{name}"):
        settings = Settings.parse(options)
        if not create:
            schema.refuse_missing(Database(settings.database_options))
        return factory(settings)


def _select(arguments: argparse.Namespace) -> tuple[Path, str, Mapping[str, str]]:
    path = paste_file(arguments)
    sections = filter_sections(path, variables(arguments))
    if not sections:
        raise ConfigurationError(
            f"--paste: {path} has no os-volume-ext filter: add a section with use = egg:os-volume-ext, "
            "or name another file"
        )
    name = arguments.filter
    if name is None:
        if len(sections) > 1:
            raise ConfigurationError(f"several filters found; choose one with --filter: {', '.join(sections)}")
        (name,) = sections
    if name not in sections:
        raise ConfigurationError(
            f"--filter: {name} is not an os-volume-ext filter; choose one of: {', '.join(sections)}"
        )
    return path, name, sections[name]


@contextmanager
def assembled(arguments: argparse.Namespace, *, create: bool = False, read_only: bool = False) -> Iterator["Assembly"]:
    """Provide the objects of the selected filter, and close them at the end.

    :param create: whether a missing SQLite file is created.
    :param read_only: whether an SQLite file is not upgraded, and the backend is not prepared.
    :raises ConfigurationError: if they can't be made.
    """
    from ..assembly import assemble_current, assemble_read_only  # most commands do not need what it imports

    assemble = assemble_read_only if read_only else assemble_current
    with closing(make(arguments, assemble, create=create)) as assembly:
        yield assembly


@contextmanager
def records(arguments: argparse.Namespace, *, create: bool = False, read_only: bool = False) -> Iterator[Records]:
    """Provide what the selected filter has in its database, and close it at the end. The backend is not made.

    :param create: whether a missing SQLite file is created.
    :param read_only: whether an SQLite file is not upgraded.
    :raises ConfigurationError: if an option is invalid, or the database can't be used.
    """
    with closing(make(arguments, partial(open_records, read_only=read_only), create=create)) as opened:
        yield opened


def optional_id(text: str | None, filter_settings: Settings, what: str) -> str | None:
    """Return the same as ``canonical_id``; None for None, where the argument was not given."""
    return None if text is None else canonical_id(text, filter_settings, what)


def canonical_id(text: str, filter_settings: Settings, what: str) -> str:
    """Return an id in the dialect's canonical format.

    :param what: what it identifies, for the error message.
    :raises ConfigurationError: if it has another format.
    """
    found = filter_settings.dialect.read_id(text)
    if found is None:
        shown = repr(text[:_MAX_SHOWN])
        raise ConfigurationError(f"{shown} is not the id of a {what}: it must be {filter_settings.dialect.id_syntax}")
    return found
