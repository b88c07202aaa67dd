"""Operations that find no free slot (docs/protocol.rst, R17): they leave everything as it was."""

from contextlib import ExitStack

import pytest

from os_volume_ext.errors import Conflict, Overloaded, VolumeInUse
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING
from tests.functional.protocol.cases import NOWHERE


@pytest.fixture
def full(harness):
    """Give the harness, and let two other projects hold its eight slots until ``free`` is called."""
    with ExitStack() as slots:
        for number in range(8):
            slots.enter_context(harness.executor.slot("req-of-another", f"project-{number % 2}"))
        harness.free = slots.close
        yield harness


def test_an_attach_without_a_slot_leaves_nothing(full):
    with pytest.raises(Overloaded):
        full.attach()
    assert full.state() == NOWHERE
    assert full.backend.calls == []


@pytest.mark.parametrize("state", [ATTACHED, DETACHING])
def test_a_detach_without_a_slot_leaves_the_row_as_it_was(full, state):
    full.put(state, stale=True, delete_on_termination=True)
    before = full.row()
    with pytest.raises(Overloaded):
        full.detach()
    after = full.row()
    assert (after.state, after.delete_on_termination, after.updated_at) == (state, True, before.updated_at)
    assert after.claim_id != before.claim_id
    full.free()
    full.detach()
    assert full.row() is None


def test_a_takeover_without_a_slot_leaves_the_row_as_it_was(full):
    full.put(ATTACHING, stale=True, device="/dev/vdd", tag="old")
    before = full.row()
    with pytest.raises(Overloaded):
        full.attach(device="/dev/vde", tag="new")
    after = full.row()
    assert (after.state, after.device, after.tag, after.updated_at) == (ATTACHING, "/dev/vdd", "old", before.updated_at)
    full.free()
    full.attach(device="/dev/vde", tag="new")
    assert (full.row().device, full.row().tag) == ("/dev/vde", "new")


def test_a_conflict_needs_no_slot(full):
    full.put(ATTACHED, disk=True)
    with pytest.raises(VolumeInUse):
        full.attach()
    with pytest.raises(VolumeInUse):
        full.attach(server_id="1135")
    full.take_over(DETACHING)
    with pytest.raises(Conflict):
        full.detach()
    assert full.listener.overloads == 0


def test_a_rescue_without_a_slot_changes_nothing(full):
    full.put(ATTACHED)
    full.delete_server()
    with pytest.raises(Overloaded):
        full.attach(server_id="1135")
    assert (full.row().state, full.row(server_id="1135")) == (ATTACHED, None)
