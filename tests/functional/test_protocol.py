"""Attach, detach and reconcile, whatever fails, hangs, dies or comes at the same time: the design's rules."""

import dataclasses
import threading

import pytest
from scripted import (
    OPERATION_TIMEOUT,
    PATIENCE,
    STALE_AFTER,
    Died,
    House,
    do_it_and_lose_the_answer,
    hang,
    member,
    refuse,
)

from os_volume_ext.attachments.reconcile import CONSISTENT, REPAIRED, UNRESOLVED
from os_volume_ext.backends.base import (
    AttachRefused,
    BackendUnavailable,
    DeviceInUse,
    OutcomeUnknown,
    Server,
    ServerNotFound,
    TooManyAttachments,
    Volume,
)
from os_volume_ext.catalog.base import CatalogUnavailable, VolumeAttached, VolumeNotFound
from os_volume_ext.errors import (
    AttachmentLimitReached,
    AttachmentMissing,
    ComputeRefused,
    ComputeUnavailable,
    Conflict,
    OperationIncomplete,
    Overloaded,
    RegistryUnavailable,
    RootVolume,
    ServerMissing,
    Unsupported,
    VolumeInUse,
)
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, REATTACHING, AttachRequest
from os_volume_ext.registry.attachments import Registry

NOWHERE = (None, False)
PLACES = 2

# What a backend may say for certain, and what callers get.
REFUSALS = {
    "unavailable": (BackendUnavailable("down"), BackendUnavailable),
    "no server": (ServerNotFound("none"), ServerMissing),
    "device in use": (DeviceInUse("taken"), Conflict),
    "too many": (TooManyAttachments(3), TooManyAttachments),
    "refused": (AttachRefused("not that one"), AttachRefused),
}
refusals = pytest.mark.parametrize(("error", "answer"), REFUSALS.values(), ids=REFUSALS)
UNKNOWN = {"said so": OutcomeUnknown("no word"), "a bug": RuntimeError("a bug")}
unknown = pytest.mark.parametrize("error", UNKNOWN.values(), ids=UNKNOWN)


@pytest.fixture
def house(database, monkeypatch):
    return House(database, monkeypatch)


# -- attach ----------------------------------------------------------------------------------------


def test_an_attached_volume_is_in_registry_and_backend(house):
    answer = house.attach()
    assert tuple(answer) == ("9", "1134", "/dev/vdb", "demo", None, False, house.row().id)
    assert house.state() == (ATTACHED, True)
    assert tuple(house.get()) == tuple(answer)[:4]
    assert [tuple(row) for row in house.list()] == [tuple(answer)[:4]]


def test_the_row_remembers_what_a_backend_needs_to_know(house):
    house.set_server(host="node-1", instance_name="instance-1")
    house.attach()
    row = house.row()
    assert (row.host, row.instance_name, row.source, row.format) == ("node-1", "instance-1", "/a/file", "raw")
    assert (row.project_id, row.root) == ("demo", False)


def test_the_row_is_there_before_the_backend_is_called(house):
    seen = []
    house.at("before backend attach", lambda: seen.append(house.state()))
    house.attach()
    assert seen == [(ATTACHING, False)]


def test_no_transaction_is_open_while_the_backend_works(house):
    house.at("before backend attach", lambda: house.attach("99", "1135"))
    house.at("before backend detach", lambda: house.detach("99", "1135"))
    house.attach()
    house.detach()
    assert house.agree()


def test_what_is_being_attached_is_not_shown(house):
    house.put(ATTACHING)
    assert list(house.list()) == []
    with pytest.raises(AttachmentMissing):
        house.get()


def test_what_is_being_detached_is_shown(house):
    house.put(DETACHING, disk=True)
    assert [row.volume_id for row in house.list()] == ["9"]
    assert house.get().volume_id == "9"


def test_the_backend_chooses_the_device(house):
    assert [house.attach("9").device, house.attach("99").device] == ["/dev/vdb", "/dev/vdc"]


def test_a_device_that_is_asked_for_is_kept_from_the_reserve_on(house):
    seen = []
    house.at("before backend attach", lambda: seen.append(house.row().device))
    assert house.attach(device="/dev/vdz").device == "/dev/vdz"
    assert seen == ["/dev/vdz"]
    assert house.row().device == "/dev/vdz"


def test_a_device_that_another_volume_has_is_a_conflict(house):
    house.attach("99", device="/dev/vdc")
    with pytest.raises(Conflict, match=r"Device /dev/vdc of server 1134 is in use") as raised:
        house.attach("9", device="/dev/vdc")
    assert not raised.value.retryable
    assert house.state() == NOWHERE


def test_a_device_that_only_the_backend_knows_to_be_taken_is_a_conflict(house):
    house.backend.disks["1134"]["a root disk"] = "/dev/vda"
    with pytest.raises(Conflict, match=r"Device /dev/vda of server 1134 is in use"):
        house.attach(device="/dev/vda")
    assert house.state() == NOWHERE


def test_a_disk_keeps_the_device_that_it_got_while_another_worker_reserved_it(house):
    # 9 gets vdb from the backend; before it is confirmed, another worker reserves vdb for 99.
    house.at("before confirm", lambda: house.put(ATTACHING, "99", device="/dev/vdb"))
    assert house.attach("9").device == "/dev/vdb"
    assert (house.row("9").state, house.row("9").device) == (ATTACHED, "/dev/vdb")
    house.pass_time(STALE_AFTER + 1)
    house.reconcile()
    assert house.row("9").device == "/dev/vdb"
    assert house.row("99") is None


def test_who_asks_for_a_device_that_another_disk_gets_meanwhile_is_refused(house):
    house.at("before backend attach", lambda: house.attach("9"))
    with pytest.raises(Conflict, match=r"Device /dev/vdb of server 1134 is in use"):
        house.attach("99", device="/dev/vdb")
    assert house.get("9").device == house.backend.devices("1134")["9"] == "/dev/vdb"
    assert house.state("99") == NOWHERE


def test_a_device_that_the_backend_gives_again_after_its_disk_was_lost_is_that_of_the_disk_that_got_it(house, caplog):
    caplog.set_level("INFO")
    house.attach("99", device="/dev/vdb")
    house.backend.disks["1134"].pop("99")
    assert house.attach("9").device == "/dev/vdb"
    assert "volume 9 has /dev/vdb of server 1134, which another row had" in caplog.text
    assert (house.row("9").device, house.row("99").device) == ("/dev/vdb", None)
    house.reconcile(everything=True)
    assert (house.row("9").device, house.row("99").device) == ("/dev/vdb", house.backend.devices("1134")["99"])


def test_a_detach_that_failed_leaves_the_device_to_the_disk_that_has_got_it_by_then(house):
    house.attach("99", device="/dev/vdb")
    house.backend.disks["1134"].pop("99")
    house.at("before backend detach", lambda: house.attach("9"))
    house.backend.fail("detach", refuse(BackendUnavailable("down")))
    with pytest.raises(BackendUnavailable):
        house.detach("99")
    assert (house.row("99").state, house.row("99").device) == (ATTACHED, None)
    assert house.row("9").device == "/dev/vdb"


def test_reconcile_settles_two_disks_that_changed_places(house):
    house.attach("9")
    house.attach("99")
    disks = house.backend.disks["1134"]
    disks["9"], disks["99"] = disks["99"], disks["9"]
    house.reconcile(everything=True)
    assert {volume: house.row(volume).device for volume in disks} == disks
    assert house.reconcile(everything=True) == [("1134", "9", CONSISTENT), ("1134", "99", CONSISTENT)]


def test_a_disk_gets_the_device_of_one_that_has_left_while_that_ones_row_is_still_there(house):
    house.attach("9")
    house.at("before remove", lambda: house.attach("99"))
    house.detach("9")
    assert house.state("9") == NOWHERE
    assert house.get("99").device == house.backend.devices("1134")["99"] == "/dev/vdb"


