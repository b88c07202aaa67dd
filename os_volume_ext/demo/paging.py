"""Pages of long lists, as in OpenStack's APIs: ``limit`` items after the item ``marker``."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from webob import Request

from .http import Refused

MAX_LIMIT = 1000
"""Items in one page."""


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


_Item = TypeVar("_Item", bound=_HasId)


def page(request: Request, items: Sequence[_Item]) -> tuple[Sequence[_Item], list[dict[str, Any]]]:
    """Return the items of the requested page, and a list with the link to the next page, if there is one.

    :raises Refused: 400, for an invalid limit or marker.
    """
    start, limit = _after_marker(items, request.GET.get("marker")), _limit(request.GET.get("limit"))
    found = items[start : start + limit]
    if not found or start + limit >= len(items):
        return found, []
    parameters = {**request.GET, "marker": found[-1].id}
    return found, [{"rel": "next", "href": f"{request.path_url}?{urlencode(parameters)}"}]


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Refused(400, "limit must be an integer, 0 or more.")
    # 0 means the maximum.
    return min(int(text) or MAX_LIMIT, MAX_LIMIT)


def _after_marker(items: Sequence[_HasId], marker: str | None) -> int:
    if marker is None:
        return 0
    for index, item in enumerate(items):
        if item.id == marker:
            return index + 1
    raise Refused(400, f"marker [{marker}] not found")
