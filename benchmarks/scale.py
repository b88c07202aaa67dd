"""The cost of listing 10 attachments in a table of a million rows, against a table of 1,000."""

from collections.abc import Iterator
from contextlib import ExitStack

from .harness import SERVER, environ, harness, same_response, send_request
from .measure import Finding, compare
from .rows import fill, volume_ids

SMALL, LARGE, LISTED = 1_000, 1_000_000, 10


def run() -> Iterator[Finding]:
    request = environ("GET", f"/servers/{SERVER['cyclades']}/os-volume_attachments")
    with ExitStack() as stack:
        (small, _, path), (large, _, large_path) = (stack.enter_context(harness("cyclades")) for _ in range(2))
        fill(path, pairs(SMALL))
        fill(large_path, pairs(LARGE))
        sides = same_response(
            lambda: send_request(small, dict(request), "200 OK"), lambda: send_request(large, dict(request), "200 OK")
        )
        yield compare(f"list of {LISTED}, of {LARGE:,} rows and (floor) of {SMALL:,}", *sides, 1.1)


def pairs(count: int) -> Iterator[tuple[str, str]]:
    """Yield the volumes of the listed server, then those of others, ten per server."""
    for number, volume in enumerate(volume_ids("cyclades", count)):
        yield volume, str(int(SERVER["cyclades"]) + number // LISTED)
