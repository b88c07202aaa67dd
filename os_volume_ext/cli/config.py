"""Selecting the paste file and the filter section that a command is about."""

import argparse
import configparser
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from paste.deploy.loadwsgi import FILTER, loadcontext

from ..assembly import Assembly, assemble_current
from ..errors import ConfigurationError
from ..filter import filter_factory
from ..settings import Settings

PACKAGE = "os_volume_ext."


def add_paste(parser: argparse.ArgumentParser) -> None:
    """Add the options that select the paste file."""
    parser.add_argument(
        "--paste",
        metavar="FILE",
        default=os.environ.get("OS_VOLUME_EXT_PASTE"),
        help="the compute API's paste file (default: $OS_VOLUME_EXT_PASTE)",
    )
    parser.add_argument(
        "--var", metavar="DIR", default="var", help="the value of %%(var)s in that file (default: ./var)"
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        dest="variables",
        type=_variable,
        action="append",
        default=[],
        help="the value of %%(NAME)s in that file; may be given several times",
    )


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


class FilterCommand:
    """A command about one filter of a paste file; inherit from it before cliff's class."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser, with the options that select the filter."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        add_paste(parser)
        parser.add_argument(
            "--filter", metavar="SECTION", help="the filter's section, if the paste file has several filters"
        )
        self.add_arguments(parser)
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""


def paste_file(arguments: argparse.Namespace) -> Path:
    """Return the paste file's absolute path.

    :raises ConfigurationError: if none is given, or it can't be read.
    """
    if not arguments.paste:
        raise ConfigurationError("no paste file given: pass --paste FILE or set OS_VOLUME_EXT_PASTE")
    path = Path(arguments.paste).absolute()
    try:
        path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--paste: {path} can't be read: {error}") from error
    return path


def variables(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the variables that the paste file may use besides its own."""
    return {"var": str(Path(arguments.var).absolute()), **dict(arguments.variables)}


def settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings of the selected filter.

    :raises ConfigurationError: if there is no such filter, several match, or an option is invalid.
    """
    path = paste_file(arguments)
    sections = filter_sections(path, variables(arguments))
    if not sections:
        raise ConfigurationError(f"{path} has no os-volume-ext filter.")
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
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path)
    except configparser.Error as error:
        raise ConfigurationError(f"--paste: {path} is not a paste file: {str(error).splitlines()[0]}") from error
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
                what = f"[{section}] uses an undefined variable, which --set can define"
                raise ConfigurationError(f"--paste: {what}: {' '.join(str(error).split())}") from error
            continue
        except (LookupError, ImportError, configparser.Error):
            continue  # a filter of another package, which is not installed here
        if context.object is filter_factory:
            found[name.strip()] = dict(context.local_conf)
    return found


@contextmanager
def assembled(arguments: argparse.Namespace) -> Iterator[Assembly]:
    """Provide the objects of the selected filter, and close them at the end.

    :raises ConfigurationError: if they can't be made.
    """
    with closing(assemble_current(settings(arguments))) as assembly:
        yield assembly


def canonical_id(text: str, filter_settings: Settings, what: str) -> str:
    """Return an id in the dialect's canonical format.

    :param what: what it identifies, for the error message.
    :raises ConfigurationError: if it has another format.
    """
    found = filter_settings.dialect.read_id(text)
    if found is None:
        raise ConfigurationError(f"{text!r} is not the id of a {what}: it must be {filter_settings.dialect.id_syntax}")
    return found
