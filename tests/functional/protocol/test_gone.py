"""Which servers count as gone (docs/protocol.rst, R25), and rows of servers whose ids were used again (R26)."""

import pytest

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.errors import (
    AttachmentMissing,
    ComputeUnavailable,
    Conflict,
    ServerMissing,
    VolumeInUse,
)
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING
from tests.support.scripted import refuse


@pytest.fixture
def alone(harness):
    """Give the harness without ``compute.url``."""
    harness.manager = harness.make_manager(has_compute_url=False)
    harness.reconciler = harness.make_reconciler(None)
    return harness


# -- servers that the caller does not see ------------------------------------------------------------


def test_a_detach_from_a_server_that_is_hidden_from_the_caller_is_missing(harness):
    harness.attach()
    harness.compute.hidden.add("1134")
    with pytest.raises(ServerMissing):
        harness.detach()
    assert harness.state() == (ATTACHED, True)
    assert harness.backend.made("detach") == []


def test_a_volume_of_a_server_that_is_hidden_from_the_caller_is_in_use(harness):
    harness.put(ATTACHED)
    harness.compute.hidden.add("1134")
    with pytest.raises(VolumeInUse, match="attached to another server"):
        harness.attach(server_id="1135")
    assert harness.row().state == ATTACHED
    assert harness.backend.calls == []


def test_a_detach_that_can_not_learn_whether_the_server_is_gone_changes_nothing(harness):
    harness.attach()
    harness.compute.hidden.add("1134")
    harness.compute.remote.server = refuse(ComputeUnavailable("no list"))
    with pytest.raises(ComputeUnavailable):
        harness.detach()
    assert harness.state() == (ATTACHED, True)


def test_an_attach_that_can_not_learn_whether_the_server_is_gone_is_a_conflict(harness, caplog):
    harness.put(ATTACHED)
    harness.compute.hidden.add("1134")
    harness.compute.remote.server = refuse(ComputeUnavailable("the list is refused"))
    with pytest.raises(VolumeInUse):
        harness.attach(server_id="1135")
    assert harness.row().state == ATTACHED
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning == "req-1 is server 1134 gone? the list is refused"


def test_a_detach_from_a_server_that_is_hidden_meanwhile_is_no_success(harness):
    harness.attach()
    del harness.backend.disks["1134"]
    harness.at("before backend detach", lambda: harness.compute.hidden.add("1134"))
    with pytest.raises(Conflict, match="the backend has no such server"):
        harness.detach()
    assert harness.row().state == ATTACHED


def test_an_administrator_of_another_project_does_not_detach_from_a_gone_server(harness):
    harness.put(ATTACHED)
    harness.delete_server()
    with pytest.raises(ServerMissing):
        harness.detach(project_id="other", is_admin=True)
    assert harness.row().state == ATTACHED


def test_the_root_volume_of_a_hidden_server_is_not_told(harness):
    harness.put(ATTACHED, root=True)
    harness.compute.hidden.add("1134")
    with pytest.raises(ServerMissing):
        harness.detach()


# -- without compute.url -----------------------------------------------------------------------------


def test_without_compute_url_a_server_that_the_backend_has_is_not_gone(alone):
    alone.attach()
    alone.compute.delete("1134")
    with pytest.raises(ServerMissing):
        alone.detach()
    with pytest.raises(VolumeInUse):
        alone.attach(server_id="1135")
    assert alone.state() == (ATTACHED, True)


def test_without_compute_url_a_server_that_the_backend_does_not_have_is_gone(alone):
    alone.attach()
    alone.delete_server()
    alone.attach(server_id="1135")
    assert (alone.row(), alone.state(server_id="1135")) == (None, (ATTACHED, True))
    alone.delete_server("1135")
    alone.detach(server_id="1135")
    assert alone.row(server_id="1135") is None


def test_without_compute_url_a_server_that_the_caller_sees_is_not_gone(alone):
    alone.attach()
    del alone.backend.disks["1134"]
    with pytest.raises(Conflict, match="the backend has no such server"):
        alone.detach()
    with pytest.raises(VolumeInUse, match="attached to server 1134"):
        alone.attach(server_id="1135")
    assert alone.row().state == ATTACHED


def test_without_compute_url_a_backend_that_can_not_tell_changes_nothing(alone):
    alone.put(ATTACHED)
    alone.delete_server()
    for send_request in (alone.detach, lambda: alone.attach(server_id="1135")):
        alone.backend.fail("attached", refuse(BackendUnavailable("down")))
        with pytest.raises(BackendUnavailable):
            send_request()
    assert alone.row().state == ATTACHED


def test_without_compute_url_a_gone_servers_volume_is_deleted_if_requested(alone):
    alone.put(ATTACHED, delete_on_termination=True)
    alone.delete_server()
    assert alone.reconcile(everything=True) == [("1134", "9", Outcome.REPAIRED)]
    assert alone.catalog.deleted == [("9", "1134")]


