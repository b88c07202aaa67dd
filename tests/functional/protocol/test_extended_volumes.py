"""Volumes that were extended while they were attached (docs/protocol.rst, R30)."""

import dataclasses
import logging

import pytest

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import AttachRefused, Backend, BackendUnavailable, Volume
from os_volume_ext.catalog.base import CatalogUnavailable
from os_volume_ext.errors import Conflict
from os_volume_ext.models import ATTACHED, ATTACHING, REATTACHING
from tests.functional.protocol.cases import unknown
from tests.support.harness import STALE_AFTER
from tests.support.scripted import Died, die, refuse, succeed_and_raise

OLD, NEW = 2**30, 2 * 2**30
DISK = ("1134", "9")
SMALLER = f"the disk has {OLD} bytes, the volume {NEW}"


@pytest.fixture
def extended(harness):
    """Give a harness with an attached volume that is larger than its disk."""
    harness.attach()
    harness.backend.sizes[DISK] = OLD
    extend(harness, NEW)
    harness.backend.calls.clear()
    return harness


def extend(harness, size):
    harness.catalog.add(dataclasses.replace(harness.catalog.known["9"], size=size))


def test_the_disk_is_resized_under_a_claim_and_stays_attached(extended, caplog):
    seen, before = [], extended.snapshot()
    extended.at("before backend resize", lambda: seen.append((extended.row().state, extended.get().device)))
    with caplog.at_level(logging.INFO):
        assert extended.reconcile(everything=True) == [(*DISK, Outcome.REPAIRED)]
        extended.findings[0].log()
    assert extended.findings[0].detail == f"the disk had {OLD} bytes: resized to {NEW}"
    assert "resized" in caplog.text
    assert seen == [(REATTACHING, "/dev/vdb")]
    assert extended.backend.sizes[DISK] == NEW
    assert extended.snapshot() == before
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.CONSISTENT)]
    assert extended.backend.made("resize") == [DISK]


@pytest.mark.parametrize(("disk", "volume"), [(OLD, OLD), (NEW, OLD), (None, NEW), (OLD, None)])
def test_a_disk_that_is_not_known_to_be_smaller_is_left_alone(extended, disk, volume):
    extended.backend.sizes[DISK] = disk
    extend(extended, volume)
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.CONSISTENT)]
    assert extended.backend.made("resize") == []


def test_a_backend_that_does_not_know_sizes_costs_no_look_at_the_catalog(extended, monkeypatch):
    monkeypatch.setattr(type(extended.backend), "disk_size", Backend.disk_size)
    extended.catalog.known.clear()
    monkeypatch.setattr(type(extended.catalog), "volume", None)
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.CONSISTENT)]


def test_a_dry_run_names_the_sizes_and_changes_nothing(extended):
    before = extended.snapshot()
    assert extended.reconcile(everything=True, dry_run=True) == [(*DISK, Outcome.NEEDS_REPAIR)]
    assert extended.findings[0].detail == SMALLER
    assert extended.snapshot() == before
    assert extended.backend.made("resize") == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "ERROR"}, "is in status ERROR"),
        ({"task_state": "rebuilding"}, "has the pending task rebuilding"),
    ],
)
def test_the_disk_waits_until_the_server_allows_it(extended, changes, reason):
    extended.set_server(**changes)
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.UNRESOLVED)]
    assert extended.findings[0].detail == f"{SMALLER}, and the server {reason}"
    assert extended.backend.made("resize") == []


def test_without_a_compute_api_the_backend_alone_decides(extended):
    extended.reconciler = extended.make_reconciler(None)
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.REPAIRED)]
    assert extended.backend.sizes[DISK] == NEW


@pytest.mark.parametrize("dry_run", [False, True])
def test_device_and_size_are_repaired_in_one_run(extended, dry_run):
    extended.backend.disks["1134"]["9"] = "/dev/vdq"
    outcome = Outcome.NEEDS_REPAIR if dry_run else Outcome.REPAIRED
    assert extended.reconcile(everything=True, dry_run=dry_run) == [(*DISK, outcome)]
    assert extended.findings[0].detail.startswith("the disk is at /dev/vdq, the row had /dev/vdb; the disk ")
    assert extended.row().device == ("/dev/vdb" if dry_run else "/dev/vdq")
    assert extended.backend.sizes[DISK] == (OLD if dry_run else NEW)


