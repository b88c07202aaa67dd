"""Blocks that must succeed or raise, with messages that are sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass
class Caught:
    """The exception that a block raised."""

    error: Any = None


@contextmanager
def must_succeed(what: str, *allowed: type[Exception]) -> Iterator[Caught]:
    """Fail if the block raises.

    :param what: what the block does, for the message.
    :param allowed: the exceptions that it may raise.
    """
    caught = Caught()
    try:
        yield caught
    except allowed as error:
        caught.error = error
    except Exception as error:
        what_else = f", or raise {_names(allowed)}" if allowed else ""
        raise AssertionError(f"{what} raised {error!r}: it must succeed{what_else}") from error


@contextmanager
def must_raise(exception: type[Exception] | tuple[type[Exception], ...], what: str) -> Iterator[Caught]:
    """Fail unless the block raises one of the exceptions, with a message.

    :param what: what the block does, for the message.
    """
    wanted = exception if isinstance(exception, tuple) else (exception,)
    names = _names(wanted)
    caught = Caught()
    try:
        yield caught
    except wanted as error:
        caught.error = error
    except Exception as error:
        raise AssertionError(f"{what} raised {error!r}: it must raise {names}") from error
    if caught.error is None:
        pytest.fail(f"{what} raised nothing: it must raise {names}")
    assert str(caught.error).strip(), f"{what} raised {type(caught.error).__name__} without a message"


def _names(exceptions: tuple[type[Exception], ...]) -> str:
    return " or ".join(each.__name__ for each in exceptions)