# -- servers that are shown as deleted ---------------------------------------------------------------


@pytest.fixture
def deleted(harness):
    """Give the harness with a volume of a server that the compute API shows as deleted."""
    harness.attach()
    harness.set_server(status="DELETED")
    del harness.backend.disks["1134"]
    return harness


def test_a_volume_is_detached_from_a_server_that_is_shown_as_deleted(deleted):
    deleted.detach()
    assert deleted.row() is None


def test_a_volume_of_a_server_that_is_shown_as_deleted_can_be_attached_elsewhere(deleted):
    deleted.attach(server_id="1135")
    assert (deleted.row(), deleted.state(server_id="1135")) == (None, (ATTACHED, True))


def test_reconcile_removes_the_row_of_a_server_that_is_shown_as_deleted(deleted):
    assert deleted.reconcile(everything=True) == [("1134", "9", Outcome.REPAIRED)]
    assert deleted.row() is None


def test_nothing_is_attached_to_a_server_that_is_shown_as_deleted(deleted):
    with pytest.raises(Conflict, match="server 1134 while it is in status DELETED"):
        deleted.attach("99")


def test_a_server_that_only_the_caller_sees_as_deleted_is_not_gone(harness):
    harness.attach()
    harness.compute.remote.server = lambda server_id: harness.compute.known[server_id]
    harness.set_server(status="DELETED")
    with pytest.raises(ServerMissing):
        harness.detach()
    assert harness.state() == (ATTACHED, True)


@pytest.mark.parametrize("request_name", ["update", "swap"])
def test_an_attachment_of_a_server_that_is_shown_as_deleted_is_not_changed(deleted, request_name):
    requests = {
        "update": lambda: deleted.update(delete_on_termination=True),
        "swap": lambda: deleted.manager.swap(deleted.caller(), "1134", "9"),
    }
    with pytest.raises(ServerMissing):
        requests[request_name]()
    assert not deleted.row().delete_on_termination


# -- ids that were used again ------------------------------------------------------------------------


@pytest.fixture
def reused(harness):
    """Give the harness with a row of the project demo on a server of the project other."""
    harness.put(ATTACHED, device="/dev/vdb")
    harness.set_server(project_id="other")
    return harness


def test_a_row_of_another_projects_earlier_server_is_not_shown(reused):
    assert list(reused.list(project_id="other")) == []
    with pytest.raises(AttachmentMissing):
        reused.get(project_id="other")


def test_a_row_of_another_projects_earlier_server_is_not_changed(reused):
    before = reused.row()
    with pytest.raises(AttachmentMissing):
        reused.detach(project_id="other")
    with pytest.raises(AttachmentMissing):
        reused.manager.find_for_update(reused.caller("other"), "1134", "9")
    assert reused.row().claim_id == before.claim_id
    assert reused.backend.calls == []


def test_the_new_owner_sees_the_new_servers_own_rows(reused):
    reused.attach("200", project_id="other")
    assert [row.volume_id for row in reused.list(project_id="other")] == ["200"]
    assert reused.get("200", project_id="other").device == "/dev/vdb"


def test_where_the_servers_project_is_unknown_only_the_callers_rows_are_listed(harness, monkeypatch):
    """With ``server_read_path`` the look-up tells only that there is such a server."""
    monkeypatch.setattr(harness.compute, "find", lambda context, server_id: None)
    harness.put(ATTACHED, "200", project_id="other")
    harness.put(ATTACHED, "9")
    harness.put(ATTACHED, "99")
    first, second = (
        harness.manager.list_attachments(harness.caller(), "1134", since=None, limit=1, offset=offset)
        for offset in (0, 1)
    )
    assert [volume_id for volume_id, *_ in (*first, *second)] == ["9", "99"]
    beyond = harness.manager.list_attachments(harness.caller(), "1134", since=None, limit=1, offset=2)
    assert list(beyond) == []
    assert {row.volume_id for row in harness.list(is_admin=True)} == {"200", "9", "99"}


@pytest.mark.parametrize("state", [ATTACHING, ATTACHED, DETACHING])
def test_reconcile_names_a_row_of_another_projects_earlier_server(harness, state):
    harness.put(state, stale=True)
    harness.set_server(project_id="other")
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.findings[0].detail == (
        "the server belongs to project other, the attachment to project demo: "
        "the server's id was used again, or the server was moved; see attachment remove"
    )
    assert harness.backend.made("attach") == harness.backend.made("detach") == []
    assert harness.row().state == state


def test_a_stale_attach_of_an_earlier_server_is_not_taken_over(reused):
    reused.take_over(ATTACHING)
    reused.pass_time(1000)
    reused.catalog.known["9"] = reused.catalog.known["200"].__class__("9", "other")
    with pytest.raises(Conflict, match=r"^Volume 9 is being attached to another server\.$"):
        reused.attach(project_id="other")
    assert reused.backend.calls == []
