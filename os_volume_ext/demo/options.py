"""The options of a demo section in a paste file, checked at start-up."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigurationError

TRUE = frozenset(("", "1", "t", "true", "y", "yes", "on"))
"""The values that turn a query parameter on, in lowercase."""


def read(given: Mapping[str, str], **known: str | None) -> dict[str, str]:
    """Return the options, with defaults.

    :param given: the section's own options.
    :param known: the default of each option; None if it is required, "" if there is no default.
    :raises ConfigurationError: if an option is unknown or missing, with the option's name.
    """
    for name in sorted(set(given) - set(known)):
        raise ConfigurationError(f"{name} is not an option here; the options are: {', '.join(known) or 'none'}")
    options = {**known, **given}
    for name, value in options.items():
        if not value and known[name] != "":
            raise ConfigurationError(f"{name} is missing; the options are: {', '.join(known)}")
    return {name: value for name, value in options.items() if value}


def absolute_path(options: Mapping[str, str], name: str) -> Path:
    """Return an option that is an absolute path.

    :raises ConfigurationError: if it is a relative path.
    """
    path = Path(options[name])
    if not path.is_absolute():
        raise ConfigurationError(
            f"{name} must be an absolute path, not {options[name]!r}: %(here)s is the directory of the paste file"
        )
    return path


def url_path(options: Mapping[str, str], name: str) -> str:
    """Return an option that is the path of a URL, such as ``/v2.1``.

    :raises ConfigurationError: if it does not begin with a slash.
    """
    if not options[name].startswith("/"):
        raise ConfigurationError(f"{name} must be a path that begins with /, not {options[name]!r}")
    return options[name].rstrip("/")
