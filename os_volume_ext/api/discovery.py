"""Discovery: our entry in the wrapped API's ``/extensions``."""

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
    """Passes requests for extensions to the wrapped application, and adds ours to its answer."""

    def __init__(self, app: wsgi.WSGIApp) -> None:
        """:param app: the wrapped application."""
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any], match: Match) -> Iterable[bytes]:
        """Answer one GET."""
        status, headers, chunks, exc_info = Request(environ).call_application(self._app, catch_exc_info=True)
        response: Response | None = None
        if status.startswith("404"):
            response = _ours(environ, match)
        elif match.resource == "extensions" and status.startswith("200") and _is_plain_json(headers):
            body = wsgi.read(chunks)
            response, chunks = _with_ours(body, headers), [body]
        if response is None:
            start_response(status, headers, *([exc_info] if exc_info else []))
            passed: Iterable[bytes] = chunks
            return passed
        wsgi.close(chunks)
        made: Iterable[bytes] = response(environ, start_response)
        return made


def _ours(environ: Mapping[str, Any], match: Match) -> Response:
    try:
        serializer = negotiation.choose(query_of(environ), match.ending, environ.get("HTTP_ACCEPT"))
    except Fault:
        serializer = JSON
    listing = match.resource == "extensions"
    body = serializer.extensions([EXTENSION]) if listing else serializer.extension(EXTENSION)
    return make_response(200, body, serializer, request_id_of(environ))


def _is_plain_json(headers: Iterable[tuple[str, str]]) -> bool:
    named = {name.lower(): value.lower() for name, value in headers}
    media_type = named.get("content-type", "").partition(";")[0].strip()
    return media_type == "application/json" and named.get("content-encoding", "identity") == "identity"


def _with_ours(body: bytes, headers: Iterable[tuple[str, str]]) -> Response | None:
    """The answer with our entry; None if it has one already, or is not a list of extensions."""
    try:
        document = json.loads(body)
        listed = [extension["alias"] for extension in document["extensions"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if ALIAS in listed or not isinstance(document["extensions"], list):
        return None
    document["extensions"].append(EXTENSION)
    body = json.dumps(document).encode()
    # An entity tag or a digest was of the body as it came.
    stale = ("content-length", "etag", "content-md5", "digest")
    kept = [(name, value) for name, value in headers if name.lower() not in stale]
    return Response(app_iter=[body], headerlist=[*kept, ("Content-Length", str(len(body)))])
