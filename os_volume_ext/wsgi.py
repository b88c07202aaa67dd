"""What WSGI (PEP 3333) requires of the caller of an application."""

from collections.abc import Callable, Iterable
from typing import Any

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def read(chunks: Iterable[bytes]) -> bytes:
    """Return the whole body of a response and close it, also if reading fails."""
    try:
        return b"".join(chunks)
    finally:
        close(chunks)


def close(chunks: Any) -> None:
    """Close a response that has ``close``."""
    if hasattr(chunks, "close"):
        chunks.close()
