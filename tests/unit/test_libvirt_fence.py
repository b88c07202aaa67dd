"""Failures of ``rados`` while a fence is made, which a real Ceph shows by chance only."""

import textwrap

import pytest

from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, DeviceInUse, OutcomeUnknown, Server, Volume
from os_volume_ext.backends.libvirt.fence import RadosFence

SERVER = Server("here", "demo", "ACTIVE")
VOLUME = Volume("9", "demo")
NO_OBJECT = 'echo "ERROR: rados_lock_get_lock_info(): (2) No such file or directory" >&2; exit 1'
BUSY = 'echo "ERROR: failed locking: (16) Device or resource busy" >&2; exit 1'


@pytest.fixture
def new_fence(tmp_path, monkeypatch):
    """Give ``new_fence(get=SCRIPT, ...)``: a fence whose ``rados`` runs a script for each action on a lock."""

    def make(info=NO_OBJECT, get="", timeout=20.0, **actions):
        cases = "".join(
            f"*' {name} '*) {script} ;;\n" for name, script in {"info": info, "get": get, **actions}.items()
        )
        program = tmp_path / "rados"
        program.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\ncase " $* " in\n{textwrap.dedent(cases)}esac\n')
        program.chmod(0o700)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return RadosFence("volumes", "cinder", None, timeout)

    return make


def make(fence):
    with fence.held(SERVER, VOLUME):
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
        with fence.held(SERVER, VOLUME):
            act()
            raise error

    return attach


@pytest.mark.parametrize("name", ["", "a b", "../9", "9\0", "x" * 37], ids=ascii)
def test_an_id_that_no_disk_can_bear_is_never_fenced(new_fence, tmp_path, name):
    fence, volume = new_fence(), Volume(name, "demo")
    with pytest.raises(AttachRefused), fence.held(SERVER, volume):
        pass
    fence.clear(SERVER, volume)
    assert not (tmp_path / "calls").exists()


def test_ceph_conf_and_user_are_passed(new_fence, tmp_path):
    new_fence()
    make(RadosFence("volumes", "cinder", "/etc/ceph/ours.conf", 20.0))
    for call in (tmp_path / "calls").read_text().splitlines():
        assert call.startswith("--conf /etc/ceph/ours.conf --id cinder --pool volumes ")
        assert " os-volume-ext.9 os-volume-ext " in call
