"""Discovery: the extension's entry in the wrapped API's ``/extensions``."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from webob import Request, Response

from .. import wsgi
from . import negotiation
from .faults import Fault
from .responses import make_response, query_of, request_id_of
from .routing import ALIAS, Match
from .serializers import JSON

EXTENSION = {
    "alias": ALIAS,
    "name": "Volumes",
    "namespace": "http://docs.openstack.org/compute/ext/volumes/api/v1.1",
    "description": "Volumes support.",
    "updated": "2011-03-25T00:00:00Z",
    "links": [],
}


class Discovery:
    """Passes requests for extensions to the wrapped application, and adds the extension to its response."""

    def __init__(self, app: wsgi.WSGIApp) -> None:
        """Keep the application.

        :param app: the wrapped application.
        """
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any], match: Match) -> Iterable[bytes]:
        """Respond to one GET or HEAD; the wrapped application gets a GET for either."""
        chunks: Iterable[bytes]
        # The length of the response to HEAD is known from the list in the response to GET only.
        request = Request(environ if environ["REQUEST_METHOD"] == "GET" else {**environ, "REQUEST_METHOD": "GET"})
        status, headers, chunks, exc_info = request.call_application(self._app, catch_exc_info=True)
        response: wsgi.WSGIApp | None = None
        if status.startswith("404"):
            response = _own_entry(environ, match)
        elif match.resource == "extensions" and status.startswith("200") and _is_plain_json(headers):
            body = wsgi.read(chunks)
            response, chunks = _with_own_entry(body, headers), [body]
        if response is None:
            start_response(status, headers, *([exc_info] if exc_info else []))
            if environ["REQUEST_METHOD"] == "GET":
                return chunks
        wsgi.close(chunks)
        return response(environ, start_response) if response else []


def _own_entry(environ: Mapping[str, Any], match: Match) -> Response:
    try:
        serializer = negotiation.choose(query_of(environ), match.suffix, environ.get("HTTP_ACCEPT"))
    except Fault:
        serializer = JSON
    listing = match.resource == "extensions"
    body = serializer.extensions([EXTENSION]) if listing else serializer.extension(EXTENSION)
    return make_response(200, body, serializer, request_id_of(environ))


def _is_plain_json(headers: Iterable[tuple[str, str]]) -> bool:
    named = {name.lower(): value.lower() for name, value in headers}
    media_type = named.get("content-type", "").partition(";")[0].strip()
    return media_type == "application/json" and named.get("content-encoding", "identity") == "identity"


def _with_own_entry(body: bytes, headers: Iterable[tuple[str, str]]) -> Response | None:
    """Return the response with the extension added; None if it is listed already, or the body is no such list."""
    try:
        document = json.loads(body)
        listed = [extension["alias"] for extension in document["extensions"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if ALIAS in listed or not isinstance(document["extensions"], list):
        return None
    document["extensions"].append(EXTENSION)
    body = json.dumps(document).encode()
    # Entity tag and digest were those of the original body.
    stale = ("content-length", "etag", "content-md5", "digest")
    kept = [(name, value) for name, value in headers if name.lower() not in stale]
    return Response(app_iter=[body], headerlist=[*kept, ("Content-Length", str(len(body)))])
