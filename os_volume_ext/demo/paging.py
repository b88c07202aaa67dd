"""Long lists in pages, as OpenStack's APIs cut them: by ``limit``, and by the ``marker`` after which a page begins."""

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
    """Return the items that a request asks for, and the links to what comes after: none or one.

    :raises Refused: 400, for a wrong limit or marker.
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
        raise Refused(400, "limit must be an integer from 0 on.")
    # 0 means as many as there may be.
    return min(int(text) or MAX_LIMIT, MAX_LIMIT)


def _after_marker(items: Sequence[_HasId], marker: str | None) -> int:
    if marker is None:
        return 0
    for index, item in enumerate(items):
        if item.id == marker:
            return index + 1
    raise Refused(400, f"marker [{marker}] not found")
