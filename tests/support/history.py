"""Checks that the responses about a volume are linearizable; if not, finds the shortest stretch that is not.

A request is a chain of steps, each of which happens at one moment between the request's start and its end. A step
either looks at the volume's row or changes it; the response shows which steps there were. A history is linearizable if
all steps can be put in one order in which each finds the row as it needs it. That order is searched as Wing and Gong
do, with Lowe's memory of what was tried already; he also lets each request rest until its end is due. A look is done
as soon as it can be, since it takes nothing from the others.
"""

import re
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


class Row(NamedTuple):
    """A volume's row. Its claim needs no owner: only one request has changed it to that."""

    server: str
    state: str


NO_ROW = Row("", "none")

Step = Callable[[Row], Row | None]
"""Returns the row as it is after the step, None if the step can't be where the row is so."""


@dataclass(frozen=True)
class Operation:
    """What a request did to a volume's row: it only ``changes`` it, or only looks at it."""

    request: Request
    changes: bool
    steps: tuple[Step, ...]


class Configuration(NamedTuple):
    """A row, and how many steps each operation has done of those that are in progress. Retry later."""

    row: Row
    done: frozenset[tuple[int, int]]


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


def refusal(requests: Iterable[Request], volume: str) -> str | None:
    """Describe which responses about a volume can't all be true; None if all can.

    Of a list only that volume is looked at, here as for the other volumes.

    :param requests: all that there were from when the volume had no row.
    :raises ValueError: for a response that no request may ever get.
    """
    operations = read(requests, volume)
    events = sorted(
        event
        for number, each in operations.items()
        for event in (Event(each.request.start, False, number), Event(each.request.end, True, number))
    )
    refused = _search(Certain(0, Configuration(NO_ROW, frozenset()), {}), events, operations)
    return _words(volume, refused, events, operations) if refused else None


# -- what a response shows ------------------------------------------------------------------------------

_STATES = {"attached to": ATTACHED, "being attached to": ATTACHING, "being detached from": DETACHING}
_HELD = re.compile(f"Volume ([0-9]+) is ({'|'.join(_STATES)}) server ([0-9]+)\\.")


def read(requests: Iterable[Request], volume: str) -> dict[int, Operation]:
    """Return what the requests did with a volume, by number. :raises ValueError: as ``refusal``."""
    about = sorted(each for each in requests if each.volume in (volume, ""))
    return {number: _operation(each, volume) for number, each in enumerate(about)}


def _operation(request: Request, volume: str) -> Operation:
    kind = (request.operation, request.status)
    if kind in _CHANGES:
        return Operation(request, True, _CHANGES[kind](request.server))
    steps = _LOOKS[kind](request, volume) if kind in _LOOKS else None
    if steps is None:
        raise ValueError(f"no request can have this response: {request}")
    return Operation(request, False, steps)


def _attach(server: str) -> tuple[Step, ...]:
    claimed = Row(server, ATTACHING)
    return _change(NO_ROW, claimed), _change(claimed, Row(server, ATTACHED))


def _detach(server: str) -> tuple[Step, ...]:
    claimed = Row(server, DETACHING)
    return _change(Row(server, ATTACHED), claimed), _change(claimed, NO_ROW)


def _attach_conflict(request: Request, volume: str) -> tuple[Step, ...] | None:
    if _is_giving_up(request, volume):
        # Each time a row conflicted, and was gone when it was looked up.
        return (_look(lambda row: row != NO_ROW), _look(lambda row: row == NO_ROW)) * ATTEMPTS
    held = _held(request, volume)
    return held and (_look(lambda row: row == held),)


def _detach_conflict(request: Request, volume: str) -> tuple[Step, ...] | None:
    attached = Row(request.server, ATTACHED)
    if _is_giving_up(request, volume):
        # Each time it was attached, and not any more, or again, when it was to be claimed.
        return (_look(lambda row: row == attached), _look(lambda row: row != attached)) * ATTEMPTS
    held = _held(request, volume)
    if held not in (Row(request.server, ATTACHING), Row(request.server, DETACHING)):
        return None
    return (_look(lambda row: row == held),)


def _detach_missing(request: Request, volume: str) -> tuple[Step, ...] | None:
    return _look_if_missing(request, volume, lambda row: row.server != request.server)


def _show_missing(request: Request, volume: str) -> tuple[Step, ...] | None:
    return _look_if_missing(request, volume, lambda row: not _is_shown(row, request.server))


def _show(request: Request, volume: str) -> tuple[Step, ...]:
    return (_look(lambda row: _is_shown(row, request.server)),)


def _list(request: Request, volume: str) -> tuple[Step, ...]:
    return (_look(lambda row: _is_shown(row, request.server) == (volume in request.saw)),)


