"""The extras of this distribution, which install what only some deployments need."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires

_REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+)(\[(?P<extras>.*)\])?.*; *extra == ["'](?P<extra>\w+)["']""")


def providing(package: str) -> str | None:
    """Return the extra that installs a package; None if there is none, it is for development, or it is installed.

    :param package: the name of a distribution, such as ``oslo.middleware``, or of a module, such as ``paste.urlmap``.
    """
    names = _normalize(package), _normalize(package.partition(".")[0])
    found = (extra for name, extra in _deployed() if _normalize(name) in names and not is_installed(name))
    return next(found, None)


def _deployed() -> Iterator[tuple[str, str]]:
    """Yield each distribution that an extra of ``all`` installs, with that extra."""
    found = [matched for line in requires("os-volume-ext") or () if (matched := _REQUIREMENT.match(line))]
    [names] = [matched["extras"].split(",") for matched in found if matched["extra"] == "all"]
    yield from ((matched["name"], matched["extra"]) for matched in found if matched["extra"] in names)


def is_installed(name: str) -> bool:
    """Return whether a distribution is installed."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()
