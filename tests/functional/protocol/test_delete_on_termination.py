"""Volumes that are deleted together with their servers."""

import threading

import pytest

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, OutcomeUnknown, Server, Volume
from os_volume_ext.catalog.base import CatalogUnavailable, VolumeAttached
from os_volume_ext.errors import RegistryUnavailable, Unsupported
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING
from tests.support.harness import OPERATION_TIMEOUT, SHORT_TIMEOUT, STALE_AFTER, Harness
from tests.support.scripted import Died, die, refuse, succeed_and_raise
from tests.support.waiting import TIMEOUT

CAN_NOT_DELETE = r"^delete_on_termination is not supported: the volume catalog can't delete volumes\.$"
KEPT = "volume kept, because it is attached to another server"


@pytest.mark.parametrize(("requested", "deleted"), [(True, [("9", "1134")]), (False, [])])
def test_a_volume_is_deleted_with_its_server_if_that_was_requested(harness, requested, deleted):
    harness.attach(delete_on_termination=requested)
    harness.delete_server()
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.REPAIRED)]
    suffix = ", volume deleted (delete_on_termination)" if requested else ""
    assert harness.findings[0].detail == f"the server is deleted: row removed{suffix}"
    assert (harness.row(), harness.catalog.deleted) == (None, deleted)
    assert ("9" in harness.catalog.known) is not requested


def test_a_volume_stays_while_the_server_exists_in_compute_or_backend(harness):
    harness.attach(delete_on_termination=True)
    harness.compute.delete("1134")
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    harness.compute.add(Server("1134", "demo", "ACTIVE"))
    harness.backend.disks.pop("1134")
    harness.reconcile(everything=True)
    assert harness.catalog.deleted == []


def test_a_volume_stays_that_was_detached_and_not_terminated(harness):
    harness.attach(delete_on_termination=True)
    harness.detach()
    harness.delete_server()
    assert harness.reconcile(everything=True) == []
    assert harness.catalog.deleted == []


def test_a_volume_stays_that_was_taken_elsewhere_first(harness):
    harness.attach(delete_on_termination=True)
    harness.delete_server()
    harness.attach(server_id="1135")
    harness.reconcile(everything=True)
    assert harness.catalog.deleted == []
    assert harness.state(server_id="1135") == (ATTACHED, True)


def test_a_dry_run_reports_a_volume_to_be_deleted_and_deletes_none(harness):
    harness.attach(delete_on_termination=True)
    harness.delete_server()
    [finding] = harness.make_reconciler(harness.compute.remote).reconcile_all(dry_run=True)
    assert finding.detail == "the server is deleted; the volume is to be deleted"
    assert (harness.row().state, harness.catalog.deleted) == (ATTACHED, [])


@pytest.mark.parametrize("deleted_already", [False, True])
def test_reconcile_that_ended_before_the_volume_was_deleted_is_taken_up(harness, deleted_already):
    harness.attach(delete_on_termination=True)
    harness.delete_server()
    harness.catalog.fail = CatalogUnavailable("down")
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert (harness.row().state, harness.catalog.deleted) == (DETACHING, [])
    harness.catalog.fail = None
    if deleted_already:
        harness.catalog.delete(server_id="1134", volume_id="9")
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert (harness.row(), harness.catalog.deleted) == (None, [("9", "1134")])


def test_a_volume_that_is_attached_elsewhere_too_stays_and_its_row_goes(harness):
    harness.attach("77", delete_on_termination=True)
    harness.attach("77", "1135")
    harness.delete_server()
    harness.reconcile(everything=True)
    assert harness.findings[0].detail == f"the server is deleted: row removed, {KEPT}"
    assert harness.state("77", "1135") == (ATTACHED, True)
    assert (harness.row("77"), harness.catalog.deleted) == (None, [])


def test_a_volume_that_only_the_catalog_has_attached_elsewhere_stays(harness):
    harness.attach(delete_on_termination=True)
    harness.delete_server()
    harness.catalog.fail = VolumeAttached("elsewhere")
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.REPAIRED)]
    assert harness.findings[0].detail == f"the server is deleted: row removed, {KEPT}"
    assert (harness.row(), harness.catalog.deleted) == (None, [])


