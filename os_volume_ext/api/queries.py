"""Query parameters: check their names, and read changes-since, limit and offset."""

import datetime
import re
from dataclasses import dataclass

from .faults import BadRequest

MAX_OFFSET = 2**63 - 1
"""The largest integer of the databases."""

COMMON_PARAMS = frozenset(("format", "json", "xml"))
"""The parameters of every request."""

LIST_PARAMS = COMMON_PARAMS | {"changes-since", "limit", "offset"}
"""The parameters of a list."""

# Longer names are cut in messages.
_MAX_SHOWN = 50
# A "+" that a client did not quote arrives as a space. Anchored, to run in linear time on long values.
_LOST_PLUS = re.compile(r"\A([^T ]+[T ][^T ]+) (?=\d\d:?\d\d\Z)", re.ASCII)
# Stricter than Python, which accepts any character between date and time, and some before the offset.
_SHAPE = re.compile(r"[\dW-]+[T ][\d:.,]+(Z|[+-][\d:.]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that a request selects."""

    since: datetime.datetime | None
    """Timezone-aware; None: from the beginning."""
    limit: int
    """The number of rows, at most."""
    offset: int
    """The number of rows to skip."""


def check_known(query: list[tuple[str, str]], known: frozenset[str]) -> None:
    """Check that a query has known parameters only.

    :param query: the parsed query string.
    :param known: the names that there may be.
    :raises BadRequest: if there is another one.
    """
    unknown = {name for name, _ in query} - known
    if unknown:
        raise BadRequest(f"The query has the unknown parameter {min(unknown)[:_MAX_SHOWN]!r}.")


def page(query: list[tuple[str, str]], max_limit: int) -> Page:
    """Read a list's query.

    :param query: the parsed query string.
    :param max_limit: the largest limit, which also applies where ``limit`` is absent or 0.
    :raises BadRequest: if ``changes-since``, ``limit`` or ``offset`` is malformed or repeated.
    """
    if not query:
        return Page(None, max_limit, 0)
    since = _single_value(query, "changes-since")
    limit = _number(query, "limit")
    return Page(
        None if since is None else changes_since(since),
        min(limit or max_limit, max_limit),
        min(_number(query, "offset"), MAX_OFFSET),
    )


def changes_since(text: str) -> datetime.datetime:
    """Read an ISO 8601 date and time.

    :param text: without an offset it is UTC.
    :raises BadRequest: if it is malformed or in the future.
    """
    if _is_date(text):
        raise BadRequest("changes-since must have a date and a time, such as 2011-01-24T17:08Z.")
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


def _single_value(query: list[tuple[str, str]], name: str) -> str | None:
    values = [value for each, value in query if each == name]
    if len(values) > 1:
        raise BadRequest(f"{name} must not be given twice.")
    return values[0] if values else None


def _number(query: list[tuple[str, str]], name: str) -> int:
    text = _single_value(query, name)
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 100):
        raise BadRequest(f"{name} must be an integer, 0 or more.")
    return int(text)
