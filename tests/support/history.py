"""Checks that the responses about a volume are linearizable; if not, finds the shortest stretch that is not.

A request is a chain of steps, each of which happens at one moment between the request's start and its end. A step
either looks at the volume's row or changes it; the response shows which steps there were. A history is linearizable if
all steps can be put in one order in which each finds the row as it needs it. That order is searched as Wing and Gong
do, with Lowe's memory of what was tried already; he also lets each request rest until its end is due. A look is done
as soon as it can be, since it takes nothing from the others.

A 503 because of the registry does not show what the request has changed (docs/protocol.rst, R10): nothing, or its claim
only, or also what follows the claim. The last change that it sent may come after the response, since a database may
commit it after the connection was lost; or never. Nothing else may. So such a claim leaves the row pending for good,
and the history has to end before the row is stale.
"""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

from os_volume_ext.attachments.reservations import ATTEMPTS
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING


class Request(NamedTuple):
    """A request and its response.

    ``start`` and ``end`` are nanoseconds of the clock that all processes share; ``operation`` is attach, detach, show
    or list; ``volume`` is "" for a list; ``saw`` is a fault's message, or the volumes of a list.
    """

    start: int
    end: int
    operation: str
    volume: str
    server: str
    status: int
    saw: str | frozenset[str] = ""
    has_retry_after: bool = False


class Row(NamedTuple):
    """A volume's row. Its claim needs no owner: only one request has changed it to that."""

    server: str
    state: str


NO_ROW = Row("", "none")


class Change(NamedTuple):
    """A compare-and-set of the row."""

    before: Row
    after: Row


Look = Callable[[Row], bool]
"""Returns whether the look can be where the row is so."""


@dataclass(frozen=True)
class Operation:
    """What a request did to a volume's row: it only changes it, or only looks at it.

    ``changes`` are its steps, each with the changes of which it makes one; ``ends`` are the numbers of steps after
    which it may end; ``may_be_late``: whether the next change may come after the end, as the last one.
    """

    request: Request
    looks: tuple[Look, ...] = ()
    changes: tuple[tuple[Change, ...], ...] = ()
    ends: frozenset[int] = frozenset()
    may_be_late: bool = False

    @property
    def is_optional(self) -> bool:
        """Whether it may have changed nothing."""
        return 0 in self.ends

    def late_changes(self, row: Row, count: int) -> tuple[Change, ...]:
        """Return what may still change after an end at which the row is so, and some steps are done.

        A reserve needs no row that the request has seen, any other change the very one.
        """
        if not self.may_be_late or count == len(self.changes):
            return ()
        return tuple(each for each in self.changes[count] if each.before in (NO_ROW, row))


class Configuration(NamedTuple):
    """A row, how many steps each operation has done of those that are in progress, and what may still change it."""

    row: Row
    done: frozenset[tuple[int, int]]
    late: frozenset[Change] = frozenset()


class Event(NamedTuple):
    """The start or the end of an operation. Of those at one moment starts come first: they may have overlapped."""

    moment: int
    is_end: bool
    number: int


@dataclass(frozen=True)
class Certain:
    """A moment, before the event at a position, at which the row was certain.

    Only one configuration was possible, in which none of those who were under way had changed anything yet.
    """

    position: int
    configuration: Configuration
    pending: Mapping[int, Operation]


@dataclass(frozen=True)
class Refused:
    """The position of an end that no order of events leads to, and the last certain moment before it all began."""

    position: int
    since: Certain


def refusal(requests: Iterable[Request], volume: str, dialect: str = "cyclades") -> str | None:
    """Describe which responses about a volume can't all be true; None if all can.

    Of a list only that volume is looked at, here as for the other volumes.

    :param requests: all that there were from when the volume had no row.
    :param dialect: a key of ``STATUSES``.
    :raises ValueError: for a response that no request may ever get.
    """
    operations = read(requests, volume, dialect)
    events = sorted(
        event
        for number, each in operations.items()
        for event in (Event(each.request.start, False, number), Event(each.request.end, True, number))
    )
    refused = _search(Certain(0, Configuration(NO_ROW, frozenset()), {}), events, operations)
    return _words(volume, refused, events, operations) if refused else None


# -- what a response shows ------------------------------------------------------------------------------

_COMMON_STATUSES = {"shown": 200, "listed": 200, "missing": 404, "unavailable": 503}
STATUSES: Mapping[str, Mapping[str, int]] = {
    "cyclades": _COMMON_STATUSES | {"attached": 200, "detached": 200, "in use": 400, "conflict": 400, "limit": 400},
    "openstack": _COMMON_STATUSES | {"attached": 202, "detached": 202, "in use": 400, "conflict": 409, "limit": 403},
}
"""The statuses of each kind of response, by dialect; of openstack in the newest microversion."""

