"""Assertions whose messages are sentences."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from ...backends.base import Backend, BackendError, Server


def assert_has(backend: Backend, server: Server, expected: Mapping[str, str | None], when: str = "") -> None:
    """Check which volumes a server has, at which devices.

    :param expected: the devices by volume id.
    :param when: what happened before, for the message.
    """
    seen = dict(backend.attached(server))
    wrong = [f"the server has the volume {each!r}, which it must not have" for each in seen.keys() - expected.keys()]
    wrong += [f"the server does not have the volume {each!r}" for each in expected.keys() - seen.keys()]
    wrong += [
        f"attached reports the device {seen[each]!r} of volume {each!r}, and attach returned {expected[each]!r}"
        for each in seen.keys() & expected.keys()
        if seen[each] != expected[each]
    ]
    assert seen == expected, "; ".join(sorted(wrong)) + f" {when}".rstrip()


@dataclass
class Caught:
    """The exception that a block raised."""

    error: Any = None


@contextmanager
def must_raise(exception: type[BackendError] | tuple[type[BackendError], ...], what: str) -> Iterator[Caught]:
    """Fail unless the block raises one of the exceptions, with a message.

    :param what: what the block does, for the message.
    """
    wanted = exception if isinstance(exception, tuple) else (exception,)
    names = " or ".join(each.__name__ for each in wanted)
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
