"""Servers that the compute API has deleted: their attachments, and what the backend still has."""

import pytest

from os_volume_ext.backends.base import (
    AttachRefused,
    BackendUnavailable,
    DeviceInUse,
    OutcomeUnknown,
    Server,
    TooManyAttachments,
)
from os_volume_ext.errors import (
    AttachmentLimitReached,
    ComputeUnavailable,
    Conflict,
    OperationIncomplete,
    ServerMissing,
    VolumeInUse,
)
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING
from tests.functional.protocol.cases import NOWHERE, refusals
from tests.support.harness import STALE_AFTER
from tests.support.scripted import refuse

NO_SUCH_SERVER = r"^Cannot detach volume 9 from server 1134: the backend has no such server\.$"


@pytest.mark.parametrize("root", [False, True], ids=["data", "root"])
@pytest.mark.parametrize("backend_knows", [False, True], ids=["no server", "no disk"])
def test_an_attach_takes_over_the_row_of_a_deleted_server(harness, root, backend_knows):
    harness.put(ATTACHED, root=root)
    harness.compute.delete("1134")
    if not backend_knows:
        del harness.backend.disks["1134"]
    harness.attach(server_id="1135")
    assert harness.row() is None
    assert harness.state(server_id="1135") == (ATTACHED, True)
    row = harness.row(server_id="1135")
    assert (row.root, row.source, row.request_id) == (False, "/a/file", "req-1")


def test_what_was_taken_from_a_deleted_server_is_detached_there_first(harness, caplog):
    harness.put(ATTACHED)
    harness.delete_server()
    seen = []
    harness.at("before backend detach", lambda: seen.append((harness.row().state, harness.row(server_id="1135"))))
    harness.attach(server_id="1135")
    assert seen == [(DETACHING, None)]
    assert [call[:2] for call in harness.backend.calls] == [
        ("attached", "1134"),
        ("detach", "1134"),
        ("attach", "1135"),
    ]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning == "req-1 volume 9 was attached to server 1134, which is deleted: attachment removed"


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_row_under_way_of_a_deleted_server_is_taken_over_when_it_is_stale_only(harness, state):
    harness.put(state)
    harness.delete_server()
    harness.pass_time(STALE_AFTER - 5)
    with pytest.raises(Conflict) as raised:
        harness.attach(server_id="1135")
    assert raised.value.retryable
    assert harness.backend.calls == []
    harness.pass_time(10)
    harness.attach(server_id="1135")
    assert harness.row() is None
    assert harness.state(server_id="1135") == (ATTACHED, True)


def test_a_disk_that_the_backend_still_shows_is_a_conflict(harness):
    harness.attach()
    harness.compute.delete("1134")
    with pytest.raises(VolumeInUse, match="Volume 9 is attached to another server") as raised:
        harness.attach(server_id="1135")
    assert not raised.value.retryable
    assert harness.state() == (ATTACHED, True)
    assert harness.backend.violations == []


def test_a_server_that_only_the_backend_does_not_have_keeps_its_row(harness):
    harness.put(ATTACHED)
    del harness.backend.disks["1134"]
    with pytest.raises(VolumeInUse):
        harness.attach(server_id="1135")
    assert harness.row().state == ATTACHED


def test_a_backend_that_can_not_tell_keeps_the_row(harness):
    harness.put(ATTACHED)
    harness.delete_server()
    harness.backend.fail("attached", refuse(BackendUnavailable("down")))
    with pytest.raises(BackendUnavailable):
        harness.attach(server_id="1135")
    assert harness.row().state == ATTACHED


def test_another_projects_row_of_a_deleted_server_is_a_conflict(harness):
    harness.put(ATTACHED, project_id="other")
    harness.delete_server()
    with pytest.raises(VolumeInUse, match="another server"):
        harness.attach(server_id="1135")
    assert harness.row().state == ATTACHED


@pytest.mark.parametrize("error", [OutcomeUnknown("no word"), BackendUnavailable("down")])
def test_a_deleted_servers_row_stays_when_its_detach_does_not_succeed(harness, error):
    harness.put(ATTACHED)
    harness.compute.delete("1134")
    harness.backend.fail("detach", refuse(error))
    with pytest.raises(type(error)):
        harness.attach(server_id="1135")
    assert harness.row().state == DETACHING
    assert harness.row(server_id="1135") is None
    harness.pass_time(STALE_AFTER + 1)
    harness.attach(server_id="1135")
    assert harness.is_consistent()


def test_a_refused_detach_from_a_deleted_server_is_no_refusal_of_the_new_server(harness):
    # The claim took over another operation's row; its definite failure is 503, not a conflict here.
    harness.put(ATTACHED)
    harness.compute.delete("1134")
    harness.backend.fail("detach", refuse(AttachRefused("not there")))
    with pytest.raises((OperationIncomplete, BackendUnavailable)):
        harness.attach(server_id="1135")
    assert harness.row().state == DETACHING