def test_a_backend_that_can_not_say_the_device_leaves_it_unknown(house):
    house.backend.fail("attach", lambda effect: effect() and "")
    assert house.attach().device == ""
    assert (house.row().state, house.row().device) == (ATTACHED, None)


# -- a server or a volume that is not there, or not the caller's --------------------------------------


def test_a_server_that_is_not_there_is_missing(house):
    with pytest.raises(ServerMissing):
        house.attach(server_id="1")
    with pytest.raises(ServerMissing):
        house.detach(server_id="1")
    for ask in (house.list, house.get):
        with pytest.raises(ServerMissing):
            ask(server_id="1")
    assert house.backend.calls == []


def test_another_projects_server_is_missing(house):
    with pytest.raises(ServerMissing):
        house.attach("200", "2001")


def test_a_volume_that_is_not_there_is_missing(house):
    with pytest.raises(VolumeNotFound):
        house.attach("1")


def test_another_projects_volume_is_missing(house):
    with pytest.raises(VolumeNotFound, match="Volume 200 could not be found"):
        house.attach("200")


def test_another_projects_volume_is_missing_for_an_administrator_too(house):
    with pytest.raises(VolumeNotFound):
        house.attach("200", is_admin=True)
    house.attach("200", "2001", is_admin=True)
    assert house.row("200", "2001").project_id == "other"


def test_what_policy_forbids_after_the_look_up_is_missing(house):
    def denied(context, action, project_id):
        return False

    house.attach("99")
    for ask in (house.attach, house.list, lambda **caller: house.get("99", **caller)):
        with pytest.raises(ServerMissing):
            ask(enforce=denied)
    with pytest.raises(ServerMissing):
        house.detach("99", enforce=denied)
    assert house.state("99") == (ATTACHED, True)
    assert house.state("9") == NOWHERE


def test_policy_is_asked_by_the_operations_own_names(house):
    asked = []

    def note(context, action, project_id):
        asked.append((action, project_id))
        return True

    house.attach(enforce=note)
    house.get(enforce=note)
    house.list(enforce=note)
    house.detach(enforce=note)
    assert asked == [("create", "demo"), ("show", "demo"), ("index", "demo"), ("delete", "demo")]


def test_where_a_cheap_look_up_does_not_tell_the_project_the_rows_do(house):
    house.attach()
    house.compute.project = lambda context, server_id: None
    assert house.get().volume_id == "9"
    assert len(house.list()) == 1
    for ask in (house.get, house.list):
        with pytest.raises(ServerMissing):
            ask(project_id="other")
    assert list(house.list("1135", project_id="other")) == []


def test_a_volume_that_is_not_attached_there_is_missing(house):
    house.attach("9", "1135")
    for ask in (house.get, house.detach):
        with pytest.raises(AttachmentMissing, match="Volume 9 is not attached to server 1134"):
            ask()
    assert house.state("9", "1135") == (ATTACHED, True)


def test_nothing_is_done_when_the_compute_api_does_not_answer(house):
    house.compute_is_down()
    for ask in (house.attach, house.detach, house.get, house.list):
        with pytest.raises(ComputeUnavailable):
            ask()
    assert house.backend.calls == []


# -- what forbids it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ACTIVE", "STOPPED"])
def test_a_server_in_a_state_that_takes_disks_takes_them(house, state):
    house.set_server(status=state)
    house.attach()
    house.detach()
    assert house.agree()


@pytest.mark.parametrize(("state", "passes"), [("BUILD", True), ("REBOOT", True), ("ERROR", False), ("DELETED", False)])
def test_a_server_in_another_state_is_a_conflict_that_names_it(house, state, passes):
    house.attach("99")
    house.set_server(status=state)
    for ask in (lambda: house.attach("9"), lambda: house.detach("99")):
        with pytest.raises(Conflict, match=f"Server 1134 is in the state {state}") as raised:
            ask()
        assert raised.value.retryable is passes
    assert (house.state("9"), house.state("99")) == (NOWHERE, (ATTACHED, True))


def test_an_option_says_which_states_take_disks(house):
    house.rules = dataclasses.replace(house.rules, server_states=frozenset(("ERROR",)))
    with pytest.raises(Conflict):
        house.attach()
    house.set_server(status="ERROR")
    house.attach()
    assert house.agree()


def test_a_locked_server_is_a_conflict_but_not_for_administrators(house):
    house.attach("99")
    house.set_server(locked=True)
    for ask in (lambda: house.attach("9"), lambda: house.detach("99")):
        with pytest.raises(Conflict, match="Server 1134 is locked") as raised:
            ask()
        assert not raised.value.retryable
    house.attach("9", is_admin=True)
    house.detach("99", is_admin=True)
    assert house.agree()


def test_a_locked_server_shows_its_attachments(house):
    house.attach()
    house.set_server(locked=True, status="ERROR")
    assert house.get().volume_id == "9"
    assert len(house.list()) == 1


def test_a_server_takes_no_more_disks_than_the_option_says(house):
    house.manager = house.make_manager(max_attachments=2)
    house.attach("9")
    house.attach("99")
    with pytest.raises(AttachmentLimitReached) as raised:
        house.attach("77")
    assert raised.value.limit == 2
    assert house.state("77") == NOWHERE
    house.detach("9")
    house.attach("77")
    assert house.agree()


def test_on_a_full_server_a_repeated_attach_is_told_what_it_is_elsewhere(house):
    house.manager = house.make_manager(max_attachments=1)
    house.attach("9")
    with pytest.raises(VolumeInUse, match="Volume 9 is attached to server 1134"):
        house.attach("9")


def test_on_a_full_server_a_repeated_attach_takes_over_what_was_left_unfinished(house):
    house.manager = house.make_manager(max_attachments=1)
    house.put(ATTACHING)
    house.pass_time(STALE_AFTER + 1)
    house.attach("9")
    assert house.state() == (ATTACHED, True)


def test_a_root_volume_is_not_detached(house):
    house.put(ATTACHED, disk=True, root=True)
    with pytest.raises(RootVolume, match="Volume 9 is the root volume of server 1134"):
        house.detach()
    assert house.state() == (ATTACHED, True)
    assert house.backend.calls == []


def test_a_volume_that_is_attached_is_in_use(house):
    house.attach()
    for server_id in ("1134", "1135"):
        with pytest.raises(VolumeInUse, match="Volume 9 is attached to server 1134") as raised:
            house.attach(server_id=server_id)
        assert not raised.value.retryable
    assert house.agree()


def test_only_who_may_see_the_server_is_told_which_one_is_in_the_way(house):
    def not_to_see(context, action, project_id):
        return action != "show"

    house.attach()
    with pytest.raises(VolumeInUse, match="Volume 9 is attached to another server"):
        house.attach(server_id="1135", enforce=not_to_see)


@pytest.mark.parametrize("error", [ComputeRefused(403, "no"), ComputeUnavailable("down")])
def test_a_server_in_the_way_that_can_not_be_seen_is_not_named(house, error):
    house.attach()

    def from_now_on():
        house.compute.error = error

    house.at("after find_conflicting", from_now_on)
    with pytest.raises(VolumeInUse, match="attached to another server"):
        house.attach(server_id="1135")


def test_a_row_of_another_project_in_the_way_is_not_looked_into(house):
    house.put(ATTACHED, server_id="2001", disk=True, project_id="other")
    with pytest.raises(VolumeInUse, match="attached to another server"):
        house.attach()
    assert house.compute.asked == ["1134"]


