"""Tests of what ``os_volume_ext.backends.base`` requires of a backend.

A plugin author inherits them in a test module::

    class TestMyBackend(BackendContract):
        backend_class = MyBackend
        limit = 25
        requestable_device = "/dev/vdf"
        reports_devices = True
        multiattach = False

        @pytest.fixture
        def options(self): ...

        @pytest.fixture
        def server(self): ...

and so on for every fixture whose docstring begins with "Provide". Run the tests against the real hypervisor or
storage, not a fake.
"""

import multiprocessing
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest

from ..backends.base import (
    AttachRefused,
    Backend,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    DeviceInUse,
    OutcomeUnknown,
    Server,
    ServerNotFound,
    TooManyAttachments,
    Volume,
)

T = TypeVar("T")

DECLARATIONS = ("backend_class", "limit", "requestable_device", "reports_devices", "multiattach")
"""The class attributes that every subclass must declare."""

TIMEOUT = 60
"""Seconds to wait for threads and child processes before the test fails."""

OPERATION_TIMEOUT = 12
"""The ``operation_timeout``, in seconds, of the backend whose time limit is tested."""

MAX_DEVICE_LENGTH = 255

HOSTILE_NAMES = (
    "",
    ".",
    "..",
    "../escape",
    "/",
    "a/b",
    "nul\0byte",
    "line\nbreak",
    "-option",
    "'; x",
    "\udcff",
    "x" * 300,
)
"""Ids that catalogs should reject, and that must do no harm if one does not."""

HOSTILE_DEVICES = ("vdb", "/dev/", "/dev/../vdb", "/dev/vdb/x", "/dev/vdb\n", "/dev/vdb\0", "/dev/" + "v" * 300)
"""Malformed devices, which must do no harm either."""


