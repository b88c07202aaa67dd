"""The protocol's model: operations, everything that can happen at one of their steps, and what must hold then.

The model notes each change of a row and each call of a plugin at once, and which operation made it. From these notes
it decides what is allowed; it does not read claims, flags and states that the code under test wrote for itself.

Operations overlap without threads: at a step of one, others run to their end or to their own worker's death.
What timing promises is kept to: a backend call ends, wholly, before the claim that it was made under is stale.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import delete

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import (
    AttachRefused,
    BackendError,
    BackendUnavailable,
    OutcomeUnknown,
    Server,
    Volume,
)
from os_volume_ext.catalog.base import CatalogUnavailable, VolumeAttached, VolumeNotFound
from os_volume_ext.errors import (
    AttachmentMissing,
    Conflict,
    NotForceDetached,
    OperationIncomplete,
    Overloaded,
    RegistryUnavailable,
    ServerMissing,
    VolumeExists,
)
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, REATTACHING
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.tables import attachments as table
from tests.support.failpoints import step
from tests.support.harness import OPERATION_TIMEOUT, STALE_AFTER, Harness
from tests.support.scripted import Died

_DELETE_ALL = delete(table)

SERVERS = ("1134", "1135")
EXCLUSIVE, MULTIATTACH = "9", "77"
VOLUMES = (Volume(EXCLUSIVE, "demo", size=1), Volume(MULTIATTACH, "demo", multiattach=True, size=1))
# After these a row may stay as the operation claimed it.
UNCERTAIN = (OutcomeUnknown, OperationIncomplete, RegistryUnavailable)
# After these the operation has left nothing.
CERTAIN = (
    BackendError,
    CatalogUnavailable,
    VolumeNotFound,
    VolumeAttached,
    VolumeExists,
    Conflict,
    ServerMissing,
    AttachmentMissing,
    NotForceDetached,
    Overloaded,
)
OUTCOMES = (*UNCERTAIN, *CERTAIN, Died)

JUNK = {"no disks": None, "a list": [EXCLUSIVE], "a number as device": {EXCLUSIVE: 17}}
"""What a plugin returns instead of the disks of a server."""


@dataclass
class Late:
    """A call that timed out and will still have its effect; not after ``until``, which timing promises."""

    effect: Callable[[], Any]
    until: float


@dataclass(eq=False)
class Operation:
    """A request or a reconcile that is running."""

    name: str
    server_id: str | None = None
    flag: bool = False
    """The requested ``delete_on_termination``."""
    hidden: set[str] = field(default_factory=set)
    """Servers that exist and have been hidden from the caller since the operation began."""

    @property
    def is_callers(self) -> bool:
        """Whether somebody has requested it, and so wants no volume to be deleted."""
        return self.name != "reconcile"

    @property
    def is_operators(self) -> bool:
        """Whether it is for whom no server is hidden."""
        return self.name in ("reconcile", "force_detach")


@dataclass(frozen=True)
class Note:
    """What is known of a row from the operations that changed it."""

    project_id: str
    flag: bool
    """The ``delete_on_termination`` that a caller requested last."""
    claimed_by: Operation | None = None
    """The operation that has claimed the row; None if it is confirmed."""
    was_attached: bool = False
    is_left: bool = False
    """Whether a caller has begun to detach it."""
    serial: int | None = None
    """Of the volume, when the backend was called to attach it."""


class Model:
    """A harness with two servers and two volumes of the project demo, and what was noted of it."""

    def __init__(self, database, monkeypatch):
        database.change(_DELETE_ALL)
        self.database = database
        harness = self.harness = Harness(database, monkeypatch)
        harness.compute.known.clear()
        harness.backend.disks.clear()
        harness.backend.clients = {server_id: ["192.0.2.5:0/11"] for server_id in SERVERS}
        for server_id in SERVERS:
            self.make_server(server_id, "demo")
        harness.catalog.known.clear()
        harness.catalog.add(*VOLUMES)
        self.serials = Counter()
        self.promised, self.lost = set(), set()
        self.notes, self.before = {}, {}
        self.modes = {}
        self.broken = harness.backend.violations
        self.late, self.calling, self.operations = [], [], []
        self.overlaps, self.faults, self.calls = {}, {}, Counter()
        self.steps = 0
        self.others = ExitStack()
        self.watch()

    def watch(self):
        """Let the harness report all steps, changes and calls."""
        harness = self.harness
        harness.hooks.reached = self.reached
        harness.registry.changed = self.changed
        harness.backend.call = self.backend_call(harness.backend.call)
        harness.backend.do_attach = self.attach_effect(harness.backend.do_attach)
        harness.catalog.volume = self.look_up_volume(harness.catalog.volume)
        harness.catalog.delete = self.delete_for_reconcile

    def make_server(self, server_id, project_id):
        self.harness.compute.add(Server(server_id, project_id, "ACTIVE"))
        self.harness.backend.disks[server_id] = {}

    def exists(self, server_id):
        """Return whether the compute API has a server, whoever may see it."""
        server = self.harness.compute.known.get(server_id)
        return server is not None and not server.is_deleted

    def rows(self):
        return list(Registry(self.database).walk())

    # -- what is noted at once ---------------------------------------------------------------------------

    def reached(self, step):
        self.steps += 1
        if self.steps in self.overlaps:
            for event in self.overlaps.pop(self.steps):
                self.nested(event)

    def changed(self, method, arguments, response):
        if response or method == "reserve":
            getattr(self, f"note_{method}", lambda *_: None)(*arguments)

    def note_reserve(self, row, limit):
        operation = self.operations[-1]
        self.notes[row.volume_id, row.server_id] = Note(row.project_id, operation.flag, operation)

    def note_transfer(self, seen, row, limit):
        self.note_remove(seen)
        self.note_reserve(row, limit)

    def note_claim(self, seen, row):
        here, operation = (row.volume_id, row.server_id), self.operations[-1]
        note = self.before[row.claim_id] = self.notes[here]
        self.notes[here] = replace(note, claimed_by=operation)
        if row.state == DETACHING:
            self.note_detach(here, operation)
        if operation.name == "update":
            self.notes[here] = replace(note, flag=operation.flag)
        elif operation.name == "attach" and row.state == ATTACHING:
            self.notes[here] = replace(note, flag=operation.flag, claimed_by=operation)

    def note_detach(self, here, operation):
        self.check_not_hidden(here, operation)
        if operation.name not in ("detach", "force_detach") and here in self.promised:
            self.broken.append(f"I2: {operation} detaches {here}, which nobody asked for")
        self.promised.discard(here)
        if operation.is_callers:
            self.notes[here] = replace(self.notes[here], is_left=True)

    def note_confirm(self, seen, device):
        here = (seen.volume_id, seen.server_id)
        self.notes[here] = replace(self.notes[here], claimed_by=None, was_attached=True)
        self.promise(here)

    def note_restore(self, seen, prior):
        here = (seen.volume_id, seen.server_id)
        self.notes[here] = self.before[seen.claim_id]
        if prior.is_attached:
            self.promise(here)

    def note_remove(self, seen):
        here = (seen.volume_id, seen.server_id)
        is_cut_off = here[::-1] in self.harness.backend.cut
        if seen.volume_id in self.harness.backend.devices(seen.server_id) and not is_cut_off:
            self.broken.append(f"I4: the row of {here} was removed, and the disk is there")
        del self.notes[here]

    def promise(self, here):
        """Note that callers see an attachment from now on."""
        if self.exists(here[1]) and here[1] in self.harness.backend.disks:
            self.promised.add(here)

    def forget(self, server_id):
        """Note that a server is deleted: no attachment to it is promised."""
        self.promised = {(volume, server) for volume, server in self.promised if server != server_id}
        self.show(server_id)

    def show(self, server_id):
        for operation in self.operations:
            operation.hidden.discard(server_id)

    # -- calls of plugins --------------------------------------------------------------------------------

    @contextmanager
    def in_call(self):
        self.calling.append(self.harness.now)
        try:
            yield
        finally:
            self.calling.pop()

    def fault(self, kind_of_call):
        """Return what is to happen at a call, by the number of calls of that kind, or None."""
        self.calls[kind_of_call] += 1
        return self.faults.pop((kind_of_call, self.calls[kind_of_call]), None)

    def backend_call(self, call):
        def noted(method, effect, server, *arguments):
            is_look = method in ("attached", "disk_size", "find_clients")
            fault = self.fault("look" if is_look else "change")
            if fault:
                self.harness.backend.fail(method, self.failing(fault))
            if not is_look:
                self.check_change(method, (arguments[0].id, server.id))
            with self.in_call():
                return call(method, effect, server, *arguments)

        return noted

    def failing(self, kind):
        def call(effect):
            if kind in ("unavailable", "refused"):
                raise {"unavailable": BackendUnavailable, "refused": AttachRefused}[kind](kind)
            if kind in JUNK:
                return JUNK[kind]
            if kind == "it happens late":
                self.late.append(Late(effect, self.calling[-1] + OPERATION_TIMEOUT))
            if kind in ("it happens", "a junk device"):
                effect()
            if kind == "a junk device":
                return "vdb"
            raise RuntimeError(kind) if kind == "a bug" else OutcomeUnknown(kind)

        return call

    def attach_effect(self, attach):
        """Note whether a disk may share its volume, which the catalog may change later."""

        def noted(server, volume, device):
            there = {each: volume.id in disks for each, disks in self.harness.backend.disks.items()}
            result = attach(server, volume, device)
            if not there[server.id]:
                self.modes[volume.id, server.id] = volume.multiattach
                self.check_i1(volume.id)
            return result

        return noted

    def look_up_volume(self, volume):
        def noted(context, volume_id):
            if self.fault("volume"):
                raise CatalogUnavailable("down")
            return volume(context, volume_id)

        return noted

    def delete_for_reconcile(self, *, volume_id, server_id, project_id):
        fault = self.fault("delete")
        with self.in_call(), step(self.reached, "catalog delete"):
            self.check_delete(volume_id, server_id, project_id)
            if fault == "unavailable":
                raise CatalogUnavailable(fault)
            if fault == "a bug":
                raise RuntimeError(fault)
            self.delete_volume(volume_id, server_id, project_id)
            if fault:
                raise RuntimeError(fault)

    def delete_volume(self, volume_id, server_id=None, project_id=None):
        """Delete a volume as the sql catalog does: in one step with the look for rows."""
        known = self.harness.catalog.known
        if volume_id not in known or project_id not in (None, known[volume_id].project_id):
            raise VolumeNotFound(volume_id)
        if any(row.server_id != server_id for row in Registry(self.database).of_volume(volume_id)):
            raise VolumeAttached(volume_id)
        if self.servers_with(volume_id):
            self.broken.append(f"R16, R21: volume {volume_id} was deleted, and its disk is in a server")
        del known[volume_id]

    # -- what is checked at once -------------------------------------------------------------------------

    def check_delete(self, volume_id, server_id, project_id):
        """Check that reconcile may delete a volume (docs/protocol.rst, R16)."""
        note = self.notes.get((volume_id, server_id))
        if note is None or not (note.flag and note.was_attached) or note.is_left:
            self.broken.append(f"R16: volume {volume_id} was deleted, and its row was {note}")
        elif project_id != note.project_id:
            self.broken.append(f"R16: volume {volume_id} of {note.project_id} was deleted for {project_id}")
        if self.exists(server_id) or server_id in self.harness.backend.disks:
            self.broken.append(f"R16: volume {volume_id} was deleted, and server {server_id} exists")

    def check_change(self, method, here):
        """Check whether the backend may be called to attach or detach."""
        (volume_id, server_id), note = here, self.notes.get(here)
        if note is None:
            self.broken.append(f"R3: {method} of {here} without a row")
            return
        server = self.harness.compute.known.get(server_id)
        if server is not None and server.project_id != note.project_id and method != "cut_off":
            self.broken.append(f"R26: {method} of {here} for {note}, but the server belongs to {server.project_id}")
        if method in ("detach", "cut_off"):
            self.check_not_hidden(here, self.operations[-1])
            return
        volume = self.harness.catalog.known.get(volume_id)
        if volume is None or volume.project_id != note.project_id:
            self.broken.append(f"R21: attach of {here} for {note}, but the catalog has {volume}")
        self.notes[here] = replace(note, serial=self.serials[volume_id])

    def check_not_hidden(self, here, operation):
        if here[1] in operation.hidden:
            self.broken.append(f"R25: {operation} detaches {here}, which its caller can not see")

    def check_i1(self, volume_id):
        where = self.servers_with(volume_id)
        if len(where) > 1 and not all(self.modes[volume_id, server_id] for server_id in where):
            self.broken.append(f"I1: {volume_id} is in {where}")

    def servers_with(self, volume_id):
        """Return the servers that have a volume's disk, and are not cut off from it."""
        backend = self.harness.backend
        having = [each for each, disks in backend.disks.items() if volume_id in disks]
        return [each for each in having if (each, volume_id) not in backend.cut]

    def check_left_nothing(self, operation):
        """Check that an operation that succeeded, or failed for certain, has left no claim on its server."""
        left = [
            here for here, note in self.notes.items() if note.claimed_by is operation and here[1] == operation.server_id
        ]
        if left:
            self.broken.append(f"I4: {operation} has left its claim of {left}")

    # -- operations --------------------------------------------------------------------------------------

    def happen(self, event):
        name, *arguments = event
        getattr(self, f"do_{name}")(*arguments)

    @contextmanager
    def operation(self, name, server_id=None, project_id="demo", flag=False):
        operation = Operation(name, server_id, flag)
        if not operation.is_operators:
            operation.hidden = {each for each in SERVERS if self.exists(each) and self.is_hidden(each, project_id)}
        self.operations.append(operation)
        try:
            yield
        except UNCERTAIN:
            raise
        except CERTAIN:
            self.check_left_nothing(operation)
            raise
        else:
            self.check_left_nothing(operation)
        finally:
            self.operations.remove(operation)

    def is_hidden(self, server_id, project_id):
        compute = self.harness.compute
        return (
            server_id in compute.hidden | compute.shown_as_deleted or compute.known[server_id].project_id != project_id
        )

    def project_of(self, server_id):
        server = self.harness.compute.known.get(server_id)
        return server.project_id if server else "demo"

    def do_attach(self, volume_id, server_id, device, flag):
        project_id = self.project_of(server_id)
        with self.operation("attach", server_id, project_id, flag):
            self.harness.attach(volume_id, server_id, device, delete_on_termination=flag, project_id=project_id)

    def do_detach(self, volume_id, server_id, by):
        """Detach for the project of the row, or of the server: they differ if the server's id was used again."""
        note = self.notes.get((volume_id, server_id))
        project_id = note.project_id if note and by == "row" else self.project_of(server_id)
        with self.operation("detach", server_id, project_id):
            self.harness.detach(volume_id, server_id, project_id=project_id)

    def do_force_detach(self, volume_id, server_id):
        with self.operation("force_detach", server_id):
            plan = self.harness.force_detacher.plan(server_id, volume_id)
            self.harness.force_detacher.carry_out(plan, plan.clients)

    def do_update(self, volume_id, server_id, flag):
        with self.operation("update", server_id, flag=flag):
            self.harness.update(volume_id, server_id, delete_on_termination=flag)

    def do_reconcile(self, everything):
        with self.operation("reconcile"):
            try:
                self.harness.reconcile(everything)
            except Exception as error:
                self.broken.append(f"R15: reconcile raised {error!r}")

    def run(self, operation, overlaps, faults):
        self.overlaps, self.faults, self.calls = dict(overlaps), dict(faults), Counter()
        self.steps = 0
        with self.others, suppress(*OUTCOMES):
            self.happen(operation)
        self.overlaps, self.faults = {}, {}
        self.harness.backend.faults.clear()

    def nested(self, event):
        """Run an event at a step of an operation, which then continues; only ``die`` ends it."""
        if event == ("die",):
            raise Died
        try:
            self.happen(event)
        except OUTCOMES:
            pass
        except BaseException as error:
            self.broken.append(f"{event} raised {error!r}")

    def nested_or_dead(self, event):
        with suppress(Died):
            self.nested(event)

    # -- events ------------------------------------------------------------------------------------------

    def do_die(self):
        raise Died

    def do_pass_time(self, how_long):
        # A call ends within its time limit, so as long as one is made time can't pass beyond that.
        for started in self.calling:
            how_long = min(how_long, started + OPERATION_TIMEOUT - self.harness.now)
        if how_long <= 0:
            return
        for late in [late for late in self.late if late.until <= self.harness.now + how_long]:
            self.take_effect(late)
        self.harness.pass_time(how_long)

    def do_set_clock_back(self, how_far):
        self.harness.set_clock_back(how_far)

    def do_crowd(self):
        """Let two other projects have all slots until the operation has ended."""
        with suppress(Overloaded):
            for number in itertools.count():
                slot = self.harness.executor.slot("req-of-another", f"project-{number % 2}")
                self.others.enter_context(slot)

    def do_delete(self, server_id):
        self.do_delete_from_compute(server_id)
        self.do_delete_from_backend(server_id)

    def do_delete_from_compute(self, server_id):
        self.harness.compute.known.pop(server_id, None)
        self.forget(server_id)

    def do_mark_deleted(self, server_id):
        """Delete a server, which the compute API shows all the same."""
        if server_id in self.harness.compute.known:
            self.harness.set_server(server_id, status="DELETED")
            self.forget(server_id)

    def do_delete_from_backend(self, server_id):
        self.do_come_back(server_id)
        self.harness.backend.disks.pop(server_id, None)
        self.forget(server_id)

    def do_lose_host(self, server_id):
        """Let the host of a server not respond; not in the middle of a call, which would have an effect later."""
        if not self.calling:
            self.harness.backend.lost.add(server_id)

    def do_come_back(self, server_id):
        self.harness.backend.come_back(server_id)

    def do_hide(self, server_id):
        self.harness.compute.hidden.add(server_id)

    def do_show_as_deleted(self, server_id):
        """Show a server that exists as deleted to callers."""
        self.harness.compute.shown_as_deleted.add(server_id)

    def do_show(self, server_id):
        self.harness.compute.hidden.discard(server_id)
        self.harness.compute.shown_as_deleted.discard(server_id)
        self.show(server_id)

    def do_set_task(self, server_id, task_state):
        if server_id in self.harness.compute.known:
            self.harness.set_server(server_id, task_state=task_state)

    def show_all(self):
        """Show all servers to all callers, without pending tasks."""
        for server_id in SERVERS:
            self.do_show(server_id)
            self.do_set_task(server_id, None)

    def do_use_again(self, server_id, project_id):
        """Give the id of a server that is gone to a new one; not while a call for the earlier one may have effects.

        The new one belongs to another project: else this would not be noticed (docs/protocol.rst, "Known limits").
        """
        if self.late or self.operations or self.exists(server_id) or server_id in self.harness.backend.disks:
            return
        if any(row.server_id == server_id and row.project_id == project_id for row in self.rows()):
            return
        self.make_server(server_id, project_id)

    def do_lose(self, volume_id, server_id):
        if self.harness.backend.disks.get(server_id, {}).pop(volume_id, None):
            self.lost.add((volume_id, server_id))

    def do_swap(self, server_id):
        """Have the disks of a server change places, as when an operator edits it."""
        disks = self.harness.backend.disks.get(server_id, {})
        disks.update(zip(list(disks), list(disks.values())[::-1], strict=True))

    def do_delete_volume(self, volume_id):
        self.delete_volume(volume_id)

    def do_make_volume(self, volume_id, project_id, multiattach):
        """Make a volume as the sql catalog does: refused while there are rows of that id (docs/protocol.rst, R21)."""
        if volume_id in self.harness.catalog.known:
            raise VolumeExists(volume_id)
        if Registry(self.database).of_volume(volume_id):
            raise VolumeAttached(volume_id)
        self.harness.catalog.add(Volume(volume_id, project_id, multiattach=multiattach, size=1))
        self.serials[volume_id] += 1

    def do_make_volume_anew(self, volume_id, project_id, multiattach):
        self.do_delete_volume(volume_id)
        self.do_make_volume(volume_id, project_id, multiattach)

    def do_extend(self, volume_id):
        known = self.harness.catalog.known
        if volume_id in known:
            known[volume_id] = replace(known[volume_id], size=known[volume_id].size + 1)

    def do_switch(self, volume_id):
        """Let a volume be attached to several servers from now on, or no longer."""
        known = self.harness.catalog.known
        if volume_id in known:
            known[volume_id] = replace(known[volume_id], multiattach=not known[volume_id].multiattach)

    def take_effect(self, late):
        self.late.remove(late)
        with suppress(BackendError):  # it timed out, so no caller gets the error
            late.effect()

    def left_by_the_dead(self, volume_id, server_id, state, happened, flag=False):
        """Add a row as a worker leaves it that died long ago."""
        harness = self.harness
        server, volume = harness.compute.known.get(server_id), harness.catalog.known.get(volume_id)
        responding = harness.backend.disks.keys() - harness.backend.lost
        if not self.exists(server_id) or server_id not in responding or volume is None:
            return
        if {server.project_id, volume.project_id} != {"demo"} or Registry(self.database).of_volume(volume_id):
            return
        if self.late or any(volume_id in disks for disks in harness.backend.disks.values()):
            return

        def attach():
            harness.backend.do_attach(server, volume, None)

        def detach():
            harness.backend.do_detach(server, volume)

        effect = detach if state == DETACHING else attach
        note = Note("demo", flag, was_attached=True, is_left=state == DETACHING, serial=self.serials[volume_id])
        self.notes[volume_id, server_id] = replace(note, was_attached=False) if state == ATTACHING else note
        if state == DETACHING:
            attach()
        if state == REATTACHING:
            self.promised.add((volume_id, server_id))
            self.lost.add((volume_id, server_id))
        # A detach for a caller unsets the flag.
        harness.put(state, volume_id, server_id, delete_on_termination=flag and state != DETACHING)
        if happened == "yes":
            effect()
        if happened == "late":
            self.late.append(Late(effect, harness.now + OPERATION_TIMEOUT))

    # -- when all is quiet -------------------------------------------------------------------------------

    def quiet(self, overlaps):
        """Let everything come to its end, reconcile, and check that all is in order."""
        harness = self.harness
        self.end_all()
        to_be_deleted = self.volumes_of_gone_servers()
        harness.pass_time(STALE_AFTER + 1)
        self.run(("reconcile", True), overlaps, {})
        # The first may have met claims from the future, which age from then on (docs/protocol.rst, R28).
        harness.pass_time(STALE_AFTER + 1)
        self.run(("reconcile", True), {}, {})
        self.lost.clear()
        if not harness.is_consistent():
            self.broken.append(f"I3: {harness.snapshot()}, {harness.findings}")
        self.check_sizes()
        kept = to_be_deleted & harness.catalog.known.keys()
        if kept:
            self.broken.append(f"R16: {kept} were not deleted with their servers")
        self.check_reconciled()
        self.begin_anew()

    def end_all(self):
        """Let late calls, deletions of servers and tasks come to their end, and show all servers to all callers."""
        harness = self.harness
        self.others.close()
        for server_id in SERVERS:
            self.do_come_back(server_id)
        for late in list(self.late):
            self.take_effect(late)
        self.show_all()
        for server_id in SERVERS:
            if not self.exists(server_id) or server_id not in harness.backend.disks or self.is_used_again(server_id):
                self.do_delete(server_id)
        known = harness.catalog.known
        for row in self.rows():
            # Else a missing disk is not attached again (docs/protocol.rst, R22).
            if row.is_attached and row.volume_id in known:
                known[row.volume_id] = replace(known[row.volume_id], multiattach=not row.exclusive)

    def is_used_again(self, server_id):
        """Return whether a server has rows of an earlier one, which reconcile leaves alone (docs/protocol.rst, R26)."""
        project_id = self.project_of(server_id)
        return any(row.server_id == server_id and row.project_id != project_id for row in self.rows())

    def volumes_of_gone_servers(self):
        """Return the volumes that reconcile has to delete; not those with other rows, which keep them."""
        rows = Counter(volume_id for volume_id, _ in self.notes)
        return {
            volume_id
            for (volume_id, server_id), note in self.notes.items()
            if not self.exists(server_id)
            and note.flag
            and note.was_attached
            and not note.is_left
            and rows[volume_id] == 1
        }

    def check_reconciled(self):
        """Check that reconciling once more changes nothing (docs/protocol.rst, I5)."""
        harness = self.harness
        before = harness.snapshot()
        calls = len(harness.backend.calls)
        self.do_reconcile(True)
        differing = [each for each in harness.findings if each.outcome != Outcome.CONSISTENT]
        if harness.snapshot() != before or differing:
            self.broken.append(f"I5: {before} became {harness.snapshot()}, {differing}")
        if {call[0] for call in harness.backend.calls[calls:]} - {"attached", "disk_size"}:
            self.broken.append(f"I5: {harness.backend.calls[calls:]}")

    def check_sizes(self):
        """Check that each disk has at least the size of its volume (docs/protocol.rst, R30)."""
        known, sizes = self.harness.catalog.known, self.harness.backend.sizes
        for row in self.rows():
            volume, size = known.get(row.volume_id), sizes.get((row.server_id, row.volume_id))
            is_same = volume is not None and volume.project_id == row.project_id
            if is_same and size is not None and size < volume.size:
                self.broken.append(f"R30: {row} has {size} of {volume.size}")

    def begin_anew(self):
        """Replace the servers and volumes that are gone or another project's, and have no attachments."""
        for server_id in SERVERS:
            if self.project_of(server_id) != "demo" and not self.harness.backend.devices(server_id):
                self.do_delete(server_id)
            if server_id not in self.harness.compute.known:
                self.make_server(server_id, "demo")
        for volume in VOLUMES:
            if not Registry(self.database).of_volume(volume.id):
                self.harness.catalog.add(volume)
                self.serials[volume.id] += 1

    # -- what is checked after each operation ------------------------------------------------------------

    def check(self):
        """Check the invariants that hold at any moment."""
        assert self.broken == []
        for volume in VOLUMES:
            self.check_i1(volume.id)
        assert self.broken == []
        for here in self.promised:
            self.check_promised(here)

    def check_promised(self, here):
        state, has_disk = self.harness.state(*here)
        assert state in (ATTACHED, REATTACHING), here
        assert has_disk or here in self.lost, here
        volume, note = self.harness.catalog.known.get(here[0]), self.notes[here]
        assert volume is not None, here
        assert (volume.project_id, self.serials[here[0]]) == (note.project_id, note.serial), here
