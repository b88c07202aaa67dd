"""Servers and volumes that are missing, and states that forbid an attach or a detach."""

import contextlib
import dataclasses
import re
from functools import partial

import pytest

from os_volume_ext.catalog.base import VolumeNotFound
from os_volume_ext.context import ATTACHMENTS
from os_volume_ext.errors import (
    AttachmentLimitReached,
    AttachmentMissing,
    ComputeRefused,
    ComputeUnavailable,
    Conflict,
    Forbidden,
    MultiattachUnsupported,
    RootVolume,
    ServerMissing,
    Unsupported,
    VolumeInUse,
)
from os_volume_ext.models import ATTACHED, ATTACHING
from tests.functional.protocol.cases import NOWHERE
from tests.support.harness import STALE_AFTER, STATES

# -- missing servers and volumes ---------------------------------------------------------------------


def test_a_server_that_is_not_there_is_missing(harness):
    with pytest.raises(ServerMissing):
        harness.attach(server_id="1")
    with pytest.raises(ServerMissing):
        harness.detach(server_id="1")
    for send_request in (harness.list, harness.get):
        with pytest.raises(ServerMissing):
            send_request(server_id="1")
    assert harness.backend.calls == []


def test_another_projects_server_is_missing(harness):
    with pytest.raises(ServerMissing):
        harness.attach("200", "2001")


def test_a_volume_that_is_not_there_is_missing(harness):
    with pytest.raises(VolumeNotFound):
        harness.attach("1")


def test_another_projects_volume_is_missing(harness):
    with pytest.raises(VolumeNotFound, match="Volume 200 could not be found"):
        harness.attach("200")


def test_another_projects_volume_is_missing_for_an_administrator_too(harness):
    with pytest.raises(VolumeNotFound):
        harness.attach("200", is_admin=True)
    harness.attach("200", "2001", is_admin=True)
    assert harness.row("200", "2001").project_id == "other"


@pytest.mark.parametrize(("project_id", "error"), [("demo", Forbidden), ("other", ServerMissing)])
def test_what_policy_denies_after_the_look_up_is_missing_in_other_projects(harness, project_id, error, caplog):
    def denied(rule, of_project, of_user):
        return False

    caplog.set_level("INFO")
    caller = {"enforce": denied, "project_id": project_id}
    harness.compute.shows_all = True
    harness.attach("99")
    for send_request in (harness.attach, harness.list, partial(harness.get, "99"), partial(harness.detach, "99")):
        with pytest.raises(error):
            send_request(**caller)
    logged = [message.split()[3] for message in caplog.messages if "policy denied" in message]
    assert logged == [ATTACHMENTS + action for action in ("create", "index", "show", "delete")]
    assert harness.state("99") == (ATTACHED, True)
    assert harness.state("9") == NOWHERE


def owners_only(rule, of_project, of_user):
    """Allow what ``user_id:%(user_id)s`` allows."""
    return None if of_user is None else of_user == "user"


@pytest.mark.parametrize(("owner", "allowed"), [("user", True), ("another", False), (None, False)])
def test_a_rule_about_the_servers_user_is_checked_with_the_servers_user(harness, owner, allowed):
    harness.attach("99")
    harness.set_server(user_id=owner)
    for send_request in (harness.attach, harness.list, partial(harness.get, "99"), partial(harness.detach, "99")):
        with contextlib.nullcontext() if allowed else pytest.raises(Forbidden):
            send_request(enforce=owners_only)
    assert harness.state("9") == ((ATTACHED, True) if allowed else NOWHERE)
    assert harness.state("99") == (NOWHERE if allowed else (ATTACHED, True))


def test_a_cheap_look_up_shows_nothing_where_the_rule_needs_the_servers_user(harness):
    harness.attach("99")
    harness.compute.find = lambda context, server_id: None
    for send_request in (harness.list, partial(harness.get, "99"), partial(harness.list, "1135")):
        with pytest.raises(Forbidden):
            send_request(enforce=owners_only)


def test_a_server_that_is_gone_has_no_user(harness):
    harness.attach()
    harness.delete_server()
    with pytest.raises(ServerMissing):
        harness.detach(enforce=owners_only)
    assert harness.row().state == ATTACHED


def test_a_conflicting_server_is_named_by_its_own_user(harness):
    harness.attach()
    harness.set_server("1135", user_id="user")
    for owner, named in (("user", "server 1134"), ("another", "another server")):
        harness.set_server(user_id=owner)
        with pytest.raises(VolumeInUse, match=rf"^Volume 9 is attached to {named}\.$"):
            harness.attach(server_id="1135", enforce=owners_only)


