"""Failures of Ceph's commands, which a real Ceph shows by chance only."""

import json
import logging
import textwrap

import pytest

from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, DeviceInUse, OutcomeUnknown, Server, Volume
from os_volume_ext.backends.libvirt.fence import RadosFence

SERVER = Server("here", "demo", "ACTIVE")
VOLUME = Volume("9", "demo")
IMAGE = "volumes/nine"
CLIENT, OTHER = "192.0.2.5:0/11", "192.0.2.5:0/12"
NO_OBJECT = 'echo "ERROR: rados_lock_get_lock_info(): (2) No such file or directory" >&2; exit 1'
BUSY = 'echo "ERROR: failed locking: (16) Device or resource busy" >&2; exit 1'


@pytest.fixture
def new_fence(tmp_path, monkeypatch):
    """Give ``new_fence(get=SCRIPT, ...)``: a fence whose commands run a script for each of their actions.

    They are ``info``, ``get`` and ``break`` of ``rados``, ``status`` and ``ls`` of ``rbd``, and ``add`` of ``ceph``.
    """

    def make(info=NO_OBJECT, get="", timeout=20.0, **actions):
        cases = "".join(
            f"*' {name} '*) {script} ;;\n" for name, script in {"info": info, "get": get, **actions}.items()
        )
        for name in ("rados", "rbd", "ceph"):
            program = tmp_path / name
            log = f'echo "{name} $*" >>{tmp_path}/calls'
            program.write_text(f'#!/bin/sh\n{log}\ncase " $* " in\n{textwrap.dedent(cases)}esac\n')
            program.chmod(0o700)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return RadosFence("volumes", "cinder", None, timeout)

    return make


def make(fence):
    with fence.held(SERVER, VOLUME, IMAGE):
        pass


def test_a_fence_whose_command_hangs_may_have_been_made(new_fence):
    with pytest.raises(OutcomeUnknown, match=r"volume 9 may have been fenced: .* did not end within"):
        make(new_fence(get="exec sleep 60", timeout=1.0))


def test_a_fence_whose_command_fails_for_another_reason_may_have_been_made(new_fence):
    with pytest.raises(OutcomeUnknown, match="Connection timed out"):
        make(new_fence(get='echo "failed locking: (110) Connection timed out" >&2; exit 1'))


def test_nothing_has_changed_if_the_other_fence_was_removed_meanwhile(new_fence):
    with pytest.raises(BackendUnavailable):
        make(new_fence(get=BUSY))


def test_nothing_has_changed_if_the_first_command_hangs(new_fence, tmp_path):
    with pytest.raises(BackendUnavailable):
        make(new_fence(info="exec sleep 60", timeout=1.0))
    assert "lock get" not in (tmp_path / "calls").read_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tag": "here", "lockers": [{}]}', '{"tag": "here", "lockers": 1}'])
def test_output_of_another_format_is_an_error(new_fence, text):
    with pytest.raises(BackendUnavailable, match="unexpected format"):
        make(new_fence(info=f"echo '{text}'"))


def test_a_failed_attach_whose_fence_can_not_be_removed_may_have_left_it(new_fence):
    attach = failing_attach(new_fence(), DeviceInUse("vdb is in use"), lambda: new_fence(info="exit 1"))
    with pytest.raises(OutcomeUnknown, match="vdb is in use; volume 9 may still be fenced"):
        attach()


def test_an_attach_of_unknown_outcome_removes_no_fence(new_fence, tmp_path):
    calls = tmp_path / "calls"
    attach = failing_attach(new_fence(), OutcomeUnknown("libvirt is gone"), lambda: calls.write_text(""))
    with pytest.raises(OutcomeUnknown, match="libvirt is gone"):
        attach()
    assert calls.read_text() == ""


def failing_attach(fence, error, act):
    """Return a function that fences the volume, acts and then fails."""

    def attach():
        with fence.held(SERVER, VOLUME, IMAGE):
            act()
            raise error

    return attach


@pytest.mark.parametrize("name", ["", "a b", "../9", "9\0", "x" * 37], ids=ascii)
def test_an_id_that_no_disk_can_bear_is_never_fenced(new_fence, tmp_path, name):
    fence, volume = new_fence(), Volume(name, "demo")
    with pytest.raises(AttachRefused), fence.held(SERVER, volume, IMAGE):
        pass
    fence.clear(SERVER, volume)
    assert not (tmp_path / "calls").exists()