def test_a_multiattach_volume_is_attached_to_two_servers_and_twice_to_none(house):
    house.attach("77", "1134")
    house.attach("77", "1135")
    with pytest.raises(VolumeInUse):
        house.attach("77", "1134")
    house.detach("77", "1134")
    assert house.state("77", "1135") == (ATTACHED, True)
    assert house.agree()


# -- what fails for certain --------------------------------------------------------------------------


@refusals
def test_an_attach_that_fails_for_certain_leaves_nothing_and_says_why(house, error, answer):
    house.backend.fail("attach", refuse(error))
    with pytest.raises(answer) as raised:
        house.attach()
    assert raised.value is error or raised.value.__cause__ is error
    assert house.state() == NOWHERE
    house.attach()
    assert house.agree()


@pytest.mark.parametrize("error", [BackendUnavailable("down"), AttachRefused("busy")], ids=["unavailable", "refused"])
def test_a_detach_that_fails_for_certain_leaves_the_volume_attached_and_says_why(house, error):
    house.attach()
    before = house.row()
    house.backend.fail("detach", refuse(error))
    with pytest.raises(type(error)):
        house.detach()
    assert house.state() == (ATTACHED, True)
    assert (house.row().device, house.row().created_at) == (before.device, before.created_at)
    house.detach()
    assert house.state() == NOWHERE


# -- what nobody knows the outcome of ------------------------------------------------------------------


@unknown
@pytest.mark.parametrize("happened", [False, True], ids=["nothing happened", "it happened"])
def test_an_attach_of_unknown_outcome_keeps_its_row_until_reconcile_finds_out(house, error, happened):
    house.backend.fail("attach", (do_it_and_lose_the_answer if happened else refuse)(error))
    with pytest.raises(OutcomeUnknown):
        house.attach()
    assert house.state() == (ATTACHING, happened)
    house.pass_time(STALE_AFTER + 1)
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert house.state() == ((ATTACHED, True) if happened else NOWHERE)


@unknown
@pytest.mark.parametrize("happened", [False, True], ids=["nothing happened", "it happened"])
def test_a_detach_of_unknown_outcome_keeps_its_row_until_reconcile_finds_out(house, error, happened):
    house.attach()
    house.backend.fail("detach", (do_it_and_lose_the_answer if happened else refuse)(error))
    with pytest.raises(OutcomeUnknown):
        house.detach()
    assert house.state() == (DETACHING, not happened)
    house.pass_time(STALE_AFTER + 1)
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert house.state() == NOWHERE


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("after reserve", (ATTACHING, False)),
        ("before backend attach", (ATTACHING, False)),
        ("after backend attach", (ATTACHING, True)),
        ("before confirm", (ATTACHING, True)),
        ("after confirm", (ATTACHED, True)),
    ],
)
def test_reconcile_settles_what_a_worker_leaves_that_dies_while_it_attaches(house, step, left):
    house.at(step, refuse_to_live)
    with pytest.raises(Died):
        house.attach()
    assert house.state() == left
    house.pass_time(STALE_AFTER + 1)
    house.reconcile()
    assert house.agree()
    assert house.state()[1] is left[1]


@pytest.mark.parametrize("step", ["after claim", "before backend detach", "after backend detach", "before remove"])
def test_reconcile_settles_what_a_worker_leaves_that_dies_while_it_detaches(house, step):
    house.attach()
    house.at(step, refuse_to_live)
    with pytest.raises(Died):
        house.detach()
    assert house.row().state == DETACHING
    house.pass_time(STALE_AFTER + 1)
    house.reconcile()
    assert house.state() == NOWHERE


def refuse_to_live():
    raise Died


@pytest.mark.parametrize("step", ["before reserve", "before confirm"])
def test_a_registry_that_goes_away_ends_the_work_and_nothing_is_undone(house, step):
    def go_away():
        raise RegistryUnavailable("gone")

    house.at(step, go_away)
    with pytest.raises(RegistryUnavailable):
        house.attach()
    happened = step == "before confirm"
    assert house.state() == ((ATTACHING, True) if happened else NOWHERE)
    assert house.backend.made("detach") == []


# -- take-overs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
@pytest.mark.parametrize("age", [0, OPERATION_TIMEOUT + 1, STALE_AFTER - 5])
def test_what_is_under_way_is_a_conflict_that_passes(house, state, age):
    house.put(state, disk=state == DETACHING)
    house.pass_time(age)
    before = house.everything()
    for ask in (house.attach, lambda: house.attach(server_id="1135"), house.detach):
        with pytest.raises(Conflict, match="Volume 9 is being") as raised:
            ask()
        assert raised.value.retryable
        assert not isinstance(raised.value, VolumeInUse)
    assert house.reconcile() == [("1134", "9", CONSISTENT)]
    assert house.reconcile(everything=True) == [("1134", "9", CONSISTENT)]
    assert house.everything() == before
    assert house.backend.made("attach") == house.backend.made("detach") == []


@pytest.mark.parametrize("disk", [False, True])
def test_a_repeated_attach_takes_over_a_stale_one(house, disk):
    house.put(ATTACHING, disk=disk, stale=True)
    assert house.attach().device == "/dev/vdb"
    assert house.row().request_id == "req-1"
    assert house.agree()


def test_a_take_over_makes_the_claim_its_own_before_it_calls_the_backend(house):
    seen = []
    house.put(ATTACHING, stale=True)
    house.at("before backend attach", lambda: seen.append((house.row().request_id, house.row().age < STALE_AFTER)))
    house.attach()
    assert seen == [("req-1", True)]


def test_an_attach_does_not_take_over_a_stale_detach(house):
    house.put(DETACHING, disk=True, stale=True)
    with pytest.raises(Conflict, match="being detached from server 1134") as raised:
        house.attach()
    assert not raised.value.retryable
    assert house.state() == (DETACHING, True)


def test_an_attach_elsewhere_does_not_take_over_a_stale_attach(house):
    house.put(ATTACHING, stale=True)
    with pytest.raises(Conflict, match="being attached to server 1134"):
        house.attach(server_id="1135")
    assert house.row().request_id == "req-of-the-dead"


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
@pytest.mark.parametrize("disk", [False, True])
def test_a_detach_takes_over_what_is_stale(house, state, disk):
    house.put(state, disk=disk, stale=True)
    house.detach()
    assert house.state() == NOWHERE
    assert house.backend.made("detach") == [("1134", "9")]


@refusals
def test_a_certain_failure_after_a_repeated_attach_keeps_the_row(house, error, answer):
    house.put(ATTACHING, disk=True, stale=True)
    house.backend.fail("attach", refuse(error))
    with pytest.raises(OperationIncomplete):
        house.attach()
    assert house.state() == (ATTACHING, True)
    assert house.row().request_id == "req-1"


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_certain_failure_after_a_repeated_detach_keeps_the_row(house, state):
    house.put(state, disk=True, stale=True)
    house.backend.fail("detach", refuse(BackendUnavailable("down")))
    with pytest.raises(OperationIncomplete):
        house.detach()
    assert house.state() == (DETACHING, True)


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_certain_failure_of_reconcile_keeps_the_row(house, state):
    house.put(state, disk=True, stale=True)
    house.backend.fail("attach" if state == ATTACHING else "detach", refuse(BackendUnavailable("down")))
    assert house.reconcile() == [("1134", "9", UNRESOLVED)]
    assert house.state() == (state, True)
    house.pass_time(STALE_AFTER + 1)
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert house.agree()


def test_of_two_that_take_over_a_stale_row_one_does(house):
    house.put(ATTACHING, stale=True)
    house.at("before claim", house.attach)
    with pytest.raises(VolumeInUse):
        house.attach()
    assert house.backend.made("attach") == [("1134", "9")]
    assert house.agree()


# -- workers that are late, and workers whose row has changed --------------------------------------------


