"""The values of the model: rows, workers and the state of everything, and the invariants of a single state."""

from typing import NamedTuple

ATTACHED, ATTACHING, REATTACHING, DETACHING = "attached", "attaching", "reattaching", "detaching"
VISIBLE = (ATTACHED, REATTACHING)
SERVERS = (0, 1)
BOTH = frozenset(SERVERS)
NOWHERE: frozenset[int] = frozenset()

DEAD = -1
"""The owner of a claim whose worker died before the scenario starts."""
VALID, EXPIRED, STALE = 0, 1, 2
"""The ages of a claim: its worker may start calls; it may not, but calls may still run; others may take over."""


class Row(NamedTuple):
    """A row of the registry. Its server is its place in ``State.rows``."""

    state: str
    claim: int
    """The operation that wrote the claim; for the others, a UUID that they compare."""
    exclusive: bool = True
    flag: bool = False
    """``delete_on_termination``"""
    entitled: bool = False
    """For D1: the row was attached with the flag set, no detach by a caller began since, and it is that volume."""
    negative: bool = False
    """The clock was set back since the claim: the row's age is negative."""


class Volume(NamedTuple):
    """The volume as the catalog has it."""

    ours: bool = True
    """It belongs to the project of the servers."""
    multiattach: bool = False


class Worker(NamedTuple):
    """How far an operation is, and what it knows."""

    step: str = "start"
    server: int = 0
    """The server of the row that it claimed or read."""
    call: str = ""
    """The call that it makes next or has made: attach, detach, or delete (of the volume, by the catalog)."""
    seen: Row | None = None
    """The row as it wrote or read it last: what the next compare-and-set compares."""
    before: Row | None = None
    """The row as it was before the claim; None if there was none."""
    multiattach: bool = False
    """What the catalog said of the volume first."""
    flag: bool = False
    """What an attach requests as ``delete_on_termination``."""
    gone: bool = False
    """The compute API did not have the server when reconcile looked it up."""
    missing: bool = False
    """The backend raised ServerNotFound."""
    called: bool = False
    """A backend call was started under the claim."""


class State(NamedTuple):
    """Everything at one moment."""

    workers: tuple[Worker, ...]
    ages: tuple[int | None, ...]
    """Of the claim of each operation, and of the dead worker's as the last; None where it has no effect."""
    rows: tuple[Row | None, Row | None] = (None, None)
    disks: frozenset[int] = NOWHERE
    """The servers that have the disk."""
    compute: frozenset[int] = BOTH
    """The servers that the compute API has."""
    backend: frozenset[int] = BOTH
    """The servers that the backend has."""
    hidden: frozenset[int] = NOWHERE
    """The servers for which the caller gets a 404 from the compute API though they exist."""
    volume: Volume | None = Volume()
    lock: int | None = None
    """The operation that has locked the volume's row in the catalog."""
    late: tuple[tuple[str, int, int], ...] = ()
    """Calls of unknown outcome that will yet take effect: call, server, owner of the claim."""
    claims: tuple[int, ...] = ()
    """If the backend is ordered: the owners of the claims so far, the newest last."""
    newest: tuple[int, int] = (0, 0)
    """If the backend is ordered: the place in ``claims``, from 1 on, of the newest claim that it has seen by server."""
    promised: frozenset[int] = NOWHERE
    """For I2: the servers on which callers were shown the volume as attached."""
    lost: frozenset[int] = NOWHERE
    """For I2: the servers whose disk the backend lost; the rows stay."""
    shared: bool = False
    """For I1: the volume was multiattach at some moment since both servers have a row that is not exclusive."""
    crashes: int = 0
    """How many workers may still crash."""
    broken: str = ""
    """An invariant that the last step broke."""

    def with_row(self, server: int, row: Row | None) -> "State":
        """Return the state with another row of a server."""
        return self._replace(rows=(row, self.rows[1]) if server == 0 else (self.rows[0], row))

    def with_worker(self, number: int, worker: Worker) -> "State":
        """Return the state with another worker of an operation."""
        return self._replace(workers=(*self.workers[:number], worker, *self.workers[number + 1 :]))

    def with_age(self, owner: int, age: int) -> "State":
        """Return the state with another age of an owner's claim."""
        owner %= len(self.ages)
        return self._replace(ages=(*self.ages[:owner], age, *self.ages[owner + 1 :]))

    def is_stale(self, row: Row) -> bool:
        """Return whether others may take a row over."""
        return row.state != ATTACHED and not row.negative and self.ages[row.claim] == STALE

    def tidy(self) -> "State":
        """Forget the ages that have no effect any more, and note whether both servers may have the disk."""
        pending = {row.claim % len(self.ages) for row in self.rows if row and row.state != ATTACHED}
        running = {i for i, worker in enumerate(self.workers) if worker.step != "done"}
        ages = tuple(age if i in pending or i in running else None for i, age in enumerate(self.ages))
        if all(self.rows):
            is_multiattach = bool(self.volume and self.volume.multiattach)
            shared = self.shared or (is_multiattach and not any(row.exclusive for row in self.rows if row))
        else:
            shared = self.shared and len(self.disks) > 1
        return self if (ages, shared) == (self.ages, self.shared) else self._replace(ages=ages, shared=shared)


