"""The format of a response: by the query string, else by the path's suffix, else by the Accept header, else JSON."""

from functools import lru_cache

from webob.acceptparse import create_accept_header

from .faults import BadRequest
from .serializers import JSON, SERIALIZERS, XML, Serializer

_FORMATS: dict[str, Serializer] = {"json": JSON, "xml": XML}
# JSON first, so that it is chosen where both have the same quality; some clients name the charset.
_OFFERS = {
    offer: serializer
    for media_type, serializer in sorted(SERIALIZERS.items(), key=lambda item: item[1] is XML)
    for offer in (media_type, f"{media_type};charset=utf-8", f"{media_type};charset=UTF-8")
}
MAX_ACCEPT = 4096
"""The length up to which an Accept header is parsed: that takes time, and caching the result takes memory."""
MAX_RANGES = 100
"""The media ranges up to which an Accept header is parsed, for the same reason."""


def choose(query: list[tuple[str, str]], suffix: str | None, accept: str | None) -> Serializer:
    """Return the serializer for a response.

    :param query: the parsed query string.
    :param suffix: the path's, ``json``, ``xml`` or None.
    :param accept: the Accept header; JSON if it allows neither format, or has more than ``MAX_ACCEPT`` characters or
        ``MAX_RANGES`` media ranges.
    :raises BadRequest: if the query names two formats, or an unknown one.
    """
    if query:
        named = {name for name, _ in query if name in _FORMATS}
        named.update(value for name, value in query if name == "format")
        if len(named) > 1:
            raise BadRequest("The query must name one format only, json or xml.")
        if named:
            return _by_name(named.pop())
    if suffix:
        return _FORMATS[suffix]
    if accept and len(accept) <= MAX_ACCEPT and accept.count(",") < MAX_RANGES:
        return by_accept(accept)
    return JSON


def _by_name(name: str) -> Serializer:
    if name not in _FORMATS:
        raise BadRequest(f"format must be json or xml, not {name[:50]!r}.")
    return _FORMATS[name]


@lru_cache(maxsize=256)
def by_accept(accept: str) -> Serializer:
    """Return the serializer that an Accept header prefers (RFC 9110, section 12.5.1).

    :param accept: the header.
    """
    found = create_accept_header(accept).acceptable_offers(list(_OFFERS))
    return _OFFERS[found[0][0]] if found else JSON
