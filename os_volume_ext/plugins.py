"""Plugins: classes of backends and catalogs that any installed distribution may have, found by their entry points."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from stevedore.named import NamedExtensionManager

from .errors import ConfigurationError


@dataclass(frozen=True)
class Plugin:
    """A class that an entry point names."""

    group: str
    """Of the entry point."""
    name: str
    """The entry point's."""
    interface: type
    """The class whose subclass it is."""
    make: Callable[..., Any]
    """The class."""

    def __str__(self) -> str:
        """Return its name with the distribution that has it, for which all that are installed are read."""
        found = [point.dist for point in entry_points(group=self.group, name=self.name) if point.dist]
        return " of ".join([self.name, *(f"{each.name} {each.version}" for each in found[:1])])

    def describe(self, made: object) -> str:
        """Describe the plugin with the attributes that one of its objects declares."""
        declared = (f"{name} is {getattr(made, name)}" for name in self.interface.__annotations__)
        return ", ".join([str(self), *declared])


def load(option: str, name: str | None, interface: type) -> Plugin:
    """Load a plugin.

    :param option: ``backend`` or ``catalog``; the group of its entry points is ``os_volume_ext.backends`` or so.
    :param name: the entry point's.
    :param interface: the class whose subclass it must be.
    :raises ConfigurationError: if there is none of that name, it can't be imported, or it is for another version.
    """
    group = f"os_volume_ext.{option}s"

    def refuse(names: object) -> None:
        installed = sorted({point.name for point in entry_points(group=group)})
        raise ConfigurationError(
            f"{option} is {name!r}: installed are {', '.join(installed)}: choose one, or install its package"
        )

    def fail(manager: object, point: object, error: BaseException) -> None:
        raise ConfigurationError(f"{option} {name!r} can't be loaded: {error}: install what it needs") from error

    # stevedore caches what it has found in all distributions, which oslo.policy needs too.
    found: NamedExtensionManager[Any] = NamedExtensionManager(
        group, [str(name)], on_load_failure_callback=fail, on_missing_entrypoints_callback=refuse
    )
    plugin = Plugin(group, str(name), interface, found[str(name)].plugin)
    mismatch = _mismatch(plugin.make, interface)
    if mismatch:
        raise ConfigurationError(f"{option} {plugin} is not for this version of os-volume-ext: {mismatch}")
    return plugin


def _mismatch(plugin: Any, interface: type) -> str | None:
    """Describe why a plugin can't be used as the interface is; None if it can."""
    if not (isinstance(plugin, type) and issubclass(plugin, interface)):
        return f"it is not a subclass of {interface.__module__}.{interface.__qualname__}"
    missing: frozenset[str] = getattr(plugin, "__abstractmethods__", frozenset())
    if missing:
        return f"it lacks {', '.join(sorted(missing))}"
    for name, method in inspect.getmembers(interface, inspect.isfunction):
        theirs = inspect.signature(getattr(plugin, name))
        if not _takes(theirs, inspect.signature(method)):
            return f"{name}{_bare(theirs)} must take {_bare(inspect.signature(method))}"
        if any(each.name == "device" and each.default == "" for each in theirs.parameters.values()):
            return f"the device of {name} must not be '' by default: one that is not known is None"
    return None


def _takes(theirs: inspect.Signature, ours: inspect.Signature) -> bool:
    """Return whether a method can be called with all parameters of the interface's, as the filter does."""
    by_keyword = [each.name for each in ours.parameters.values() if each.kind is each.KEYWORD_ONLY]
    by_place = [each for each in ours.parameters if each not in by_keyword]
    try:
        theirs.bind(*by_place, **dict.fromkeys(by_keyword))
    except TypeError:
        return False
    return True


def _bare(signature: inspect.Signature) -> str:
    """Return a signature without types."""
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
