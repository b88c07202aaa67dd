"""Attach, detach, reconcile, deletions, faults, deaths and time in any order: what the protocol promises holds.

The invariants I1 to I5 and the rules are those of docs/protocol.rst; ``tests.support.protocol_model`` checks them.
"""

import itertools
import os
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.pool import Pool

from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, REATTACHING
from os_volume_ext.registry.database import Database
from tests.support.harness import OPERATION_TIMEOUT, STALE_AFTER
from tests.support.protocol_model import EXCLUSIVE, JUNK, MULTIATTACH, SERVERS, Model

# More of them: PROTOCOL_EXAMPLES=10000 pytest ...
EXAMPLES = int(os.environ.get("PROTOCOL_EXAMPLES", "200"))
MOST_STEPS = 16  # of an attach that takes its volume from a deleted server; others have fewer
SOON, LONG = 30, 10 * STALE_AFTER  # seconds by which the database's clock is set back

volumes = st.sampled_from((EXCLUSIVE, EXCLUSIVE, EXCLUSIVE, MULTIATTACH))
servers = st.sampled_from(SERVERS)
devices = st.sampled_from((None, None, None, "/dev/vdb"))
projects = st.sampled_from(("demo", "other"))
seconds = st.sampled_from((OPERATION_TIMEOUT + 1, STALE_AFTER + 1, STALE_AFTER + 1))
operations = st.one_of(
    st.tuples(st.just("attach"), volumes, servers, devices, st.booleans()),
    st.tuples(st.just("attach"), volumes, servers, devices, st.booleans()),
    st.tuples(st.just("detach"), volumes, servers, st.sampled_from(("row", "server"))),
    st.tuples(st.just("force_detach"), volumes, servers),
    st.tuples(st.just("reconcile"), st.booleans()),
)
deletions = st.tuples(
    st.sampled_from(("delete_from_compute", "mark_deleted", "delete_from_backend", "delete", "delete")), servers
)
changes = st.one_of(
    st.tuples(st.just("delete_volume"), volumes),
    st.tuples(st.sampled_from(("make_volume", "make_volume_anew")), volumes, projects, st.booleans()),
    st.tuples(st.just("switch"), volumes),
    st.tuples(st.just("extend"), volumes),
    st.tuples(st.sampled_from(("hide", "hide", "show_as_deleted", "show")), servers),
    st.tuples(st.just("set_task"), servers, st.sampled_from(("rebuilding", None))),
    st.tuples(st.just("set_clock_back"), st.sampled_from((SOON, LONG))),
    st.tuples(st.just("update"), volumes, servers, st.booleans()),
)
events = st.one_of(
    operations,
    operations,
    changes,
    st.tuples(st.just("pass_time"), seconds),
    deletions,
    st.tuples(st.just("lose"), volumes, servers),
    st.tuples(st.sampled_from(("lose_host", "come_back")), servers),
    st.tuples(st.just("swap"), servers),
    st.sampled_from((("die",), ("die",), ("crowd",))),
)
# At which step of registry, backend or catalog, counted from the operation's first: what happens there.
overlaps = st.dictionaries(st.integers(1, 10), st.lists(events, min_size=1, max_size=3), max_size=2)
failing_changes = st.tuples(
    st.tuples(st.just("change"), st.integers(1, 3)),
    st.sampled_from(
        ("unavailable", "refused", "nothing happens", "it happens", "it happens late", "a bug", "a junk device")
    ),
)
# At which call of which kind: how it fails.
faults = st.lists(
    st.one_of(
        failing_changes,
        failing_changes,
        st.tuples(
            st.tuples(st.just("look"), st.integers(1, 3)), st.sampled_from(("unavailable", "a bug", *sorted(JUNK)))
        ),
        st.tuples(
            st.tuples(st.just("delete"), st.just(1)), st.sampled_from(("unavailable", "a bug", "a bug after it"))
        ),
        st.tuples(st.tuples(st.just("volume"), st.integers(1, 2)), st.just("unavailable")),
    ),
    max_size=2,
).map(dict)


