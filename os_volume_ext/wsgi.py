"""What WSGI (PEP 3333) asks of those who call an application."""

from collections.abc import Callable, Iterable
from typing import Any

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def read(chunks: Iterable[bytes]) -> bytes:
    """Return the whole body of an application's answer, and close it, also where it fails on the way."""
    try:
        return b"".join(chunks)
    finally:
        close(chunks)


def close(chunks: Any) -> None:
    """Close an application's answer, if it wants that."""
    if hasattr(chunks, "close"):
        chunks.close()