def test_a_worker_that_comes_too_late_starts_no_attach(house):
    house.at("after reserve", lambda: house.pass_time(OPERATION_TIMEOUT))
    with pytest.raises(OperationIncomplete):
        house.attach()
    assert house.backend.calls == []
    assert house.state() == (ATTACHING, False)


def test_a_worker_that_comes_too_late_starts_no_detach(house):
    house.attach()
    house.at("after claim", lambda: house.pass_time(OPERATION_TIMEOUT))
    with pytest.raises(OperationIncomplete):
        house.detach()
    assert house.backend.made("detach") == []
    assert house.state() == (DETACHING, True)


def test_a_worker_whose_claim_took_long_is_late_though_the_row_is_young(house):
    house.at("before reserve", lambda: house.pass_time(OPERATION_TIMEOUT))
    with pytest.raises(OperationIncomplete):
        house.attach()
    assert house.row().age < OPERATION_TIMEOUT
    assert house.backend.calls == []


def test_a_worker_that_freed_a_volume_of_a_deleted_server_too_slowly_starts_no_attach(house):
    house.put(ATTACHED)
    house.delete_server()
    house.at("after move", lambda: house.pass_time(OPERATION_TIMEOUT))
    with pytest.raises(OperationIncomplete):
        house.attach(server_id="1135")
    assert house.backend.made("attach") == []
    assert house.row(server_id="1135").state == ATTACHING


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_an_attach_that_finds_its_row_changed_leaves_all_alone(house, state):
    house.at("before confirm", lambda: house.take_over(state))
    with pytest.raises(OperationIncomplete):
        house.attach()
    assert house.backend.made("detach") == []
    assert house.state() == (state, True)
    assert house.row().request_id == "req-of-another"


def test_an_attach_that_finds_its_row_gone_leaves_all_alone(house):
    house.at("before confirm", lambda: Registry(house.database).remove(house.row()))
    with pytest.raises(OperationIncomplete):
        house.attach()
    assert house.backend.made("detach") == []
    assert house.state() == (None, True)


def test_an_attach_that_failed_and_finds_its_row_changed_leaves_it(house):
    house.backend.fail("attach", refuse(BackendUnavailable("down")))
    house.at("before remove", house.take_over)
    with pytest.raises(OperationIncomplete):
        house.attach()
    assert house.row().request_id == "req-of-another"


def test_a_detach_that_finds_its_row_changed_leaves_it(house):
    house.attach()
    house.at("before remove", house.take_over)
    with pytest.raises(OperationIncomplete):
        house.detach()
    assert house.row().request_id == "req-of-another"


def test_a_detach_that_finds_its_row_gone_is_done(house):
    house.attach()
    house.at("before remove", lambda: Registry(house.database).remove(house.row()))
    house.detach()
    assert house.state() == NOWHERE


def test_a_detach_that_failed_and_finds_its_row_changed_leaves_it(house):
    house.attach()
    house.backend.fail("detach", refuse(BackendUnavailable("down")))
    house.at("before put_back", house.take_over)
    with pytest.raises(OperationIncomplete):
        house.detach()
    assert (house.row().state, house.row().request_id) == (DETACHING, "req-of-another")


def test_a_detach_whose_row_went_before_it_was_claimed_is_missing(house):
    house.attach()
    house.at("before claim", house.detach)
    with pytest.raises(AttachmentMissing):
        house.detach()


def test_a_detach_whose_row_changed_before_it_was_claimed_looks_again(house):
    house.attach()

    def detach_and_attach():
        house.detach()
        house.attach()

    house.at("before claim", detach_and_attach)
    house.detach()
    assert house.state() == NOWHERE


def test_a_detach_whose_row_keeps_changing_is_a_conflict_that_passes(house):
    house.attach()
    for number in range(3):
        house.at("before claim", lambda number=number: take_over_as(house, f"req-of-{number}"))
    with pytest.raises(Conflict, match="Other operations on volume 9 are under way") as raised:
        house.detach()
    assert raised.value.retryable
    assert house.backend.made("detach") == []


def take_over_as(house, request_id):
    assert Registry(house.database).claim(house.row(), ATTACHED, request_id)


def test_an_attach_whose_obstacle_went_meanwhile_tries_again(house):
    house.put(ATTACHED, server_id="1135", disk=True)
    house.at("before find_conflicting", lambda: house.detach(server_id="1135"))
    house.attach()
    assert house.agree()
    assert house.state() == (ATTACHED, True)


def test_an_attach_whose_obstacles_come_and_go_is_a_conflict_that_passes(house):
    def come():
        house.put(ATTACHING, server_id="1135")

    def go():
        assert Registry(house.database).remove(house.row(server_id="1135"))

    house.at("before reserve", come, come, come)
    house.at("before find_conflicting", go, go, go)
    with pytest.raises(Conflict, match="Other operations on volume 9 are under way") as raised:
        house.attach()
    assert raised.value.retryable
    assert house.everything() == (set(), {"1134": {}, "1135": {}, "2001": {}})


def test_two_attaches_to_different_servers_have_one_winner(house):
    house.at("before reserve", lambda: house.attach(server_id="1135"))
    with pytest.raises(VolumeInUse, match="attached to server 1135"):
        house.attach()
    assert house.state(server_id="1135") == (ATTACHED, True)
    assert house.backend.violations == []


def test_of_many_threads_that_attach_one_volume_one_wins(house):
    outcomes = []
    start = threading.Barrier(8)
    callers = [house.caller() for _ in range(8)]

    def attach(number):
        start.wait(PATIENCE)
        try:
            house.manager.attach(callers[number], house.rules, ("1134", "1135")[number % 2], AttachRequest("9"))
            outcomes.append("done")
        except (Conflict, OperationIncomplete) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=attach, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(outcomes) == 8
    assert outcomes.count("done") == 1
    assert set(outcomes) <= {"done", "VolumeInUse", "Conflict"}
    assert house.backend.violations == []
    assert house.agree()


# -- servers that the compute API deleted --------------------------------------------------------------


@pytest.mark.parametrize("root", [False, True], ids=["data", "root"])
@pytest.mark.parametrize("backend_knows", [False, True], ids=["no server", "no disk"])
def test_an_attach_takes_over_the_row_of_a_deleted_server(house, root, backend_knows):
    house.put(ATTACHED, root=root)
    house.compute.delete("1134")
    if not backend_knows:
        del house.backend.disks["1134"]
    house.attach(server_id="1135")
    assert house.row() is None
    assert house.state(server_id="1135") == (ATTACHED, True)
    row = house.row(server_id="1135")
    assert (row.root, row.source, row.request_id) == (False, "/a/file", "req-1")


def test_what_was_taken_from_a_deleted_server_is_detached_there_first(house, caplog):
    house.put(ATTACHED)
    house.delete_server()
    seen = []
    house.at("before backend detach", lambda: seen.append((house.row().state, house.row(server_id="1135"))))
    house.attach(server_id="1135")
    assert seen == [(DETACHING, None)]
    assert [call[:2] for call in house.backend.calls] == [
        ("attached", "1134"),
        ("detach", "1134"),
        ("attach", "1135"),
    ]
    assert "was attached to server 1134, which is gone" in caplog.text


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_row_under_way_of_a_deleted_server_is_taken_over_when_it_is_stale_only(house, state):
    house.put(state)
    house.delete_server()
    house.pass_time(STALE_AFTER - 5)
    with pytest.raises(Conflict) as raised:
        house.attach(server_id="1135")
    assert raised.value.retryable
    assert house.backend.calls == []
    house.pass_time(10)
    house.attach(server_id="1135")
    assert house.row() is None
    assert house.state(server_id="1135") == (ATTACHED, True)