class Protocol(RuleBasedStateMachine):
    new_model = None  # set by the test

    def __init__(self):
        super().__init__()
        self.model = self.new_model()

    @rule(operation=operations, overlaps=overlaps, faults=faults)
    def something_is_asked_for(self, operation, overlaps, faults):
        self.model.run(operation, overlaps, faults)

    @rule(operation=operations, faults=faults)
    def something_is_asked_for_and_may_fail(self, operation, faults):
        self.model.run(operation, {}, faults)

    @rule(operation=operations, overlaps=overlaps)
    def several_things_are_asked_for_at_once(self, operation, overlaps):
        self.model.run(operation, overlaps, {})

    @rule(operation=operations, step=st.one_of(st.integers(1, 6), st.integers(1, MOST_STEPS)))
    def a_worker_dies_at_a_step(self, operation, step):
        self.model.run(operation, {step: [("die",)]}, {})

    @rule(number=st.integers(0, 3), overlaps=overlaps)
    def what_is_attached_is_detached(self, number, overlaps):
        attached = sorted(self.model.promised)
        if attached:
            self.model.run(("detach", *attached[number % len(attached)], "row"), overlaps, {})

    @rule(operation=operations)
    def something_is_asked_for_while_no_slot_is_free(self, operation):
        self.model.do_crowd()
        self.model.run(operation, {}, {})

    @rule(
        volume_id=volumes,
        server_id=servers,
        state=st.sampled_from((ATTACHING, REATTACHING, DETACHING)),
        happened=st.sampled_from(("yes", "no", "late")),
        flag=st.booleans(),
    )
    def a_worker_died_long_ago(self, volume_id, server_id, state, happened, flag):
        self.model.left_by_the_dead(volume_id, server_id, state, happened, flag)

    @rule(how_long=seconds)
    def time_passes(self, how_long):
        self.model.do_pass_time(how_long)

    @rule(deletion=deletions)
    def a_server_is_deleted(self, deletion):
        self.model.happen(deletion)

    @rule(server_id=servers)
    def a_host_is_lost(self, server_id):
        self.model.do_lose_host(server_id)

    @rule(server_id=servers)
    def a_host_comes_back(self, server_id):
        self.model.do_come_back(server_id)

    @rule(volume_id=volumes, server_id=servers, overlaps=overlaps)
    def a_host_is_lost_and_a_volume_is_freed(self, volume_id, server_id, overlaps):
        self.model.do_lose_host(server_id)
        self.model.run(("force_detach", volume_id, server_id), overlaps, {})

    @rule(server_id=servers, project_id=projects)
    def a_server_id_is_used_again(self, server_id, project_id):
        self.model.do_use_again(server_id, project_id)

    @rule(change=changes)
    def something_changes(self, change):
        self.model.nested(change)

    @rule()
    def all_servers_take_requests_again(self):
        self.model.show_all()

    @rule(volume_id=volumes, server_id=servers)
    def the_backend_loses_a_disk(self, volume_id, server_id):
        self.model.do_lose(volume_id, server_id)

    @rule(server_id=servers)
    def disks_change_places(self, server_id):
        self.model.do_swap(server_id)

    @rule()
    def a_call_that_was_given_up_has_its_effect(self):
        if self.model.late:
            self.model.take_effect(self.model.late[0])

    @rule(overlaps=st.dictionaries(st.integers(1, 10), st.just([("reconcile", True)]), max_size=1))
    def all_is_quiet_and_reconcile_runs(self, overlaps):
        self.model.quiet(overlaps)

    @invariant()
    def the_invariants_hold(self):
        self.model.check()


@pytest.fixture(scope="module")
def new_model(database_kind, empty_url, tmp_path_factory):
    """Give ``new_model()``: a model over an empty registry."""

    def without_sync(connection, *_):
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")  # nothing here is about power cuts

    path = tmp_path_factory.mktemp("protocol") / "registry.db"
    with pytest.MonkeyPatch.context() as monkeypatch, database_kind.copy(empty_url, path) as url:
        database = Database({"url": url})
        sqlalchemy_event.listen(Pool, "checkout", without_sync)
        yield lambda: Model(database, monkeypatch)
        sqlalchemy_event.remove(Pool, "checkout", without_sync)
        database.dispose()