class BackendContract:
    """Test a backend. Inherit the class, declare its attributes, and override the fixtures that say "Provide"."""

    backend_class: type[Backend]
    """The backend under test."""

    limit: int | None
    """How many volumes a server can have, at least 2; None if the backend does not have a limit."""

    requestable_device: str | None
    """A device that may be requested and is not the first that the backend chooses; None if it refuses all requests."""

    reports_devices: bool
    """Whether the backend knows the devices of disks. If it does not, ``attach`` and ``attached`` report None."""

    multiattach: bool
    """Whether a multiattach volume can be attached to two servers at once. If it can't, the backend refuses."""

    @pytest.fixture(autouse=True)
    def _check_declarations(self) -> None:
        missing = [name for name in DECLARATIONS if not hasattr(self, name)]
        if missing:
            pytest.fail(f"{type(self).__name__} must declare {', '.join(missing)}: see BackendContract")

    # Fixtures that the plugin author overrides.

    @pytest.fixture
    def options(self) -> Mapping[str, str]:
        """Provide the ``backend.*`` options, without that prefix and without ``operation_timeout``."""
        raise NotImplementedError("Override the fixture `options`: provide the options of the backend.")

    @pytest.fixture
    def server(self) -> Server:
        """Provide a server that exists and, at the start of each test, has no volume."""
        raise NotImplementedError("Override the fixture `server`: provide a server that exists and has no volume.")

    @pytest.fixture
    def other_server(self) -> Server:
        """Provide another such server."""
        raise NotImplementedError("Override the fixture `other_server`: provide another server without volumes.")

    @pytest.fixture
    def unknown_server(self) -> Server:
        """Provide a server that the backend does not have."""
        raise NotImplementedError("Override the fixture `unknown_server`: provide one that the backend does not have.")

    @pytest.fixture
    def new_volume(self) -> Callable[[], Volume]:
        """Provide a function that creates a volume at each call, which can be attached and is not attached."""
        raise NotImplementedError("Override the fixture `new_volume`: provide a function that creates a volume.")

    # Failures; None for one that can't occur. Provide a real failure, not a fake, if possible.

    @pytest.fixture
    def unusable_volume(self) -> Volume | None:
        """Provide a volume that can't be attached, such as one whose source does not exist."""
        raise NotImplementedError(
            "Override the fixture `unusable_volume`: provide one that can't be attached, or None."
        )

    @pytest.fixture
    def unreachable_backend(self) -> Backend | None:
        """Provide a backend that can't reach what it depends on, such as its hypervisor."""
        raise NotImplementedError("Override the fixture `unreachable_backend`: provide such a backend, or None.")

    @pytest.fixture
    def stubborn_server(self) -> Server | None:
        """Provide a server to which a volume can be attached, and which never releases it."""
        raise NotImplementedError("Override the fixture `stubborn_server`: provide such a server, or None.")

    # Fixtures and helpers derived from these.

    @pytest.fixture
    def new_backend(self, options: Mapping[str, str]) -> Callable[[], Backend]:
        """Return a function that creates and prepares a backend with these options, as each start does."""

        def make() -> Backend:
            backend = self.backend_class({"operation_timeout": str(TIMEOUT), **options})
            backend.prepare()
            return backend

        return make

    @pytest.fixture
    def backend(self, new_backend: Callable[[], Backend]) -> Backend:
        """Create the backend under test."""
        return new_backend()

    @pytest.fixture
    def volume(self, new_volume: Callable[[], Volume]) -> Volume:
        """Create one volume."""
        return new_volume()

    @property
    def _many(self):
        return 8 if self.limit is None else min(8, self.limit)

    def _limit_or_skip(self):
        if self.limit is None:
            pytest.skip("limit is None: it can't be exceeded")
        return self.limit

    def _device_or_skip(self):
        if self.requestable_device is None:
            pytest.skip("requestable_device is None: see test_a_requested_device_is_refused_where_it_is_not_supported")
        return self.requestable_device

    def _as_reported(self, device):
        return device if self.reports_devices else None

    # Options and health.

    def test_it_is_a_backend(self, backend):
        assert isinstance(backend, Backend)
        assert isinstance(backend.needs_host, bool)

    def test_an_unknown_option_is_refused_by_its_name(self, options):
        wrong = {"operation_timeout": str(TIMEOUT), **options, "no_such_option": "1"}
        with pytest.raises(ConfigurationError, match="no_such_option"):
            self.backend_class(wrong)

    def test_a_healthy_backend_passes_its_check(self, backend):
        backend.check()

    def test_making_a_backend_starts_no_thread(self, new_backend):
        before = set(threading.enumerate())
        new_backend()
        assert set(threading.enumerate()) <= before

    def test_a_backend_made_before_a_fork_works_on_both_sides_of_it(self, backend, server, new_volume):
        childs, parents = new_volume(), new_volume()
        _run_in_child(lambda: backend.attach(server, childs, None))
        backend.attach(server, parents, None)
        assert set(backend.attached(server)) == {childs.id, parents.id}

    def test_preparing_again_changes_nothing(self, backend, new_backend, server, volume):
        device = backend.attach(server, volume, None)
        backend.prepare()
        new_backend()
        assert dict(backend.attached(server)) == {volume.id: device}

    # Attach.

    def test_a_server_without_volumes_shows_none(self, backend, server):
        assert dict(backend.attached(server)) == {}

    def test_attach_returns_the_device_that_attached_reports(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        assert dict(backend.attached(server)) == {volume.id: device}

    def test_a_device_is_a_path_or_none_as_declared(self, backend, server, volume):
        self._assert_as_declared(backend.attach(server, volume, None))

    def test_attached_maps_volume_ids_to_devices(self, backend, server, volume):
        backend.attach(server, volume, None)
        attached = backend.attached(server)
        assert isinstance(attached, Mapping)
        assert all(isinstance(volume_id, str) for volume_id in attached)
        for device in attached.values():
            self._assert_as_declared(device)

    def test_each_volume_has_its_own_device(self, backend, server, new_volume):
        volumes = [new_volume() for _ in range(self._many)]
        devices = {volume.id: backend.attach(server, volume, None) for volume in volumes}
        assert dict(backend.attached(server)) == devices
        self._assert_distinct(list(devices.values()))

    def test_servers_have_separate_volumes(self, backend, server, other_server, new_volume):
        here, there = new_volume(), new_volume()
        backend.attach(server, here, None)
        backend.attach(other_server, there, None)
        assert set(backend.attached(server)) == {here.id}
        assert set(backend.attached(other_server)) == {there.id}

    def test_a_repeated_attach_returns_the_same_device(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        assert backend.attach(server, volume, None) == device
        assert dict(backend.attached(server)) == {volume.id: device}

    def test_a_repeated_attach_adds_no_second_disk(self, backend, server, volume):
        backend.attach(server, volume, None)
        backend.attach(server, volume, None)
        backend.detach(server, volume, None)
        assert dict(backend.attached(server)) == {}

    def test_a_repeated_attach_returns_the_present_device_whatever_is_requested(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        assert backend.attach(server, volume, self.requestable_device or "/dev/vdf") == device
        assert dict(backend.attached(server)) == {volume.id: device}

    # Detach.

    def test_detach_removes_the_volume(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        backend.detach(server, volume, device)
        assert dict(backend.attached(server)) == {}

    def test_detach_leaves_the_other_volumes(self, backend, server, new_volume):
        going, staying = new_volume(), new_volume()
        device = backend.attach(server, going, None)
        stays = backend.attach(server, staying, None)
        backend.detach(server, going, device)
        assert dict(backend.attached(server)) == {staying.id: stays}

    def test_a_repeated_detach_succeeds(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        backend.detach(server, volume, device)
        backend.detach(server, volume, device)
        assert dict(backend.attached(server)) == {}

    def test_detaching_what_was_never_attached_succeeds(self, backend, server, volume):
        backend.detach(server, volume, None)
        assert dict(backend.attached(server)) == {}

    def test_detach_goes_by_the_volume_not_by_the_device(self, backend, server, new_volume):
        staying, never_there = new_volume(), new_volume()
        device = backend.attach(server, staying, None)
        backend.detach(server, never_there, device)
        assert dict(backend.attached(server)) == {staying.id: device}

    def test_detach_from_another_server_leaves_this_one(self, backend, server, other_server, volume):
        device = backend.attach(server, volume, None)
        backend.detach(other_server, volume, device)
        assert dict(backend.attached(server)) == {volume.id: device}

    def test_detach_needs_no_device(self, backend, server, volume):
        backend.attach(server, volume, None)
        backend.detach(server, volume, None)
        assert dict(backend.attached(server)) == {}

    def test_detach_works_for_a_volume_gone_from_the_catalog(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        backend.detach(server, replace(volume, source=None, format=None), device)
        assert dict(backend.attached(server)) == {}

    def test_detach_works_for_a_server_as_it_was_last_seen(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        backend.detach(replace(server, status="UNKNOWN"), volume, device)
        assert dict(backend.attached(server)) == {}

    def test_a_detached_volume_can_be_attached_again(self, backend, server, volume):
        backend.detach(server, volume, backend.attach(server, volume, None))
        device = backend.attach(server, volume, None)
        assert dict(backend.attached(server)) == {volume.id: device}

    # Unknown servers.

    def test_attach_to_an_unknown_server_raises_server_not_found(self, backend, unknown_server, volume):
        with pytest.raises(ServerNotFound):
            backend.attach(unknown_server, volume, None)

    def test_attach_to_an_unknown_server_does_not_create_it(self, backend, unknown_server, volume):
        with pytest.raises(ServerNotFound):
            backend.attach(unknown_server, volume, None)
        with pytest.raises(ServerNotFound):
            backend.attached(unknown_server)

    def test_detach_from_an_unknown_server_raises_server_not_found(self, backend, unknown_server, volume):
        with pytest.raises(ServerNotFound):
            backend.detach(unknown_server, volume, None)

    def test_attached_of_an_unknown_server_raises_server_not_found(self, backend, unknown_server):
        with pytest.raises(ServerNotFound):
            backend.attached(unknown_server)

    # Failures.

    def test_a_volume_that_can_not_be_used_is_refused_and_nothing_happens(self, backend, server, unusable_volume):
        if unusable_volume is None:
            pytest.skip("unusable_volume is None: every volume can be attached")
        for _ in range(2):
            with pytest.raises(AttachRefused) as refused:
                backend.attach(server, unusable_volume, None)
            assert dict(backend.attached(server)) == {}
        # API clients read the message, which must not show where the data is.
        assert not unusable_volume.source or unusable_volume.source not in str(refused.value)

    def test_an_unreachable_backend_does_not_pass_its_check(self, unreachable_backend):
        with pytest.raises(BackendUnavailable):
            _or_skip(unreachable_backend).check()

    def test_an_unreachable_backend_does_not_raise_server_not_found(self, unreachable_backend, server, volume):
        backend = _or_skip(unreachable_backend)
        with pytest.raises(BackendUnavailable):
            backend.attach(server, volume, None)
        with pytest.raises(BackendUnavailable):
            backend.detach(server, volume, None)
        with pytest.raises(BackendUnavailable):
            backend.attached(server)

    def test_a_disk_that_is_not_released_is_an_unknown_outcome_in_time(self, options, stubborn_server, volume):
        if stubborn_server is None:
            pytest.skip("stubborn_server is None: every server releases its disks")
        backend = self.backend_class({**options, "operation_timeout": str(OPERATION_TIMEOUT)})
        backend.prepare()
        device = backend.attach(stubborn_server, volume, None)
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            backend.detach(stubborn_server, volume, device)
        assert time.monotonic() - started < OPERATION_TIMEOUT
        assert dict(backend.attached(stubborn_server)) == {volume.id: device}

    # Requested devices.

    def test_a_requested_device_is_used(self, backend, server, volume):
        requested = self._device_or_skip()
        assert backend.attach(server, volume, requested) == self._as_reported(requested)
        assert dict(backend.attached(server)) == {volume.id: self._as_reported(requested)}

    def test_a_device_in_use_is_refused_and_nothing_happens(self, backend, server, new_volume):
        requested = self._device_or_skip()
        first, second = new_volume(), new_volume()
        device = backend.attach(server, first, requested)
        with pytest.raises(DeviceInUse):
            backend.attach(server, second, requested)
        assert dict(backend.attached(server)) == {first.id: device}

    def test_a_device_that_the_backend_chose_is_in_use_too(self, backend, server, new_volume):
        self._device_or_skip()
        if not self.reports_devices:
            pytest.skip("reports_devices is False: the chosen device is not known")
        first, second = new_volume(), new_volume()
        device = backend.attach(server, first, None)
        with pytest.raises(DeviceInUse):
            backend.attach(server, second, device)
        assert dict(backend.attached(server)) == {first.id: device}

    def test_the_device_of_a_detached_volume_can_be_requested(self, backend, server, new_volume):
        requested = self._device_or_skip()
        first, second = new_volume(), new_volume()
        backend.detach(server, first, backend.attach(server, first, requested))
        assert backend.attach(server, second, requested) == self._as_reported(requested)

    def test_a_requested_device_is_refused_where_it_is_not_supported(self, backend, server, volume):
        if self.requestable_device is not None:
            pytest.skip("requestable_device is declared: a device can be requested")
        with pytest.raises(AttachRefused):
            backend.attach(server, volume, "/dev/vdf")
        assert dict(backend.attached(server)) == {}

    # The limit of a server.

    def test_one_volume_more_than_the_limit_is_refused_and_nothing_happens(self, backend, server, new_volume):
        full = {volume.id: backend.attach(server, volume, None) for volume in self._fill(new_volume)}
        with pytest.raises(TooManyAttachments) as refused:
            backend.attach(server, new_volume(), None)
        assert refused.value.limit == self.limit
        assert dict(backend.attached(server)) == full

    def test_a_repeated_attach_succeeds_on_a_full_server(self, backend, server, new_volume):
        volumes = self._fill(new_volume)
        devices = [backend.attach(server, volume, None) for volume in volumes]
        assert [backend.attach(server, volume, None) for volume in volumes] == devices

    def test_a_full_server_takes_a_volume_after_a_detach(self, backend, server, new_volume):
        volumes = self._fill(new_volume)
        devices = [backend.attach(server, volume, None) for volume in volumes]
        backend.detach(server, volumes[0], devices[0])
        late = new_volume()
        backend.attach(server, late, None)
        assert set(backend.attached(server)) == {volume.id for volume in [*volumes[1:], late]}

    # Multiattach.

    def test_a_multiattach_volume_can_be_attached_to_two_servers(self, backend, server, other_server, volume):
        if not self.multiattach:
            pytest.skip("multiattach is False: see test_a_multiattach_volume_is_refused_where_it_is_not_supported")
        shared = replace(volume, multiattach=True)
        here = backend.attach(server, shared, None)
        there = backend.attach(other_server, shared, None)
        assert dict(backend.attached(server)) == {shared.id: here}
        backend.detach(server, shared, here)
        assert dict(backend.attached(server)) == {}
        assert dict(backend.attached(other_server)) == {shared.id: there}

    def test_a_multiattach_volume_is_refused_where_it_is_not_supported(self, backend, server, other_server, volume):
        if self.multiattach:
            pytest.skip("multiattach is True")
        shared = replace(volume, multiattach=True)

        def attach_twice():
            backend.attach(server, shared, None)  # may be refused here or at the second server
            backend.attach(other_server, shared, None)

        with pytest.raises(AttachRefused):
            attach_twice()
        assert dict(backend.attached(other_server)) == {}

    # Concurrent calls.

    def test_threads_that_attach_different_volumes_get_different_devices(self, backend, server, new_volume):
        self._assert_different_volumes_fit([backend], server, new_volume)

    def test_backend_objects_that_attach_different_volumes_get_different_devices(self, new_backend, server, new_volume):
        self._assert_different_volumes_fit([new_backend(), new_backend()], server, new_volume)

    def test_threads_that_attach_the_same_volume_make_one_disk(self, backend, server, volume):
        self._assert_one_disk([backend], server, volume)

    def test_backend_objects_that_attach_the_same_volume_make_one_disk(self, new_backend, server, volume):
        self._assert_one_disk([new_backend(), new_backend()], server, volume)

    def test_threads_that_detach_the_same_volume_all_succeed(self, backend, server, volume):
        device = backend.attach(server, volume, None)
        _run_at_once([lambda: backend.detach(server, volume, device)] * 8)
        assert dict(backend.attached(server)) == {}

    def test_threads_that_detach_different_volumes_detach_them_all(self, backend, server, new_volume):
        volumes = [new_volume() for _ in range(self._many)]
        _run_at_once([partial(backend.detach, server, each, backend.attach(server, each, None)) for each in volumes])
        assert dict(backend.attached(server)) == {}

    def test_volumes_attached_while_others_are_detached_stay_attached(self, backend, server, new_volume):
        half = self._many // 2
        going, coming = [new_volume() for _ in range(half)], [new_volume() for _ in range(half)]
        detaching = [partial(backend.detach, server, each, backend.attach(server, each, None)) for each in going]
        attaching = [partial(backend.attach, server, each, None) for each in coming]
        devices = _run_at_once([*attaching, *detaching])[:half]
        self._assert_distinct(devices)
        assert dict(backend.attached(server)) == dict(zip([each.id for each in coming], devices, strict=True))

    def test_threads_that_request_the_same_device_do_not_share_it(self, backend, server, new_volume):
        requested = self._device_or_skip()
        volumes = [new_volume() for _ in range(self._many)]

        def attach(volume):
            try:
                backend.attach(server, volume, requested)
            except DeviceInUse:
                return None
            return volume

        winners = [each for each in _run_at_once([partial(attach, volume) for volume in volumes]) if each]
        assert len(winners) == 1
        assert dict(backend.attached(server)) == {winners[0].id: self._as_reported(requested)}

    # No state in the backend object.

    def test_a_new_backend_object_finds_what_an_earlier_one_attached(self, new_backend, server, volume):
        device = new_backend().attach(server, volume, None)
        assert dict(new_backend().attached(server)) == {volume.id: device}

    def test_a_new_backend_object_repeats_and_detaches_what_an_earlier_one_attached(self, new_backend, server, volume):
        former, later = new_backend(), new_backend()
        device = former.attach(server, volume, None)
        assert later.attach(server, volume, None) == device
        later.detach(server, volume, device)
        assert dict(former.attached(server)) == {}

    # Malformed ids and devices.

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_hostile_server_id_raises_backend_errors_only(self, backend, server, volume, name):
        hostile = replace(server, id=name, instance_name=None)
        with pytest.raises(BackendError):
            backend.attach(hostile, volume, None)
        with pytest.raises(BackendError):
            backend.detach(hostile, volume, None)
        with pytest.raises(BackendError):
            backend.attached(hostile)

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_hostile_volume_id_is_attached_or_refused(self, backend, server, volume, name):
        self._assert_attached_or_refused(backend, server, replace(volume, id=name), None)

    @pytest.mark.parametrize("device", HOSTILE_DEVICES, ids=ascii)
    def test_a_hostile_device_is_attached_or_refused(self, backend, server, volume, device):
        self._assert_attached_or_refused(backend, server, volume, device)

    # Shared by several tests.

    def _fill(self, new_volume):
        return [new_volume() for _ in range(self._limit_or_skip())]

    def _assert_as_declared(self, device):
        assert device != "", 'the device is "": a device that the backend does not know must be None'
        if self.reports_devices:
            assert isinstance(device, str), f"reports_devices is True, but the device is {device!r}"
            assert device.startswith("/dev/")
            assert len(device) <= MAX_DEVICE_LENGTH
        else:
            assert device is None, f"reports_devices is False, but the device is {device!r}: it must be None"

    def _assert_distinct(self, devices):
        if self.reports_devices:
            assert len(set(devices)) == len(devices)

    def _assert_different_volumes_fit(self, backends, server, new_volume):
        volumes = [new_volume() for _ in range(self._many)]
        calls = [
            partial(backends[number % len(backends)].attach, server, volume, None)
            for number, volume in enumerate(volumes)
        ]
        devices = _run_at_once(calls)
        self._assert_distinct(devices)
        expected = {volume.id: device for volume, device in zip(volumes, devices, strict=True)}
        assert dict(backends[0].attached(server)) == expected

    def _assert_one_disk(self, backends, server, volume):
        each_thread = [backends[number % len(backends)] for number in range(8)]
        devices = _run_at_once([partial(backend.attach, server, volume, None) for backend in each_thread])
        assert len(set(devices)) == 1
        assert dict(backends[0].attached(server)) == {volume.id: devices[0]}
        backends[0].detach(server, volume, devices[0])
        assert dict(backends[0].attached(server)) == {}

    def _assert_attached_or_refused(self, backend, server, volume, device):
        try:
            attached_at = backend.attach(server, volume, device)
        except BackendError:
            assert dict(backend.attached(server)) == {}
            return
        assert dict(backend.attached(server)) == {volume.id: attached_at}
        backend.detach(server, volume, attached_at)


def _or_skip(backend: Backend | None) -> Backend:
    if backend is None:
        pytest.skip("unreachable_backend is None: the backend depends on nothing that can be unreachable")
    return backend


def _run_at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run the calls concurrently, each in its own thread, and return their results in order."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        start.wait(TIMEOUT)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def _run_in_child(call: Callable[[], object]) -> None:
    """Run the call in a forked child process; fail if it raises an exception there or does not end."""
    with warnings.catch_warnings():
        # Python 3.12 and later warn if the parent has threads, which an earlier test may have started.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = multiprocessing.get_context("fork").Process(target=call)
        child.start()
    child.join(TIMEOUT)
    if child.is_alive():
        child.kill()
        child.join()
        pytest.fail("the forked child process did not end: it may wait for what was created before the fork")
    assert child.exitcode == 0, "the call raised an exception in the forked child process; it is printed above"
