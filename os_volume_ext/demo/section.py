"""The section of an os-volume-ext filter, in the paste file that a demo application is loaded from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..cli.loading import filter_sections, located
from ..errors import ConfigurationError


@contextmanager
def options_of(global_conf: Mapping[str, str], option: str, section: str) -> Iterator[dict[str, str]]:
    """Provide the options of a filter's section; an error in the block is located there.

    :param global_conf: PasteDeploy's, with the path of the paste file.
    :param option: the application's option with the section's name, for the error.
    :param section: the section's name.
    :raises ConfigurationError: if there is no os-volume-ext filter with that section.
    """
    path = Path(global_conf["__file__"])
    sections = filter_sections(path, global_conf)
    if section not in sections:
        raise ConfigurationError(f"{option} is {section!r}: it may be one of {', '.join(sections)}")
    with located(path, f"filter:{section}"):
        yield sections[section]
