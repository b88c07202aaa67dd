"""Attach, detach, reconcile, deletions, faults, deaths and time in any order: what the protocol promises holds.

The invariants I1 to I5 are those of docs/protocol.rst.

Operations overlap without threads: at a step of one, others run to their end or to their own worker's death.
What timing promises is kept to: a backend call ends, wholly, before the claim that it was made under is stale.
"""

import itertools
import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.pool import Pool

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import (
    AttachRefused,
    BackendError,
    BackendUnavailable,
    OutcomeUnknown,
    Server,
    Volume,
)
from os_volume_ext.errors import (
    AttachmentMissing,
    Conflict,
    OperationIncomplete,
    Overloaded,
    RegistryUnavailable,
    ServerMissing,
)
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, REATTACHING
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments as table
from tests.support.harness import OPERATION_TIMEOUT, STALE_AFTER, Harness
from tests.support.scripted import Died

SERVERS = ("1134", "1135")
# More of them: PROTOCOL_EXAMPLES=10000 pytest ...
EXAMPLES = int(os.environ.get("PROTOCOL_EXAMPLES", "200"))
EXCLUSIVE, MULTIATTACH = "9", "77"
DEVICES = (None, "/dev/vdb")
MOST_STEPS = 16  # of an attach that takes its volume from a deleted server; others have fewer
OUTCOMES = (
    BackendError,
    OperationIncomplete,
    Conflict,
    ServerMissing,
    AttachmentMissing,
    Overloaded,
    RegistryUnavailable,
    Died,
)
LONG = (OPERATION_TIMEOUT + 1, STALE_AFTER + 1, STALE_AFTER + 1)

volumes = st.sampled_from((EXCLUSIVE, EXCLUSIVE, EXCLUSIVE, MULTIATTACH))
servers = st.sampled_from(SERVERS)
operations = st.one_of(
    st.tuples(st.just("attach"), volumes, servers, st.sampled_from(DEVICES)),
    st.tuples(st.just("attach"), volumes, servers, st.none()),
    st.tuples(st.just("detach"), volumes, servers),
    st.tuples(st.just("reconcile"), st.booleans()),
)
seconds = st.sampled_from(LONG)
deletions = st.sampled_from(("delete_from_compute", "delete_from_backend", "delete"))
events = st.one_of(
    operations,
    operations,
    st.tuples(st.just("pass_time"), seconds),
    st.tuples(deletions, servers),
    st.tuples(st.just("lose"), volumes, servers),
    st.tuples(st.just("swap"), servers),
    st.just(("die",)),
)
# At which step of the registry or the backend, counted from the operation's first: what happens there.
overlaps = st.dictionaries(st.integers(1, 7), st.lists(events, min_size=1, max_size=3), max_size=2)
# At which call that attaches or detaches: how it fails.
faults = st.dictionaries(
    st.integers(1, 3),
    st.sampled_from(("unavailable", "refused", "nothing happens", "it happens", "it happens late", "a bug")),
    max_size=2,
)


@dataclass
class Late:
    """A call that timed out and will still have its effect; not after ``until``, which timing promises."""

    effect: object
    until: float