def test_a_disk_that_the_backend_still_shows_is_a_conflict(house):
    house.attach()
    house.compute.delete("1134")
    with pytest.raises(VolumeInUse, match="Volume 9 is attached to another server") as raised:
        house.attach(server_id="1135")
    assert not raised.value.retryable
    assert house.state() == (ATTACHED, True)
    assert house.backend.violations == []


def test_a_server_that_only_the_backend_does_not_have_keeps_its_row(house):
    house.put(ATTACHED)
    del house.backend.disks["1134"]
    with pytest.raises(VolumeInUse):
        house.attach(server_id="1135")
    assert house.row().state == ATTACHED


def test_a_backend_that_can_not_tell_keeps_the_row(house):
    house.put(ATTACHED)
    house.delete_server()
    house.backend.fail("attached", refuse(BackendUnavailable("down")))
    with pytest.raises(BackendUnavailable):
        house.attach(server_id="1135")
    assert house.row().state == ATTACHED


def test_another_projects_row_of_a_deleted_server_is_a_conflict(house):
    house.put(ATTACHED, project_id="other")
    house.delete_server()
    with pytest.raises(VolumeInUse, match="another server"):
        house.attach(server_id="1135")
    assert house.row().state == ATTACHED


@pytest.mark.parametrize("error", [OutcomeUnknown("no word"), BackendUnavailable("down")])
def test_a_deleted_servers_row_stays_when_its_detach_does_not_succeed(house, error):
    house.put(ATTACHED)
    house.compute.delete("1134")
    house.backend.fail("detach", refuse(error))
    with pytest.raises(type(error)):
        house.attach(server_id="1135")
    assert house.row().state == DETACHING
    assert house.row(server_id="1135") is None
    house.pass_time(STALE_AFTER + 1)
    house.attach(server_id="1135")
    assert house.agree()


def test_a_detach_refused_on_a_deleted_server_is_no_answer_about_the_server_asked_for(house):
    # Rule 6: the claim took over a row of somebody else's; its certain failure is 503, not a conflict here.
    house.put(ATTACHED)
    house.compute.delete("1134")
    house.backend.fail("detach", refuse(AttachRefused("not there")))
    with pytest.raises((OperationIncomplete, BackendUnavailable)):
        house.attach(server_id="1135")
    assert house.row().state == DETACHING


@refusals
def test_an_attach_that_fails_for_certain_after_it_freed_the_volume_leaves_nothing(house, error, answer):
    house.put(ATTACHING)
    house.delete_server()
    house.pass_time(STALE_AFTER + 1)
    house.backend.fail("attach", refuse(error))
    with pytest.raises(answer):
        house.attach(server_id="1135")
    assert (house.row(), house.row(server_id="1135")) == (None, None)
    assert house.agree()


def test_a_move_that_meets_a_taken_device_is_a_conflict_and_frees_the_volume(house):
    house.put(ATTACHED)
    house.delete_server()
    house.at("before move", lambda: house.attach("99", "1135", device="/dev/vdb"))
    with pytest.raises(Conflict, match=r"Device /dev/vdb of server 1135 is in use"):
        house.attach("9", "1135", device="/dev/vdb")
    assert house.row("9") is None
    assert house.state("99", "1135") == (ATTACHED, True)


def test_a_move_to_a_server_that_is_full_frees_the_volume(house):
    house.manager = house.make_manager(max_attachments=1)
    house.put(ATTACHED)
    house.delete_server()
    house.at("before move", lambda: house.put(ATTACHED, "99", "1135", disk=True, device="/dev/vdb"))
    with pytest.raises(AttachmentLimitReached):
        house.attach("9", "1135")
    assert (house.row("9"), house.row("9", "1135")) == (None, None)
    assert house.agree()


def test_a_claim_on_a_deleted_servers_row_that_was_lost_is_not_moved(house):
    house.put(ATTACHED)
    house.delete_server()
    house.at("before move", house.take_over)
    with pytest.raises(OperationIncomplete):
        house.attach(server_id="1135")
    assert house.row().request_id == "req-of-another"
    assert house.backend.made("attach") == []


def test_of_two_that_take_over_a_deleted_servers_row_one_does(house):
    house.compute.add(Server("1136", "demo", "ACTIVE"))
    house.backend.disks["1136"] = {}
    house.put(ATTACHED)
    house.delete_server()
    house.at("before claim", lambda: house.attach(server_id="1136"))
    with pytest.raises(VolumeInUse, match="attached to server 1136"):
        house.attach(server_id="1135")
    assert house.backend.violations == []
    assert house.agree()


def test_a_detach_on_a_deleted_server_removes_the_row(house):
    house.put(ATTACHED)
    house.delete_server()
    house.detach()
    assert house.row() is None


def test_a_detach_on_a_deleted_server_goes_to_the_backend(house):
    house.attach()
    house.compute.delete("1134")
    house.detach()
    assert house.state() == NOWHERE
    assert house.backend.made("detach") == [("1134", "9")]


def test_a_detach_on_a_deleted_server_of_another_project_is_missing(house):
    house.put(ATTACHED)
    house.delete_server()
    with pytest.raises(ServerMissing):
        house.detach(project_id="other")
    assert house.row().state == ATTACHED


def test_a_detach_of_what_a_deleted_server_did_not_have_is_missing(house):
    house.delete_server()
    with pytest.raises(ServerMissing):
        house.detach()


def test_a_server_that_only_the_backend_does_not_have_is_not_believed_gone_by_a_detach(house):
    house.attach()
    del house.backend.disks["1134"]
    with pytest.raises(OperationIncomplete):
        house.detach()
    assert house.row().state == DETACHING
    house.compute.delete("1134")
    house.pass_time(STALE_AFTER + 1)
    house.detach()
    assert house.row() is None


def test_a_detach_that_can_not_ask_whether_the_server_is_gone_keeps_the_row(house):
    house.attach()
    del house.backend.disks["1134"]
    house.at("before backend detach", house.compute_is_down)
    with pytest.raises(ComputeUnavailable):
        house.detach()
    assert house.row().state == DETACHING


def test_a_server_deleted_while_it_is_detached_from_counts_as_done(house):
    house.attach()
    house.at("before backend detach", house.delete_server)
    house.detach()
    assert house.row() is None


# -- places ------------------------------------------------------------------------------------------


@pytest.fixture
def small(database, monkeypatch):
    """Give a house with two places, in which a call hangs soon."""
    return House(database, monkeypatch, patience=0.02, places=PLACES)


@pytest.fixture
def hung(small):
    """Give ``hung(method)``: hang the next call of it; at the end all go on."""
    go_on = threading.Event()

    def hang_next(method):
        begun = threading.Event()
        small.backend.fail(method, hang(begun, go_on))
        return begun

    hang_next.go_on = go_on
    yield hang_next
    go_on.set()
    for _ in range(PLACES):  # the calls that hold them have ended then
        assert small.operations._places().acquire(timeout=PATIENCE)


def test_a_call_that_hangs_is_an_unknown_outcome(small, hung):
    begun = hung("attach")
    with pytest.raises(OutcomeUnknown):
        small.attach()
    assert begun.is_set()
    assert small.state() == (ATTACHING, False)


def test_when_all_places_are_taken_nothing_is_begun_but_reading_goes_on(small, hung):
    small.attach("77")
    for volume_id in ("9", "99"):
        hung("attach")
        with pytest.raises(OutcomeUnknown):
            small.attach(volume_id)
    small.catalog.add(Volume("100", "demo"))
    before = small.reconcile_all()
    with pytest.raises(Overloaded):
        small.attach("100")
    with pytest.raises(Overloaded):
        small.detach("77")
    assert small.reconcile_all() == before
    assert small.get("77").volume_id == "77"
    assert [row.volume_id for row in small.list()] == ["77"]


