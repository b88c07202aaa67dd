"""The memory of a process that has handled 100,000 requests of 5,000 callers, against the same after 5,000 requests."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .harness import SERVER, WSGIApp, environ, harness, run_python, send_request
from .measure import Finding
from .rows import fill, volume_ids

CALLERS = 5_000
WARM_UP = CALLERS
REQUESTS = 100_000
DIALECT = "openstack"


def run() -> Iterator[Finding]:
    # A process of its own, in which no other benchmark has used memory.
    started, before, after = json.loads(run_python("-m", "benchmarks.memory"))
    yield Finding(
        f"memory after {REQUESTS:,} requests, and (floor) after {WARM_UP:,}",
        before,
        after,
        1.05,
        (f"{started:.1f} MB after start",),
        unit="MB",
    )


def measure() -> Iterator[float]:
    """Yield the memory after start, after the warm-up, and after the requests."""
    volume_id, *_ = volumes = volume_ids(DIALECT, 10)
    with harness(DIALECT) as (filtered, _, path):
        fill(path, ((each, SERVER[DIALECT]) for each in volumes))
        kinds = requests(volume_id)
        yield resident()
        send(filtered, kinds, WARM_UP)
        yield resident()
        send(filtered, kinds, REQUESTS)
        yield resident()


def requests(volume_id: str) -> list[tuple[dict[str, Any], str]]:
    """Return a show, a list, a show of an unknown volume, and a show without a token, each with its status."""
    path = f"/servers/{SERVER[DIALECT]}/os-volume_attachments"
    member = environ("GET", f"{path}/{volume_id}")
    unknown = environ("GET", f"{path}/a26887c6-c47b-4654-abb5-ffffffffffff")
    return [
        (member, "200 OK"),
        (environ("GET", path), "200 OK"),
        (unknown, "404 Not Found"),
        (member | {"HTTP_X_IDENTITY_STATUS": "Invalid"}, "401 Unauthorized"),
    ]


def send(app: WSGIApp, kinds: list[tuple[dict[str, Any], str]], count: int) -> None:
    """Send requests of all kinds; each caller sends another kind in each turn of the callers."""
    for number in range(count):
        turn, caller = divmod(number, CALLERS)
        request, expected = kinds[(turn + caller) % len(kinds)]
        send_request(app, request | {"HTTP_X_USER_ID": f"user-{caller}"}, expected)


def resident() -> float:
    """Return the resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    print(json.dumps(list(measure())))
