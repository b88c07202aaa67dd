"""The section of an os-volume-ext filter, in the paste file that a demo application is loaded from."""

from collections.abc import Mapping
from pathlib import Path

from ..cli.config import filter_sections
from ..errors import ConfigurationError


def options_of(global_conf: Mapping[str, str], option: str, section: str) -> dict[str, str]:
    """Return the options of a filter's section.

    :param global_conf: PasteDeploy's, with the path of the paste file.
    :param option: the application's option with the section's name, for the error.
    :param section: the section's name.
    :raises ConfigurationError: if there is no os-volume-ext filter with that section.
    """
    sections = filter_sections(Path(global_conf["__file__"]), global_conf)
    if section not in sections:
        raise ConfigurationError(f"{option} is {section!r}: it may be one of {', '.join(sections)}")
    return sections[section]
