"""The cost of a request that the filter passes on, against a filter that is an empty closure."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .harness import WSGIApp, environ, harness
from .measure import Finding, compare

PATHS = (
    ("a short path", "/servers/detail", 1.37),
    (
        "a path of 80 characters",
        "/v2.1/6f70656e737461636b206973206e6f7420/servers/4335bab6-6086-4247-8274-8b8b048eda"[:80],
        1.33,
    ),
    # "n" and "x" are the characters for which the filter searches a path before it searches for words.
    (
        'a path with "n" and "x"',
        "/v2.1/flavors/4335bab6-6086-4247-8274-8b8b048edaaa/os-extra_specs/hw:numa_nodes",
        1.8,
    ),
)


def run() -> Iterator[Finding]:
    with harness("openstack") as (filtered, app, _):
        for what, path, target in PATHS:
            arguments = (environ("GET", path), start_response)
            yield compare(f"passed on, {what}", empty(app), filtered, target, arguments=arguments)


def empty(app: WSGIApp) -> WSGIApp:
    def pass_on(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return app(environ, start_response)

    return pass_on


def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
    pass
