"""Selecting the paste file and the filter section that a command is about."""

import argparse
import configparser
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paste.deploy.loadwsgi import FILTER, loadcontext

from ..errors import ConfigurationError
from ..filter import filter_factory
from ..records import Records, open_records
from ..registry import schema
from ..registry.database import Database
from ..settings import Settings

if TYPE_CHECKING:
    from ..assembly import Assembly

PACKAGE = "os_volume_ext."
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


def read_paste(path: Path) -> configparser.RawConfigParser:
    """Read a paste file; variables are not replaced.

    :raises ConfigurationError: if it can't be read, or it is not a paste file.
    """
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(path.read_text())
    except PermissionError as error:
        raise _unreadable(path, f"{error.strerror}: run this as the user of the compute API") from error
    except OSError as error:
        raise _unreadable(path, f"{error.strerror}: name the compute API's paste file") from error
    except UnicodeError as error:
        raise _unreadable(path, "it is not a text in UTF-8: name the compute API's paste file") from error
    except ValueError as error:  # a path in the environment may have any characters
        raise _unreadable(path, str(error)) from error
    except configparser.Error as error:
        raise ConfigurationError(
            f"--paste: {path} is not a paste file: {_malformed(error)}: correct it, or name another file"
        ) from error
    return parser


def _unreadable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"--paste: {path} can't be read: {reason}")


def _malformed(error: configparser.Error) -> str:
    """Return where a file is malformed, without the line itself: it may have a password."""
    match error:
        case configparser.MissingSectionHeaderError():
            return f"line {error.lineno} comes before the first section"
        case configparser.ParsingError():
            number, _ = error.errors[0]
            return f"line {number} is neither a section nor an option"
        case _:
            return str(error).splitlines()[0]


# What PasteDeploy takes for an application.
_APPLICATIONS = {"app", "application", "composite", "composit", "pipeline", "filter-app"}


def check_application(path: Path, name: str) -> None:
    """Check that a paste file has an application.

    :param name: its section's, without ``app:`` or ``pipeline:``; or a URI such as ``config:other.ini``.
    :raises ConfigurationError: if it does not; the message names those that it has.
    """
    sections = [section.partition(":") for section in read_paste(path).sections()]
    found = [section.strip() for kind, _, section in sections if kind in _APPLICATIONS]
    if ":" in name or name in found:
        return
    remedy = f"choose one of: {', '.join(found)}" if found else "add a section such as [pipeline:main]"
    raise ConfigurationError(f"--name is {name!r}: {path} has no such application: {remedy}")


def unloadable(name: str, error: Exception) -> ConfigurationError:
    """Return the error for what can't be loaded from a paste file.

    :param name: the section's, or a URI such as ``egg:Paste#urlmap``.
    :param error: PasteDeploy's, or that of any factory.
    """
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return ConfigurationError(f"{name} can't be loaded: {reason}{_remedy(error)}")


def _remedy(error: Exception) -> str:
    if isinstance(error, ImportError):
        return ": install its package here, or correct the section"
    if isinstance(error, LookupError) and str(error).startswith(("No section ", "Entry point ")):
        return ": correct the name, or add the section"
    return ""


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


def settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings of the selected filter.

    :raises ConfigurationError: if there is no such filter, several match, or an option is invalid.
    """
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
    return Settings.parse(sections[name])


def filter_sections(path: Path, global_conf: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the options of each os-volume-ext filter of a paste file, by the section's name.

    :param global_conf: variables that the file may use.
    :raises ConfigurationError: if it is not a paste file, or a filter uses an undefined variable.
    """
    parser = read_paste(path)
    found = {}
    for section in parser.sections():
        kind, _, name = section.partition(":")
        if kind.strip() != "filter" or not parser.get(section, "paste.filter_factory", fallback=PACKAGE).startswith(
            PACKAGE
        ):
            continue  # loading another package's filter could import all of Nova
        try:
            context = loadcontext(FILTER, f"config:{path}", name=name.strip(), global_conf=dict(global_conf))
        except configparser.InterpolationError as error:
            if "os-volume-ext" in parser.get(section, "use", fallback=""):
                raise interpolation_error(error) from None
            continue
        except (LookupError, ImportError, configparser.Error):
            continue  # a filter of another package, which is not installed here
        if context.object is filter_factory:
            found[name.strip()] = dict(context.local_conf)
    return found


def interpolation_error(error: configparser.InterpolationError) -> ConfigurationError:
    """Return the error for a value whose variables can't be replaced; it does not show the value: it may be a password.

    :param error: the parser's.
    """
    where = f"[{error.section}] of the paste file"
    match error:
        case configparser.InterpolationMissingOptionError():
            name = error.reference
            message = f"{where} uses the undefined variable {name}: define it with --set {name}=VALUE"
        case configparser.InterpolationSyntaxError():
            message = f"{where} has a % in {error.option} that must be written %%"
        case _:
            message = f"{where} has variables in {error.option} that refer to each other"
    return ConfigurationError(message)


@contextmanager
def assembled(arguments: argparse.Namespace, *, create: bool = False, read_only: bool = False) -> Iterator["Assembly"]:
    """Provide the objects of the selected filter, and close them at the end.

    :param create: whether a missing SQLite file is created.
    :param read_only: whether an SQLite file is not upgraded, and the backend is not prepared.
    :raises ConfigurationError: if they can't be made.
    """
    from ..assembly import assemble_current, assemble_read_only  # most commands do not need what it imports

    found = settings(arguments)
    if not create:
        schema.refuse_missing(Database(found.database_options))
    with closing(assemble_read_only(found) if read_only else assemble_current(found)) as assembly:
        yield assembly


@contextmanager
def records(arguments: argparse.Namespace, *, create: bool = False, read_only: bool = False) -> Iterator[Records]:
    """Provide what the selected filter has in its database, and close it at the end. The backend is not made.

    :param create: whether a missing SQLite file is created.
    :param read_only: whether an SQLite file is not upgraded.
    :raises ConfigurationError: if an option is invalid, or the database can't be used.
    """
    found = settings(arguments)
    if not create:
        schema.refuse_missing(Database(found.database_options))
    with closing(open_records(found, read_only=read_only)) as opened:
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
