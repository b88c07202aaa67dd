"""What can happen next: the rules of docs/protocol.rst as steps of operations, and what happens around them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.protocol.states import (
    ATTACHED,
    ATTACHING,
    DEAD,
    DETACHING,
    EXPIRED,
    REATTACHING,
    SERVERS,
    STALE,
    VALID,
    VISIBLE,
    Row,
    State,
    Volume,
    Worker,
)

CORRECTIONS = {
    "own-id": "a claim has a UUID of its own (R1)",
    "deadline": "a worker starts a backend call only before its claim's deadline (R4)",
    "leave-valid": "reconcile leaves a pending row alone until it is stale (R6)",
    "claim-first": "reconcile claims a stale row before it looks at the backend (R7)",
    "no-undo": "a worker that finds its row changed does not touch the backend any more (R8)",
    "pending-stays": "a certain failure is final only if the claim took over nothing pending (R9)",
    "put-back": "a detach that finds no server in the backend, while the server is not gone, failed for certain (R9)",
    "stale-only": "the row of a gone server is taken over only if it is attached or stale (R11)",
    "gone": "a server is gone only if the operator's compute API does not have it (R11)",
    "put-back-stale": "reconcile puts a stale reattaching row that it leaves unresolved back to attached (R14)",
    "clear-flag": "the claim of a caller's detach or takeover unsets delete_on_termination (R16)",
    "backend-gone": "the volume is deleted only after the backend raised ServerNotFound (R16)",
    "last-row": "the volume is deleted with its server only if no other row has it (R16)",
    "new-id": "a change of delete_on_termination writes a new id (R18)",
    "alone": "an attach checks after its reservation that no other row has the volume, unless both may (R21)",
    "recheck": "an attach reads the volume again after its reservation (R21)",
    "delete-lock": "a deletion locks the volume before it looks for attachments, and that read waits for it (R21)",
    "create-check": "a volume is not created while rows of its id exist (R21)",
    "restamp": "reconcile restamps a pending row of a negative age (R6)",
}

ATTACH, DETACH, DELETE = "attach", "detach", "delete"
NOT_FOUND, REFUSED = "ServerNotFound", "refused"
DONE = Worker("done")
# A worker that crashes at these steps leaves something behind.
_CLAIMED = {"alone", "reread", "look claimed", "ready", "commit", "ok", "failed"}

Move = tuple[str, State]
Moves = Iterator[Move]
Step = Callable[[State, int, Worker], Moves]


class Operation(NamedTuple):
    """An operation of a caller or the operator, or an event."""

    kind: str
    server: int | None = None

    def __str__(self) -> str:
        return self.kind if self.server is None else f"{self.kind} {name(self.server)}"


def name(server: int) -> str:
    """Return what a server is called in traces."""
    return f"s{server + 1}"


class Backend(NamedTuple):
    """What a backend promises."""

    ends_in_time: bool = True
    """A call that is given up takes effect, if at all, before its row is stale (R5)."""
    exclusive: bool = False
    """It refuses to attach a volume that another server has, unless the volume is multiattach."""
    ordered: bool = False
    """It refuses a call under an older claim than one that it has seen, on any server or, of a multiattach volume, on
    the same one. No backend of the package does that.
    """


AS_DOCUMENTED = Backend()


class Protocol:
    """The moves of a scenario: operations that run at once."""

    def __init__(
        self,
        operations: tuple[Operation, ...],
        corrections: frozenset[str],
        *,
        backend: Backend = AS_DOCUMENTED,
        faults: bool = True,
        prompt: bool = False,
        after: dict[int, int] | None = None,
    ) -> None:
        """Set the scenario.

        :param corrections: those that hold.
        :param backend: what the backend promises.
        :param faults: whether calls fail.
        :param prompt: whether no outcome is unknown and no claim ages.
        :param after: operations that start when another one is done.
        """
        self.operations = operations
        self._corrections = corrections
        self._backend = backend
        self._faults = faults
        self._prompt = prompt
        self._after = after or {}
        self._flags = (False, True) if any(op.kind == "delete server" for op in operations) else (False,)
        self._events: dict[str, Step] = {
            "delete server": self._delete_server,
            "hide": self._hide,
            "lose": self._lose,
            "switch": self._switch,
            "create": self._create,
            "create elsewhere": self._create,
            "clock back": self._clock_back,
        }
        self._starts: dict[str, Step] = {
            "attach": self._attach,
            "detach": self._detach,
            "reconcile": self._reconcile,
            "update": self._update,
            "delete volume": self._lock_volume,
        } | self._events
        self._steps: dict[str, Step] = {
            "reserve": self._reserve,
            "ask": self._ask,
            "take": self._take,
            "alone": self._alone,
            "reread": self._reread,
            "look": self._look,
            "look claimed": self._look,
            "put back": self._put_back,
            "write": self._write,
            "ready": self._ready,
            "calling": self._calling,
            "commit": self._commit,
            "ok": self._ok,
            "failed": self._failed,
        }

    def moves(self, s: State) -> Iterator[tuple[str, str, State]]:
        """Yield each step that can come next: who, what, and the state after it."""
        for i, operation in enumerate(self.operations):
            worker = s.workers[i]
            if worker.step == "done" or (i in self._after and s.workers[self._after[i]].step != "done"):
                continue
            step = self._starts[operation.kind] if worker.step == "start" else self._steps[worker.step]
            for what, after in step(s, i, worker):
                yield self.who(i), what, after.tidy()
            if s.crashes and worker.step in _CLAIMED:
                lock = None if s.lock == i else s.lock
                yield self.who(i), "crashes", s._replace(crashes=s.crashes - 1, lock=lock).with_worker(i, DONE).tidy()
        yield from self._late_effects(s)
        if self._faults and not self._prompt:
            yield from self._time(s)

    def is_quiet(self, s: State) -> bool:
        """Return whether no operation is in progress and no call will yet take effect."""
        return not s.late and all(
            worker.step == "done" or operation.kind in self._events
            for worker, operation in zip(s.workers, self.operations, strict=True)
        )

    def who(self, owner: int) -> str:
        """Return what the owner of a claim is called in traces."""
        if owner in (DEAD, len(self.operations)):
            return "a dead worker"
        same = [i for i, operation in enumerate(self.operations) if operation == self.operations[owner]]
        return str(self.operations[owner]) + (f" #{same.index(owner) + 1}" if len(same) > 1 else "")

    def _has(self, correction: str) -> bool:
        return correction in self._corrections

    # -- time --------------------------------------------------------------------------------------------

    def _time(self, s: State) -> Iterator[tuple[str, str, State]]:
        for owner, age in enumerate(s.ages):
            if age == VALID:
                yield "time", f"the claim of {self.who(owner)} is past its deadline", s.with_age(owner, EXPIRED).tidy()
            elif age == EXPIRED and not self._has_call(s, owner) and not self._is_negative(s, owner):
                yield "time", f"the claim of {self.who(owner)} is stale", s.with_age(owner, STALE).tidy()

    def _has_call(self, s: State, owner: int) -> bool:
        """Return whether a call may still take effect: one that was started in time ends before its row is stale."""
        calls = [call for call, _, o in s.late if o % len(s.ages) == owner]
        if owner < len(self.operations) and s.workers[owner].step in ("calling", "commit"):
            calls.append(s.workers[owner].call)
        return any(self._backend.ends_in_time or call not in (ATTACH, DETACH) for call in calls)

    @staticmethod
    def _is_negative(s: State, owner: int) -> bool:
        return any(row and row.negative and row.claim % len(s.ages) == owner for row in s.rows)

    def _late_effects(self, s: State) -> Iterator[tuple[str, str, State]]:
        for n, (call, server, owner) in enumerate(s.late):
            after = s._replace(late=s.late[:n] + s.late[n + 1 :])
            if call == DELETE:
                after = self._delete_late(after, server)
            else:
                after, _ = self._effect(after, call, server, owner)
            yield "late", f"the {call} of {self.who(owner)} on {name(server)} takes effect only now", after.tidy()

    # -- attach: the claim -------------------------------------------------------------------------------

    def _attach(self, s: State, i: int, _: Worker) -> Moves:
        server = self._server(i)
        if self._is_404(s, server):
            yield "responds 404: no such server", self._end(s, i)
        elif s.volume is None or not s.volume.ours:
            yield "responds 404: no such volume", self._end(s, i)
        else:
            for flag in self._flags:
                worker = Worker("reserve", server, multiattach=s.volume.multiattach, flag=flag)
                text = "reads the volume" + (", requests delete_on_termination" if flag else "")
                yield text, s.with_worker(i, worker)

    def _reserve(self, s: State, i: int, w: Worker) -> Moves:
        server = w.server
        row, own, other = Row(ATTACHING, i, not w.multiattach, w.flag), s.rows[server], s.rows[1 - server]
        if own is not None:
            if own.state == ATTACHING and s.is_stale(own):
                row = own._replace(claim=i, flag=w.flag)
                yield self._claim(s, i, w, server, row, "alone", ATTACH)
            else:
                yield "responds with a conflict", self._end(s, i)
        elif other is None or not (other.exclusive and row.exclusive):
            yield self._claim(s, i, w, server, row, "alone", ATTACH)
        elif self._is_gone(s, 1 - server) and (
            not self._has("stale-only") or other.state == ATTACHED or s.is_stale(other)
        ):
            yield (
                f"finds the row of {name(1 - server)}, which is gone",
                s.with_worker(i, w._replace(step="ask", server=1 - server, seen=other)),
            )
        else:
            yield "responds with a conflict", self._end(s, i)

    def _ask(self, s: State, i: int, w: Worker) -> Moves:
        if w.server in s.disks:
            yield f"sees the disk in {name(w.server)}: responds with a conflict", self._end(s, i)
        else:
            yield f"sees no disk in {name(w.server)}", s.with_worker(i, w._replace(step="take"))

    def _take(self, s: State, i: int, w: Worker) -> Moves:
        """Claim a row that was read before."""
        row, seen = s.rows[w.server], w.seen
        if row is None or seen is None or not self._is_same(row, seen):
            yield "finds the row changed: leaves it", self._end(s, i)
        elif self.operations[i].kind == "reconcile":
            state = REATTACHING if w.call == ATTACH else DETACHING
            what, after = self._claim(s, i, w, w.server, row._replace(state=state, claim=i), "ready", w.call)
            # The worker goes by the flag that it read, not by the one that its statement left in the row.
            now = after.workers[i]
            yield what, after.with_worker(i, now._replace(seen=now.seen and now.seen._replace(flag=seen.flag)))
        else:
            row = self._without_flag(row._replace(state=DETACHING, claim=i))
            yield self._claim(s, i, w, w.server, row, "ready", DETACH)

    def _transfer(self, s: State, i: int, w: Worker) -> Move:
        """Replace the row of a gone server by one that attaches elsewhere."""
        server = self._server(i)
        after = s.with_row(w.server, None)
        if s.rows[server] is not None:
            return "removes the row, then finds another row: responds with a conflict", self._end(after, i)
        row = Row(ATTACHING, i, not w.multiattach, w.flag)
        return self._claim(after, i, w, server, row, "alone", ATTACH, renew=False)

    def _alone(self, s: State, i: int, w: Worker) -> Moves:
        own, other = s.rows[w.server], s.rows[1 - w.server]
        if self._has("alone") and own and other and (own.exclusive or other.exclusive):
            yield "finds another row: " + self._give_back_text(s, w), self._give_back(s, i, w)
        else:
            yield "finds no other row that excludes it", s.with_worker(i, w._replace(step="reread"))

    def _reread(self, s: State, i: int, w: Worker) -> Moves:
        volume = s.volume
        if not self._has("recheck"):
            yield "goes on", s.with_worker(i, w._replace(step="ready"))
        elif s.lock is not None:
            return
        elif volume is None or not volume.ours:
            yield "reads that the volume is gone: " + self._give_back_text(s, w), self._give_back(s, i, w)
        elif w.seen is None or volume.multiattach != w.multiattach or volume.multiattach == w.seen.exclusive:
            yield "reads that the volume was modified: " + self._give_back_text(s, w), self._give_back(s, i, w)
        else:
            yield "reads the volume again: it is the same", s.with_worker(i, w._replace(step="ready"))

    # -- detach and reconcile: the claim -----------------------------------------------------------------

    def _detach(self, s: State, i: int, w: Worker) -> Moves:
        server = self._server(i)
        row = s.rows[server]
        if self._is_404(s, server) and not self._is_gone(s, server):
            yield "responds 404: no such server", self._end(s, i)
        elif row is None:
            yield "responds 404: not attached", self._end(s, i)
        elif row.state != ATTACHED and not s.is_stale(row):
            yield "responds with a conflict", self._end(s, i)
        else:
            if server not in s.hidden or server not in s.compute:
                s = s._replace(promised=s.promised - {server})
            row = self._without_flag(row._replace(state=DETACHING, claim=i))
            yield self._claim(s, i, w, server, row, "ready", DETACH)

    def _reconcile(self, s: State, i: int, w: Worker) -> Moves:
        chosen = self.operations[i].server
        for server in SERVERS if chosen is None else (chosen,):
            row = s.rows[server]
            if row is not None:
                yield self._examine(s, i, w, server, row)
        if s.rows == (None, None) or (chosen is not None and s.rows[chosen] is None):
            yield "finds no row", self._end(s, i)

    def _examine(self, s: State, i: int, w: Worker, server: int, row: Row) -> Move:
        w = w._replace(server=server, gone=server not in s.compute, seen=row, step="look")
        if row.negative and self._has("restamp"):
            age = EXPIRED if s.ages[row.claim] == STALE else s.ages[row.claim]
            after = s.with_row(server, row._replace(negative=False)).with_age(row.claim, VALID if age is None else age)
            return f"restamps the row of {name(server)}", self._end(after, i)
        if row.state != ATTACHED and not s.is_stale(row) and (self._has("leave-valid") or row.negative):
            return f"finds the row of {name(server)} in progress: leaves it", self._end(s, i)
        if row.state in VISIBLE or not self._has("claim-first"):
            return f"reads the row of {name(server)}: {row.state}", s.with_worker(i, w)
        return self._claim(s, i, w, server, row._replace(claim=i), "look claimed", "")

    def _look(self, s: State, i: int, w: Worker) -> Moves:
        has_disk = w.server in s.disks
        seen = f"sees {'the' if has_disk else 'no'} disk in {name(w.server)}"
        if w.seen is None:
            return
        if w.seen.state not in VISIBLE:
            call = ATTACH if has_disk and w.seen.state == ATTACHING else DETACH
            yield seen, s.with_worker(i, w._replace(step="ready", call=call))
            return
        call, reason = self._decide_visible(s, w, w.seen, has_disk)
        text = f"{seen}{reason}"
        if call:
            yield text, s.with_worker(i, w._replace(step="take", call=call))
        elif w.seen.state == REATTACHING and self._has("put-back-stale"):
            yield text, s.with_worker(i, w._replace(step="put back"))
        else:
            yield text, self._end(s, i)

    def _put_back(self, s: State, i: int, w: Worker) -> Moves:
        """Mark a stale reattaching row as attached, without a claim: callers see no difference."""
        row = s.rows[w.server]
        if row is None or w.seen is None or not self._is_same(row, w.seen):
            yield "finds the row changed: leaves it", self._end(s, i)
        else:
            after = self._promise(s.with_row(w.server, row._replace(state=ATTACHED)), w.server)
            yield f"puts the row of {name(w.server)} back to attached", self._end(after, i)

    def _decide_visible(self, s: State, w: Worker, row: Row, has_disk: bool) -> tuple[str, str]:
        """Return the call for an attached or reattaching row, if any, and the reason (docs/protocol.rst, R14)."""
        if w.gone:
            keeps_volume = row.flag and self._has("backend-gone")
            if has_disk or (w.server in s.backend and keeps_volume):
                return "", ", and only the compute API has lost the server: unresolved"
            return DETACH, ", and the server is gone"
        if has_disk:
            return (ATTACH, "") if row.state == REATTACHING else ("", ": consistent")
        volume = s.volume
        if volume is None or not volume.ours or volume.multiattach == row.exclusive:
            return "", ", and the volume was modified: unresolved"
        return ATTACH, ": it is missing"

    # -- calls -------------------------------------------------------------------------------------------

    def _ready(self, s: State, i: int, w: Worker) -> Moves:
        undo = w.seen is None
        if self._has("deadline") and s.ages[i] in (EXPIRED, STALE) and not undo:
            yield "is past the deadline: responds 503, the row stays", self._end(s, i)
            return
        what = "catalog.delete" if w.call == DELETE else f"backend.{w.call} {name(w.server)}"
        yield f"starts {what}", s.with_worker(i, w._replace(step="calling", called=True))
        if self._faults and not w.called and not undo:
            yield "gets no slot: " + self._give_back_text(s, w), self._give_back(s, i, w)

    def _calling(self, s: State, i: int, w: Worker) -> Moves:
        if w.call == DELETE:
            yield from self._lock_volume(s, i, w)
        else:
            after, reply = self._effect(s, w.call, w.server, i)
            yield f"backend.{w.call} {name(w.server)}: {reply}", self._after_call(after, i, w, reply)
        if not self._faults:
            return
        if w.call != DELETE:
            yield "the call fails for certain", s.with_worker(i, w._replace(step="failed"))
        if not self._prompt:
            yield "the outcome of the call is unknown, nothing happened; responds 503", self._end(s, i)
            late = tuple(sorted((*s.late, (w.call, w.server, i))))
            yield (
                "the outcome of the call is unknown, it is yet to happen; responds 503",
                self._end(s._replace(late=late), i),
            )

    def _after_call(self, s: State, i: int, w: Worker, reply: str) -> State:
        if reply == "done":
            return s.with_worker(i, w._replace(step="ok"))
        if w.call == ATTACH or reply == REFUSED:
            return s.with_worker(i, w._replace(step="failed"))
        kind = self.operations[i].kind
        if kind == "attach" or (w.gone if kind == "reconcile" else self._is_gone(s, w.server)):
            return s.with_worker(i, w._replace(step="ok", missing=True))
        return s.with_worker(i, w._replace(step="failed")) if self._has("put-back") else self._end(s, i)

    def _effect(self, s: State, call: str, server: int, owner: int) -> tuple[State, str]:
        """Do what the backend does, in one step; repeating it changes nothing."""
        is_multiattach = s.volume is not None and s.volume.multiattach
        if self._backend.ordered:
            number = max((n for n, claim in enumerate(s.claims, 1) if claim == owner), default=0)
            if number < (s.newest[server] if is_multiattach else max(s.newest)):
                return s, REFUSED
            s = s._replace(newest=(number, s.newest[1]) if server == 0 else (s.newest[0], number))
        if server not in s.backend:
            return s, NOT_FOUND
        if call == DETACH:
            return s._replace(disks=s.disks - {server}), "done"
        if self._backend.exclusive and s.disks == {1 - server} and not is_multiattach:
            return s, REFUSED
        return s._replace(disks=s.disks | {server}, lost=s.lost - {server}), "done"

    def _ok(self, s: State, i: int, w: Worker) -> Moves:
        row = s.rows[w.server]
        if w.seen is None:
            yield "has undone it: responds 503", self._end(s, i)
        elif row is None or not self._is_same(row, w.seen):
            yield self._lost(s, i, w)
        elif w.call == ATTACH:
            yield f"marks the row of {name(w.server)} attached: success", self._confirm(s, i, w, row)
        elif w.call == DELETE:
            yield f"removes the row of {name(w.server)}", self._end(s.with_row(w.server, None), i)
        elif self.operations[i].kind == "attach":
            yield self._transfer(s, i, w)
        elif self.operations[i].kind == "reconcile" and w.gone and w.seen.state == DETACHING and w.seen.flag:
            if w.missing or not self._has("backend-gone"):
                yield "goes on to delete the volume", s.with_worker(i, w._replace(step="ready", call=DELETE))
            else:
                yield "finds that the backend still has the server: unresolved", self._end(s, i)
        else:
            after = s.with_row(w.server, None)
            broken = "I4" if w.server in s.disks else ""
            yield f"removes the row of {name(w.server)}: success", self._end(after, i, broken)

    def _lost(self, s: State, i: int, w: Worker) -> Move:
        kind, row = self.operations[i].kind, s.rows[w.server]
        if w.call == ATTACH and kind == "attach" and not self._has("no-undo"):
            undo = Worker("ready", w.server, DETACH)
            return "finds its row changed: will undo the attach", s.with_worker(i, undo)
        if row is None and kind == "detach":
            return "finds its row removed: success", self._end(s, i, "I4" if w.server in s.disks else "")
        return "finds its row changed: leaves everything, responds 503", self._end(s, i)

    def _confirm(self, s: State, i: int, w: Worker, row: Row) -> State:
        entitled = row.entitled if row.state == REATTACHING else row.flag
        after = s.with_row(w.server, row._replace(state=ATTACHED, entitled=entitled, negative=False))
        return self._end(self._promise(after, w.server), i)

    def _failed(self, s: State, i: int, w: Worker) -> Moves:
        row, before = s.rows[w.server], w.before
        took_pending = before is not None and before.state not in VISIBLE
        is_rescue = self.operations[i].kind == "attach" and w.call == DETACH
        if row is None or w.seen is None or not self._is_same(row, w.seen) or is_rescue:
            yield "responds 503, the row stays as it is", self._end(s, i)
        elif took_pending and (self._has("pending-stays") or self.operations[i].kind == "reconcile"):
            yield "responds 503, because an earlier call may have taken effect", self._end(s, i)
        elif before is None or (w.call == ATTACH and took_pending):
            broken = "I4" if w.server in s.disks else ""
            yield (
                f"removes the row of {name(w.server)}: certain failure",
                self._end(s.with_row(w.server, None), i, broken),
            )
        else:
            restored = row._replace(state=ATTACHED, flag=before.flag, entitled=before.entitled, negative=False)
            after = self._promise(s.with_row(w.server, restored), w.server)
            yield f"puts the row of {name(w.server)} back to attached: certain failure", self._end(after, i)

    # -- the catalog -------------------------------------------------------------------------------------

    def _lock_volume(self, s: State, i: int, w: Worker) -> Moves:
        """Begin a deletion, of the operator or with a gone server: lock the volume and look for attachments."""
        operator = self.operations[i].kind == "delete volume"
        ok = DONE if operator else w._replace(step="ok")
        if s.lock is not None:
            return
        if s.volume is None or not (s.volume.ours or operator):
            yield "finds no volume to delete", s.with_worker(i, ok)
        elif self._other_rows(s, i, w):
            yield "finds attachments: the volume is kept", s.with_worker(i, ok)
        else:
            lock = i if self._has("delete-lock") else None
            how = "locks the volume and finds" if self._has("delete-lock") else "finds"
            yield f"{how} no attachment", s._replace(lock=lock).with_worker(i, w._replace(step="commit"))

    def _other_rows(self, s: State, i: int, w: Worker) -> bool:
        if self.operations[i].kind == "delete volume":
            return s.rows != (None, None)
        return self._has("last-row") and s.rows[1 - w.server] is not None

    def _commit(self, s: State, i: int, w: Worker) -> Moves:
        after = s._replace(volume=None, lock=None)
        if self.operations[i].kind == "delete volume":
            yield "deletes the volume: success", self._end(after, i)
            return
        after = after._replace(broken=self._judge_deletion(s, w.server))
        yield "deletes the volume", after.with_worker(i, w._replace(step="ok"))

    def _delete_late(self, s: State, server: int) -> State:
        if s.volume is None or not s.volume.ours or s.lock is not None:
            return s
        if self._has("last-row") and s.rows[1 - server] is not None:
            return s
        return s._replace(volume=None, broken=self._judge_deletion(s, server))

    @staticmethod
    def _judge_deletion(s: State, server: int) -> str:
        """Return D1 or D2 if a deletion with a server breaks it.

        A reservation that is made after the deletion looked for rows is removed again when it rechecks the volume.
        """
        row, other = s.rows[server], s.rows[1 - server]
        if s.volume and not s.volume.ours:
            return "D2"
        is_due = row is not None and row.entitled and server not in s.compute and server not in s.backend
        is_used_elsewhere = bool(s.disks) or (other is not None and other.state != ATTACHING)
        return "" if is_due and not is_used_elsewhere else "D1"

    def _create(self, s: State, i: int, _: Worker) -> Moves:
        if s.volume is not None:
            return
        if s.rows != (None, None) and self._has("create-check"):
            return
        ours = self.operations[i].kind == "create"
        rows = [row and row._replace(entitled=False) for row in s.rows]
        text = f"a volume of the same id is created by {'the same' if ours else 'another'} project"
        yield text, self._end(s._replace(volume=Volume(ours), rows=(rows[0], rows[1])), i)

    def _switch(self, s: State, i: int, _: Worker) -> Moves:
        if s.volume is not None:
            multiattach = not s.volume.multiattach
            text = f"multiattach is switched {'on' if multiattach else 'off'}"
            yield text, self._end(s._replace(volume=s.volume._replace(multiattach=multiattach)), i)

    # -- other events ------------------------------------------------------------------------------------

    def _update(self, s: State, i: int, w: Worker) -> Moves:
        server = self._server(i)
        row = s.rows[server]
        if row is None or row.state == ATTACHING or self._is_404(s, server):
            yield "responds 404", self._end(s, i)
        else:
            yield f"reads the row of {name(server)}", s.with_worker(i, Worker("write", server, seen=row))

    def _write(self, s: State, i: int, w: Worker) -> Moves:
        row = s.rows[w.server]
        if row is None or w.seen is None or row.state != ATTACHED or not self._is_same(row, w.seen):
            yield "finds the row changed: responds with a conflict", self._end(s, i)
        else:
            claim = i if self._has("new-id") else row.claim
            after = s.with_row(w.server, row._replace(flag=False, entitled=False, claim=claim))
            yield "unsets delete_on_termination: success", self._end(after, i)

    def _delete_server(self, s: State, i: int, _: Worker) -> Moves:
        server = self._server(i)
        s = s._replace(promised=s.promised - {server})
        if server in s.compute:
            yield "the compute API deletes the server", s._replace(compute=s.compute - {server})
        if server in s.backend:
            after = s._replace(backend=s.backend - {server}, disks=s.disks - {server})
            yield "the backend removes the server", after

    def _hide(self, s: State, i: int, _: Worker) -> Moves:
        yield "the server is hidden from the caller", self._end(s._replace(hidden=s.hidden | {self._server(i)}), i)

    def _lose(self, s: State, i: int, _: Worker) -> Moves:
        server = self._server(i)
        if server in s.disks:
            after = s._replace(disks=s.disks - {server}, lost=s.lost | {server})
            yield "the backend loses the disk", self._end(after, i)

    def _clock_back(self, s: State, i: int, _: Worker) -> Moves:
        rows = [row._replace(negative=True) if row and row.state != ATTACHED else row for row in s.rows]
        yield "the database's clock is set back", self._end(s._replace(rows=(rows[0], rows[1])), i)

    # -- helpers -----------------------------------------------------------------------------------------

    def _server(self, i: int) -> int:
        server = self.operations[i].server
        if server is None:
            raise ValueError(f"{self.operations[i].kind} needs a server")
        return server

    @staticmethod
    def _is_404(s: State, server: int) -> bool:
        return server not in s.compute or server in s.hidden

    def _is_gone(self, s: State, server: int) -> bool:
        return server not in s.compute if self._has("gone") else self._is_404(s, server)

    def _is_same(self, row: Row, seen: Row) -> bool:
        return row.state == seen.state and (row.claim == seen.claim or not self._has("own-id"))

    def _without_flag(self, row: Row) -> Row:
        return row._replace(flag=row.flag and not self._has("clear-flag"), entitled=False)

    def _claim(
        self, s: State, i: int, w: Worker, server: int, row: Row, step: str, call: str, *, renew: bool = True
    ) -> Move:
        before = s.rows[server]
        row = row._replace(negative=False)
        if row.state != before.state if before else True:
            text = f"claims the row of {name(server)}: {row.state}" + (f", was {before.state}" if before else "")
        else:
            text = f"takes over the row of {name(server)}: {row.state}"
        after = s.with_row(server, row)
        if renew:
            after = after.with_age(i, VALID)
        if self._backend.ordered:
            after = after._replace(claims=(*s.claims, i))
        worker = w._replace(step=step, server=server, call=call, seen=row, before=before)
        return text, after.with_worker(i, worker)

    def _give_back_text(self, s: State, w: Worker) -> str:
        row = s.rows[w.server]
        if row is None or w.seen is None or not self._is_same(row, w.seen):
            return "finds its row changed, responds 503"
        return "removes its row" if w.before is None else "restores the row"

    def _give_back(self, s: State, i: int, w: Worker) -> State:
        """Give up a claim under which no backend call was started: the row is as it was before."""
        row, before = s.rows[w.server], w.before
        if row is None or w.seen is None or not self._is_same(row, w.seen):
            return self._end(s, i)
        after = s.with_row(w.server, before)
        if before is None:
            return self._end(after, i, "I4" if w.server in s.disks else "")
        if before.state == ATTACHED:
            return self._end(self._promise(after, w.server), i)
        if after.ages[before.claim] is None:
            after = after.with_age(before.claim, STALE)
        return self._end(after, i)

    @staticmethod
    def _promise(s: State, server: int) -> State:
        """Note that callers see the volume as attached to a server that is not deleted."""
        exists = server in s.compute and server in s.backend
        return s._replace(promised=s.promised | {server}) if exists else s

    @staticmethod
    def _end(s: State, i: int, broken: str = "") -> State:
        return s.with_worker(i, DONE)._replace(broken=broken or s.broken)