def test_ceph_conf_and_user_are_passed(new_fence, tmp_path):
    new_fence()
    make(RadosFence("volumes", "cinder", "/etc/ceph/ours.conf", 20.0))
    for call in (tmp_path / "calls").read_text().splitlines():
        assert call.startswith("rados --conf /etc/ceph/ours.conf --id cinder ")
        assert " os-volume-ext.9 os-volume-ext " in call
        assert call.endswith(" --pool=volumes")


# A server whose host is lost


def info(*lockers, tag="here"):
    """Return a script that prints a lock; each locker is a cookie and what is known about it."""
    found = [{"name": "client.1", "cookie": cookie, "description": json.dumps(about)} for cookie, about in lockers]
    return f"echo '{json.dumps({'tag': tag, 'lockers': found})}'"


def status(*addresses):
    """Return a script that prints the clients that have an image open."""
    return f"echo '{json.dumps({'watchers': [{'address': each} for each in addresses]})}'"


FENCED = info(("one", {"image": IMAGE}), ("two", {"clients": [CLIENT]}))
NOBODY = {"status": status(), "ls": "echo '[]'"}


def test_the_clients_of_a_lost_server_are_those_of_the_attach_those_of_now_and_the_last_writer(new_fence):
    fence = new_fence(FENCED, status=status("192.0.2.5:0/12"), ls='echo \'[{"address": "192.0.2.5:0/13"}]\'')
    assert sorted(fence.find_clients(SERVER, VOLUME, None)) == ["192.0.2.5:0/11", "192.0.2.5:0/12", "192.0.2.5:0/13"]


def test_the_image_of_the_catalog_is_used_where_there_is_no_fence(new_fence, tmp_path):
    fence = new_fence(status=status(CLIENT), ls="echo '[]'")
    assert sorted(fence.find_clients(SERVER, VOLUME, "volumes/room/nine")) == [CLIENT]
    assert "--pool=volumes --namespace=room --image=nine " in (tmp_path / "calls").read_text()


@pytest.mark.parametrize(
    ("found", "volume", "reason"),
    [
        (info(("one", {"image": IMAGE}), tag="there"), VOLUME, "fenced in the storage for server there, not for here"),
        (NO_OBJECT, VOLUME, "neither its fence nor the catalog names an image"),
        (info(("one", {"server": "here"})), VOLUME, "neither its fence nor the catalog names an image"),
        (FENCED, Volume("9", "demo", multiattach=True), "may be attached to several servers"),
        (FENCED, Volume("a b", "demo"), "can't be used"),
    ],
)
def test_a_server_that_can_not_be_cut_off_is_refused(new_fence, tmp_path, found, volume, reason):
    fence = new_fence(found, **NOBODY)
    with pytest.raises(AttachRefused, match=reason):
        fence.find_clients(SERVER, volume, None)
    with pytest.raises(AttachRefused, match=reason):
        fence.cut_off(SERVER, volume, None, [CLIENT])
    assert_unchanged(tmp_path)


@pytest.mark.parametrize(
    ("clients", "reason"),
    [
        ([], "No client of server here is known"),
        (["--help"], "is not a client of Ceph's"),
        (["192.0.2.5"], "is not a client of Ceph's"),
        (["192.0.2.5:0/12"], "has other clients by now: 192.0.2.5:0/11"),
    ],
)
def test_clients_that_are_not_all_of_them_or_none_are_refused(new_fence, tmp_path, clients, reason):
    fence = new_fence(FENCED, **NOBODY)
    with pytest.raises(AttachRefused, match=reason):
        fence.cut_off(SERVER, VOLUME, None, clients)
    assert_unchanged(tmp_path)


def test_a_user_who_may_not_cut_off_changes_nothing(new_fence):
    fence = new_fence(FENCED, **NOBODY, add='echo "Error EACCES: access denied" >&2; exit 13')
    with pytest.raises(BackendUnavailable, match="ceph osd blocklist add failed: Error EACCES"):
        fence.cut_off(SERVER, VOLUME, None, [CLIENT])