def test_a_hung_call_keeps_its_place_until_it_ends(small, hung):
    for volume_id in ("9", "99"):
        hung("attach")
        with pytest.raises(OutcomeUnknown):
            small.attach(volume_id)
    with pytest.raises(Overloaded):
        small.attach("77")
    hung.go_on.set()
    places = small.operations._places()
    # Both places come free when the calls have ended; to take them is to wait for that.
    for _ in range(2):
        assert places.acquire(timeout=PATIENCE)
    for _ in range(2):
        places.release()
    small.attach("77")
    assert small.state("77") == (ATTACHED, True)


def test_reconcile_that_finds_no_place_leaves_the_row_undecided(small, hung):
    small.put(DETACHING, "77", disk=True, stale=True)
    for volume_id in ("9", "99"):
        hung("attach")
        with pytest.raises(OutcomeUnknown):
            small.attach(volume_id)
    assert ("1134", "77", UNRESOLVED) in small.reconcile()
    assert small.row("77").request_id == "req-of-the-dead"


# -- reconcile: what is stale ------------------------------------------------------------------------


@pytest.mark.parametrize("disk", [False, True])
def test_a_stale_attach_is_attached_if_the_disk_is_there_and_goes_if_not(house, disk):
    house.put(ATTACHING, disk=disk, stale=True)
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert house.state() == ((ATTACHED, True) if disk else NOWHERE)
    # By a call of its own, whatever it read: the dead worker's may have come later.
    assert house.backend.made("attach" if disk else "detach") == [("1134", "9")]


@pytest.mark.parametrize("disk", [False, True])
def test_a_stale_detach_is_detached_and_goes(house, disk):
    house.put(DETACHING, disk=disk, stale=True)
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert house.state() == NOWHERE
    assert house.backend.made("detach") == [("1134", "9")]


def test_a_late_disk_that_came_after_reconcile_looked_does_not_stay(house):
    house.put(ATTACHING, stale=True)

    def come_late():
        house.backend.disks["1134"]["9"] = "/dev/vdb"

    house.at("after backend attached", come_late)
    house.reconcile()
    assert house.state() == NOWHERE


def test_reconcile_claims_a_row_before_it_looks(house):
    seen = []
    house.put(ATTACHING, stale=True)
    house.at("before backend attached", lambda: seen.append(house.row().request_id))
    house.reconcile()
    assert seen
    assert seen[0] != "req-of-the-dead"


def test_reconcile_that_comes_second_leaves_the_row(house):
    house.put(ATTACHING, stale=True)
    house.at("before claim", house.take_over)
    assert house.reconcile() == [("1134", "9", CONSISTENT)]
    assert house.backend.calls == []


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_stale_row_of_a_deleted_server_goes(house, state):
    house.put(state)
    house.delete_server()
    house.pass_time(STALE_AFTER + 1)
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert house.row() is None


# -- volumes that go with their servers ----------------------------------------------------------------


@pytest.mark.parametrize(("asked", "deleted"), [(True, [("9", "1134")]), (False, [])])
def test_a_volume_goes_with_a_server_that_is_gone_if_that_was_asked_for(house, asked, deleted):
    house.attach(delete_on_termination=asked)
    house.delete_server()
    assert house.reconcile(everything=True) == [("1134", "9", REPAIRED)]
    assert (house.row(), house.catalog.deleted) == (None, deleted)
    assert ("9" in house.catalog.known) is not asked


def test_a_volume_stays_while_only_one_of_the_two_says_that_the_server_is_gone(house):
    house.attach(delete_on_termination=True)
    house.compute.delete("1134")
    assert house.reconcile(everything=True) == [("1134", "9", UNRESOLVED)]
    house.compute.add(Server("1134", "demo", "ACTIVE"))
    house.backend.disks.pop("1134")
    house.reconcile(everything=True)
    assert house.catalog.deleted == []


def test_a_volume_stays_that_was_detached_and_not_terminated(house):
    house.attach(delete_on_termination=True)
    house.detach()
    house.delete_server()
    assert house.reconcile(everything=True) == []
    assert house.catalog.deleted == []


def test_a_volume_stays_that_was_taken_elsewhere_first(house):
    house.attach(delete_on_termination=True)
    house.delete_server()
    house.attach(server_id="1135")
    house.reconcile(everything=True)
    assert house.catalog.deleted == []
    assert house.state(server_id="1135") == (ATTACHED, True)


def test_a_dry_run_says_that_a_volume_is_to_be_deleted_and_deletes_none(house):
    house.attach(delete_on_termination=True)
    house.delete_server()
    [finding] = house.make_reconciler(house.compute.remote, dry_run=True).reconcile_all()
    assert finding.what == "the server is gone, and the volume is to be deleted"
    assert (house.row().state, house.catalog.deleted) == (ATTACHED, [])


@pytest.mark.parametrize("deleted_already", [False, True])
def test_reconcile_that_ended_before_the_volume_was_deleted_is_taken_up(house, deleted_already):
    house.attach(delete_on_termination=True)
    house.delete_server()
    house.catalog.fail = CatalogUnavailable("down")
    assert house.reconcile(everything=True) == [("1134", "9", UNRESOLVED)]
    assert (house.row().state, house.catalog.deleted) == (DETACHING, [])
    house.catalog.fail = None
    if deleted_already:
        house.catalog.delete("9", "1134")
    house.pass_time(STALE_AFTER + 1)
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert (house.row(), house.catalog.deleted) == (None, [("9", "1134")])


def test_a_volume_that_is_attached_elsewhere_too_stays_and_its_row_goes(house):
    house.attach("77", delete_on_termination=True)
    house.attach("77", "1135")
    house.delete_server()
    house.catalog.fail = VolumeAttached("elsewhere")
    house.reconcile(everything=True)
    assert house.state("77", "1135") == (ATTACHED, True)
    assert (house.row("77"), house.catalog.deleted) == (None, [])


def test_a_stale_detach_whose_disk_is_still_there_deletes_no_volume(house):
    house.put(DETACHING, disk=True, stale=True, delete_on_termination=True)
    house.compute.delete("1134")
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert (house.row(), house.catalog.deleted) == (None, [])


def test_an_attach_that_was_never_finished_deletes_no_volume(house):
    house.put(ATTACHING, stale=True, delete_on_termination=True)
    house.delete_server()
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert house.catalog.deleted == []


def test_a_volume_that_is_to_stay_after_all_is_not_deleted_by_a_reconcile_that_saw_it_before(house):
    house.attach(delete_on_termination=True)
    seen = house.row()
    house.update(delete_on_termination=False)
    assert house.claims.take(seen, DETACHING, "req-of-reconcile") is None
    house.delete_server()
    house.reconcile(everything=True)
    assert (house.row(), house.catalog.deleted) == (None, [])


def test_a_catalog_that_can_not_delete_is_not_asked_to(house):
    house.catalog.can_delete = False
    with pytest.raises(Unsupported, match="can't be deleted"):
        house.attach(delete_on_termination=True)
    assert house.row() is None
    house.attach()


def test_an_attach_that_takes_over_an_unfinished_one_is_described_as_it_asks(house):
    house.put(ATTACHING, stale=True, tag="old", delete_on_termination=True)
    listed = house.attach(tag="new")
    row = house.row()
    assert (listed.tag, listed.delete_on_termination, listed.id) == ("new", False, row.id)
    assert (row.tag, row.delete_on_termination) == ("new", False)


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
def test_a_stale_row_of_a_server_that_only_the_backend_does_not_have_is_undecided(house, state):
    house.put(state)
    del house.backend.disks["1134"]
    house.pass_time(STALE_AFTER + 1)
    assert house.reconcile() == [("1134", "9", UNRESOLVED)]
    assert house.row().state == state


def test_unfinished_leaves_attached_rows_alone(house):
    house.put(ATTACHED)
    assert house.reconcile() == []
    assert house.backend.calls == []