REGISTRY = "The registry of attachments is not available."
BACKEND = "The volume backend is not available."
OVERLOADED = "Too many operations are in progress."
BACKEND_UNKNOWN = "The volume backend did not report whether the operation succeeded. Retry later."
INCOMPLETE = "The operation did not complete. Retry later."

_STATES = {"attached to": ATTACHED, "being attached to": ATTACHING, "being detached from": DETACHING}
_HELD = re.compile(rf"Volume (\S+) is ({'|'.join(_STATES)}) server (\S+)\.")
_DEVICE = re.compile(r"Device \S+ of server (\S+) is in use by another volume\.")
_LIMIT = re.compile(r"A server can have at most [0-9]+ attached volumes\.")


def read(requests: Iterable[Request], volume: str, dialect: str = "cyclades") -> dict[int, Operation]:
    """Return what the requests did with a volume, by number.

    :raises ValueError: as ``refusal``.
    """
    about = sorted(each for each in requests if each.volume in (volume, ""))
    operations = {number: _operation(each, volume, STATUSES[dialect]) for number, each in enumerate(about)}
    return {number: each for number, each in operations.items() if each.looks or each.changes}


def _operation(request: Request, volume: str, statuses: Mapping[str, int]) -> Operation:
    for kind, reading in _READINGS[request.operation].items():
        operation = reading(request, volume) if request.status == statuses[kind] else None
        if operation is not None:
            return operation
    raise ValueError(f"no request can have this response: {request}")


def _reserve(server: str) -> Change:
    return Change(NO_ROW, Row(server, ATTACHING))


def _confirm(server: str) -> Change:
    return Change(Row(server, ATTACHING), Row(server, ATTACHED))


def _claim(server: str) -> Change:
    return Change(Row(server, ATTACHED), Row(server, DETACHING))


def _remove(server: str) -> Change:
    return Change(Row(server, DETACHING), NO_ROW)


def _undo(change: Change) -> Change:
    return Change(change.after, change.before)


def _attached(request: Request, volume: str) -> Operation | None:
    return None if request.saw else _changes(request, (_reserve(request.server),), (_confirm(request.server),))


def _detached(request: Request, volume: str) -> Operation | None:
    return None if request.saw else _changes(request, (_claim(request.server),), (_remove(request.server),))


def _attach_unavailable(request: Request, volume: str) -> Operation | None:
    return _unavailable(request, _reserve(request.server), _confirm(request.server))


def _detach_unavailable(request: Request, volume: str) -> Operation | None:
    return _unavailable(request, _claim(request.server), _remove(request.server))


def _unavailable(request: Request, claim: Change, completion: Change) -> Operation | None:
    if request.saw == REGISTRY:
        unknown = _changes(request, (claim,), (completion, _undo(claim)))
        return replace(unknown, ends=frozenset((0, 1, 2)), may_be_late=True)
    if request.saw in (BACKEND, OVERLOADED):
        return _changes(request, (claim,), (_undo(claim),))
    return _changes(request, (claim,)) if request.saw in (BACKEND_UNKNOWN, INCOMPLETE) else None


def _look_unavailable(request: Request, volume: str) -> Operation | None:
    return _looks(request) if request.saw == REGISTRY else None


def _attach_in_use(request: Request, volume: str) -> Operation | None:
    held = _held(request, volume)
    return _looks(request, lambda row: row == held) if held and held.state == ATTACHED else None


def _attach_conflict(request: Request, volume: str) -> Operation | None:
    if _is_giving_up(request, volume):
        # Each time a row conflicted, and was gone when it was looked up.
        return _looks(request, *(lambda row: row != NO_ROW, lambda row: row == NO_ROW) * ATTEMPTS)
    if _names_server(_DEVICE, request):
        return _looks(request, lambda row: row.server != request.server)
    held = _held(request, volume)
    return _looks(request, lambda row: row == held) if held and held.state != ATTACHED else None


def _attach_limit(request: Request, volume: str) -> Operation | None:
    if not _LIMIT.fullmatch(str(request.saw)):
        return None
    return _looks(request, lambda row: row.server != request.server)


def _detach_conflict(request: Request, volume: str) -> Operation | None:
    attached = Row(request.server, ATTACHED)
    if _is_giving_up(request, volume):
        # Each time it was attached, and not any more, or again, when it was to be claimed.
        return _looks(request, *(lambda row: row == attached, lambda row: row != attached) * ATTEMPTS)
    held = _held(request, volume)
    if held not in (Row(request.server, ATTACHING), Row(request.server, DETACHING)):
        return None
    return _looks(request, lambda row: row == held)


def _detach_missing(request: Request, volume: str) -> Operation | None:
    return _look_if_missing(request, volume, lambda row: row.server != request.server)


