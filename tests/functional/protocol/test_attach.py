"""Attach and detach when nothing fails: what registry and backend have, and which device a disk gets."""

import pytest

from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.errors import AttachmentMissing, Conflict
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING
from tests.functional.protocol.cases import NOWHERE
from tests.support.harness import STALE_AFTER
from tests.support.scripted import refuse


def test_an_attached_volume_is_in_registry_and_backend(harness):
    response = harness.attach()
    assert tuple(response) == ("9", "1134", "/dev/vdb", None, False, harness.row().id, "demo")
    assert harness.state() == (ATTACHED, True)
    assert tuple(harness.get()) == ("9", "1134", "/dev/vdb", "demo")
    assert [tuple(row) for row in harness.list()] == [("9", "1134", "/dev/vdb", None)]  # one project's


def test_the_row_keeps_what_a_backend_needs(harness):
    harness.set_server(host="node-1", instance_name="instance-1")
    harness.attach()
    row = harness.row()
    assert (row.host, row.instance_name, row.source, row.format) == ("node-1", "instance-1", "/a/file", "raw")
    assert (row.project_id, row.root) == ("demo", False)


def test_the_row_is_there_before_the_backend_is_called(harness):
    seen = []
    harness.at("before backend attach", lambda: seen.append(harness.state()))
    harness.attach()
    assert seen == [(ATTACHING, False)]


def test_no_transaction_is_open_while_the_backend_works(harness):
    harness.at("before backend attach", lambda: harness.attach("99", "1135"))
    harness.at("before backend detach", lambda: harness.detach("99", "1135"))
    harness.attach()
    harness.detach()
    assert harness.is_consistent()


def test_what_is_being_attached_is_not_shown(harness):
    harness.put(ATTACHING)
    assert list(harness.list()) == []
    with pytest.raises(AttachmentMissing):
        harness.get()


def test_what_is_being_detached_is_shown(harness):
    harness.put(DETACHING, disk=True)
    assert [row.volume_id for row in harness.list()] == ["9"]
    assert harness.get().volume_id == "9"


def test_the_backend_chooses_the_device(harness):
    assert [harness.attach("9").device, harness.attach("99").device] == ["/dev/vdb", "/dev/vdc"]


def test_a_requested_device_is_reserved_with_the_volume(harness):
    seen = []
    harness.at("before backend attach", lambda: seen.append(harness.row().device))
    assert harness.attach(device="/dev/vdz").device == "/dev/vdz"
    assert seen == ["/dev/vdz"]
    assert harness.row().device == "/dev/vdz"


def test_a_device_that_another_volume_has_is_a_conflict(harness):
    harness.attach("99", device="/dev/vdc")
    with pytest.raises(Conflict, match=r"^Device /dev/vdc of server 1134 is in use by another volume\.$") as raised:
        harness.attach("9", device="/dev/vdc")
    assert not raised.value.retryable
    assert harness.state() == NOWHERE


def test_a_device_that_is_in_use_at_the_backend_only_is_a_conflict(harness):
    harness.backend.disks["1134"]["a root disk"] = "/dev/vda"
    with pytest.raises(Conflict, match=r"^Device /dev/vda of server 1134 is in use by another volume\.$"):
        harness.attach(device="/dev/vda")
    assert harness.state() == NOWHERE


def test_a_disk_keeps_the_device_that_it_got_while_another_worker_reserved_it(harness):
    # 9 gets vdb from the backend; before it is confirmed, another worker reserves vdb for 99.
    harness.at("before confirm", lambda: harness.put(ATTACHING, "99", device="/dev/vdb"))
    assert harness.attach("9").device == "/dev/vdb"
    assert (harness.row("9").state, harness.row("9").device) == (ATTACHED, "/dev/vdb")
    harness.pass_time(STALE_AFTER + 1)
    harness.reconcile()
    assert harness.row("9").device == "/dev/vdb"
    assert harness.row("99") is None


def test_a_requested_device_that_another_disk_gets_concurrently_is_refused(harness):
    harness.at("before backend attach", lambda: harness.attach("9"))
    with pytest.raises(Conflict, match=r"^Device /dev/vdb of server 1134 is in use by another volume\.$"):
        harness.attach("99", device="/dev/vdb")
    assert harness.get("9").device == harness.backend.devices("1134")["9"] == "/dev/vdb"
    assert harness.state("99") == NOWHERE


def test_the_device_of_a_lost_disk_belongs_to_the_disk_that_gets_it_next(harness, caplog):
    caplog.set_level("INFO")
    harness.attach("99", device="/dev/vdb")
    harness.backend.disks["1134"].pop("99")
    assert harness.attach("9").device == "/dev/vdb"
    assert "volume 9 took device /dev/vdb of server 1134 from another row" in caplog.text
    assert (harness.row("9").device, harness.row("99").device) == ("/dev/vdb", None)
    harness.reconcile(everything=True)
    assert (harness.row("9").device, harness.row("99").device) == ("/dev/vdb", harness.backend.devices("1134")["99"])


def test_a_detach_that_failed_leaves_the_device_to_the_disk_that_has_got_it_by_then(harness):
    harness.attach("99", device="/dev/vdb")
    harness.backend.disks["1134"].pop("99")
    harness.at("before backend detach", lambda: harness.attach("9"))
    harness.backend.fail("detach", refuse(BackendUnavailable("down")))
    with pytest.raises(BackendUnavailable):
        harness.detach("99")
    assert (harness.row("99").state, harness.row("99").device) == (ATTACHED, None)
    assert harness.row("9").device == "/dev/vdb"


def test_reconcile_repairs_two_disks_that_changed_places(harness):
    harness.attach("9")
    harness.attach("99")
    disks = harness.backend.disks["1134"]
    disks["9"], disks["99"] = disks["99"], disks["9"]
    harness.reconcile(everything=True)
    assert {volume: harness.row(volume).device for volume in disks} == disks
    assert harness.reconcile(everything=True) == [("1134", "9", Outcome.CONSISTENT), ("1134", "99", Outcome.CONSISTENT)]


def test_a_disk_gets_the_device_of_a_detached_one_whose_row_is_still_there(harness):
    harness.attach("9")
    harness.at("before remove", lambda: harness.attach("99"))
    harness.detach("9")
    assert harness.state("9") == NOWHERE
    assert harness.get("99").device == harness.backend.devices("1134")["99"] == "/dev/vdb"


def test_a_backend_that_reports_no_device_leaves_it_unknown(harness):
    harness.backend.fail("attach", lambda effect: effect() and None)
    assert harness.attach().device is None
    assert (harness.row().state, harness.row().device) == (ATTACHED, None)