@pytest.mark.parametrize("error", [AttachRefused("domain kvm7 is saved"), TooManyAttachments(3), DeviceInUse("vdb")])
def test_why_a_detach_from_a_deleted_server_failed_is_not_told_to_the_caller(harness, error):
    harness.put(ATTACHED)
    harness.compute.delete("1134")
    harness.backend.fail("detach", refuse(error))
    with pytest.raises(OperationIncomplete) as raised:
        harness.attach(server_id="1135")
    assert str(raised.value) == f"the backend refused to detach it from server 1134: {error}"


@refusals
def test_an_attach_that_fails_for_certain_after_it_freed_the_volume_leaves_nothing(harness, error, response):
    harness.put(ATTACHING)
    harness.delete_server()
    harness.pass_time(STALE_AFTER + 1)
    harness.backend.fail("attach", refuse(error))
    with pytest.raises(response):
        harness.attach(server_id="1135")
    assert (harness.row(), harness.row(server_id="1135")) == (None, None)
    assert harness.is_consistent()


def test_a_transfer_to_a_device_in_use_is_a_conflict_and_frees_the_volume(harness):
    harness.put(ATTACHED)
    harness.delete_server()
    attempts = []
    harness.at("before reserve", *[lambda: attempts.append("9")] * 2)
    harness.at("before transfer", lambda: harness.put(ATTACHED, "99", "1135", device="/dev/vdb", disk=True))
    with pytest.raises(Conflict, match=r"^Device /dev/vdb of server 1135 is in use by another volume\.$"):
        harness.attach("9", "1135", device="/dev/vdb")
    assert attempts == ["9"]
    assert harness.row("9") is None
    assert harness.state("99", "1135") == (ATTACHED, True)


def test_a_move_to_a_server_that_is_full_frees_the_volume(harness):
    harness.manager = harness.make_manager(max_attachments=1)
    harness.put(ATTACHED)
    harness.delete_server()
    harness.at("before transfer", lambda: harness.put(ATTACHED, "99", "1135", disk=True, device="/dev/vdb"))
    with pytest.raises(AttachmentLimitReached):
        harness.attach("9", "1135")
    assert (harness.row("9"), harness.row("9", "1135")) == (None, None)
    assert harness.is_consistent()


def test_a_claim_on_a_deleted_servers_row_that_was_lost_is_not_moved(harness):
    harness.put(ATTACHED)
    harness.delete_server()
    harness.at("before transfer", harness.take_over)
    with pytest.raises(OperationIncomplete):
        harness.attach(server_id="1135")
    assert harness.row().request_id == "req-of-another"
    assert harness.backend.made("attach") == []


def test_of_two_that_take_over_a_deleted_servers_row_one_does(harness):
    harness.compute.add(Server("1136", "demo", "ACTIVE"))
    harness.backend.disks["1136"] = {}
    harness.put(ATTACHED)
    harness.delete_server()
    harness.at("before claim", lambda: harness.attach(server_id="1136"))
    with pytest.raises(VolumeInUse, match="attached to server 1136"):
        harness.attach(server_id="1135")
    assert harness.backend.violations == []
    assert harness.is_consistent()


def test_a_detach_on_a_deleted_server_removes_the_row(harness):
    harness.put(ATTACHED)
    harness.delete_server()
    harness.detach()
    assert harness.row() is None


def test_a_detach_on_a_deleted_server_goes_to_the_backend(harness):
    harness.attach()
    harness.compute.delete("1134")
    harness.detach()
    assert harness.state() == NOWHERE
    assert harness.backend.made("detach") == [("1134", "9")]


def test_a_detach_on_a_deleted_server_of_another_project_is_missing(harness):
    harness.put(ATTACHED)
    harness.delete_server()
    with pytest.raises(ServerMissing):
        harness.detach(project_id="other")
    assert harness.row().state == ATTACHED


def test_a_detach_of_what_a_deleted_server_did_not_have_is_missing(harness):
    harness.delete_server()
    with pytest.raises(ServerMissing):
        harness.detach()


def test_a_detach_where_only_the_backend_has_lost_the_server_is_a_conflict(harness):
    harness.attach(delete_on_termination=True)
    before = harness.row()
    del harness.backend.disks["1134"]
    with pytest.raises(Conflict, match=NO_SUCH_SERVER) as raised:
        harness.detach()
    assert not raised.value.retryable
    row = harness.row()
    assert (row.state, row.delete_on_termination, row.updated_at) == (ATTACHED, True, before.updated_at)
    harness.compute.delete("1134")
    harness.detach()
    assert harness.row() is None


def test_a_stale_detach_where_only_the_backend_has_lost_the_server_stays_pending(harness):
    harness.put(DETACHING, stale=True)
    del harness.backend.disks["1134"]
    with pytest.raises(OperationIncomplete, match="the compute API has server 1134, but the backend does not"):
        harness.detach()
    assert harness.row().state == DETACHING


def test_a_detach_that_can_not_ask_whether_the_server_is_gone_restores_the_row(harness):
    harness.attach()
    del harness.backend.disks["1134"]
    harness.at("before backend detach", harness.compute_is_down)
    with pytest.raises(ComputeUnavailable):
        harness.detach()
    assert harness.row().state == ATTACHED


def test_a_server_deleted_while_it_is_detached_from_counts_as_done(harness):
    harness.attach()
    harness.at("before backend detach", harness.delete_server)
    harness.detach()
    assert harness.row() is None
