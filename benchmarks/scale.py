"""The cost of listing 10 attachments in a table of a million rows, against a table of 1,000."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from .harness import SERVER, WSGIApp, environ, harness, send_request
from .measure import Finding, compare
from .rows import fill, volume_ids

SMALL, LARGE, LISTED = 1_000, 1_000_000, 10


def run() -> Iterator[Finding]:
    with ExitStack() as stack:
        request = environ("GET", f"/servers/{SERVER['cyclades']}/os-volume_attachments")
        (small, _, path), (large, _, large_path) = (stack.enter_context(harness("cyclades")) for _ in range(2))
        fill(path, pairs(SMALL))
        fill(large_path, pairs(LARGE))
        responses = {send_request(app, dict(request), "200 OK") for app in (small, large)}
        if len(responses) != 1:
            raise RuntimeError("the responses differ")
        yield compare(
            f"list of {LISTED}, of {LARGE:,} rows and (floor) of {SMALL:,}",
            asking(small, request),
            asking(large, request),
            1.2,
            20,
            150,
        )


def asking(app: WSGIApp, request: dict[str, Any]) -> Any:
    return lambda: send_request(app, dict(request), "200 OK")


def pairs(count: int) -> Iterator[tuple[str, str]]:
    """Yield the volumes of the listed server, then those of others, ten per server."""
    for number, volume in enumerate(volume_ids("cyclades", count)):
        yield volume, str(int(SERVER["cyclades"]) + number // LISTED)