@pytest.mark.parametrize("changes", [None, {"project_id": "other"}, {"multiattach": True}])
def test_the_size_of_another_volume_of_that_id_does_not_count(extended, changes):
    volume = extended.catalog.known.pop("9")
    if changes:
        extended.catalog.add(dataclasses.replace(volume, **changes))
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.CONSISTENT)]
    assert extended.backend.made("resize") == []


def test_a_detach_waits_while_the_disk_is_resized(extended):
    conflicts = []

    def detach():
        with pytest.raises(Conflict) as raised:
            extended.detach()
        conflicts.append(raised.value.retryable)

    extended.at("before backend resize", detach)
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.REPAIRED)]
    assert conflicts == [True]
    assert extended.backend.made("detach") == []


def test_a_disk_that_was_detached_after_the_look_is_not_resized(extended):
    extended.at("after backend disk_size", extended.detach)
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.CONSISTENT)]
    assert extended.backend.made("resize") == []


@pytest.mark.parametrize("error", [BackendUnavailable("down"), AttachRefused("no")], ids=lambda e: type(e).__name__)
def test_a_refusal_leaves_the_row_attached_and_names_the_reason(extended, error):
    extended.backend.fail("resize", refuse(error))
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.UNRESOLVED)]
    assert extended.findings[0].detail == str(error)
    assert extended.state() == (ATTACHED, True)
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.REPAIRED)]


@unknown
@pytest.mark.parametrize("happened", [False, True])
def test_an_unknown_outcome_leaves_the_claim_until_it_is_stale(extended, error, happened):
    extended.backend.fail("resize", succeed_and_raise(error) if happened else refuse(error))
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.UNRESOLVED)]
    assert extended.state() == (REATTACHING, True)
    assert extended.get().volume_id == "9"
    extended.pass_time(STALE_AFTER + 1)
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.REPAIRED)]
    assert extended.state() == (ATTACHED, True)
    assert extended.backend.sizes[DISK] == NEW


@pytest.mark.parametrize("step", ["after claim", "before backend resize", "after backend resize", "before confirm"])
def test_an_attachment_stays_attached_if_reconcile_dies_while_resizing(extended, step):
    extended.at(step, die)
    with pytest.raises(Died):
        extended.reconcile(everything=True)
    assert extended.get().device == "/dev/vdb"
    extended.pass_time(STALE_AFTER + 1)
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.REPAIRED)]
    assert extended.state() == (ATTACHED, True)
    assert extended.backend.sizes[DISK] == NEW


def test_a_late_worker_does_not_resize(extended):
    extended.at("after claim", lambda: extended.pass_time(STALE_AFTER + 1))
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.UNRESOLVED)]
    assert extended.backend.made("resize") == []


def test_a_size_that_can_not_be_read_leaves_that_row_unresolved(extended):
    extended.backend.fail("disk_size", refuse(BackendUnavailable("libvirt is down")))
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.UNRESOLVED)]
    assert extended.findings[0].detail == "libvirt is down"
    assert extended.state() == (ATTACHED, True)


def test_a_catalog_that_is_down_leaves_that_row_unresolved(extended, monkeypatch):
    def fail(*_):
        raise CatalogUnavailable("Cinder is down")

    monkeypatch.setattr(extended.catalog, "volume", fail)
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.UNRESOLVED)]
    assert extended.findings[0].detail == "Cinder is down"


def test_an_extension_during_an_attach_does_not_refuse_it(harness):
    harness.catalog.add(Volume("9", "demo", size=OLD))
    harness.at("before recheck", lambda: extend(harness, NEW))
    assert harness.attach().device == "/dev/vdb"


def test_an_attach_that_did_not_complete_and_the_size_are_repaired_in_one_run(harness):
    harness.put(ATTACHING, disk=True, stale=True)
    harness.backend.sizes[DISK] = OLD
    extend(harness, NEW)
    assert harness.reconcile() == [(*DISK, Outcome.REPAIRED)]
    assert (
        harness.findings[0].detail == f"the disk is there: marked attached; the disk had {OLD} bytes: resized to {NEW}"
    )
    assert harness.backend.sizes[DISK] == NEW


def test_a_server_that_the_backend_lost_meanwhile_has_no_disk_to_resize(extended):
    extended.at("before backend disk_size", lambda: extended.backend.disks.pop("1134"))
    assert extended.reconcile(everything=True) == [(*DISK, Outcome.CONSISTENT)]
    assert extended.backend.made("resize") == []
