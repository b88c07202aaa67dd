"""Several processes, and a process that forks."""

import time
from functools import partial

from ..expectations import must_succeed
from ..rival import attach_while_held_up, call_while_held_up, delays, remote, rival, seconds
from ..running import run_in_child, run_in_children
from .checks import assert_has, detach_without_look, must_attach, must_detach, must_show, try_attach
from .declarations import Declarations

PROCESSES = 4


TIMED = 3
"""How many attaches to time; the first one opens what later ones use."""

HELD_UP = "after attaches in two processes, one of which was held up for a moment in the middle of a call"


class Processes(Declarations):
    """What holds within a process holds between processes too."""

    def test_processes_that_attach_different_volumes_get_different_devices(
        self, backend, new_backend, server, new_volume
    ):
        each_gets = max(1, self.many // PROCESSES)
        shares = [[new_volume() for _ in range(each_gets)] for _ in range(min(PROCESSES, self.many))]

        def attach(volumes):
            mine = new_backend()
            return {volume.id: must_attach(mine, server, volume) for volume in volumes}

        devices: dict[str, str | None] = {}
        for attached in run_in_children([partial(attach, volumes) for volumes in shares]):
            devices |= attached
        how = f"after {len(devices)} attaches in {len(shares)} processes that came at once"
        self.assert_distinct(devices, how)
        assert_has(backend, server, devices, how)

    def test_processes_that_attach_the_same_volume_make_one_disk(self, backend, new_backend, server, volume):
        devices = run_in_children([lambda: must_attach(new_backend(), server, volume)] * PROCESSES)
        how = f"after {PROCESSES} attaches of one volume in processes that came at once"
        assert len(set(devices)) == 1, f"attach returned different devices {how}: {devices}"
        detach_without_look(backend, server, volume, devices[0])
        assert_has(backend, server, {}, f"{how}, and one detach: there was more than one disk")

    # A process that is held up in the middle of a call, wherever that is.

    def test_a_process_that_is_held_up_gets_a_device_of_its_own(self, backend, new_backend, server, new_volume):
        mine, theirs = new_volume(), new_volume()
        with rival(_calls(new_backend, server, theirs)) as other:
            for device, their_device in attach_while_held_up(other, *_calls(lambda: backend, server, mine)()):
                devices = {mine.id: device, theirs.id: their_device}
                self.assert_distinct(devices, HELD_UP)
                assert_has(backend, server, devices, HELD_UP)

    def test_a_process_that_is_held_up_makes_no_second_disk(self, backend, new_backend, server, volume):
        def detach():
            detach_without_look(backend, server, volume)
            assert_has(backend, server, {}, f"after one detach, {HELD_UP}: there was more than one disk")

        attach = partial(must_attach, backend, server, volume)
        with remote(lambda: partial(must_attach, new_backend(), server, volume)) as other:
            duration = min(_seconds_and_then(other.run, detach) for _ in range(TIMED))
            for delay in delays(duration):
                other.start()
                time.sleep(delay)
                devices = call_while_held_up(other, attach, duration), other.result()
                assert devices[0] == devices[1], f"attach returned the devices {devices} for one volume, {HELD_UP}"
                detach()

    def test_a_process_that_is_held_up_does_not_share_an_exclusive_volume(
        self, backend, new_backend, server, other_server, volume
    ):
        self.skip_unless_it_refuses(backend)
        with rival(_calls(new_backend, other_server, volume, try_attach)) as other:
            for _ in attach_while_held_up(other, *_calls(lambda: backend, server, volume, try_attach)()):
                having = [each.id for each in (server, other_server) if volume.id in must_show(backend, each)]
                assert len(having) == 1, (
                    f"the exclusive volume is at {' and '.join(having) or 'no server'}, {HELD_UP} for another server"
                )

    # Forks.

    def test_a_backend_made_before_a_fork_works_on_both_sides_of_it(self, backend, server, new_volume):
        childs, parents = new_volume(), new_volume()
        devices = {childs.id: run_in_child(partial(_use_and_attach, backend, server, childs))}
        devices[parents.id] = _use_and_attach(backend, server, parents)
        assert_has(backend, server, devices, "after an attach in a child process and one in its parent")

    def test_a_backend_used_before_a_fork_works_on_both_sides_of_it(self, backend, server, new_volume):
        before, childs, parents = new_volume(), new_volume(), new_volume()
        if self.limit == 2:
            must_detach(backend, server, before, _use_and_attach(backend, server, before))
            devices = {}
        else:
            devices = {before.id: _use_and_attach(backend, server, before)}
        devices[childs.id] = run_in_child(partial(_use_and_attach, backend, server, childs))
        devices[parents.id] = _use_and_attach(backend, server, parents)
        assert_has(backend, server, devices, "after attaches in the process, in a child of it, and in it again")


def _use_and_attach(backend, server, volume):
    """Call each method, and attach."""
    must_detach(backend, server, volume, must_attach(backend, server, volume))
    with must_succeed("check"):
        backend.check()
    return must_attach(backend, server, volume)


def _seconds_and_then(call, clean_up):
    duration = seconds(call)
    clean_up()
    return duration


def _calls(new_backend, server, volume, attach=must_attach):
    """Return a function that makes a backend, and returns a call that attaches a volume and one that detaches it."""

    def make():
        backend = new_backend()
        return partial(attach, backend, server, volume), partial(detach_without_look, backend, server, volume)

    return make
