"""Calls that come at once in the threads of one process."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ...backends.base import BackendUnavailable, DeviceInUse, TooManyAttachments
from ..expectations import must_succeed
from ..running import TIMEOUT, run_at_once, run_within
from .checks import assert_has, detach_without_look, must_attach, must_detach, must_show, try_attach
from .declarations import Declarations

THREADS = 8


class Concurrency(Declarations):
    """Threads and backend objects of one process."""

    def test_threads_that_attach_different_volumes_get_different_devices(self, backend, server, new_volume):
        self._assert_different_volumes_fit([backend], server, new_volume, "in threads")

    def test_backend_objects_that_attach_different_volumes_get_different_devices(self, new_backend, server, new_volume):
        self._assert_different_volumes_fit([new_backend(), new_backend()], server, new_volume, "in two backend objects")

    def test_threads_that_attach_the_same_volume_make_one_disk(self, backend, server, volume):
        self._assert_one_disk([backend], server, volume)

    def test_backend_objects_that_attach_the_same_volume_make_one_disk(self, new_backend, server, volume):
        self._assert_one_disk([new_backend(), new_backend()], server, volume)

    def test_threads_that_detach_the_same_volume_all_succeed(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        run_at_once([partial(detach_without_look, backend, server, volume, device)] * THREADS)
        assert_has(backend, server, {}, f"after {THREADS} detaches of one volume that came at once")

    def test_threads_that_detach_different_volumes_detach_them_all(self, backend, server, new_volume):
        volumes = [new_volume() for _ in range(self.many)]
        run_at_once(_detaching(backend, server, volumes))
        assert_has(backend, server, {}, f"after detaches of {len(volumes)} volumes that came at once")

    def test_volumes_attached_while_others_are_detached_stay_attached(self, backend, server, new_volume):
        half = self.many // 2
        going, coming = [new_volume() for _ in range(half)], [new_volume() for _ in range(half)]
        detaching = _detaching(backend, server, going)
        attaching: list[Callable[[], Any]] = [partial(must_attach, backend, server, each) for each in coming]
        returned = run_at_once([*attaching, *detaching])[:half]
        devices = dict(zip([each.id for each in coming], returned, strict=True))
        how = f"after {half} attaches and {half} detaches that came at once"
        self.assert_distinct(devices, how)
        assert_has(backend, server, devices, how)

    def test_threads_that_request_the_same_device_do_not_share_it(self, backend, server, new_volume):
        requested = self.device_or_skip()
        volumes = [new_volume() for _ in range(self.many)]

        def attach(volume):
            _, refusal = try_attach(backend, server, volume, requested, allowed=(DeviceInUse,))
            return None if refusal else volume

        winners = [each.id for each in run_at_once([partial(attach, volume) for volume in volumes]) if each]
        assert len(winners) == 1, (
            f"{len(volumes)} attaches requested {requested} at once, and attach returned for "
            f"{' and '.join(winners) or 'none'}: one of them must get it"
        )
        assert_has(backend, server, {winners[0]: self.as_reported(requested)}, "after attaches that came at once")

    def test_a_full_server_gets_no_more_volumes_at_once_than_its_limit(self, backend, server, new_volume):
        limit = self.limit_or_skip()
        devices = {volume.id: must_attach(backend, server, volume) for volume in _make(limit - 1, new_volume)}

        def attach(volume):
            device, refusal = try_attach(backend, server, volume, allowed=(TooManyAttachments, BackendUnavailable))
            return None if refusal else (volume.id, device)

        volumes = _make(THREADS, new_volume)
        taken = [each for each in run_at_once([partial(attach, volume) for volume in volumes]) if each]
        assert len(taken) == 1, f"{len(taken)} volumes that came at once got the last of {limit} places: one must"
        assert_has(backend, server, devices | dict(taken), "after attaches that came at once")

    def test_calls_of_one_volume_may_come_from_different_threads(self, backend, server, volume):
        device = run_within(TIMEOUT, "attach", partial(must_attach, backend, server, volume, None))
        seen = run_within(TIMEOUT, "attached", lambda: dict(must_show(backend, server)))
        assert seen == {volume.id: device}, f"one thread attached {volume.id!r}, and another one sees {seen!r}"
        run_within(TIMEOUT, "detach", partial(must_detach, backend, server, volume, device))
        with must_succeed("check in another thread"):
            run_within(TIMEOUT, "check", backend.check)
        assert_has(backend, server, {}, "after threads attached it and detached it")

    def _assert_different_volumes_fit(self, backends, server, new_volume, where):
        volumes = [new_volume() for _ in range(self.many)]
        calls = [
            partial(backends[number % len(backends)].attach, server, volume, None)
            for number, volume in enumerate(volumes)
        ]
        devices = dict(zip([volume.id for volume in volumes], run_at_once(calls), strict=True))
        how = f"after {len(volumes)} attaches that came at once, {where}"
        self.assert_distinct(devices, how)
        assert_has(backends[0], server, devices, how)

    def _assert_one_disk(self, backends, server, volume):
        each_thread = [backends[number % len(backends)] for number in range(THREADS)]
        devices = run_at_once([partial(must_attach, backend, server, volume, None) for backend in each_thread])
        how = f"after {THREADS} attaches of one volume that came at once"
        assert len(set(devices)) == 1, f"attach returned different devices {how}: {devices}"
        assert_has(backends[0], server, {volume.id: devices[0]}, how)
        detach_without_look(backends[0], server, volume, devices[0])
        assert_has(backends[0], server, {}, f"{how}, and one detach: there was more than one disk")


def _detaching(backend, server, volumes) -> list[Callable[[], Any]]:
    """Attach volumes, and return a call for each that detaches it."""
    return [partial(detach_without_look, backend, server, each, must_attach(backend, server, each)) for each in volumes]


def _make(number, new_volume):
    return [new_volume() for _ in range(number)]