BOUNDED = settings(
    max_examples=EXAMPLES,
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_whatever_happens_the_invariants_hold(new_model, monkeypatch):
    monkeypatch.setattr(Protocol, "new_model", staticmethod(new_model))
    run_state_machine_as_test(Protocol, settings=BOUNDED)


# -- short stories of one volume, as the model has them: what a long walk seldom comes to -------------------------

REQUESTED = [
    ("attach", EXCLUSIVE, "1134", None, False),
    ("attach", EXCLUSIVE, "1135", None, True),
    ("detach", EXCLUSIVE, "1134", "row"),
    ("force_detach", EXCLUSIVE, "1134"),
    ("reconcile", True),
]
LEFT = [
    None,
    (ATTACHED, "yes"),
    (ATTACHED, "with the flag"),
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
            ("lose_host", "1134"),
            ("come_back", "1134"),
            ("die",),
        ]
    ),
    st.sampled_from(
        [
            ("hide", "1134"),
            ("show_as_deleted", "1134"),
            ("delete_volume", EXCLUSIVE),
            ("make_volume_anew", EXCLUSIVE, "demo", False),
            ("make_volume_anew", EXCLUSIVE, "other", False),
            ("switch", EXCLUSIVE),
            ("use_again", "1134", "other"),
            ("set_clock_back", LONG),
            ("set_task", "1134", "rebuilding"),
            ("crowd",),
        ]
    ),
)
left = st.sampled_from([None, *LEFT])
meanwhile = st.dictionaries(st.integers(1, 8), st.lists(happens, min_size=1, max_size=2), min_size=1, max_size=2)


def story_after(new_model, left):
    story = new_model()
    if left and left[0] == ATTACHED:
        story.do_attach(EXCLUSIVE, "1134", None, left[1] == "with the flag")
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
    new_model, left, first, operation, meanwhile, faults, after
):
    story = story_after(new_model, left)
    for event in first:
        story.nested_or_dead(event)
    story.run(operation, meanwhile, faults)
    for event in after:
        story.nested_or_dead(event)
    story.check()
    story.quiet({})
    story.check()


EVENTS = [
    ("delete_volume", EXCLUSIVE),
    ("make_volume_anew", EXCLUSIVE, "other", False),
    ("switch", EXCLUSIVE),
    ("extend", EXCLUSIVE),
    ("delete", "1134"),
    ("mark_deleted", "1134"),
    ("hide", "1134"),
    ("set_clock_back", LONG),
    ("crowd",),
    ("lose_host", "1134"),
    ("come_back", "1134"),
]


def named(event):
    return "-".join(map(str, event or ["nothing"]))


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("event", EVENTS, ids=named)
@pytest.mark.parametrize("operation", REQUESTED, ids=named)
@pytest.mark.parametrize("left", [None, (ATTACHED, "with the flag"), (ATTACHING, "no"), (DETACHING, "no")], ids=named)
def test_the_invariants_hold_at_whatever_step_something_happens(new_model, left, operation, event):
    for step in itertools.count(1):
        story = story_after(new_model, left)
        story.do_pass_time(STALE_AFTER + 1)
        story.run(operation, {step: [event]}, {})
        if story.steps < step:
            return
        story.check()
        story.quiet({})
        story.check()


BEFORE = {
    "": (),
    "deleted": (("delete", "1134"),),
    "used-again": (("delete", "1134"), ("use_again", "1134", "other")),
    "clock-set-back": (("set_clock_back", LONG),),
    "host-lost": (("lose_host", "1134"),),
}


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("operation", REQUESTED, ids=named)
@pytest.mark.parametrize("left", LEFT, ids=named)
def test_the_invariants_hold_wherever_a_worker_dies(new_model, left, operation, before):
    for step in itertools.count(1):
        story = story_after(new_model, left)
        story.do_pass_time(STALE_AFTER + 1)
        for event in BEFORE[before]:
            story.happen(event)
        story.run(operation, {step: [("die",)]}, {})
        if story.steps < step:
            return
        story.check()
        story.quiet({})
        story.check()
