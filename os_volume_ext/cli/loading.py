"""Loading from a paste file; errors name the file and the section."""

import configparser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from paste.deploy.loadwsgi import FILTER, ConfigLoader, loadcontext

from ..errors import ConfigurationError, OSVolumeExtError
from ..filter import filter_factory
from ..wsgi import WSGIApp
from . import extras

PACKAGE = "os_volume_ext."

# What PasteDeploy takes for an application.
_APPLICATIONS = {"app", "application", "composite", "composit", "pipeline", "filter-app"}


class Located(ConfigurationError):
    """An error in a paste file; the message names the file and the section."""


@contextmanager
def located(path: Path, section: str) -> Iterator[None]:
    """Name the place in an error of this package; of nested places, the innermost.

    :param path: the paste file.
    :param section: its section, such as ``filter:volumes``.
    """
    try:
        yield
    except Located:
        raise
    except OSVolumeExtError as error:
        raise Located(f"{path}: [{section}]: {error}") from error


@contextmanager
def loading(path: Path, section: str) -> Iterator[None]:
    """Name the place in any error of what a section loads.

    :param path: the paste file.
    :param section: its section.
    """
    try:
        with located(path, section):
            yield
    except Located:
        raise
    except configparser.InterpolationError as error:
        raise interpolation_error(path, error) from None
    except Exception as error:  # other factories can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise Located(f"{path}: [{section}] can't be loaded: {reason}{_remedy(error)}") from error


def _remedy(error: Exception) -> str:
    if isinstance(error, ImportError):
        extra = extras.providing(error.name) if error.name else None
        return f": install os-volume-ext[{extra}]" if extra else ": install its package here, or correct the section"
    if isinstance(error, LookupError) and str(error).startswith("Entry point "):
        return ": correct the name"
    return ": run os-volume-ext --debug to see the traceback"


def interpolation_error(path: Path, error: configparser.InterpolationError) -> Located:
    """Return the error for a value whose variables can't be replaced; it does not show the value: it may be a password.

    :param path: the paste file.
    :param error: the parser's.
    """
    where = f"{path}: [{error.section}]"
    match error:
        case configparser.InterpolationMissingOptionError():
            name = error.reference
            message = f"{where} uses the undefined variable {name}: define it with --set {name}=VALUE"
        case configparser.InterpolationSyntaxError():
            message = f"{where} has a % in {error.option} that must be written %%"
        case _:
            message = f"{where} has variables in {error.option} that refer to each other"
    return Located(message)


class Loader(ConfigLoader):  # type: ignore[misc]
    """Loads what a paste file defines."""

    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        """Read the file.

        :param path: the paste file.
        :param variables: those that the file may use besides its own.
        :raises ConfigurationError: if it is not a paste file.
        """
        read_paste(path)
        super().__init__(str(path))
        self.path = path
        self.update_defaults(variables, overwrite=False)

    def load(self, name: str) -> WSGIApp:
        """Load an application.

        :param name: its section's, without ``app:`` or ``pipeline:``; or a URI such as ``config:other.ini``.
        :raises ConfigurationError: if it can't be loaded.
        """
        check_application(self.path, name)
        with loading(self.path, name):
            app: WSGIApp = self.get_app(name)
        return app

    def get_context(self, object_type: Any, name: str | None = None, global_conf: Any = None) -> Any:
        """Return PasteDeploy's context, changed so that errors name the section."""
        if self.absolute_name(name):  # the section that uses it is named
            context, section = super().get_context(object_type, name, global_conf), str(name)
        else:
            section = self._section(object_type, name)
            with loading(self.path, section):
                context = super().get_context(object_type, name, global_conf)
        context.create = partial(self.create, context, section)
        return context

    def _section(self, object_type: Any, name: str | None) -> str:
        try:
            return str(self.find_config_section(object_type, name))
        except LookupError as error:
            if not str(error).startswith("No section "):  # but two
                raise
            kind = "filter" if object_type is FILTER else "app"
            raise ConfigurationError(
                f"there is no section [{kind}:{name}]: add it, or correct the name where it is used"
            ) from error

    def create(self, context: Any, section: str) -> Any:
        """Make what a context describes."""
        with loading(self.path, section):
            made = context.object_type.invoke(context)
        return partial(self._apply, made, section) if context.object_type is FILTER else made

    def _apply(self, make: Any, section: str, app: WSGIApp) -> Any:
        with loading(self.path, section):
            return make(app)


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


def check_application(path: Path, name: str) -> None:
    """Check that a paste file has an application.

    :param name: its section's, without ``app:`` or ``pipeline:``; or a URI such as ``config:other.ini``.
    :raises ConfigurationError: if it does not; the message names those that it has.
    """
    sections = [section.partition(":") for section in read_paste(path).sections()]
    found = [section.strip() for kind, _, section in sections if kind in _APPLICATIONS]
    if ":" in name or name in found:
        return
    if not found:
        raise ConfigurationError(
            f"--paste: {path} has no pipeline and no application: add a section [pipeline:{name}] that names an auth "
            "filter, the os-volume-ext filter and the compute API's application, and the sections that are missing"
        )
    raise ConfigurationError(f"--name is {name!r}: {path} has no such application: choose one of: {', '.join(found)}")


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
                raise interpolation_error(path, error) from None
            continue
        except (LookupError, ImportError, configparser.Error):
            continue  # a filter of another package, which is not installed here
        if context.object is filter_factory:
            found[name.strip()] = dict(context.local_conf)
    return found