@pytest.fixture
def requested():
    """Give the ``(action, project)`` of each check of the policy ``allow``."""
    return []


@pytest.fixture
def allow(requested):
    """Give a policy that allows everything and records what it is checked for."""

    def note(rule, project_id, user_id):
        requested.append((rule.removeprefix(ATTACHMENTS), project_id))
        return True

    return note


def test_policy_is_checked_by_the_operations_names(harness, allow, requested):
    harness.attach(enforce=allow)
    harness.get(enforce=allow)
    harness.list(enforce=allow)
    harness.manager.find_for_update(harness.caller(enforce=allow), "1134", "9")
    with pytest.raises(Conflict):
        harness.manager.swap(harness.caller(enforce=allow), "1134", "9")
    harness.detach(enforce=allow)
    actions = ("create", "show", "index", "update", "swap", "delete")
    assert requested == [(action, "demo") for action in actions]


def test_policy_is_checked_by_the_same_names_where_the_server_is_not_shown(harness, allow, requested):
    harness.attach()
    harness.compute.find = lambda context, server_id: None
    harness.get(enforce=allow)
    harness.list(enforce=allow)
    assert requested == [("show", "demo"), ("index", None), ("index", "demo")]
    requested.clear()
    harness.delete_server()
    harness.detach(enforce=allow)
    assert requested == [("delete", "demo")]


def test_a_detach_from_a_gone_server_that_policy_denies_is_missing_and_logged(harness, caplog):
    caplog.set_level("INFO")
    harness.put(ATTACHED)
    harness.delete_server()
    with pytest.raises(ServerMissing):
        harness.detach(enforce=lambda rule, of_project, of_user: False)
    assert f"policy denied {ATTACHMENTS}delete to user 'user'" in caplog.text
    assert harness.row().state == ATTACHED


def test_where_a_cheap_look_up_does_not_tell_the_project_the_rows_do(harness):
    harness.attach()
    harness.compute.find = lambda context, server_id: None
    assert harness.get().volume_id == "9"
    assert len(harness.list()) == 1
    with pytest.raises(ServerMissing):
        harness.get(project_id="other")
    assert list(harness.list(project_id="other")) == []
    assert list(harness.list("1135", project_id="other")) == []


def test_a_volume_that_is_not_attached_there_is_missing(harness):
    harness.attach("9", "1135")
    for send_request in (harness.get, harness.detach):
        with pytest.raises(AttachmentMissing, match="Volume 9 is not attached to server 1134"):
            send_request()
    assert harness.state("9", "1135") == (ATTACHED, True)


def test_nothing_is_done_when_the_compute_api_does_not_respond(harness):
    harness.compute_is_down()
    for send_request in (harness.attach, harness.detach, harness.get, harness.list):
        with pytest.raises(ComputeUnavailable):
            send_request()
    assert harness.backend.calls == []


# -- states that forbid it ---------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ACTIVE", "STOPPED"])
def test_a_server_in_a_state_that_takes_disks_takes_them(harness, state):
    harness.set_server(status=state)
    harness.attach()
    harness.detach()
    assert harness.is_consistent()


def operations(harness):
    """Return an attach and a detach, each with what its messages call it."""
    return (partial(harness.attach, "9"), "attach a volume to"), (partial(harness.detach, "99"), "detach a volume from")


@pytest.mark.parametrize(("state", "passes"), [("BUILD", True), ("REBOOT", True), ("ERROR", False)])
def test_a_server_in_another_state_is_a_conflict_that_names_it(harness, state, passes):
    harness.attach("99")
    harness.set_server(status=state)
    for send_request, operation in operations(harness):
        with pytest.raises(
            Conflict, match=rf"^Cannot {operation} server 1134 while it is in status {state}\.$"
        ) as raised:
            send_request()
        assert raised.value.retryable is passes
    assert (harness.state("9"), harness.state("99")) == (NOWHERE, (ATTACHED, True))


def test_a_pending_task_is_a_conflict_that_names_it(harness):
    harness.attach("99")
    harness.set_server(task_state="rebuilding")
    for send_request, operation in operations(harness):
        message = rf"^Cannot {operation} server 1134 while it has the pending task rebuilding\.$"
        with pytest.raises(Conflict, match=message) as raised:
            send_request()
        assert raised.value.retryable
    assert (harness.state("9"), harness.state("99")) == (NOWHERE, (ATTACHED, True))


