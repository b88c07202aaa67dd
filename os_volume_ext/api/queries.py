"""The query string: which parameters it may have; and those of a list, changes-since, limit and offset."""

import datetime
import re
from dataclasses import dataclass

from .faults import BadRequest

MOST = 2**63 - 1  # databases count no further

COMMON_PARAMS = frozenset(("format", "json", "xml"))
LIST_PARAMS = COMMON_PARAMS | {"changes-since", "limit", "offset"}

# A "+" that a client forgot to quote arrives as a space. Of a long text each letter is to be looked at once.
_LOST_PLUS = re.compile(r"\A([^T ]+[T ][^T ]+) (?=\d\d:?\d\d\Z)", re.ASCII)
# Python takes any letter between date and time, and some before the offset.
_SHAPE = re.compile(r"[\dW-]+[T ][\d:.,]+(Z|[+-][\d:.]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for; ``since`` is an aware time."""

    since: datetime.datetime | None
    limit: int
    offset: int


def refuse_unknown(query: list[tuple[str, str]], known: frozenset[str]) -> None:
    """See that a query has no other parameters. :raises BadRequest:"""
    unknown = {name for name, _ in query} - known
    if unknown:
        raise BadRequest(f"The query has the unknown parameter {min(unknown)!r}.")


def page(query: list[tuple[str, str]], max_limit: int) -> Page:
    """Read a list's query.

    :param max_limit: how many rows are given at most, and if none or 0 are asked for.
    :raises BadRequest: for a malformed, repeated or future ``changes-since``, ``limit`` or ``offset``.
    """
    if not query:
        return Page(None, max_limit, 0)
    since = _only(query, "changes-since")
    limit = _number(query, "limit")
    return Page(
        None if since is None else changes_since(since),
        min(limit or max_limit, max_limit),
        min(_number(query, "offset"), MOST),
    )


def changes_since(text: str) -> datetime.datetime:
    """Read an ISO 8601 date and time; without an offset it is UTC. :raises BadRequest:"""
    if _is_date(text):
        raise BadRequest("changes-since must have a time too, such as 2011-01-24T17:08Z.")
    text = _LOST_PLUS.sub(r"\1+", text)
    try:
        if not _SHAPE.fullmatch(text):
            raise ValueError(text)
        moment = datetime.datetime.fromisoformat(text)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    except (ValueError, OverflowError) as error:
        raise BadRequest("changes-since must be an ISO 8601 date and time, such as 2011-01-24T17:08Z.") from error
    if moment > datetime.datetime.now(datetime.UTC):
        raise BadRequest("changes-since must not be in the future.")
    return moment


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _only(query: list[tuple[str, str]], name: str) -> str | None:
    values = [value for each, value in query if each == name]
    if len(values) > 1:
        raise BadRequest(f"{name} must not be given twice.")
    return values[0] if values else None


def _number(query: list[tuple[str, str]], name: str) -> int:
    text = _only(query, name)
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 100):
        raise BadRequest(f"{name} must be an integer from 0.")
    return int(text)
