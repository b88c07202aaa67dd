"""The format of an answer: by the query string, else by the path's ending, else by the Accept header, else JSON."""

from functools import lru_cache

from webob.acceptparse import create_accept_header

from .faults import BadRequest
from .serializers import JSON, SERIALIZERS, XML, Serializer

_FORMATS: dict[str, Serializer] = {"json": JSON, "xml": XML}
# JSON comes first, so that it wins where both are as welcome; some clients name the charset too.
_OFFERS = {
    offer: serializer
    for media_type, serializer in sorted(SERIALIZERS.items(), key=lambda item: item[1] is XML)
    for offer in (media_type, f"{media_type};charset=utf-8", f"{media_type};charset=UTF-8")
}
# A longer Accept header is not looked at: to do so takes time, and to remember it memory.
_LONGEST = 4096


def choose(query: list[tuple[str, str]], ending: str | None, accept: str | None) -> Serializer:
    """Return the serializer for an answer.

    :param query: the parsed query string.
    :param ending: ``json`` or ``xml``, from the path, or None.
    :param accept: the Accept header; an unknown one, or one of more than 4096 characters, means JSON.
    :raises BadRequest: if the query asks for two formats, or for an unknown one.
    """
    if query:
        asked = {name for name, _ in query if name in _FORMATS}
        asked.update(value for name, value in query if name == "format")
        if len(asked) > 1:
            raise BadRequest("The query asks for more than one format: json and xml exclude each other.")
        if asked:
            return _named(asked.pop())
    if ending:
        return _FORMATS[ending]
    return by_accept(accept) if accept and len(accept) <= _LONGEST else JSON


def _named(name: str) -> Serializer:
    if name not in _FORMATS:
        raise BadRequest(f"The query's format is {name!r}: it may be json or xml.")
    return _FORMATS[name]


@lru_cache(maxsize=256)
def by_accept(accept: str) -> Serializer:
    """Return the serializer that an Accept header likes best (RFC 9110, section 12.5.1)."""
    found = create_accept_header(accept).acceptable_offers(list(_OFFERS))
    return _OFFERS[found[0][0]] if found else JSON