INVARIANTS = {
    "I1": "The disk is never in two servers, unless the volume was multiattach while both had a shared row.",
    "I2": "What was shown as attached stays so until a detach by one who may claims it or its server is deleted.",
    "I3": "When all is quiet and reconcile has run, registry and backend agree.",
    "I4": "A certain failure of an attach and a successful detach leave nothing behind.",
    "I5": "Two reconciles, one after the other or side by side, have the same result as one.",
    "D1": "A volume is deleted with its server only if the server is gone, its row was attached with "
    "delete_on_termination, no caller began to detach it, and no other server has it or a row of it.",
    "D2": "No volume of another project is attached or deleted.",
    "D3": "An attach and a deletion of the volume never both succeed.",
    "P1": "When all is quiet, the clock has advanced and reconcile has run, no row is pending.",
}


def find_broken(s: State) -> str:
    """Return the invariant of single states that a state breaks; empty if it breaks none."""
    in_use = s.disks or any(row and row.state in VISIBLE for row in s.rows)
    if s.broken:
        return s.broken
    if len(s.disks) > 1 and not s.shared:
        return "I1"
    if any(not _is_kept(s, server) for server in s.promised):
        return "I2"
    if in_use and s.volume is None:
        return "D3"
    if in_use and s.volume and not s.volume.ours:
        return "D2"
    return ""


def _is_kept(s: State, server: int) -> bool:
    row = s.rows[server]
    return row is not None and row.state in VISIBLE and server in s.disks | s.lost


def find_inconsistent(s: State, *, prompt: bool) -> set[str]:
    """Return which of I3 and P1 a state breaks in which reconcile has run and nothing else happens.

    :param prompt: whether every operation's outcome was known. Else a pending row may stay where only the backend has
        lost the server, because the earlier call may have taken effect.
    """
    broken = set()
    for server, row in enumerate(s.rows):
        only_compute = server in s.compute and server not in s.backend
        if row is not None and row.state != ATTACHED:
            if prompt or not only_compute:
                broken.add("P1")
        elif not _agrees(s, server, row):
            broken.add("I3")
    return broken


def _agrees(s: State, server: int, row: Row | None) -> bool:
    """Return whether registry and backend agree, or reconcile leaves the difference to the operator."""
    if row is None or server in s.disks:
        return row is not None or server not in s.disks
    was_modified = s.volume is not None and s.volume.multiattach == row.exclusive  # docs/protocol.rst, R22
    return was_modified or (server in s.compute) != (server in s.backend)
