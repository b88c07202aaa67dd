"""Several processes, and a process that forks."""

from functools import partial

from ..running import run_in_child, run_in_children
from .checks import assert_has
from .declarations import Declarations

PROCESSES = 4


class Processes(Declarations):
    """What holds within a process holds between processes too."""

    def test_processes_that_attach_different_volumes_get_different_devices(
        self, backend, new_backend, server, new_volume
    ):
        each_gets = max(1, self.many // PROCESSES)
        shares = [[new_volume() for _ in range(each_gets)] for _ in range(min(PROCESSES, self.many))]

        def attach(volumes):
            mine = new_backend()
            return {volume.id: mine.attach(server, volume, None) for volume in volumes}

        devices: dict[str, str | None] = {}
        for attached in run_in_children([partial(attach, volumes) for volumes in shares]):
            devices |= attached
        how = f"after {len(devices)} attaches in {len(shares)} processes that came at once"
        self.assert_distinct(devices, how)
        assert_has(backend, server, devices, how)

    def test_processes_that_attach_the_same_volume_make_one_disk(self, backend, new_backend, server, volume):
        devices = run_in_children([lambda: new_backend().attach(server, volume, None)] * PROCESSES)
        how = f"after {PROCESSES} attaches of one volume in processes that came at once"
        assert len(set(devices)) == 1, f"attach returned different devices {how}: {devices}"
        backend.detach(server, volume, devices[0])
        assert_has(backend, server, {}, f"{how}, and one detach: there was more than one disk")

    def test_a_backend_made_before_a_fork_works_on_both_sides_of_it(self, backend, server, new_volume):
        childs, parents = new_volume(), new_volume()
        devices = {childs.id: run_in_child(partial(backend.attach, server, childs, None))}
        devices[parents.id] = backend.attach(server, parents, None)
        assert_has(backend, server, devices, "after an attach in a child process and one in its parent")

    def test_a_backend_used_before_a_fork_works_on_both_sides_of_it(self, backend, server, new_volume):
        before, childs, parents = new_volume(), new_volume(), new_volume()
        if self.limit == 2:
            backend.detach(server, before, backend.attach(server, before, None))
            devices = {}
        else:
            devices = {before.id: backend.attach(server, before, None)}
        devices[childs.id] = run_in_child(partial(backend.attach, server, childs, None))
        devices[parents.id] = backend.attach(server, parents, None)
        assert_has(backend, server, devices, "after attaches in the process, in a child of it, and in it again")