def test_a_stale_row_is_settled_though_the_servers_state_forbids_attaching(house):
    house.put(ATTACHING, disk=True, stale=True)
    house.set_server(status="ERROR", locked=True)
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert house.state() == (ATTACHED, True)


# -- reconcile: everything ------------------------------------------------------------------------------


def test_what_agrees_is_left_alone(house):
    house.attach("9")
    house.attach("77", "1135")
    house.backend.calls.clear()
    before = house.everything()
    assert sorted(house.reconcile(everything=True)) == [("1134", "9", CONSISTENT), ("1135", "77", CONSISTENT)]
    assert house.everything() == before
    assert house.backend.made("attach") == house.backend.made("detach") == []


def test_an_attached_row_without_a_disk_is_attached_again(house):
    house.put(ATTACHED, device="/dev/vdq")
    assert house.reconcile(everything=True) == [("1134", "9", REPAIRED)]
    assert house.state() == (ATTACHED, True)
    assert house.backend.disks["1134"] == {"9": "/dev/vdq"}


def test_an_attached_row_is_claimed_before_it_is_attached_again(house):
    seen = []
    house.put(ATTACHED)
    house.at("before backend attach", lambda: seen.append((house.row().state, house.row().request_id)))
    house.reconcile(everything=True)
    ((state, request_id),) = seen
    assert state == REATTACHING
    assert request_id != "req-of-the-dead"


def test_an_attached_row_without_a_disk_is_named_when_the_servers_state_forbids(house):
    house.put(ATTACHED)
    house.set_server(status="ERROR")
    assert house.reconcile(everything=True) == [("1134", "9", UNRESOLVED)]
    assert "state ERROR" in house.findings[0].what
    assert house.state() == (ATTACHED, False)
    assert house.backend.made("attach") == []


def test_an_attached_row_whose_device_another_disk_took_is_attached_elsewhere(house):
    house.put(ATTACHED, device="/dev/vdb")
    house.put(ATTACHED, "99", disk=True)
    assert house.backend.disks["1134"] == {"99": "/dev/vdb"}
    assert house.reconcile(everything=True) == [("1134", "9", REPAIRED), ("1134", "99", REPAIRED)]
    assert house.backend.disks["1134"] == {"99": "/dev/vdb", "9": "/dev/vdc"}
    assert (house.row("9").device, house.row("99").device) == ("/dev/vdc", "/dev/vdb")


@pytest.mark.parametrize(
    "step", ["after claim", "before backend attach", "after backend attach", "before confirm", "after confirm"]
)
def test_what_was_attached_stays_so_whenever_reconcile_dies_while_it_attaches_it_again(house, step):
    house.put(ATTACHED)
    house.at(step, refuse_to_live)
    with pytest.raises(Died):
        house.reconcile(everything=True)
    assert house.get().volume_id == "9"
    assert [row.volume_id for row in house.list()] == ["9"]
    house.pass_time(STALE_AFTER + 1)
    house.reconcile(everything=True)
    assert house.state() == (ATTACHED, True)


@unknown
@pytest.mark.parametrize("happened", [False, True])
def test_what_was_attached_stays_so_though_no_one_knows_whether_it_was_attached_again(house, error, happened):
    house.put(ATTACHED)
    house.backend.fail("attach", do_it_and_lose_the_answer(error) if happened else refuse(error))
    assert house.reconcile(everything=True) == [("1134", "9", UNRESOLVED)]
    assert house.state() == (REATTACHING, happened)
    assert house.get().volume_id == "9"
    house.pass_time(STALE_AFTER + 1)
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert house.state() == (ATTACHED, True)


@refusals
def test_what_was_being_attached_again_and_can_not_be_is_attached_still(house, error, answer):
    house.put(REATTACHING, stale=True)
    house.backend.fail("attach", refuse(error))
    assert house.reconcile() == [("1134", "9", UNRESOLVED)]
    assert house.state() == (ATTACHED, False)


def test_what_is_being_attached_again_is_neither_attached_nor_detached_by_others(house):
    house.put(REATTACHING)
    with pytest.raises(Conflict, match="9 is being attached again to server 1134") as raised:
        house.attach()
    assert raised.value.retryable
    with pytest.raises(Conflict, match="9 is being attached again to server 1134") as raised:
        house.detach()
    assert raised.value.retryable
    assert house.reconcile(everything=True) == [("1134", "9", CONSISTENT)]
    assert house.backend.made("attach") == house.backend.made("detach") == []


def test_what_was_being_attached_again_long_ago_can_be_detached_but_not_attached(house):
    house.put(REATTACHING, disk=True, stale=True)
    with pytest.raises(Conflict) as raised:
        house.attach()
    assert not raised.value.retryable
    house.detach()
    assert house.state() == NOWHERE


def test_what_was_being_attached_again_goes_with_its_server(house):
    house.put(REATTACHING, stale=True)
    house.delete_server()
    assert house.reconcile() == [("1134", "9", REPAIRED)]
    assert house.row() is None


def test_what_was_being_attached_again_to_a_deleted_server_can_be_attached_elsewhere(house):
    house.put(REATTACHING, stale=True)
    house.delete_server()
    house.attach(server_id="1135")
    assert house.state(server_id="1135") == (ATTACHED, True)
    assert house.row() is None


def test_a_dry_run_tells_of_what_was_being_attached_again_and_leaves_it(house):
    house.put(REATTACHING, stale=True, disk=True)
    house.put(REATTACHING, "99", "1135", stale=True)
    house.reconciler = house.make_reconciler(house.compute.remote, dry_run=True)
    house.reconcile()
    assert [each.what for each in house.findings] == ["left unfinished", "the disk is not there"]
    assert (house.state()[0], house.state("99", "1135")[0]) == (REATTACHING, REATTACHING)
    assert house.backend.made("attach") == []


@refusals
def test_an_attached_row_that_can_not_be_attached_again_is_attached_still(house, error, answer):
    house.put(ATTACHED)
    house.backend.fail("attach", refuse(error))
    assert house.reconcile(everything=True) == [("1134", "9", UNRESOLVED)]
    assert house.state() == (ATTACHED, False)
    assert str(error) in house.findings[0].what


def test_an_attached_row_of_a_deleted_server_goes(house):
    house.put(ATTACHED, root=True)
    house.delete_server()
    assert house.reconcile(everything=True) == [("1134", "9", REPAIRED)]
    assert house.row() is None


def test_an_attached_row_of_a_deleted_server_whose_disk_is_there_stays_and_is_named(house):
    house.attach()
    house.compute.delete("1134")
    assert house.reconcile(everything=True) == [("1134", "9", UNRESOLVED)]
    assert house.state() == (ATTACHED, True)


def test_an_attached_row_of_a_server_that_only_the_backend_does_not_have_stays(house):
    house.put(ATTACHED)
    del house.backend.disks["1134"]
    assert house.reconcile(everything=True) == [("1134", "9", UNRESOLVED)]
    assert house.row().state == ATTACHED


def test_a_device_that_differs_is_put_right(house):
    house.put(ATTACHED, device="/dev/vdb")
    house.backend.disks["1134"]["9"] = "/dev/vdc"
    assert house.reconcile(everything=True) == [("1134", "9", REPAIRED)]
    assert house.row().device == "/dev/vdc"
    assert house.row().state == ATTACHED


def test_two_disks_at_one_device_are_undecided(house):
    house.put(ATTACHED, device="/dev/vdb")
    house.put(ATTACHED, "99", device="/dev/vdc")
    house.backend.disks["1134"] = {"9": "/dev/vdc", "99": "/dev/vdc"}
    assert house.reconcile(everything=True) == [("1134", "9", UNRESOLVED), ("1134", "99", CONSISTENT)]
    assert house.row().device == "/dev/vdb"