def test_a_status_and_a_pending_task_are_both_named(harness):
    harness.set_server(status="ERROR", task_state="rebuilding")
    with pytest.raises(Conflict, match="it is in status ERROR and has the pending task rebuilding") as raised:
        harness.attach()
    assert raised.value.retryable


@pytest.fixture
def offloaded(harness):
    """Give a harness whose server 1134 is shelved, and has no machine."""
    harness.attach("99")
    harness.attach("77")
    harness.constraints = dataclasses.replace(
        harness.constraints, server_states=STATES | {"OFFLOADED"}, offloaded_states=frozenset(("OFFLOADED",))
    )
    harness.set_server(status="OFFLOADED")
    del harness.backend.disks["1134"]
    harness.backend.calls.clear()
    return harness


def test_a_server_without_a_machine_takes_no_disks(offloaded):
    with pytest.raises(
        Conflict, match=r"^Cannot attach a volume to server 1134: it has no machine until it is unshelved\.$"
    ) as raised:
        offloaded.attach()
    assert not raised.value.retryable
    assert (offloaded.state(), offloaded.backend.calls) == (NOWHERE, [])


@pytest.mark.parametrize(
    ("volume_id", "tag", "message"),
    [
        ("9", "root", "Tagged volume attachment is not supported for shelved-offloaded instances."),
        ("77", None, "Attaching multiattach volumes is not supported for shelved-offloaded instances."),
    ],
)
def test_a_server_without_a_machine_supports_neither_tags_nor_multiattach(offloaded, volume_id, tag, message):
    offloaded.detach("77")
    with pytest.raises(Unsupported, match=f"^{re.escape(message)}$"):
        offloaded.attach(volume_id, tag=tag)
    assert offloaded.state(volume_id) == NOWHERE


def test_a_server_without_a_machine_gives_up_disks(offloaded):
    offloaded.detach("99")
    assert offloaded.row("99") is None
    assert offloaded.backend.made("detach") == [("1134", "99")]


def test_a_server_that_has_its_machine_still_gives_up_disks_there(offloaded):
    offloaded.backend.disks["1134"] = {"99": "/dev/vdb", "77": "/dev/vdc"}
    offloaded.detach("99")
    assert offloaded.state("99") == NOWHERE
    assert offloaded.backend.disks["1134"] == {"77": "/dev/vdc"}


@pytest.mark.parametrize("changes", [{"task_state": "unshelving"}, {"status": "ACTIVE"}])
def test_a_server_that_is_unshelved_meanwhile_does_not_count_as_without_a_machine(offloaded, changes):
    offloaded.at("before backend detach", lambda: offloaded.set_server(**changes))
    with pytest.raises(Conflict, match="the backend has no such server"):
        offloaded.detach("99")
    assert offloaded.row("99").state == ATTACHED


def test_a_disk_without_a_machine_is_looked_for_at_the_host_where_it_was_attached(offloaded):
    offloaded.put(ATTACHED, host="node1", instance_name="instance-1")
    seen = []
    offloaded.backend.detach = lambda server, volume, device: seen.append((server.host, server.instance_name))
    offloaded.detach()
    assert seen == [("node1", "instance-1")]


def test_an_option_lists_the_statuses_that_allow_attach(harness):
    harness.constraints = dataclasses.replace(harness.constraints, server_states=frozenset(("ERROR",)))
    with pytest.raises(Conflict):
        harness.attach()
    harness.set_server(status="ERROR")
    harness.attach()
    assert harness.is_consistent()


def test_a_locked_server_is_a_conflict_but_not_for_administrators(harness):
    harness.attach("99")
    harness.set_server(locked=True)
    for send_request, operation in operations(harness):
        with pytest.raises(Conflict, match=rf"^Cannot {operation} server 1134 while it is locked\.$") as raised:
            send_request()
        assert not raised.value.retryable
    harness.attach("9", is_admin=True)
    harness.detach("99", is_admin=True)
    assert harness.is_consistent()


def test_a_locked_server_shows_its_attachments(harness):
    harness.attach()
    harness.set_server(locked=True, status="ERROR")
    assert harness.get().volume_id == "9"
    assert len(harness.list()) == 1


def test_a_server_gets_no_more_disks_than_the_option_allows(harness):
    harness.manager = harness.make_manager(max_attachments=2)
    harness.attach("9")
    harness.attach("99")
    with pytest.raises(AttachmentLimitReached) as raised:
        harness.attach("77")
    assert raised.value.limit == 2
    assert harness.state("77") == NOWHERE
    harness.detach("9")
    harness.attach("77")
    assert harness.is_consistent()