def test_a_volume_is_not_deleted_by_a_worker_whose_claim_has_expired(harness):
    harness.attach(delete_on_termination=True)
    harness.delete_server()
    harness.at("before backend detach", lambda: harness.pass_time(OPERATION_TIMEOUT))
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.findings[0].detail == "the claim's deadline passed before the backend call"
    assert (harness.row().state, harness.catalog.deleted) == (DETACHING, [])
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert (harness.row(), harness.catalog.deleted) == (None, [("9", "1134")])


def test_a_volume_is_not_deleted_before_the_backend_has_lost_the_server(harness):
    harness.put(DETACHING, disk=True, stale=True, delete_on_termination=True)
    harness.compute.delete("1134")
    assert harness.reconcile() == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.findings[0].detail == "the backend still has the server: volume not deleted"
    assert (harness.state(), harness.catalog.deleted) == ((DETACHING, False), [])
    harness.backend.disks.pop("1134")
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert (harness.row(), harness.catalog.deleted) == (None, [("9", "1134")])


def test_a_volume_whose_disk_alone_is_missing_is_not_deleted(harness):
    harness.put(ATTACHED, delete_on_termination=True)
    harness.compute.delete("1134")
    assert harness.reconcile(everything=True)[0] == ("1134", "9", Outcome.UNRESOLVED)
    reason = "the compute API has no such server, but the backend does: volume not deleted"
    assert harness.findings[0].detail == reason
    assert (harness.state(), harness.catalog.deleted) == ((ATTACHED, False), [])


def lose_the_database():
    raise RegistryUnavailable("it is down")


@pytest.mark.parametrize(
    ("step", "end", "error"),
    [
        ("before remove", lose_the_database, RegistryUnavailable),
        ("before remove", die, Died),
        ("before backend detach", die, Died),
        ("after backend detach", die, Died),
        ("after claim", die, Died),
    ],
)
def test_a_volume_that_a_caller_began_to_detach_is_not_deleted_with_the_server(harness, step, end, error):
    harness.attach(delete_on_termination=True)
    harness.at(step, end)
    with pytest.raises(error):
        harness.detach()
    harness.delete_server()
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert (harness.row(), harness.catalog.deleted) == (None, [])


def test_a_detach_whose_outcome_is_unknown_does_not_delete_the_volume_later(harness):
    harness.attach(delete_on_termination=True)
    harness.backend.fail("detach", succeed_and_raise(OutcomeUnknown("no response")))
    with pytest.raises(OutcomeUnknown):
        harness.detach()
    harness.delete_server()
    harness.pass_time(STALE_AFTER + 1)
    harness.reconcile()
    assert (harness.row(), harness.catalog.deleted) == (None, [])


@pytest.mark.parametrize("error", [BackendUnavailable("down"), AttachRefused("no")], ids=["unavailable", "refused"])
def test_a_detach_that_definitely_failed_leaves_the_volume_to_be_deleted(harness, error):
    harness.attach(delete_on_termination=True)
    harness.backend.fail("detach", refuse(error))
    with pytest.raises(type(error)):
        harness.detach()
    assert harness.row().delete_on_termination
    harness.delete_server()
    harness.reconcile(everything=True)
    assert (harness.row(), harness.catalog.deleted) == (None, [("9", "1134")])


def test_a_volume_that_a_rescue_attach_began_to_move_is_not_deleted(harness):
    harness.attach(delete_on_termination=True)
    harness.delete_server()
    harness.at("before transfer", die)
    with pytest.raises(Died):
        harness.attach(server_id="1135")
    harness.pass_time(STALE_AFTER + 1)
    harness.reconcile()
    assert (harness.row(), harness.catalog.deleted) == (None, [])


def test_a_volume_of_another_project_is_never_deleted(harness):
    """The volume was deleted in the catalog, and another project created one of its id."""
    harness.attach(delete_on_termination=True)
    harness.delete_server()
    harness.catalog.known["9"] = Volume("9", "other")
    assert harness.reconcile(everything=True)[0] == ("1134", "9", Outcome.REPAIRED)
    assert harness.findings[0].detail == "the server is deleted: row removed, volume already deleted"
    assert (harness.catalog.known["9"].project_id, harness.catalog.deleted) == ("other", [])