_CHANGES = {("attach", 200): _attach, ("detach", 200): _detach}
_LOOKS: dict[tuple[str, int], Callable[[Request, str], tuple[Step, ...] | None]] = {
    ("attach", 400): _attach_conflict,
    ("detach", 400): _detach_conflict,
    ("detach", 404): _detach_missing,
    ("show", 200): _show,
    ("show", 404): _show_missing,
    ("list", 200): _list,
}
KINDS = {*_CHANGES, *_LOOKS}
"""All operations, with the statuses that they may return."""


def _change(before: Row, after: Row) -> Step:
    return lambda row: after if row == before else None


def _look(allows: Callable[[Row], bool]) -> Step:
    return lambda row: row if allows(row) else None


def _look_if_missing(request: Request, volume: str, allows: Callable[[Row], bool]) -> tuple[Step, ...] | None:
    missing = f"Volume {volume} is not attached to server {request.server}."
    return (_look(allows),) if request.saw == missing else None


def _is_shown(row: Row, server: str) -> bool:
    return row.server == server and row.state != ATTACHING


def _is_giving_up(request: Request, volume: str) -> bool:
    return request.saw == f"Other operations on volume {volume} are in progress. Retry later."


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
            possible = {_settled(row, dict(done), new) for row, done in possible}
        first = next(iter(possible))
        if len(possible) == 1 and not any(pending[each].changes for each, _ in first.done):
            certain = Certain(position + 1, first, dict(pending))
    return None


def _ended(possible: set[Configuration], pending: Mapping[int, Operation], number: int) -> set[Configuration]:
    """Return the configurations in which an operation is done. What others need not do for that, they do later."""
    finished = (number, len(pending[number].steps))
    ended, seen, untried = set(), set(possible), list(possible)
    while untried:
        configuration = untried.pop()
        if finished in configuration.done:
            ended.add(Configuration(configuration.row, configuration.done - {finished}))
            continue
        new = set(_after_a_change(configuration, pending)) - seen
        seen |= new
        untried += new
    return ended


def _after_a_change(configuration: Configuration, pending: Mapping[int, Operation]) -> Iterator[Configuration]:
    """Yield what the next change may lead to."""
    done = dict(configuration.done)
    for number, operation in pending.items():
        count = done.get(number, 0)
        if not operation.changes or count == len(operation.steps):
            continue
        row = operation.steps[count](configuration.row)
        if row is not None:
            yield _settled(row, done | {number: count + 1}, pending)


def _settled(row: Row, done: dict[int, int], pending: Mapping[int, Operation]) -> Configuration:
    """Return the configuration when all have looked who can."""
    for number, operation in pending.items():
        if not operation.changes:
            count = done.get(number, 0)
            done[number] = count + sum(1 for _ in takewhile(lambda step: step(row), operation.steps[count:]))
    return Configuration(row, frozenset(done.items()))


# -- the report -----------------------------------------------------------------------------------------


def _words(volume: str, refused: Refused, events: Sequence[Event], operations: Mapping[int, Operation]) -> str:
    since, last = refused.since, events[refused.position].number
    row = since.configuration.row
    zero, moment = events[0].moment, events[max(since.position - 1, 0)].moment
    lines = [
        f"There is no order of events in which all these responses about volume {volume} are true.",
        f"{_milliseconds(moment - zero)}: the row is {row.state} {row.server}".rstrip(),
    ]
    for number in _shortest(refused, events, operations):
        start, end, operation, _, server, status, saw = operations[number].request
        times = f"{_milliseconds(start - zero)} to {_milliseconds(end - zero)}"
        begun = ", begun by then" if number in since.pending else ""
        parts = [f"{operation}, server {server}: {status}", saw if isinstance(saw, str) else f"volumes {sorted(saw)}"]
        mark = "<-- not this one" if number == last else ""
        lines.append(" ".join(filter(None, [f"{times}: request {number}{begun}:", *parts, mark])))
    return "\n".join(lines)


def _shortest(refused: Refused, events: Sequence[Event], operations: Mapping[int, Operation]) -> list[int]:
    """Return who was under way from the certain moment to the refused end, but for the looks that do not matter."""
    since = replace(refused.since, position=0)
    events = events[refused.since.position : refused.position + 1]
    last = events[-1].number
    numbers = sorted({*since.pending, *(event.number for event in events)})
    for number in [each for each in numbers if each != last and not operations[each].changes]:
        without, fewer = _without(number, since), [event for event in events if event.number != number]
        if _search(without, fewer, operations):
            since, events = without, fewer
            numbers.remove(number)
    return numbers


def _without(number: int, since: Certain) -> Certain:
    row, done = since.configuration
    configuration = Configuration(row, frozenset(each for each in done if each[0] != number))
    return replace(
        since,
        configuration=configuration,
        pending={other: each for other, each in since.pending.items() if other != number},
    )


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3f} ms"