def test_a_disk_that_no_row_knows_is_named_and_left(house):
    house.backend.disks["1135"]["4711"] = "/dev/vdx"
    assert house.reconcile(everything=True) == [("1135", "4711", UNRESOLVED)]
    assert "/dev/vdx" in house.findings[0].what
    assert house.backend.disks["1135"] == {"4711": "/dev/vdx"}


def test_a_disk_of_a_server_that_only_rows_know_is_named_too(house):
    house.put(ATTACHED, disk=True)
    house.backend.disks["1134"]["4711"] = ""
    house.compute.delete("1134")
    assert ("1134", "4711", UNRESOLVED) in house.reconcile(everything=True)


def test_a_disk_whose_row_is_being_removed_just_now_is_not_named(house):
    house.backend.disks["1135"]["9"] = "/dev/vdb"

    def detach_between():
        house.backend.disks["1135"].pop("9", None)

    # The servers are looked at one after the other: 1134, 1135, and 1135 once more.
    house.at("after backend attached", lambda: None, detach_between)
    assert house.reconcile(everything=True) == []


def test_a_disk_with_a_row_in_whatever_state_is_known(house):
    house.put(DETACHING, disk=True)
    assert house.reconcile(everything=True) == [("1134", "9", CONSISTENT)]


def test_servers_that_can_not_be_listed_are_told_of(house):
    house.attach()
    house.compute_is_down()
    assert house.reconcile(everything=True) == [("1134", "9", UNRESOLVED), ("", "", UNRESOLVED)]
    assert house.state() == (ATTACHED, True)


def test_a_backend_that_does_not_answer_leaves_all_undecided(house):
    house.attach()
    house.backend.fail("attached", refuse(BackendUnavailable("down")))
    assert house.reconcile(everything=True) == [("1134", "9", UNRESOLVED)]
    assert house.findings[0].what == "down"
    assert house.state() == (ATTACHED, True)


def test_a_server_whose_disks_can_not_be_seen_is_not_passed_over_in_silence(house):
    house.backend.disks["1135"]["4711"] = "/dev/vdx"
    house.backend.fail("attached", *[refuse(BackendUnavailable("down"))] * 3)
    found = house.reconcile(everything=True)
    assert found == [("1134", "", UNRESOLVED), ("1135", "", UNRESOLVED), ("2001", "", UNRESOLVED)]
    assert house.reconcile(everything=True) == [("1135", "4711", UNRESOLVED)]


def test_one_rows_trouble_does_not_keep_reconcile_from_the_others(house):
    house.put(DETACHING, "9", disk=True)
    house.put(DETACHING, "99", disk=True, device="/dev/vdc", stale=True)
    house.backend.fail("detach", refuse(BackendUnavailable("down")))
    assert house.reconcile() == [("1134", "9", UNRESOLVED), ("1134", "99", REPAIRED)]


def test_a_difference_is_looked_at_again_before_it_is_told(house):
    house.put(ATTACHED)
    house.set_server(status="ERROR")
    house.at("after backend attached", house.take_over)
    assert house.reconcile(everything=True) == [("1134", "9", CONSISTENT)]


# -- reconcile without the compute API --------------------------------------------------------------------


@pytest.fixture
def alone(house):
    house.reconciler = house.make_reconciler(None)
    return house


@pytest.mark.parametrize(("state", "disk"), [(ATTACHING, True), (ATTACHING, False), (DETACHING, True)])
def test_without_a_compute_api_stale_rows_are_settled_by_the_backends_word(alone, state, disk):
    alone.put(state, disk=disk, stale=True)
    assert alone.reconcile() == [("1134", "9", REPAIRED)]
    assert alone.agree()


def test_without_a_compute_api_a_server_that_the_backend_does_not_have_is_undecided(alone):
    alone.put(DETACHING)
    alone.delete_server()
    alone.pass_time(STALE_AFTER + 1)
    assert alone.reconcile() == [("1134", "9", UNRESOLVED)]
    assert alone.row().state == DETACHING


def test_without_a_compute_api_an_attached_row_without_a_disk_is_undecided(alone):
    alone.put(ATTACHED)
    assert alone.reconcile(everything=True) == [("1134", "9", UNRESOLVED)]
    assert alone.state() == (ATTACHED, False)


def test_without_a_compute_api_disks_that_no_row_knows_are_named_on_servers_that_rows_know(alone):
    alone.attach()
    alone.backend.disks["1134"]["4711"] = "/dev/vdx"
    assert alone.reconcile(everything=True) == [("1134", "9", CONSISTENT), ("1134", "4711", UNRESOLVED)]


# -- reconcile twice, and side by side ----------------------------------------------------------------------


def mess(house):
    """Leave one of everything that reconcile can settle."""
    house.compute.add(Server("1136", "demo", "ACTIVE"))
    house.backend.disks["1136"] = {}
    volumes = [Volume(str(number), "demo") for number in range(10, 17)]
    house.catalog.add(*volumes)
    house.put(ATTACHING, "10", disk=True, device="/dev/vdb")
    house.put(ATTACHING, "11")
    house.put(DETACHING, "12", disk=True, device="/dev/vdc")
    house.put(DETACHING, "13")
    house.put(ATTACHED, "14")
    house.put(ATTACHED, "15", "1136")
    house.put(ATTACHED, "16", "1135", disk=True, device="/dev/vdb")
    house.delete_server("1136")
    house.pass_time(STALE_AFTER + 1)


def test_reconcile_twice_changes_nothing(house):
    mess(house)
    house.reconcile(everything=True)
    assert house.agree()
    before = house.everything()
    calls = len(house.backend.calls)
    assert {outcome for _, _, outcome in house.reconcile(everything=True)} == {CONSISTENT}
    assert house.everything() == before
    assert {call[0] for call in house.backend.calls[calls:]} == {"attached"}


@pytest.mark.parametrize("step", ["before claim", "after claim", "before backend attach", "before confirm"])
@pytest.mark.parametrize("skip", range(4))
def test_two_reconciles_side_by_side_do_what_one_does(house, step, skip):
    mess(house)
    other = house.make_reconciler(house.compute.remote)
    house.at(step, *[lambda: None] * skip, lambda: list(other.reconcile_all()))
    house.reconcile(everything=True)
    house.reconcile(everything=True)
    assert house.agree()
    assert house.everything()[0] == {
        ("1134", "10", ATTACHED, "/dev/vdb"),
        ("1134", "14", ATTACHED, house.row("14").device),
        ("1135", "16", ATTACHED, "/dev/vdb"),
    }


def test_reconcile_beside_an_attach_leaves_it_alone(house):
    house.at("after reserve", lambda: house.reconcile(everything=True))
    house.at("before confirm", lambda: house.reconcile(everything=True))
    house.attach()
    assert house.agree()
    assert house.backend.made("attach") == [("1134", "9")]


def test_a_request_beside_reconcile_of_a_stale_row_is_a_conflict_that_passes(house):
    house.put(ATTACHING, stale=True)
    answers = []

    def attach():
        with pytest.raises(Conflict) as raised:
            house.attach()
        answers.append(raised.value.retryable)

    house.at("after claim", attach)
    house.reconcile()
    assert answers == [True]
    assert house.agree()


def test_findings_tell_what_was_done(house, caplog):
    house.put(DETACHING, disk=True, stale=True)
    house.reconcile()
    (finding,) = house.findings
    assert dataclasses.astuple(finding) == ("1134", "9", DETACHING, REPAIRED, "detached, the row removed")


def test_a_caller_may_do_all_in_its_own_project_only(house):
    # The policy that the tests above rely on.
    assert member(house.caller(), "create", "demo")
    assert not member(house.caller(), "create", "other")