class Protocol(RuleBasedStateMachine):
    database = None  # set by the test
    monkeypatch = None

    def __init__(self):
        super().__init__()
        with self.database.transaction() as connection:
            connection.execute(delete(table))
        harness = self.harness = Harness(self.database, self.monkeypatch)
        harness.compute.known.clear()
        harness.backend.disks.clear()
        for server_id in SERVERS:
            harness.compute.add(Server(server_id, "demo", "ACTIVE"))
            harness.backend.disks[server_id] = {}
        harness.catalog.known.clear()
        harness.catalog.add(Volume(EXCLUSIVE, "demo"), Volume(MULTIATTACH, "demo", multiattach=True))
        harness.registry.changed = self.changed
        self.promised, self.lost = set(), set()
        self.broken = harness.backend.violations
        self.late = []
        self.calling = []
        self.overlaps, self.faults = {}, {}
        self.steps = self.changes = 0
        harness.backend.call = self.call(harness.backend.call)
        harness.hooks.reached = self.reached

    # -- what is noted at once ---------------------------------------------------------------------------

    def changed(self, method, arguments, response):
        if not response and method != "reserve":
            return
        row = arguments[0]
        here = (row.volume_id, row.server_id)
        if method == "confirm" or (method == "restore" and arguments[1].is_attached):
            # Callers will see it from now on.
            if row.server_id in self.harness.compute.known and row.server_id in self.harness.backend.disks:
                self.promised.add(here)
        elif method == "claim" and arguments[1].state == DETACHING:
            self.promised.discard(here)
        elif method in ("remove", "transfer") and row.volume_id in self.harness.backend.devices(row.server_id):
            self.broken.append(f"I4: the row of {here} was removed, and the disk is there")

    def call(self, call):
        def noted(method, *arguments):
            if method != "attached":
                self.changes += 1
                if self.changes in self.faults:
                    self.harness.backend.fail(method, self.fault(self.faults.pop(self.changes)))
            self.calling.append(self.harness.now)
            try:
                return call(method, *arguments)
            finally:
                self.calling.pop()

        return noted

    def reached(self, step):
        self.steps += 1
        if self.steps in self.overlaps:
            for event in self.overlaps.pop(self.steps):
                self.nested(event)

    # -- what happens ------------------------------------------------------------------------------------

    def happen(self, event):
        name, *arguments = event
        getattr(self, f"do_{name}")(*arguments)

    def do_attach(self, volume_id, server_id, device):
        self.harness.attach(volume_id, server_id, device)

    def do_detach(self, volume_id, server_id):
        self.harness.detach(volume_id, server_id)

    def do_reconcile(self, everything):
        reconciler = self.harness.reconciler
        list(reconciler.reconcile_all() if everything else reconciler.reconcile_stale())

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

    def do_delete(self, server_id):
        self.do_delete_from_compute(server_id)
        self.do_delete_from_backend(server_id)

    def do_delete_from_compute(self, server_id):
        self.harness.compute.known.pop(server_id, None)
        self.forget(server_id)

    def do_delete_from_backend(self, server_id):
        self.harness.backend.disks.pop(server_id, None)
        self.forget(server_id)

    def do_lose(self, volume_id, server_id):
        if self.harness.backend.disks.get(server_id, {}).pop(volume_id, None):
            self.lost.add((volume_id, server_id))

    def do_swap(self, server_id):
        """Have the disks of a server change places, as when an operator edits it."""
        disks = self.harness.backend.disks.get(server_id, {})
        disks.update(zip(list(disks), list(disks.values())[::-1], strict=True))

    def forget(self, server_id):
        self.promised = {(volume, server) for volume, server in self.promised if server != server_id}

    def take_effect(self, late):
        self.late.remove(late)
        with suppress(BackendError):  # it timed out, so no caller gets the error
            late.effect()

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

    def fault(self, kind):
        def call(effect):
            if kind == "unavailable":
                raise BackendUnavailable(kind)
            if kind == "refused":
                raise AttachRefused(kind)
            if kind == "it happens late":
                self.late.append(Late(effect, self.calling[-1] + OPERATION_TIMEOUT))
            if kind == "it happens":
                effect()
            raise RuntimeError(kind) if kind == "a bug" else OutcomeUnknown(kind)

        return call

    def run(self, operation, overlaps, faults):
        self.overlaps, self.faults = dict(overlaps), dict(faults)
        self.steps = self.changes = 0
        with suppress(*OUTCOMES):
            self.happen(operation)
        self.overlaps, self.faults = {}, {}
        self.harness.backend.faults.clear()

    @rule(operation=operations, overlaps=overlaps, faults=faults)
    def something_is_asked_for(self, operation, overlaps, faults):
        self.run(operation, overlaps, faults)

    @rule(operation=operations, faults=faults)
    def something_is_asked_for_and_may_fail(self, operation, faults):
        self.run(operation, {}, faults)

    @rule(operation=operations, overlaps=overlaps)
    def several_things_are_asked_for_at_once(self, operation, overlaps):
        self.run(operation, overlaps, {})

    @rule(operation=operations, step=st.one_of(st.integers(1, 6), st.integers(1, MOST_STEPS)))
    def a_worker_dies_at_a_step(self, operation, step):
        self.run(operation, {step: [("die",)]}, {})

    @rule(
        volume_id=volumes,
        server_id=servers,
        state=st.sampled_from((ATTACHING, REATTACHING, DETACHING)),
        happened=st.sampled_from(("yes", "no", "late")),
    )
    def a_worker_died_long_ago(self, volume_id, server_id, state, happened):
        self.left_by_the_dead(volume_id, server_id, state, happened)

    def left_by_the_dead(self, volume_id, server_id, state, happened):
        harness = self.harness
        server, volume = harness.compute.known.get(server_id), harness.catalog.known[volume_id]
        if server is None or server_id not in harness.backend.disks or Registry(self.database).of_volume(volume_id):
            return
        if self.late or any(volume_id in disks for disks in harness.backend.disks.values()):
            return

        def attach():
            harness.backend.do_attach(server, volume, None)

        def detach():
            harness.backend.do_detach(server, volume)

        effect = detach if state == DETACHING else attach
        if state == DETACHING:
            attach()
        if state == REATTACHING:
            self.promised.add((volume_id, server_id))
            self.lost.add((volume_id, server_id))
        harness.put(state, volume_id, server_id)
        if happened == "yes":
            effect()
        if happened == "late":
            self.late.append(Late(effect, harness.now + OPERATION_TIMEOUT))

    @rule(how_long=seconds)
    def time_passes(self, how_long):
        self.do_pass_time(how_long)

    @rule(deletion=deletions, server_id=servers)
    def a_server_is_deleted(self, deletion, server_id):
        self.happen((deletion, server_id))

    @rule(volume_id=volumes, server_id=servers)
    def the_backend_loses_a_disk(self, volume_id, server_id):
        self.do_lose(volume_id, server_id)

    @rule(server_id=servers)
    def disks_change_places(self, server_id):
        self.do_swap(server_id)

    @rule()
    def a_call_that_was_given_up_has_its_effect(self):
        if self.late:
            self.take_effect(self.late[0])

    @rule(overlaps=st.dictionaries(st.integers(1, 7), st.just([("reconcile", True)]), max_size=1))
    def all_is_quiet_and_reconcile_runs(self, overlaps):
        self.quiet(overlaps)

    def quiet(self, overlaps):
        harness = self.harness
        for late in list(self.late):
            self.take_effect(late)
        for server_id in SERVERS:  # a deletion comes to its end
            if server_id not in harness.compute.known or server_id not in harness.backend.disks:
                self.do_delete(server_id)
        harness.pass_time(STALE_AFTER + 1)
        self.run(("reconcile", True), overlaps, {})
        self.lost.clear()
        if not harness.is_consistent():
            self.broken.append(f"I3: {harness.snapshot()}")
        before = harness.snapshot()
        calls = len(harness.backend.calls)
        harness.reconcile(everything=True)
        differing = [each for each in harness.findings if each.outcome != Outcome.CONSISTENT]
        if harness.snapshot() != before or differing:
            self.broken.append(f"I5: {before} became {harness.snapshot()}, {differing}")
        if {call[0] for call in harness.backend.calls[calls:]} - {"attached"}:
            self.broken.append(f"I5: {harness.backend.calls[calls:]}")
        for server_id in set(SERVERS) - set(harness.compute.known):
            # Nothing of it is left anywhere; otherwise ids are not used again.
            harness.compute.add(Server(server_id, "demo", "ACTIVE"))
            harness.backend.disks[server_id] = {}

    # -- what is looked at after each ------------------------------------------------------------------------

    @invariant()
    def nothing_was_broken_on_the_way(self):
        assert self.broken == []

    @invariant()
    def i1_the_disk_is_never_in_two_servers(self):
        assert sum(EXCLUSIVE in disks for disks in self.harness.backend.disks.values()) <= 1

    @invariant()
    def i2_what_was_shown_as_attached_is_so(self):
        for here in self.promised:
            state, there = self.harness.state(*here)
            assert state in (ATTACHED, REATTACHING), here
            assert there or here in self.lost, here

    def look(self):
        self.nothing_was_broken_on_the_way()
        self.i1_the_disk_is_never_in_two_servers()
        self.i2_what_was_shown_as_attached_is_so()


