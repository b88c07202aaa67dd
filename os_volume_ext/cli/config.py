"""What the commands share: which paste file they read, and which of its filter sections is meant."""

import argparse
import configparser
import os
from collections.abc import Mapping
from pathlib import Path

from paste.deploy.loadwsgi import FILTER, loadcontext

from ..assembly import Assembly, assemble_current
from ..errors import ConfigurationError
from ..filter import filter_factory
from ..settings import Settings

OURS = "os_volume_ext."


def add_paste(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which paste file is meant."""
    parser.add_argument(
        "--paste",
        metavar="FILE",
        default=os.environ.get("OS_VOLUME_EXT_PASTE"),
        help="the compute API's paste file (default: $OS_VOLUME_EXT_PASTE)",
    )
    parser.add_argument("--var", metavar="DIR", default="var", help="what %%(var)s is in that file (default: ./var)")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        dest="variables",
        type=_variable,
        action="append",
        default=[],
        help="what %%(NAME)s is in that file; may be given several times",
    )


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


class FilterCommand:
    """A command about one filter of a paste file; mixed in before cliff's class."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser that also takes what says which filter is meant."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        add_paste(parser)
        parser.add_argument(
            "--filter", metavar="SECTION", help="the filter's section, where the paste file has several of ours"
        )
        self.add_arguments(parser)
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of the command itself."""


def paste_file(arguments: argparse.Namespace) -> Path:
    """Return the paste file's absolute path. :raises ConfigurationError: if none is named, or it can't be read."""
    if not arguments.paste:
        raise ConfigurationError("which paste file? Give --paste FILE, or set OS_VOLUME_EXT_PASTE")
    path = Path(arguments.paste).absolute()
    try:
        path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--paste: {path} can't be read: {error}") from error
    return path


def variables(arguments: argparse.Namespace) -> dict[str, str]:
    """Return what the paste file may refer to besides what it says itself."""
    return {"var": str(Path(arguments.var).absolute()), **dict(arguments.variables)}


def settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings of the filter that is meant. :raises ConfigurationError: if that is not clear."""
    sections = filter_sections(paste_file(arguments), variables(arguments))
    name = arguments.filter
    if name is None:
        if len(sections) != 1:
            raise ConfigurationError(f"which filter? Give --filter SECTION, one of: {', '.join(sections) or 'none'}")
        (name,) = sections
    if name not in sections:
        raise ConfigurationError(f"--filter: {name} is no section of ours; there are: {', '.join(sections) or 'none'}")
    return Settings.parse(sections[name])


def filter_sections(path: Path, global_conf: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the options of each section of a paste file that uses our filter, by its name."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path)
    except configparser.Error as error:
        raise ConfigurationError(f"--paste: {path} is no paste file: {str(error).splitlines()[0]}") from error
    found = {}
    for section in parser.sections():
        kind, _, name = section.partition(":")
        if kind.strip() != "filter" or not parser.get(section, "paste.filter_factory", fallback=OURS).startswith(OURS):
            continue  # to load somebody else's filter would import all of Nova
        try:
            context = loadcontext(FILTER, f"config:{path}", name=name.strip(), global_conf=dict(global_conf))
        except configparser.InterpolationError as error:
            if "os-volume-ext" in parser.get(section, "use", fallback=""):
                what = f"[{section}] refers to what neither the file nor --set gives"
                raise ConfigurationError(f"--paste: {what}: {' '.join(str(error).split())}") from error
            continue
        except (LookupError, ImportError, configparser.Error):
            continue  # somebody else's filter, of a package that is not installed here
        if context.object is filter_factory:
            found[name.strip()] = dict(context.local_conf)
    return found


def assembly(arguments: argparse.Namespace) -> Assembly:
    """Put together what the filter that is meant works with. :raises ConfigurationError: if that can't be done."""
    return assemble_current(settings(arguments))


def canonical_id(text: str, arguments_settings: Settings, what: str) -> str:
    """Return an id as the dialect has it. :raises ConfigurationError: if it has the wrong form."""
    found = arguments_settings.dialect.read_id(text)
    if found is None:
        raise ConfigurationError(f"{text!r} is not the id of a {what}: it must be {arguments_settings.dialect.id_form}")
    return found
