"""``attach``: what it returns, when it is repeated, and which servers it finds."""

from dataclasses import replace

from ...backends.base import AttachRefused, BackendUnavailable, ServerNotFound
from .checks import assert_has, must_raise
from .declarations import Declarations


class Attach(Declarations):
    """Attach a volume to a server that is there, and to one that is not."""

    def test_attach_returns_the_device_that_attached_reports(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        assert_has(backend, server, {volume.id: device}, "after an attach")

    def test_a_device_is_a_path_or_none_as_declared(self, backend, server, volume):
        self.assert_as_declared(backend.attach(server, volume, None))

    def test_each_volume_has_its_own_device(self, backend, server, new_volume):
        volumes = [new_volume() for _ in range(self.many)]
        devices = {volume.id: backend.attach(server, volume, None) for volume in volumes}
        assert_has(backend, server, devices, f"after {len(volumes)} attaches, one after the other")
        self.assert_distinct(devices)

    def test_servers_have_separate_volumes(self, backend, server, other_server, new_volume):
        here, there = new_volume(), new_volume()
        devices = backend.attach(server, here, None), backend.attach(other_server, there, None)
        assert_has(backend, server, {here.id: devices[0]})
        assert_has(backend, other_server, {there.id: devices[1]})

    def test_a_repeated_attach_returns_the_same_device(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        again = backend.attach(server, volume, None)
        assert again == device, f"the first attach returned {device!r}, and the second one {again!r}"
        assert_has(backend, server, {volume.id: device}, "after two attaches of the same volume")

    def test_a_repeated_attach_adds_no_second_disk(self, backend, server, volume):
        backend.attach(server, volume, None)
        backend.attach(server, volume, None)
        backend.detach(server, volume, None)
        assert_has(backend, server, {}, "after two attaches and one detach: there were two disks")

    def test_a_repeated_attach_returns_the_present_device_whatever_is_requested(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        again = backend.attach(server, volume, self.requestable_device or "/dev/vdf")
        assert again == device, f"the volume is attached at {device!r}, but the repeated attach returned {again!r}"
        assert_has(backend, server, {volume.id: device})

    # Unknown servers.

    def test_attach_to_an_unknown_server_raises_server_not_found(self, backend, unknown_server, volume):
        with must_raise(ServerNotFound, "attach to a server that the backend does not have"):
            backend.attach(unknown_server, volume, None)

    def test_attach_to_an_unknown_server_does_not_create_it(self, backend, unknown_server, volume):
        with must_raise(ServerNotFound, "attach to a server that the backend does not have"):
            backend.attach(unknown_server, volume, None)
        with must_raise(ServerNotFound, "attached of the same server"):
            backend.attached(unknown_server)

    def test_a_server_is_found_by_its_whole_id(self, backend, server, other_server, volume, new_volume):
        device = backend.attach(server, volume, None)
        for similar in _similar(server):
            if similar.id == other_server.id:
                continue
            with must_raise(ServerNotFound, f"attach to {similar.id!r}, while there is a server {server.id!r},"):
                backend.attach(similar, new_volume(), None)
            with must_raise(ServerNotFound, f"detach from {similar.id!r}, while there is a server {server.id!r},"):
                backend.detach(similar, volume, device)
            with must_raise(ServerNotFound, f"attached of {similar.id!r}, while there is a server {server.id!r},"):
                backend.attached(similar)
        assert_has(backend, server, {volume.id: device}, "after calls for servers with similar ids")

    # The host of a server.

    def test_a_server_whose_host_is_not_known_is_not_missing(self, backend, server, volume):
        hidden = replace(server, host=None, instance_name=None)
        if not backend.needs_host:
            device = backend.attach(hidden, volume, None)
            assert_has(backend, hidden, {volume.id: device}, "after an attach to a server whose host is not known")
            return
        with must_raise(BackendUnavailable, "attach to a server whose host is not known"):
            backend.attach(hidden, volume, None)
        with must_raise(BackendUnavailable, "detach from a server whose host is not known"):
            backend.detach(hidden, volume, None)
        with must_raise(BackendUnavailable, "attached of a server whose host is not known"):
            backend.attached(hidden)

    # Servers that do not run.

    def test_a_server_that_does_not_run_gets_the_disk_or_refuses_it(self, backend, stopped_server, volume):
        assert_has(backend, stopped_server, {}, "which does not run")
        try:
            device = backend.attach(stopped_server, volume, None)
        except AttachRefused:
            assert_has(backend, stopped_server, {}, "after it refused the attach")
            return
        assert_has(backend, stopped_server, {volume.id: device}, "after an attach while it does not run")

    def test_a_server_that_does_not_run_releases_the_disk_or_keeps_it(self, backend, stopped_server, volume):
        try:
            device = backend.attach(stopped_server, volume, None)
        except AttachRefused:
            device = None
        before = dict(backend.attached(stopped_server))
        try:
            backend.detach(stopped_server, volume, device)
        except AttachRefused:
            assert_has(backend, stopped_server, before, "after it refused the detach")
            return
        assert_has(backend, stopped_server, {}, "after a detach while it does not run")


def _similar(server):
    """Return servers whose ids have a character more or less, in front or behind."""

    def changed(name, change):
        return name and change(name)

    changes = (lambda name: name + "0", lambda name: "0" + name, lambda name: name[:-1], lambda name: name[1:])
    return [
        replace(server, id=change(server.id), instance_name=changed(server.instance_name, change)) for change in changes
    ]
