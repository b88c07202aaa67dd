"""Volumes that change between the look at the catalog and the reservation, or behind the back of an attachment."""

import dataclasses

import pytest

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import Volume
from os_volume_ext.catalog.base import CatalogUnavailable
from os_volume_ext.errors import Conflict, RegistryUnavailable, TransactionAborted, VolumeInUse, VolumeNotFound
from os_volume_ext.models import ATTACHED, ATTACHING
from tests.support.harness import STALE_AFTER
from tests.support.scripted import Died, die

before_the_recheck = pytest.mark.parametrize("step", ["before reserve", "after reserve", "before recheck"])


def change(harness, volume_id="9", **changes):
    """Return an action that changes a volume in the catalog."""

    def apply():
        harness.catalog.known[volume_id] = dataclasses.replace(harness.catalog.known[volume_id], **changes)

    return apply


@before_the_recheck
def test_a_volume_that_is_deleted_meanwhile_is_not_attached(harness, step):
    harness.at(step, lambda: harness.catalog.known.pop("9"))
    with pytest.raises(VolumeNotFound):
        harness.attach()
    assert harness.state() == (None, False)
    assert harness.backend.made("attach") == []


@before_the_recheck
def test_a_volume_that_another_project_creates_anew_meanwhile_is_not_attached(harness, step):
    harness.at(step, change(harness, project_id="other"))
    with pytest.raises(VolumeNotFound):
        harness.attach()
    assert harness.state() == (None, False)
    assert harness.backend.made("attach") == []


@before_the_recheck
@pytest.mark.parametrize("changes", [{"multiattach": True}, {"source": "/another/file"}, {"format": "qcow2"}])
def test_a_volume_that_is_modified_meanwhile_is_a_retryable_conflict(harness, step, changes):
    harness.at(step, change(harness, **changes))
    with pytest.raises(Conflict, match=r"^Volume 9 was modified concurrently\. Retry later\.$") as raised:
        harness.attach()
    assert raised.value.retryable
    assert harness.state() == (None, False)
    harness.attach()
    assert harness.state() == (ATTACHED, True)


@before_the_recheck
@pytest.mark.parametrize("error", [CatalogUnavailable("it is down"), TransactionAborted("again and again")], ids=repr)
def test_a_failed_recheck_leaves_no_row_where_the_database_responds(harness, step, monkeypatch, error):
    def fail(context, volume_id):
        raise error

    harness.at(step, lambda: monkeypatch.setattr(harness.catalog, "volume", fail))
    with pytest.raises(type(error)):
        harness.attach()
    assert harness.state() == (None, False)


@before_the_recheck
def test_a_database_that_fails_after_the_reservation_is_asked_nothing_more(harness, step, monkeypatch):
    def fail(context, volume_id):
        monkeypatch.setattr(harness.registry, "remove", lambda seen: pytest.fail("it would be waited for once more"))
        raise RegistryUnavailable("it is down")

    with monkeypatch.context() as patches:
        harness.at(step, lambda: patches.setattr(harness.catalog, "volume", fail))
        with pytest.raises(RegistryUnavailable):
            harness.attach()
    monkeypatch.undo()
    assert harness.state() == (ATTACHING, False)
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == (None, False)


def test_a_row_that_can_not_be_released_is_repaired_by_reconcile(harness):
    def fail():
        raise RegistryUnavailable("it is down")

    harness.at("before reserve", lambda: harness.catalog.known.pop("9"))
    harness.at("before remove", fail)
    with pytest.raises(RegistryUnavailable):
        harness.attach()
    assert harness.state() == (ATTACHING, False)
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == (None, False)


@pytest.mark.parametrize("step", ["before recheck", "after recheck"])
def test_a_worker_that_dies_at_the_recheck_leaves_what_reconcile_repairs(harness, step):
    harness.at(step, die)
    with pytest.raises(Died):
        harness.attach()
    assert harness.state() == (ATTACHING, False)
    harness.pass_time(STALE_AFTER + 1)
    assert harness.reconcile() == [("1134", "9", Outcome.REPAIRED)]
    assert harness.state() == (None, False)


@pytest.mark.parametrize("before", [True, False])
def test_an_exclusive_volume_is_never_attached_beside_another_attachment(harness, before):
    """Whether a volume is multiattach can change, and the keys of the table compare exclusive rows only."""
    harness.set_server("1135")
    harness.catalog.known["77"] = Volume("77", "demo", multiattach=before)
    harness.attach("77", "1135")
    harness.catalog.known["77"] = Volume("77", "demo", multiattach=not before)
    with pytest.raises(VolumeInUse, match="Volume 77 is attached to another server"):
        harness.attach("77")
    assert harness.state("77") == (None, False)
    harness.detach("77", "1135")
    harness.attach("77")
    assert harness.state("77") == (ATTACHED, True)


def test_two_attaches_of_a_volume_whose_multiattach_changes_between_are_not_both_made(harness):
    def other():
        harness.catalog.known["77"] = Volume("77", "demo")
        with pytest.raises(Conflict):
            harness.attach("77", "1135")
        harness.catalog.known["77"] = Volume("77", "demo", multiattach=True)

    harness.at("after reserve", other)
    harness.attach("77")
    assert harness.state("77") == (ATTACHED, True)
    assert harness.state("77", "1135") == (None, False)


def test_a_disk_is_attached_again_from_the_volumes_present_source(harness):
    harness.put(ATTACHED, device="/dev/vdb")
    change(harness, source="/moved/file")()
    seen, attach = [], harness.backend.do_attach
    harness.backend.do_attach = lambda server, volume, device: seen.append(volume) or attach(server, volume, device)
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.REPAIRED)]
    assert [volume.source for volume in seen] == ["/moved/file"]


@pytest.mark.parametrize("changes", [None, {"project_id": "other"}, {"multiattach": True}])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_disk_of_another_volume_of_that_id_is_not_attached_again(harness, changes, dry_run):
    harness.put(ATTACHED)
    if changes is None:
        del harness.catalog.known["9"]
    else:
        change(harness, **changes)()
    assert harness.reconcile(everything=True, dry_run=dry_run) == [("1134", "9", Outcome.UNRESOLVED)]
    assert "the catalog no longer has the volume as it was" in harness.findings[0].detail
    assert harness.state() == (ATTACHED, False)
    assert harness.backend.made("attach") == []
