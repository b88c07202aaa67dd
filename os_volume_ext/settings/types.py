"""The types of options: which values each accepts, and what they become."""

import abc
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import PurePath
from typing import Generic, TypeVar

from ..outbound.urls import is_http_url

MAX_DIGITS = 18

T = TypeVar("T")


class OptionType(abc.ABC, Generic[T]):
    """Converts the value of an option.

    ``oslo_config.types`` has similar classes, but they accept what an operator did not mean: blanks, ``1_0`` and
    digits of other scripts as an integer, ``true`` as 1.
    """

    def __init__(self, expected: str) -> None:
        """Make a type.

        :param expected: which values it accepts; the end of an error message, such as "it may be true or false".
        """
        self.expected = expected

    @abc.abstractmethod
    def convert(self, value: object) -> T:
        """Return the value that a string of a paste file, or a Python value, stands for.

        :raises ValueError: if it is none of this type's.
        """


class Integer(OptionType[int]):
    """An integer, or its decimal digits."""

    def __init__(self, minimum: int) -> None:
        """Make a type.

        :param minimum: the smallest integer that it accepts.
        """
        super().__init__(f"it must be an integer, {minimum} or more")
        self.minimum = minimum

    def convert(self, value: object) -> int:
        digits = str(value) if type(value) is int else value
        if not (isinstance(digits, str) and digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
            raise ValueError
        if int(digits) < self.minimum:
            raise ValueError
        return int(digits)


class Choice(OptionType[T]):
    """One of a few values, or its name."""

    def __init__(self, choices: Mapping[str, T], *, ignore_case: bool = False) -> None:
        """Make a type.

        :param choices: the values by their names in a paste file.
        :param ignore_case: whether the name may be in any case.
        """
        super().__init__(f"it may be {' or '.join(choices)}")
        self._choices = choices
        self._ignore_case = ignore_case

    def convert(self, value: object) -> T:
        if isinstance(value, str):
            try:
                return self._choices[value.lower() if self._ignore_case else value]
            except KeyError:
                raise ValueError from None
        for choice in self._choices.values():
            if type(value) is type(choice) and value == choice:
                return choice
        raise ValueError


class String(OptionType[str]):
    """A string."""

    def convert(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError
        return value


class AbsolutePath(OptionType[str]):
    """The absolute path of a file; a ``pathlib`` path too."""

    def convert(self, value: object) -> str:
        if not isinstance(value, str | os.PathLike):
            raise ValueError
        path = os.fspath(value)
        if not (isinstance(path, str) and PurePath(path).is_absolute()):
            raise ValueError
        return path


class AbsolutePaths(OptionType[tuple[str, ...]]):
    """Absolute paths separated by commas, or a collection of them; an empty string is none."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self._path = AbsolutePath(expected)

    def convert(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [path.strip() for path in value.split(",")] if value else ()
        if not isinstance(value, Collection) or isinstance(value, bytes):
            raise ValueError
        return tuple([self._path.convert(path) for path in value])


class ServerPath(OptionType[str]):
    """A path of the compute API that has ``{server_id}`` in it."""

    def convert(self, value: object) -> str:
        if not (isinstance(value, str) and value.startswith("/") and "{server_id}" in value):
            raise ValueError
        return value


class HTTPURL(OptionType[str]):
    """An ``http`` or ``https`` URL, to which paths can be added."""

    def convert(self, value: object) -> str:
        if not (isinstance(value, str) and is_http_url(value)):
            raise ValueError
        return value


class Names(OptionType[T]):
    """Names separated by commas, or a list, tuple or set of names."""

    def __init__(self, expected: str, collect: Callable[[Iterable[str]], T]) -> None:
        """Make a type.

        :param expected: as for ``OptionType``.
        :param collect: makes the value of the names, which have no blanks around them but may be empty.
        """
        super().__init__(expected)
        self._collect = collect

    def convert(self, value: object) -> T:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
            raise ValueError
        return self._collect(name.strip() for name in names)


def _server_states(names: Iterable[str]) -> frozenset[str]:
    states = frozenset(name.upper() for name in names) - {""}
    if not states:
        raise ValueError
    return states


def _topics(names: Iterable[str]) -> tuple[str, ...]:
    topics = tuple(names)
    if not (topics and all(topics)):
        raise ValueError
    return topics


BOOLEAN = Choice({"true": True, "false": False}, ignore_case=True)
STATUS = Choice({"200": 200, "202": 202})
COMPUTE_URL = HTTPURL("it must be the compute API's URL, such as http://controller:8774/v2.1")
TRANSPORT_URL = String("it must be oslo.messaging's URL, such as rabbit://user:password@broker")
SERVER_STATES = Names("it must name server statuses, such as ACTIVE, STOPPED", _server_states)
TOPICS = Names("it must name topics, separated by commas", _topics)
