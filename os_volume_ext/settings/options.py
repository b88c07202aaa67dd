"""The declarations of options and of groups of options, as fields of a dataclass."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, TypeVar, overload

from ..errors import ConfigurationError
from .types import OptionType

T = TypeVar("T")
D = TypeVar("D")

_REQUIRED = object()


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a filter's section."""

    name: str
    """The name in a paste file, such as ``notifications.topics``."""
    type: OptionType[Any]
    default: Any
    """The value where the option is not given, after conversion."""
    default_text: str | None
    """The default in the documentation, where it is no literal: None for a literal."""
    help: str
    """What the option means, in reST, for the documentation."""
    secret: bool = False
    """Whether the value may have a password in it, and is not shown."""

    def read(self, given: Mapping[str, object]) -> Any:
        """Return the option's value.

        :param given: the options of a section, by name.
        :raises ConfigurationError: if the option is required and missing, or its value is invalid.
        """
        value = given.get(self.name)
        if self.default is _REQUIRED and value in (None, ""):
            raise missing(self.name, self.type)
        if value is None:
            return self.default
        try:
            return self.type.convert(value)
        except ValueError:
            shown = f"of the type {type(value).__name__}" if self.secret else repr(value)
            raise ConfigurationError(f"{self.name} is {shown}: {self.type.expected}") from None


@dataclass(frozen=True, kw_only=True)
class Group:
    """The options of a prefix, which belong to a plugin or a library; it gets them as strings, without the prefix."""

    prefix: str
    """The prefix with its dot, such as ``database.``."""
    help: str
    """What the options mean, in reST, for the documentation."""
    members: tuple[Option, ...] = ()
    """The options of the group that have a meaning here."""

    def read(self, given: Mapping[str, object]) -> dict[str, str]:
        """Return the group's options.

        :param given: the options of a section, by name, but those that are declared as fields of their own.
        :raises ConfigurationError: if a value has no string form.
        """
        return {
            name.removeprefix(self.prefix): _to_string(name, value)
            for name, value in given.items()
            if name.startswith(self.prefix)
        }


def missing(name: str, type_: OptionType[Any]) -> ConfigurationError:
    """Return the exception for a required option that is not given."""
    return ConfigurationError(f"{name} is missing: {type_.expected}")


def _to_string(name: str, value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float() | PurePath():
            return str(value)
    # The value itself may be a password.
    raise ConfigurationError(
        f"{name} is of the type {type(value).__name__}: it must be a string, a number, a boolean or a path"
    )


@overload
def option(type_: OptionType[T], *, help: str, name: str = "") -> T: ...
@overload
def option(
    type_: OptionType[T],
    *,
    default: D,
    help: str,
    name: str = "",
    default_text: str | None = None,
    secret: bool = False,
) -> T | D: ...
def option(
    type_: OptionType[Any],
    *,
    default: Any = _REQUIRED,
    help: str,
    name: str = "",
    default_text: str | None = None,
    secret: bool = False,
) -> Any:
    """Declare an option as a field.

    :param default: the value where the option is not given; without one the option is required.
    :param name: the name in a paste file, where it is not the field's.
    :param default_text: the default in the documentation, where it is no literal.
    :param secret: whether the value may have a password in it, and is not shown.
    """
    if default is _REQUIRED:
        default_text = "required"
    elif default is None:
        default_text = default_text or "none"
    declared = {"type": type_, "default": default, "default_text": default_text, "help": help, "secret": secret}
    return field(repr=not secret, metadata={"name": name, "option": declared})


def group(prefix: str, *members: Option, help: str) -> Any:
    """Declare the options of a prefix as a field; any of them may have a password in it, so none is shown."""
    return field(repr=False, metadata={"group": Group(prefix=prefix, members=members, help=help)})


def member(name: str, type_: OptionType[Any], *, default_text: str = "none", help: str) -> Option:
    """Return an option of a group, for the documentation; the group's plugin or library reads its value."""
    return Option(name=name, type=type_, default=None, default_text=default_text, help=help)
