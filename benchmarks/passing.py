"""The cost of a request that the filter passes on, against a filter that is an empty closure."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .harness import WSGIApp, environ, harness
from .measure import Finding, compare

SHORT = "/servers/detail"
LONG = "/v2.1/6f70656e737461636b206973206e6f7420/servers/4335bab6-6086-4247-8274-8b8b048eda"[:80]


def run() -> Iterator[Finding]:
    with harness("openstack") as (filtered, app, _):
        for what, path, target in ("a short path", SHORT, 1.4), (f"a path of {len(LONG)} characters", LONG, 1.7):
            request = environ("GET", path)
            yield compare(
                f"passed on, {what}",
                empty(app),
                filtered,
                target,
                2000,
                rounds=300,
                arguments=(request, start_response),
            )


def empty(app: WSGIApp) -> WSGIApp:
    def pass_on(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return app(environ, start_response)

    return pass_on


def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
    pass
