"""What all answers of ours have in common: the request's id and the headers; and the query that they depend on."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from webob import Response

from ..context import new_request_id
from .serializers import Serializer

REQUEST_ID = "openstack.request_id"
"""Where an outer filter (oslo.middleware's request_id) leaves the request's id."""

VARY = "Accept, X-Auth-Token"
_HEADERS = {"Vary": VARY, "Cache-Control": "no-cache, no-store, must-revalidate"}


def request_id_of(environ: Mapping[str, Any]) -> str:
    """Return the id that an outer filter has given the request, else a new one."""
    return environ.get(REQUEST_ID) or new_request_id()


def query_of(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parse the query string; what is not UTF-8 in it stays visible as such."""
    text = environ.get("QUERY_STRING")
    return parse_qsl(text, keep_blank_values=True, errors="backslashreplace") if text else []


def make_response(
    status: int, body: bytes, serializer: Serializer, request_id: str, headers: Iterable[tuple[str, str]] = ()
) -> Response:
    """Make an answer; an empty one has no Content-Type. :param headers: further ones, or others than it has anyway."""
    # One of each name: Nova's wrapper for /v2 looks at the last Vary only, and may then take all away.
    further = {**_HEADERS, **dict(headers)} if headers else _HEADERS
    headerlist = [("Content-Length", str(len(body))), ("X-Openstack-Request-Id", request_id), *further.items()]
    if body:
        headerlist.append(("Content-Type", serializer.content_type))
    response = Response(app_iter=[body], headerlist=headerlist)
    if status != 200:
        response.status_int = status
    return response