def test_a_catalog_that_hangs_does_not_hold_reconcile(database, monkeypatch):
    harness = Harness(database, monkeypatch, timeout=SHORT_TIMEOUT)
    harness.attach(delete_on_termination=True)
    harness.delete_server()
    resume, delete = threading.Event(), harness.catalog.delete
    monkeypatch.setattr(harness.catalog, "delete", lambda **volume: (resume.wait(TIMEOUT), delete(**volume)))
    assert harness.reconcile(everything=True)[0] == ("1134", "9", Outcome.UNRESOLVED)
    assert harness.row().state == DETACHING
    resume.set()


def test_a_look_up_in_the_catalog_that_hangs_does_not_hold_reconcile(database, monkeypatch):
    harness = Harness(database, monkeypatch, timeout=SHORT_TIMEOUT)
    harness.put(ATTACHED)
    resume, look_up = threading.Event(), harness.catalog.volume
    monkeypatch.setattr(
        harness.catalog, "volume", lambda context, volume_id: (resume.wait(TIMEOUT), look_up(context, volume_id))[1]
    )
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.findings[0].detail == f"no response within {SHORT_TIMEOUT} seconds"
    resume.set()
    assert harness.state() == (ATTACHED, False)


@pytest.mark.parametrize("error", [ConnectionError("reset by peer"), SystemExit(1)], ids=repr)
@pytest.mark.parametrize("plugin", ["catalog", "backend"])
def test_a_plugin_that_raises_anything_does_not_keep_reconcile_from_other_rows(harness, monkeypatch, plugin, error):
    def fail(*_, **__):
        raise error

    harness.attach(delete_on_termination=True)
    harness.delete_server()
    harness.put(ATTACHED, "99", "1135")
    if plugin == "catalog":
        monkeypatch.setattr(harness.catalog, "delete", fail)
    else:
        harness.backend.fail("attached", fail)
    assert harness.reconcile(everything=True) == [
        ("1134", "9", Outcome.UNRESOLVED),
        ("1135", "99", Outcome.REPAIRED),
    ]


def test_an_attach_that_was_never_finished_deletes_no_volume(harness):
    harness.put(ATTACHING, stale=True, delete_on_termination=True)
    harness.delete_server()
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.catalog.deleted == []


def test_reconcile_does_not_delete_a_volume_whose_flag_was_cleared_concurrently(harness):
    harness.attach(delete_on_termination=True)
    seen = harness.row()
    harness.update(delete_on_termination=False)
    assert harness.claims.acquire(seen, DETACHING, "req-of-reconcile") is None
    harness.delete_server()
    harness.reconcile(everything=True)
    assert (harness.row(), harness.catalog.deleted) == (None, [])


def test_a_catalog_that_cannot_delete_is_not_called(harness):
    harness.catalog.can_delete = False
    with pytest.raises(Unsupported, match=CAN_NOT_DELETE):
        harness.attach(delete_on_termination=True)
    assert harness.row() is None
    harness.attach()


def test_where_the_catalog_cannot_delete_the_flag_can_be_cleared_but_not_set(harness, caplog):
    caplog.set_level("INFO")
    harness.put(ATTACHED, disk=True, delete_on_termination=True)
    harness.catalog.can_delete = False
    with pytest.raises(Unsupported, match=CAN_NOT_DELETE):
        harness.update(delete_on_termination=True)
    assert harness.row().delete_on_termination
    harness.update(delete_on_termination=False)
    assert not harness.row().delete_on_termination
    message = "req-2 volume 9 of server 1134: delete_on_termination set to False"
    assert message in [record.getMessage() for record in caplog.records]


def test_an_attach_that_takes_over_a_stale_one_sets_its_own_details(harness):
    harness.put(ATTACHING, stale=True, tag="old", delete_on_termination=True)
    listed = harness.attach(tag="new")
    row = harness.row()
    assert (listed.tag, listed.delete_on_termination, listed.id) == ("new", False, row.id)
    assert (row.tag, row.delete_on_termination) == ("new", False)


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_stale_row_of_a_server_that_only_the_backend_does_not_have_is_undecided(harness, state):
    harness.put(state)
    del harness.backend.disks["1134"]
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.UNRESOLVED)]
    assert harness.row().state == state


def test_unfinished_leaves_attached_rows_alone(harness):
    harness.put(ATTACHED)
    assert harness.reconcile() == []
    assert harness.backend.calls == []


def test_a_stale_row_is_repaired_though_the_servers_status_forbids_attach(harness):
    harness.put(ATTACHING, disk=True, stale=True)
    harness.set_server(status="ERROR", locked=True)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == (ATTACHED, True)