def test_a_second_client_that_can_not_be_cut_off_is_an_unknown_outcome(new_fence, tmp_path):
    second = 'case "$*" in */12*) echo "Error EACCES: access denied" >&2; exit 13;; esac'
    fence = new_fence(FENCED, **NOBODY, add=second)
    with pytest.raises(OutcomeUnknown, match="may have been cut off from volume 9, which is not free"):
        fence.cut_off(SERVER, VOLUME, None, [CLIENT, OTHER])
    assert "lock get" not in (tmp_path / "calls").read_text()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"add": "exec sleep 60", "status": status()}, "did not end within"),
        ({"status": status(CLIENT)}, f"the image is still open at {CLIENT}"),
        ({"status": status(), "get": BUSY}, "failed locking"),
    ],
)
def test_a_volume_is_not_free_before_all_is_done(new_fence, more, reason):
    fence = new_fence(FENCED, ls="echo '[]'", timeout=1.0, **more)
    with pytest.raises(OutcomeUnknown, match=reason):
        fence.cut_off(SERVER, VOLUME, None, [CLIENT])


def test_a_volume_is_free_once_the_storage_has_closed_its_image(new_fence, tmp_path):
    looks = tmp_path / "looks"
    closed_later = f"echo >>{looks}; if [ $(wc -l <{looks}) -gt 3 ]; then {status()}; else {status(CLIENT)}; fi"
    fence = new_fence(FENCED, ls="echo '[]'", status=closed_later)
    fence.cut_off(SERVER, VOLUME, None, [CLIENT])
    assert len(looks.read_text()) == 4
    last = (tmp_path / "calls").read_text().splitlines()[-1]
    assert "lock get" in last
    assert "--lock-cookie=cut-off" in last


@pytest.mark.parametrize("cookie", ["one", "", "cut-off-not"])
def test_another_server_does_not_take_the_fence_of_one_that_was_not_cut_off(new_fence, tmp_path, cookie):
    fence = new_fence(info((cookie, {"image": IMAGE}), tag="there"))
    with pytest.raises(AttachRefused, match="Volume 9 is fenced in the storage for server there"):
        make(fence)
    assert_unchanged(tmp_path)


def test_a_fence_that_was_made_by_hand_names_no_image(new_fence):
    found = {"tag": "here", "lockers": [{"name": "client.1", "cookie": "mine", "description": "by hand"}]}
    with pytest.raises(AttachRefused, match="neither its fence nor the catalog"):
        new_fence(f"echo '{json.dumps(found)}'", **NOBODY).find_clients(SERVER, VOLUME, None)


@pytest.mark.parametrize("action", ["status", "ls"])
@pytest.mark.parametrize("text", ["", '{"a": 1}', "1", '[{"address": "nowhere"}]', '{"watchers": [{"address": 1}]}'])
def test_clients_in_another_format_are_an_error(new_fence, action, text):
    fence = new_fence(FENCED, **NOBODY | {action: f"echo '{text}'"})
    with pytest.raises(BackendUnavailable, match="unexpected format"):
        fence.find_clients(SERVER, VOLUME, None)


@pytest.mark.parametrize("tag", ["there", "here"])
def test_an_attach_removes_the_fence_of_a_server_that_was_cut_off_and_its_mark_last(new_fence, tmp_path, tag):
    fence = new_fence(info(("cut-off", {"clients": [CLIENT]}), ("one", {"image": IMAGE}), tag=tag))
    make(fence)
    actions = [call.partition(" lock ")[2].split()[0] for call in (tmp_path / "calls").read_text().splitlines()]
    assert actions == ["info", "break", "break", "get"]
    assert "--lock-cookie=cut-off" in (tmp_path / "calls").read_text().splitlines()[2]


def test_an_attach_succeeds_without_its_clients_and_the_log_says_why(new_fence, caplog, tmp_path):
    with caplog.at_level(logging.WARNING):
        new_fence(status="echo 'no such image' >&2; exit 2").add_clients(SERVER, VOLUME, IMAGE)
    assert caplog.messages == [
        "the fence of volume 9 lacks the clients of server here: rbd status failed: no such image"
    ]
    assert "lock get" not in (tmp_path / "calls").read_text()


@pytest.mark.parametrize(
    ("volume", "image"), [(VOLUME, None), (Volume("9", "demo", multiattach=True), IMAGE)], ids=["file", "multiattach"]
)
def test_a_fence_without_an_image_gets_no_clients(new_fence, tmp_path, volume, image):
    new_fence().add_clients(SERVER, volume, image)
    assert not (tmp_path / "calls").exists()


def assert_unchanged(tmp_path):
    calls = (tmp_path / "calls").read_text() if (tmp_path / "calls").exists() else ""
    assert not any(each in calls for each in ("blocklist", "lock get", "lock break"))