def test_on_a_full_server_a_repeated_attach_is_the_same_conflict(harness):
    harness.manager = harness.make_manager(max_attachments=1)
    harness.attach("9")
    with pytest.raises(VolumeInUse, match=r"^Volume 9 is attached to server 1134\.$"):
        harness.attach("9")


def test_on_a_full_server_a_repeated_attach_takes_over_what_was_left_unfinished(harness):
    harness.manager = harness.make_manager(max_attachments=1)
    harness.put(ATTACHING)
    harness.pass_time(STALE_AFTER + 1)
    harness.attach("9")
    assert harness.state() == (ATTACHED, True)


def test_a_root_volume_is_not_detached(harness):
    harness.put(ATTACHED, disk=True, root=True)
    with pytest.raises(RootVolume, match=r"^Volume 9 is the root volume of server 1134 and can't be detached\.$"):
        harness.detach()
    assert harness.state() == (ATTACHED, True)
    assert harness.backend.calls == []


def test_a_volume_that_is_attached_is_in_use(harness):
    harness.attach()
    for server_id in ("1134", "1135"):
        with pytest.raises(VolumeInUse, match=r"^Volume 9 is attached to server 1134\.$") as raised:
            harness.attach(server_id=server_id)
        assert not raised.value.retryable
    assert harness.is_consistent()


def test_only_callers_who_may_see_the_conflicting_server_get_its_id(harness):
    def not_to_see(rule, of_project, of_user):
        return not rule.endswith(":show")

    harness.attach()
    with pytest.raises(VolumeInUse, match=r"^Volume 9 is attached to another server\.$"):
        harness.attach(server_id="1135", enforce=not_to_see)


@pytest.mark.parametrize("error", [ComputeRefused(403, "no"), ComputeUnavailable("down")])
def test_a_server_in_the_way_that_can_not_be_seen_is_not_named(harness, error):
    harness.attach()

    def from_now_on():
        harness.compute.error = error

    harness.at("after find_conflicting", from_now_on)
    with pytest.raises(VolumeInUse, match="attached to another server"):
        harness.attach(server_id="1135")


def test_a_row_of_another_project_in_the_way_is_not_looked_into(harness):
    harness.put(ATTACHED, server_id="2001", disk=True, project_id="other")
    with pytest.raises(VolumeInUse, match="attached to another server"):
        harness.attach()
    assert harness.compute.requested == ["1134"]


def test_an_attachment_that_is_missing_or_being_made_is_not_updated_or_swapped(harness):
    harness.put(ATTACHING)
    for volume_id in ("9", "99"):
        for send_request in (harness.manager.find_for_update, harness.manager.swap):
            with pytest.raises(AttachmentMissing, match=rf"^Volume {volume_id} is not attached to server 1134\.$"):
                send_request(harness.caller(), "1134", volume_id)


def test_an_update_of_what_is_claimed_meanwhile_is_a_retryable_conflict(harness):
    harness.attach()
    harness.at("before claim", harness.take_over)
    with pytest.raises(Conflict, match=r"^Other operations on volume 9 are in progress\. Retry later\.$") as raised:
        harness.update(delete_on_termination=True)
    assert raised.value.retryable
    assert not harness.row().delete_on_termination


def test_a_swap_is_a_conflict(harness):
    harness.attach()
    with pytest.raises(Conflict) as raised:
        harness.manager.swap(harness.caller(), "1134", "9")
    assert str(raised.value) == "Volume 9 is not migrating; only the block-storage service may swap volumes."
    assert not raised.value.retryable


def test_a_multiattach_volume_is_refused_where_the_version_does_not_allow_it(harness):
    harness.constraints = dataclasses.replace(harness.constraints, multiattach=False)
    with pytest.raises(MultiattachUnsupported, match=r"^Volume 77 may be attached to several servers\.$"):
        harness.attach("77")
    assert harness.state("77") == NOWHERE
    harness.attach("9")
    assert harness.state("9") == (ATTACHED, True)


def test_a_multiattach_volume_is_attached_to_two_servers_and_twice_to_none(harness):
    harness.attach("77", "1134")
    harness.attach("77", "1135")
    with pytest.raises(VolumeInUse):
        harness.attach("77", "1134")
    harness.detach("77", "1134")
    assert harness.state("77", "1135") == (ATTACHED, True)
    assert harness.is_consistent()
