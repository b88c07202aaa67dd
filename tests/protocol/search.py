"""Breadth-first search through every order of events, so that a counterexample is a shortest one."""

from collections import deque
from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import NamedTuple

from tests.protocol.rules import AS_DOCUMENTED, CORRECTIONS, Backend, Operation, Protocol
from tests.protocol.states import (
    ATTACHED,
    ATTACHING,
    BOTH,
    DEAD,
    DETACHING,
    NOWHERE,
    REATTACHING,
    STALE,
    VALID,
    Row,
    State,
    Volume,
    Worker,
    find_broken,
    find_inconsistent,
)

ALL = frozenset(CORRECTIONS)
CRASHES = 2
Scenario = tuple[Operation, ...]

OPERATIONS = (
    *(Operation(kind, server) for kind in ("attach", "detach") for server in (0, 1)),
    *(Operation("update", 0), Operation("reconcile"), Operation("delete volume")),
)
EVENTS = (
    *(Operation(kind, server) for kind in ("delete server", "hide", "lose") for server in (0, 1)),
    *map(Operation, ("switch", "create", "create elsewhere", "clock back")),
)


class Event(NamedTuple):
    """One line of a trace."""

    who: str
    what: str
    state: State


Trace = list[Event]


class Result(NamedTuple):
    """What a search found."""

    states: int
    quiet: int
    """How many of the states are quiet."""
    events: frozenset[str]
    """What happened in any order, in words."""
    broken: dict[str, Trace]
    """A shortest trace for each invariant that breaks."""


def scenarios(count: int) -> Iterator[Scenario]:
    """Yield every choice of ``count`` operations and events; an event happens once."""
    for chosen in combinations_with_replacement((*OPERATIONS, *EVENTS), count):
        if all(chosen.count(event) < 2 for event in EVENTS) and any(op in OPERATIONS for op in chosen):
            yield chosen


class Quiet:
    """Runs reconcile in quiet states, where nothing else happens and nothing fails, and remembers the ends."""

    def __init__(
        self, corrections: frozenset[str] = ALL, *, backend: Backend = AS_DOCUMENTED, strict: bool = False
    ) -> None:
        """Set the rules.

        :param backend: what the backend promises.
        :param strict: whether I5 also compares whether a volume is deleted that several servers have or had.
        """
        self.corrections = corrections
        self.backend = backend
        self._strict = strict
        self._known: dict[tuple[State, int], tuple[frozenset[State], frozenset[str]]] = {}

    def find_broken(self, s: State, *, prompt: bool) -> set[str]:
        """Return the invariants that break when reconcile has run."""
        start = _forget(s)
        broken: set[str] = set()
        starts = {start}
        if any(row and row.negative for row in start.rows):
            # Time passes after the rows have been restamped.
            starts = set(self._run(start, 1, broken))
        once = {end for s in starts for end in self._run(s, 1, broken)}
        again = {end for s in once for end in self._run(s, 1, broken)}
        beside = {end for s in starts for end in self._run(s, 2, broken)}
        for end in once:
            broken |= find_inconsistent(end, prompt=prompt)
        if all(start.rows) and not self._strict:
            # Which of two rows is the last one, and so whether the volume is deleted, depends on their order.
            once, again, beside = ({end._replace(volume=None) for end in ends} for ends in (once, again, beside))
        if not once == again == beside:
            broken.add("I5")
        return broken

    def _run(self, start: State, times: int, broken: set[str]) -> frozenset[State]:
        """Return all the ends that ``times`` runs of reconcile side by side can have."""
        key = start, times
        if key not in self._known:
            self._known[key] = self._explore(start, times)
        ends, found = self._known[key]
        broken |= found
        return ends

    def _explore(self, start: State, times: int) -> tuple[frozenset[State], frozenset[str]]:
        count = 2 * times
        operations = tuple(Operation("reconcile", i % 2) for i in range(count))
        after = {i: i - 1 for i in range(1, count, 2)}  # a run examines the row of the one server, then of the other
        protocol = Protocol(operations, self.corrections, backend=self.backend, faults=False, after=after)
        first = start._replace(workers=(Worker(),) * count, ages=(None,) * count + (STALE,))
        seen, todo = {first}, [first]
        ends, broken = set(), set()
        while todo:
            s = todo.pop()
            bad = find_broken(s)
            if bad:
                broken.add(bad)
                continue
            following = {after for _, _, after in protocol.moves(s)}
            if not following:
                ends.add(_forget(s))
            todo += following - seen
            seen |= following
        return frozenset(ends), frozenset(broken)


