"""``attach``: what it returns, when it is repeated, and which servers it finds."""

from dataclasses import replace

from ...backends.base import BackendUnavailable, ServerNotFound
from ..expectations import must_raise
from ..ids import PLAIN_CHANGES, similar_ids
from .checks import assert_has, detach_without_look, must_attach, must_detach, must_show, try_attach, try_detach
from .declarations import Declarations


class Attach(Declarations):
    """Attach a volume to a server that is there, and to one that is not."""

    def test_attach_returns_the_device_that_attached_reports(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        assert_has(backend, server, {volume.id: device}, "after an attach")

    def test_a_device_is_a_path_or_none_as_declared(self, backend, server, volume):
        self.assert_as_declared(must_attach(backend, server, volume))

    def test_each_volume_has_its_own_device(self, backend, server, new_volume):
        volumes = [new_volume() for _ in range(self.many)]
        devices = {volume.id: must_attach(backend, server, volume) for volume in volumes}
        assert_has(backend, server, devices, f"after {len(volumes)} attaches, one after the other")
        self.assert_distinct(devices)

    def test_servers_have_separate_volumes(self, backend, server, other_server, new_volume):
        here, there = new_volume(), new_volume()
        devices = must_attach(backend, server, here), must_attach(backend, other_server, there)
        assert_has(backend, server, {here.id: devices[0]}, "after an attach to it and one to another server")
        assert_has(backend, other_server, {there.id: devices[1]}, "after an attach to it and one to another server")

    def test_a_repeated_attach_returns_the_same_device(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        again = must_attach(backend, server, volume)
        assert again == device, f"the first attach returned {device!r}, and the second one {again!r}"
        assert_has(backend, server, {volume.id: device}, "after two attaches of the same volume")

    def test_a_repeated_attach_adds_no_second_disk(self, backend, server, volume):
        must_attach(backend, server, volume)
        must_attach(backend, server, volume)
        detach_without_look(backend, server, volume)
        assert_has(backend, server, {}, "after two attaches and one detach: there were two disks")

    def test_a_repeated_attach_returns_the_present_device_whatever_is_requested(
        self, backend, server, volume, new_volume
    ):
        device, other_device = must_attach(backend, server, volume), must_attach(backend, server, new_volume())
        for requested in (self.requestable_device or "/dev/vdf", other_device, "malformed"):
            again = must_attach(backend, server, volume, requested)
            assert again == device, (
                f"the volume is at {device!r}, and a repeated attach that requested {requested!r} returned {again!r}"
            )
        seen = must_show(backend, server)
        assert seen[volume.id] == device, f"the volume was at {device!r}, and is at {seen[volume.id]!r}"

    def test_attach_finds_a_volume_by_its_whole_id(self, backend, server, volume, new_volume):
        device = must_attach(backend, server, volume)
        for similar in [replace(new_volume(), id=each) for each in similar_ids(volume.id)]:
            attached_at, refusal = try_attach(backend, server, similar)
            if refusal:
                continue
            both = {volume.id: device, similar.id: attached_at}
            self.assert_distinct(both, "although they are different volumes")
            assert_has(backend, server, both, "after attaches of two volumes with similar ids")
            must_detach(backend, server, similar, attached_at)
            assert_has(backend, server, {volume.id: device}, f"after the detach of the volume {similar.id!r}")

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
        device = must_attach(backend, server, volume)
        for similar in _similar(server, other_server):
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
            device = must_attach(backend, hidden, volume)
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
        device, refusal = try_attach(backend, stopped_server, volume)
        expected = {} if refusal else {volume.id: device}
        assert_has(backend, stopped_server, expected, f"which does not run, after an attach {_ended(refusal)}")

    def test_a_server_that_does_not_run_releases_the_disk_or_keeps_it(self, backend, stopped_server, volume):
        device, _ = try_attach(backend, stopped_server, volume)
        before = dict(must_show(backend, stopped_server))
        refusal = try_detach(backend, stopped_server, volume, device)
        expected = before if refusal else {}
        assert_has(backend, stopped_server, expected, f"which does not run, after a detach {_ended(refusal)}")


def _ended(refusal):
    return f"that raised {refusal!r}" if refusal else "that succeeded"


def _similar(server, other_server):
    """Return servers whose ids and instance names are similar to those of a server."""
    names = server.id, server.instance_name or ""
    changed = [[change(name) if name else name for name in names] for change in PLAIN_CHANGES]
    return [
        replace(server, id=similar[0], instance_name=similar[1] or None)
        for similar in changed
        if similar[0] not in (server.id, other_server.id) and (similar[1] != names[1] or not names[1])
    ]
