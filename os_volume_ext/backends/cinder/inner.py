"""The other backend, which the backend ``cinder`` wraps, and its options."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ... import plugins
from ..base import Backend, ConfigurationError


def make_inner(options: Mapping[str, str], timeout: int) -> Backend:
    """Make the backend that ``inner`` names.

    :param options: those of the backend ``cinder``.
    :param timeout: the other backend's ``operation_timeout``, in seconds.
    :raises ConfigurationError: if there is no such backend, or one of its options is missing, unknown or invalid.
    """
    name = options.get("inner", "")
    if name in ("", "cinder"):
        raise ConfigurationError(f"backend.inner is {name!r}: it must be another backend, such as libvirt")
    prefix = "inner."
    own = {each.removeprefix(prefix): options[each] for each in options if each.startswith(prefix)}
    with inner_options():
        made: Backend = plugins.load("backend", name, Backend).make({**own, "operation_timeout": str(timeout)})
    return made


@contextmanager
def inner_options() -> Iterator[None]:
    """Give the options of the other backend their full names in messages.

    :raises ConfigurationError: as the block does.
    """
    try:
        yield
    except ConfigurationError as error:
        message = str(error).replace("backend.", "backend.inner.")
        raise ConfigurationError(message if "backend.inner" in message else f"backend.inner: {message}") from error
