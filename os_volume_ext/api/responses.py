"""What all responses have in common: the request's id, the headers, and the query string."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import webob

from ..context import new_request_id
from .faults import BadRequest
from .serializers import Serializer

REQUEST_ID = "openstack.request_id"
"""The environ key in which an outer filter (oslo.middleware's request_id) stores the request's id."""

MAX_QUERY = 2048
"""The characters that a query string may have: it is parsed before the client is authenticated."""

VARY = "Accept, X-Auth-Token"
_HEADERS = {"Vary": VARY, "Cache-Control": "no-cache, no-store, must-revalidate"}


class Response(webob.Response):  # type: ignore[misc]  # WebOb has no types
    """A response of ours, which has no Location and is the same whatever the request's conditions are."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Send it. WebOb looks for a Location first, among all headers, which takes four times as long."""
        start_response(self.status, self.headerlist)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else self.app_iter


def request_id_of(environ: Mapping[str, Any]) -> str:
    """Return the id that an outer filter assigned to the request, else a new one.

    :param environ: the WSGI environment.
    """
    return environ.get(REQUEST_ID) or new_request_id()


def query_of(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parse the query string; bytes that are not UTF-8 become backslash escapes.

    :param environ: the WSGI environment.
    :raises BadRequest: if it has more than ``MAX_QUERY`` characters; it is not parsed then.
    """
    text = environ.get("QUERY_STRING")
    if text and len(text) > MAX_QUERY:
        raise BadRequest(f"The query string must have at most {MAX_QUERY} characters.")
    return parse_qsl(text, keep_blank_values=True, errors="backslashreplace") if text else []


def make_response(
    status: int, body: bytes, serializer: Serializer, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Make a response, a WSGI application.

    :param status: the HTTP status.
    :param body: the serialized body; an empty one gets no Content-Type.
    :param serializer: has written the body.
    :param request_id: the request's id.
    :param headers: additional headers; they replace the usual ones of the same name.
    """
    # One header of each name: Nova's wrapper for /v2 reads the last Vary only, and may then remove all of them.
    merged = {**_HEADERS, **headers} if headers else _HEADERS
    headerlist = [("Content-Length", str(len(body))), ("X-Openstack-Request-Id", request_id), *merged.items()]
    if body:
        headerlist.append(("Content-Type", serializer.content_type))
    response = Response(app_iter=[body], headerlist=headerlist)
    if status != 200:
        response.status_int = status
    return response