def _show_missing(request: Request, volume: str) -> Operation | None:
    return _look_if_missing(request, volume, lambda row: not _is_shown(row, request.server))


def _show(request: Request, volume: str) -> Operation:
    return _looks(request, lambda row: _is_shown(row, request.server))


def _list(request: Request, volume: str) -> Operation:
    return _looks(request, lambda row: _is_shown(row, request.server) == (volume in request.saw))


_READINGS: dict[str, dict[str, Callable[[Request, str], Operation | None]]] = {
    "attach": {
        "attached": _attached,
        "in use": _attach_in_use,
        "conflict": _attach_conflict,
        "limit": _attach_limit,
        "unavailable": _attach_unavailable,
    },
    "detach": {
        "detached": _detached,
        "conflict": _detach_conflict,
        "missing": _detach_missing,
        "unavailable": _detach_unavailable,
    },
    "show": {"shown": _show, "missing": _show_missing, "unavailable": _look_unavailable},
    "list": {"listed": _list, "unavailable": _look_unavailable},
}
KINDS: Mapping[str, frozenset[tuple[str, int]]] = {
    dialect: frozenset(
        (operation, statuses[kind])
        for operation, readings in _READINGS.items()
        for kind in readings.keys() - {"unavailable", "limit"}
    )
    for dialect, statuses in STATUSES.items()
}
"""All operations, with the statuses that they return where nothing fails and there is no limit; by dialect."""


def _changes(request: Request, *steps: tuple[Change, ...]) -> Operation:
    return Operation(request, changes=steps, ends=frozenset((len(steps),)))


def _looks(request: Request, *looks: Look) -> Operation:
    return Operation(request, looks=looks, ends=frozenset((len(looks),)))


def _look_if_missing(request: Request, volume: str, allows: Look) -> Operation | None:
    missing = f"Volume {volume} is not attached to server {request.server}."
    return _looks(request, allows) if request.saw == missing else None


def _is_shown(row: Row, server: str) -> bool:
    return row.server == server and row.state != ATTACHING


def _is_giving_up(request: Request, volume: str) -> bool:
    return request.saw == f"Other operations on volume {volume} are in progress. Retry later."


def _names_server(pattern: re.Pattern[str], request: Request) -> bool:
    match = pattern.fullmatch(str(request.saw))
    return match is not None and match[1] == request.server


def _held(request: Request, volume: str) -> Row | None:
    """Return the row that a conflict names."""
    match = _HELD.fullmatch(str(request.saw))
    return Row(match[3], _STATES[match[2]]) if match and match[1] == volume else None


# -- the search ----------------------------------------------------------------------------------------


def _search(since: Certain, events: Sequence[Event], operations: Mapping[int, Operation]) -> Refused | None:
    """Follow every order that the events from a certain moment on leave open; say where none is left."""
    pending, possible, certain = dict(since.pending), {since.configuration}, since
    before = dict.fromkeys(pending, since)
    for position in range(since.position, len(events)):
        _, is_end, number = events[position]
        if is_end:
            possible = _ended(possible, pending, number)
            if not possible:
                return Refused(position, before[number])
            del pending[number]
        else:
            before[number] = certain
            new = {number: operations[number]}
            pending |= new
            possible = {_settled(each, new) for each in possible}
        first = next(iter(possible))
        if len(possible) == 1 and not any(pending[each].changes for each, _ in first.done):
            certain = Certain(position + 1, first, dict(pending))
    return None


class _Explored:
    """Configurations, but for those of which another one leaves the same open and more.

    An operation that may have changed nothing leaves more open while it has changed nothing than when it is done.
    """

    def __init__(self, pending: Mapping[int, Operation]) -> None:
        self._used = {(number, len(each.changes)) for number, each in pending.items() if each.is_optional}
        self._alike: dict[tuple[Row, frozenset[tuple[int, int]]], list[Configuration]] = defaultdict(list)

    def add(self, configuration: Configuration) -> bool:
        """Add a configuration; return False if there is one that leaves as much open."""
        alike = self._alike[configuration.row, configuration.done - self._used]
        if any(each.done <= configuration.done and each.late >= configuration.late for each in alike):
            return False
        alike.append(configuration)
        return True

    def add_all(self, configurations: Iterable[Configuration]) -> set[Configuration]:
        """Add configurations; return those that leave most open."""
        ordered = sorted(configurations, key=lambda each: (len(each.done & self._used), -len(each.late)))
        return {each for each in ordered if self.add(each)}


