"""``detach``: what it removes, when it is repeated, and what it needs to know."""

from collections.abc import Sequence
from dataclasses import replace

from ...backends.base import AttachRefused, BackendUnavailable, OutcomeUnknown, ServerNotFound
from ..expectations import must_raise, must_succeed
from ..ids import similar_ids
from .checks import assert_has, must_attach, must_detach
from .declarations import Declarations


class Detach(Declarations):
    """Detach a volume that is attached, and one that is not."""

    def test_detach_removes_the_volume(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        must_detach(backend, server, volume, device)
        assert_has(backend, server, {}, "after its detach")

    def test_detach_leaves_the_other_volumes(self, backend, server, new_volume):
        going, staying = new_volume(), new_volume()
        device = must_attach(backend, server, going)
        stays = must_attach(backend, server, staying)
        must_detach(backend, server, going, device)
        assert_has(backend, server, {staying.id: stays}, f"after the detach of {going.id}")

    def test_a_repeated_detach_succeeds(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        must_detach(backend, server, volume, device)
        must_detach(backend, server, volume, device)
        assert_has(backend, server, {}, "after two detaches")

    def test_detaching_what_was_never_attached_succeeds(self, backend, server, volume):
        must_detach(backend, server, volume, None)
        assert_has(backend, server, {}, "after a detach of what was never attached")

    def test_detach_goes_by_the_volume_not_by_the_device(self, backend, server, new_volume):
        staying, never_there = new_volume(), new_volume()
        device = must_attach(backend, server, staying)
        must_detach(backend, server, never_there, device)
        assert_has(backend, server, {staying.id: device}, "after the detach of another volume at its device")

    def test_detach_finds_a_volume_by_its_whole_id(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        for similar in (*similar_ids(volume.id), "*", ""):
            with must_succeed(f"detach of a volume {similar!r}", AttachRefused, BackendUnavailable, OutcomeUnknown):
                backend.detach(server, replace(volume, id=similar, source=None, format=None), None)
            assert_has(backend, server, {volume.id: device}, f"after the detach of a volume {similar!r}")

    def test_detach_from_another_server_leaves_this_one(self, backend, server, other_server, volume):
        device = must_attach(backend, server, volume)
        must_detach(backend, other_server, volume, device)
        assert_has(backend, server, {volume.id: device}, "after a detach from another server")

    def test_detach_needs_no_device(self, backend, server, volume):
        must_attach(backend, server, volume)
        must_detach(backend, server, volume, None)
        assert_has(backend, server, {}, "after a detach with the device None")

    def test_detach_works_for_a_volume_gone_from_the_catalog(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        must_detach(backend, server, replace(volume, source=None, format=None), device)
        assert_has(backend, server, {}, "after a detach without source and format")

    def test_detach_works_for_a_server_as_it_was_last_seen(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        must_detach(backend, replace(server, status="UNKNOWN", user_id=None, task_state=None), volume, device)
        assert_has(backend, server, {}, "after a detach from a server with the status UNKNOWN")

    def test_a_detached_volume_can_be_attached_again(self, backend, server, volume):
        must_detach(backend, server, volume, must_attach(backend, server, volume))
        device = must_attach(backend, server, volume)
        assert_has(backend, server, {volume.id: device}, "after attach, detach and attach")

    def test_detach_from_an_unknown_server_raises_server_not_found(self, backend, unknown_server, volume):
        with must_raise(ServerNotFound, "detach from a server that the backend does not have"):
            backend.detach(unknown_server, volume, None)

    # What is kept elsewhere.

    def test_a_volume_of_an_unknown_server_can_be_forgotten(self, backend, unknown_server, volume):
        for _ in range(2):
            with must_succeed("forget of a volume of a server that the backend does not have"):
                backend.forget(unknown_server, volume)

    def test_what_was_attached_or_detached_is_not_incomplete(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        assert not backend.incomplete(server), "incomplete reports a volume that attach has returned for"
        must_detach(backend, server, volume, device)
        assert not backend.incomplete(server), "incomplete reports a volume that detach has returned for"

    # Servers whose hosts are lost.

    def test_clients_of_a_volume_are_a_list_of_strings_or_refused(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        with must_succeed("find_clients", AttachRefused) as caught:
            found = backend.find_clients(server, volume)
        assert_has(backend, server, {volume.id: device}, "after find_clients")
        if caught.error:
            assert str(caught.error).strip(), "find_clients raised AttachRefused without a message"
            return
        assert isinstance(found, Sequence), f"find_clients returned {found!r}: it must return a sequence"
        is_valid = not isinstance(found, str) and all(isinstance(each, str) and each.isprintable() for each in found)
        assert is_valid, f"find_clients returned {found!r}: it must return a sequence of printable strings"

    def test_a_server_is_not_cut_off_without_a_client(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        with must_raise(AttachRefused, "cut_off without a client"):
            backend.cut_off(server, volume, [])
        assert_has(backend, server, {volume.id: device}, "after cut_off without a client")