@pytest.fixture(scope="module")
def protocol(database_kind, empty_url, tmp_path_factory):
    def without_sync(connection, *_):
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")  # nothing here is about power cuts

    path = tmp_path_factory.mktemp("protocol") / "registry.db"
    with pytest.MonkeyPatch.context() as monkeypatch, database_kind.copy(empty_url, path) as url:
        database = Database({"url": url})
        sqlalchemy_event.listen(Pool, "checkout", without_sync)
        monkeypatch.setattr(Protocol, "database", database)
        monkeypatch.setattr(Protocol, "monkeypatch", monkeypatch)
        yield Protocol
        sqlalchemy_event.remove(Pool, "checkout", without_sync)
        database.dispose()


BOUNDED = settings(
    max_examples=EXAMPLES,
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_whatever_happens_the_invariants_hold(protocol):
    run_state_machine_as_test(protocol, settings=BOUNDED)


# -- short stories of one volume, as the model has them: what a long walk seldom comes to -------------------------

REQUESTED = [
    ("attach", EXCLUSIVE, "1134", None),
    ("attach", EXCLUSIVE, "1135", None),
    ("detach", EXCLUSIVE, "1134"),
    ("reconcile", True),
]
LEFT = [
    None,
    (ATTACHED, "yes"),
    *[(state, happened) for state in (ATTACHING, REATTACHING, DETACHING) for happened in ("yes", "no", "late")],
]
requested = st.sampled_from(REQUESTED)
happens = st.one_of(
    requested,
    st.sampled_from(
        [
            ("pass_time", OPERATION_TIMEOUT + 1),
            ("pass_time", STALE_AFTER + 1),
            ("delete_from_compute", "1134"),
            ("delete", "1134"),
            ("lose", EXCLUSIVE, "1134"),
            ("die",),
        ]
    ),
)
left = st.sampled_from([None, *LEFT])
meanwhile = st.dictionaries(st.integers(1, 6), st.lists(happens, min_size=1, max_size=2), min_size=1, max_size=2)


def story_after(protocol, left):
    story = protocol()
    if left and left[0] == ATTACHED:
        story.do_attach(EXCLUSIVE, "1134", None)
    elif left:
        story.left_by_the_dead(EXCLUSIVE, "1134", *left)
    return story


@pytest.mark.only_on("sqlite")  # the order of events is made up above the database; the walk before tries them all
@settings(BOUNDED, max_examples=3 * EXAMPLES)
@given(
    left=left,
    first=st.lists(happens, max_size=2),
    operation=requested,
    meanwhile=meanwhile,
    faults=st.one_of(st.just({}), faults),
    after=st.lists(happens, max_size=2),
)
def test_however_two_or_three_operations_overlap_the_invariants_hold(
    protocol, left, first, operation, meanwhile, faults, after
):
    story = story_after(protocol, left)
    for event in first:
        story.nested_or_dead(event)
    story.run(operation, meanwhile, faults)
    for event in after:
        story.nested_or_dead(event)
    story.look()
    story.quiet({})
    story.look()


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("operation", REQUESTED, ids=lambda operation: "-".join(map(str, operation)))
@pytest.mark.parametrize("left", LEFT, ids=lambda left: "-".join(left or ["nothing"]))
def test_the_invariants_hold_wherever_a_worker_dies(protocol, left, operation, deleted):
    for step in itertools.count(1):
        story = story_after(protocol, left)
        story.do_pass_time(STALE_AFTER + 1)
        if deleted:
            story.do_delete("1134")
        story.run(operation, {step: [("die",)]}, {})
        if story.steps < step:
            return
        story.look()
        story.quiet({})
        story.look()