def _ended(possible: set[Configuration], pending: Mapping[int, Operation], number: int) -> set[Configuration]:
    """Return the configurations in which an operation is done. What others need not do for that, they do later."""
    operation, explored = pending[number], _Explored(pending)
    ended: set[Configuration] = set()
    untried = deque(explored.add_all(possible))
    while untried:
        configuration = untried.popleft()
        count = dict(configuration.done).get(number, 0)
        late = operation.late_changes(configuration.row, count)
        if count in operation.ends:
            # Where it has done nothing, the others may do later what they have done by now; unless it depends on that
            # row what may be late.
            if count or configuration in possible or any(each.before != NO_ROW for each in late):
                done = configuration.done - {(number, count)}
                ended.add(Configuration(configuration.row, done, configuration.late.union(late)))
            if count:
                continue
        untried.extend(filter(explored.add, _after_a_change(configuration, pending)))
    return _Explored(pending).add_all(ended)


def _after_a_change(configuration: Configuration, pending: Mapping[int, Operation]) -> Iterator[Configuration]:
    """Yield what the next change may lead to."""
    done = dict(configuration.done)
    for number, operation in _changing(pending, done).items():
        count = done.get(number, 0)
        for change in operation.changes[count]:
            yield from _changed(configuration, change, {number: count + 1}, pending)
    for change in configuration.late:
        yield from _changed(configuration, change, {}, pending)


def _changing(pending: Mapping[int, Operation], done: Mapping[int, int]) -> dict[int, Operation]:
    """Return those that may go on with their changes.

    Of several that may all have changed nothing, and would change the same, only the one that ends first: to keep the
    others leaves more open.
    """
    found: dict[object, int] = {}
    for number, each in pending.items():
        count = done.get(number, 0)
        if count >= len(each.changes):
            continue
        key = (each.changes, each.ends) if each.is_optional and count == 0 else number
        if key not in found or each.request.end < pending[found[key]].request.end:
            found[key] = number
    return {number: pending[number] for number in found.values()}


def _changed(
    configuration: Configuration, change: Change, more: Mapping[int, int], pending: Mapping[int, Operation]
) -> Iterator[Configuration]:
    """Yield the configuration after a change, if the row is as it needs it."""
    row, done, late = configuration
    if change.before == row:
        # A late change of a row that is no longer the same has no effect.
        late = frozenset(each for each in late if each.before != row or row == NO_ROW)
        yield _settled(Configuration(change.after, frozenset((dict(done) | more).items()), late), pending)


def _settled(configuration: Configuration, pending: Mapping[int, Operation]) -> Configuration:
    """Return the configuration when all have looked who can."""
    row, done = configuration.row, dict(configuration.done)
    for number, operation in pending.items():
        if operation.looks:
            count = done.get(number, 0)
            done[number] = count + sum(1 for _ in takewhile(lambda look: look(row), operation.looks[count:]))
    return configuration._replace(done=frozenset(done.items()))


# -- the report -----------------------------------------------------------------------------------------


def _words(volume: str, refused: Refused, events: Sequence[Event], operations: Mapping[int, Operation]) -> str:
    since, last = refused.since, events[refused.position].number
    row = since.configuration.row
    zero, moment = events[0].moment, events[max(since.position - 1, 0)].moment
    lines = [
        f"There is no order of events in which all these responses about volume {volume} are true.",
        f"{_milliseconds(moment - zero)}: the row is {row.state} {row.server}".rstrip(),
        *(
            f"it may still become {after.state} {after.server} where it is {before.state} {before.server}".rstrip()
            for before, after in sorted(since.configuration.late)
        ),
    ]
    for number in _shortest(refused, events, operations):
        request = operations[number].request
        start, end, saw = request.start, request.end, request.saw
        times = f"{_milliseconds(start - zero)} to {_milliseconds(end - zero)}"
        begun = ", begun by then" if number in since.pending else ""
        parts = [
            f"{request.operation}, server {request.server}: {request.status}",
            saw if isinstance(saw, str) else f"volumes {sorted(saw)}",
        ]
        mark = "<-- not this one" if number == last else ""
        lines.append(" ".join(filter(None, [f"{times}: request {number}{begun}:", *parts, mark])))
    return "\n".join(lines)


def _shortest(refused: Refused, events: Sequence[Event], operations: Mapping[int, Operation]) -> list[int]:
    """Return who was under way from the certain moment to the refused end, but for the looks that do not matter."""
    since = replace(refused.since, position=0)
    events = events[refused.since.position : refused.position + 1]
    last = events[-1].number
    numbers = sorted({*since.pending, *(event.number for event in events)})
    for number in [each for each in numbers if each != last and operations[each].looks]:
        without, fewer = _without(number, since), [event for event in events if event.number != number]
        if _search(without, fewer, operations):
            since, events = without, fewer
            numbers.remove(number)
    return numbers


def _without(number: int, since: Certain) -> Certain:
    done = frozenset(each for each in since.configuration.done if each[0] != number)
    return replace(
        since,
        configuration=since.configuration._replace(done=done),
        pending={other: each for other, each in since.pending.items() if other != number},
    )


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3f} ms"
