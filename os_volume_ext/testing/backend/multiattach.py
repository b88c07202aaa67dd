"""A volume at two servers."""

from dataclasses import replace
from functools import partial

import pytest

from ...backends.base import AttachRefused
from ..expectations import must_raise
from ..running import run_at_once, run_in_children
from .checks import assert_has, must_attach, must_detach, must_show, try_attach
from .declarations import Declarations


class SeveralServers(Declarations):
    """Multiattach volumes, and exclusive ones."""

    def test_a_multiattach_volume_can_be_attached_to_two_servers(self, backend, server, other_server, volume):
        if not self.multiattach:
            pytest.skip("multiattach is False: see test_a_multiattach_volume_is_refused_where_it_is_not_supported")
        shared = replace(volume, multiattach=True)
        here = must_attach(backend, server, shared)
        there = must_attach(backend, other_server, shared)
        assert_has(backend, server, {shared.id: here}, "after an attach to each of two servers")
        must_detach(backend, server, shared, here)
        assert_has(backend, server, {}, "after its detach")
        assert_has(backend, other_server, {shared.id: there}, "after the detach from another server")

    def test_a_multiattach_volume_is_refused_where_it_is_not_supported(self, backend, server, other_server, volume):
        if self.multiattach:
            pytest.skip("multiattach is True")
        shared = replace(volume, multiattach=True)

        def attach_twice():
            backend.attach(server, shared, None)  # may be refused here or at the second server
            backend.attach(other_server, shared, None)

        with must_raise(AttachRefused, "attach of a multiattach volume, which is not supported, to two servers"):
            attach_twice()
        assert_has(backend, other_server, {}, "after a refused attach")

    def test_an_exclusive_volume_is_refused_by_a_second_server(self, backend, server, other_server, volume):
        self.skip_unless_it_refuses(backend)
        device = must_attach(backend, server, volume)
        with must_raise(AttachRefused, "attach of an exclusive volume to a second server"):
            backend.attach(other_server, volume, None)
        assert_has(backend, server, {volume.id: device}, "after a second server was refused")
        assert_has(backend, other_server, {}, "after a refused attach")
        must_detach(backend, server, volume, device)
        must_attach(backend, other_server, volume)

    def test_servers_that_attach_an_exclusive_volume_at_once_do_not_share_it(
        self, backend, new_backend, server, other_server, volume
    ):
        self.skip_unless_it_refuses(backend)
        places = [(backend, server), (new_backend(), other_server)] * 4
        served = run_at_once([partial(_attach, *place, volume) for place in places])
        _assert_not_shared(backend, (server, other_server), volume, served, "in threads")

    def test_processes_that_attach_an_exclusive_volume_at_once_do_not_share_it(
        self, backend, new_backend, server, other_server, volume
    ):
        self.skip_unless_it_refuses(backend)
        calls = [lambda: _attach(new_backend(), server, volume), lambda: _attach(new_backend(), other_server, volume)]
        _assert_not_shared(backend, (server, other_server), volume, run_in_children(calls * 2), "in processes")


def _assert_not_shared(backend, servers, volume, served, where):
    """Check that one server has the volume.

    :param served: the ids of the servers for which attach returned; None for each refusal.
    :param where: in what the calls came at once, for the message.
    """
    seen = {each.id for each in servers if volume.id in must_show(backend, each)}
    how = f"after attaches to two servers that came at once, {where}"
    assert len(seen) == 1, f"the exclusive volume is at {' and '.join(sorted(seen)) or 'no server'}, {how}"
    assert seen == set(served) - {None}, (
        f"attach returned for {set(served) - {None}}, and the volume is at {seen}, {how}"
    )


def _attach(backend, server, volume):
    _, refusal = try_attach(backend, server, volume)
    return None if refusal else server.id