def _forget(s: State) -> State:
    """Return a quiet state without what has no effect on reconcile."""
    rows = [row and row._replace(claim=DEAD) for row in s.rows]
    s = s._replace(workers=(), ages=(), rows=(rows[0], rows[1]), claims=(), newest=(0, 0), crashes=0)
    return s._replace(hidden=NOWHERE, promised=NOWHERE)


def _single_starts(*, prompt: bool) -> Iterator[State]:
    """Yield the states in which one server has or had the volume, which is exclusive."""
    base = State((), ())
    disk, other = frozenset({0}), frozenset({1})
    attached = Row(ATTACHED, DEAD, flag=True, entitled=True)
    yield base
    yield base._replace(rows=(attached, None), disks=disk, promised=disk)
    yield base._replace(rows=(attached, None), compute=other, backend=other)
    yield base._replace(rows=(attached._replace(flag=False, entitled=False), None), compute=other, backend=other)
    if prompt:
        return
    for state, flag in ((ATTACHING, True), (REATTACHING, True), (DETACHING, False)):
        row = Row(state, DEAD, flag=flag, entitled=state == REATTACHING)
        lost = disk if state == REATTACHING else NOWHERE
        start = base._replace(rows=(row, None), promised=lost)
        call, before = ("detach", disk) if state == DETACHING else ("attach", NOWHERE)
        yield start._replace(lost=lost)
        yield start._replace(disks=disk)
        yield start._replace(disks=before, late=((call, 0, DEAD),), lost=lost)
    # Reconcile died when it deleted the volume of a gone server, or before.
    terminating = base._replace(rows=(attached._replace(state=DETACHING), None), compute=other, backend=other)
    yield terminating
    yield terminating._replace(volume=None)
    yield terminating._replace(late=(("delete", 0, DEAD),))


def _multiattach_starts() -> Iterator[State]:
    base = State((), (), volume=Volume(multiattach=True))
    disk = frozenset({0})
    row = Row(ATTACHED, DEAD, exclusive=False, flag=True, entitled=True)
    yield base
    yield base._replace(rows=(row, None), disks=disk, promised=disk)
    yield base._replace(rows=(row, row), disks=BOTH, promised=BOTH, shared=True)


def starts(scenario: Scenario, *, prompt: bool) -> Iterator[State]:
    """Yield the states in which a scenario starts: nothing, an attachment, and what a dead worker can leave."""
    count = len(scenario)
    kinds = {operation.kind for operation in scenario}
    found = list(_single_starts(prompt=prompt))
    if "switch" in kinds or len({op.server for op in scenario} - {None}) > 1 or count == 1:
        found += _multiattach_starts()
    if not kinds & {"create", "create elsewhere", "reconcile"}:
        found = [s for s in found if s.volume]
    for s in found:
        yield s._replace(
            workers=(Worker(),) * count, ages=(None,) * count + (VALID,), crashes=0 if prompt else CRASHES
        ).tidy()


Parents = dict[State, tuple[State, str, str] | None]


def explore(scenario: Scenario, quiet: Quiet, *, prompt: bool = False, until: str = "") -> Result:
    """Search all orders of events of a scenario, with the corrections and the backend of ``quiet``.

    :param prompt: whether no worker crashes, no claim ages and no outcome is unknown.
    :param until: an invariant; the search stops when it breaks.
    """
    protocol = Protocol(scenario, quiet.corrections, backend=quiet.backend, prompt=prompt)
    parents: Parents = dict.fromkeys(starts(scenario, prompt=prompt))
    todo = deque(parents)
    broken: dict[str, Trace] = {}
    quiet_states = 0
    events: set[str] = set()
    while todo and until not in broken:
        s = todo.popleft()
        bad = find_broken(s)
        if bad:
            broken.setdefault(bad, _trace(parents, s))
            continue
        if protocol.is_quiet(s):
            quiet_states += 1
            for bad in quiet.find_broken(s, prompt=prompt) - broken.keys():
                broken[bad] = [*_trace(parents, s), Event("", "all is quiet, reconcile runs", s)]
        for who, what, after in protocol.moves(s):
            events.add(what)
            if after not in parents:
                parents[after] = s, who, what
                todo.append(after)
    return Result(len(parents), quiet_states, frozenset(events), broken)


def _trace(parents: Parents, s: State) -> Trace:
    trace = []
    parent = parents[s]
    while parent is not None:
        trace.append(Event(parent[1], parent[2], s))
        s = parent[0]
        parent = parents[s]
    return [Event("", "at first", s), *reversed(trace)]
