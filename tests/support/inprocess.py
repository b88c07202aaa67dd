"""A compute API and a client within one process; works in forked children too."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from io import BytesIO
from typing import Any, NamedTuple

from os_volume_ext.wsgi import WSGIApp

IDENTITY = {
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
    "HTTP_X_USER_ID": "user",
    "HTTP_X_PROJECT_ID": "demo",
    "HTTP_X_ROLES": "member,reader",
    "keystone.token_info": {"token": {}},
}
"""What an auth filter leaves in the environ for a member of the project demo."""


def compute_api(servers: Collection[str], project_id: str = "demo") -> WSGIApp:
    """Return a compute API that shows some servers, which are of one project."""

    def show(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        server_id = environ["PATH_INFO"].rpartition("/")[2]
        if server_id not in servers:
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        body = json.dumps({"server": {"id": server_id, "tenant_id": project_id, "status": "ACTIVE"}}).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return show


def collection(server_id: str) -> str:
    """Return the path of a server's attachments."""
    return f"/servers/{server_id}/os-volume_attachments"


class Response(NamedTuple):
    """A response with the document that its body has."""

    status: int
    headers: Mapping[str, str]
    document: Any


def send_request(app: WSGIApp, method: str, path: str, document: Any = None) -> tuple[int, Any]:
    """Send a request as a member of the project demo; return the status and the document of the response."""
    response = get_response(app, method, path, document)
    return response.status, response.document


def get_response(
    app: WSGIApp, method: str, path: str, document: Any = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Send a request as a member of the project demo; return the response."""
    body = json.dumps(document).encode() if document else b""
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        **IDENTITY,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()},
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    started: list[tuple[str, list[tuple[str, str]]]] = []
    body = b"".join(app(environ, lambda status, headers, exc_info=None: started.append((status, headers))))
    status, response_headers = started[0]
    return Response(int(status.split()[0]), dict(response_headers), json.loads(body) if body else None)
