"""The filter as the benchmarks use it: complete, on an SQLite file, with a backend that does nothing."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from os_volume_ext.backends.base import Backend, Server, Volume
from os_volume_ext.filter import make_filter
from os_volume_ext.wsgi import WSGIApp

T = TypeVar("T")

Sides = tuple[Callable[[], bytes], Callable[[], bytes]]
"""The floor and the function that is compared with it; both return the body of a response."""

SERVER = {"cyclades": "1134", "openstack": "4335bab6-6086-4247-8274-8b8b048edaaa"}

# The environ of a request, as a server and keystonemiddleware make it.
ENVIRON = {
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8774",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "HTTP_HOST": "127.0.0.1:8774",
    "HTTP_USER_AGENT": "python-novaclient",
    "HTTP_ACCEPT": "application/json",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate",
    "HTTP_CONNECTION": "keep-alive",
    "HTTP_X_AUTH_TOKEN": "secret",
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
    "HTTP_X_USER_ID": "demo-user",
    "HTTP_X_USER_NAME": "demo",
    "HTTP_X_PROJECT_ID": "demo",
    "HTTP_X_PROJECT_NAME": "demo",
    "HTTP_X_ROLES": "member,reader",
    "HTTP_X_DOMAIN_ID": None,
    "HTTP_X_USER_DOMAIN_ID": "default",
    "HTTP_X_PROJECT_DOMAIN_ID": "default",
    "keystone.token_info": {},
    "openstack.request_id": "req-c7a59c5b-1f3d-4dbb-9d2c-7d2a6c9b53d5",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": io.StringIO(),
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


# The headers that each response of a dialect has.
_UNCACHED = ("Cache-Control", "no-cache, no-store, must-revalidate")
HEADERS = {
    "cyclades": [_UNCACHED, ("Vary", "Accept, X-Auth-Token")],
    "openstack": [
        _UNCACHED,
        ("Vary", "Accept, X-Auth-Token, OpenStack-API-Version, X-OpenStack-Nova-API-Version"),
        ("OpenStack-API-Version", "compute 2.1"),
        ("X-OpenStack-Nova-API-Version", "2.1"),
    ],
}


class NullBackend(Backend):
    """A backend that does nothing."""

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        pass

    def attach(self, server: Server, volume: Volume, device: str | None) -> str | None:
        return "/dev/vdb"

    def detach(self, server: Server, volume: Volume, device: str | None) -> None:
        pass

    def attached(self, server: Server) -> Mapping[str, str | None]:
        return {}

    def check(self) -> None:
        pass


@contextmanager
def harness(dialect: str) -> Iterator[tuple[WSGIApp, WSGIApp, Path]]:
    """Provide the filter, the application that it wraps, and the file of its database.

    :param dialect: ``cyclades`` or ``openstack``.
    """
    with TemporaryDirectory(prefix="os-volume-ext-bench-") as directory:
        path = Path(directory, "registry.db")
        with filter_on(f"sqlite:///{path}", dialect) as (filtered, app):
            yield filtered, app, path


@contextmanager
def filter_on(url: str, dialect: str) -> Iterator[tuple[WSGIApp, WSGIApp]]:
    """Provide the filter, on a database, and the application that it wraps."""
    app = compute_app(SERVER[dialect])
    with closing(make_filter(app, backend=NullBackend(), dialect=dialect, **{"database.url": url})) as filtered:
        yield filtered, app


def compute_app(server_id: str) -> WSGIApp:
    """Return a compute API with one server and a prepared response."""
    shown = {"server": {"id": server_id, "name": "one", "tenant_id": "demo", "status": "ACTIVE", "locked": False}}
    body = json.dumps(shown).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [body]

    return app


def environ(method: str, path: str, body: bytes = b"", **more: Any) -> dict[str, Any]:
    """Return a request."""
    made = {**ENVIRON, "REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO(body), **more}
    return {**made, "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body))} if body else made


def send_request(app: WSGIApp, environ: dict[str, Any], expected: str) -> bytes:
    """Send a request, and return the body of the response.

    :param environ: the request, which the application may modify.
    :param expected: the expected status.
    :raises RuntimeError: if the response has another status.
    """
    seen: list[str] = []
    body = b"".join(app(environ, lambda status, headers, exc_info=None: seen.append(status)))
    if seen[0] != expected:
        raise RuntimeError(f"{environ['PATH_INFO']} got {seen[0]}: {body!r}")
    return body


def look_up_server(app: WSGIApp, environ: dict[str, Any], server_id: str) -> Any:
    """Return what the wrapped application shows of a server, by a sub-request with the caller's headers."""
    sub_request = {
        **environ,
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"/servers/{server_id}",
        "QUERY_STRING": "",
        "CONTENT_LENGTH": "0",
        "HTTP_ACCEPT": "application/json",
        "wsgi.input": io.BytesIO(),
    }
    return json.loads(send_request(app, sub_request, "200 OK"))["server"]


def respond(
    environ: dict[str, Any], start_response: Callable[..., Any], dialect: str, status: str, shown: Any = None
) -> list[bytes]:
    """Respond as the filter does, with the least possible work.

    :param shown: the body's document; None for an empty body.
    """
    body = b"" if shown is None else json.dumps(shown).encode()
    headers = [
        ("Content-Length", str(len(body))),
        ("X-Openstack-Request-Id", environ["openstack.request_id"]),
        *HEADERS[dialect],
    ]
    if body:
        headers.append(("Content-Type", "application/json; charset=UTF-8"))
    start_response(status, headers)
    return [body]


def same_response(floor: Callable[[], T], here: Callable[[], T]) -> tuple[Callable[[], T], Callable[[], T]]:
    """Return both functions.

    :raises RuntimeError: if their responses differ.
    """
    expected, response = floor(), here()
    if response != expected:
        raise RuntimeError(f"the responses differ: {expected!r:.200} and {response!r:.200}")
    return floor, here


def run_python(*arguments: str, **variables: str) -> str:
    """Run a Python process, and return what it printed.

    :param variables: of its environment, in addition to this process's.
    :raises RuntimeError: if it fails; the message has its standard error.
    """
    done = subprocess.run([sys.executable, *arguments], env=os.environ | variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} exited {done.returncode}: {done.stderr}")
    return done.stdout
