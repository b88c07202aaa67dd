"""What a backend must do, as tests to inherit.

A plugin's author writes one class in a test module, and pytest does the rest::

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

and so on with the other fixtures that say "Supply ..." below. Run it against the real thing.
"""

import multiprocessing
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
"""The class attributes that every subclass declares."""

PATIENCE = 60
"""Seconds after which threads and processes that should have met or ended are given up."""

OPERATION_TIMEOUT = 12
"""The ``operation_timeout`` of a backend of which it is tested."""

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
"""Ids that no catalog should let through, and that must do no harm if one does."""

HOSTILE_DEVICES = ("vdb", "/dev/", "/dev/../vdb", "/dev/vdb/x", "/dev/vdb\n", "/dev/vdb\0", "/dev/" + "v" * 300)
"""The same for devices."""


class BackendContract:
    """The definition of a backend: inherit it, declare the attributes, supply the fixtures."""

    backend_class: type[Backend]
    """The backend under test."""

    limit: int | None
    """How many volumes a server takes, two or more; None if there is no limit that the backend knows."""

    requestable_device: str | None
    """A device that may be asked for and is not the first that the backend chooses; None if it refuses to be asked."""

    reports_devices: bool
    """Whether the backend can say the device that a disk has; one that can't says "" always."""

    multiattach: bool
    """Whether a multiattach volume may be on two servers at once; if not, the backend refuses."""

    @pytest.fixture(autouse=True)
    def _everything_is_declared(self) -> None:
        missing = [name for name in DECLARATIONS if not hasattr(self, name)]
        if missing:
            pytest.fail(f"{type(self).__name__} must declare {', '.join(missing)}; BackendContract says what they mean")

    # What the author supplies.

    @pytest.fixture
    def options(self) -> Mapping[str, str]:
        """Supply the ``backend.*`` options, without that prefix and without ``operation_timeout``."""
        raise NotImplementedError("Supply the fixture `options`: the options that the backend is made with.")

    @pytest.fixture
    def server(self) -> Server:
        """Supply a server that exists and, at the start of each test, has no volume."""
        raise NotImplementedError("Supply the fixture `server`: a server that exists and has no volume.")

    @pytest.fixture
    def other_server(self) -> Server:
        """Supply another such server."""
        raise NotImplementedError("Supply the fixture `other_server`: another server that exists and has no volume.")

    @pytest.fixture
    def unknown_server(self) -> Server:
        """Supply a server that the backend does not know."""
        raise NotImplementedError("Supply the fixture `unknown_server`: a server that the backend does not know.")

    @pytest.fixture
    def new_volume(self) -> Callable[[], Volume]:
        """Supply a function that makes a new volume at each call, one that can be attached and is attached nowhere."""
        raise NotImplementedError("Supply the fixture `new_volume`: a function that makes a volume at each call.")

    # The same for what may go wrong; None where it can't. The real thing, not a fake, where there is a way to it.

    @pytest.fixture
    def unusable_volume(self) -> Volume | None:
        """Supply a volume that can't be attached, such as one whose source does not exist."""
        raise NotImplementedError("Supply the fixture `unusable_volume`: a volume that can't be attached, or None.")

    @pytest.fixture
    def unreachable_backend(self) -> Backend | None:
        """Supply a backend that can't reach what it works with, such as its hypervisor."""
        raise NotImplementedError("Supply the fixture `unreachable_backend`: one that reaches nothing, or None.")

    @pytest.fixture
    def stubborn_server(self) -> Server | None:
        """Supply a server that takes a volume and does not let go of it."""
        raise NotImplementedError("Supply the fixture `stubborn_server`: one that lets go of no volume, or None.")

    # What follows from that.

    @pytest.fixture
    def new_backend(self, options: Mapping[str, str]) -> Callable[[], Backend]:
        """Make backend objects with the same options, as several processes have them."""
        return lambda: self.backend_class({"operation_timeout": str(PATIENCE), **options})

    @pytest.fixture
    def backend(self, new_backend: Callable[[], Backend]) -> Backend:
        """Make the backend under test."""
        return new_backend()

    @pytest.fixture
    def volume(self, new_volume: Callable[[], Volume]) -> Volume:
        """Make one volume."""
        return new_volume()

    @property
    def _crowd(self) -> int:
        return 8 if self.limit is None else min(8, self.limit)

    def _needs_limit(self) -> int:
        if self.limit is None:
            pytest.skip("limit is None: there is no number to go beyond")
        return self.limit

    def _needs_device(self) -> str:
        if self.requestable_device is None:
            pytest.skip("requestable_device is None: see test_a_device_that_can_not_be_asked_for_is_refused")
        return self.requestable_device

    def _as_reported(self, device: str) -> str:
        return device if self.reports_devices else ""

    # Options and health.

    def test_it_is_a_backend(self, backend: Backend) -> None:
        assert isinstance(backend, Backend)
        assert isinstance(backend.needs_host, bool)

    def test_an_unknown_option_is_refused_by_its_name(self, options: Mapping[str, str]) -> None:
        wrong = {"operation_timeout": str(PATIENCE), **options, "no_such_option": "1"}
        with pytest.raises(ConfigurationError, match="no_such_option"):
            self.backend_class(wrong)

    def test_a_healthy_backend_passes_its_check(self, backend: Backend) -> None:
        backend.check()

    def test_making_a_backend_starts_no_thread(self, new_backend: Callable[[], Backend]) -> None:
        before = set(threading.enumerate())
        new_backend()
        assert set(threading.enumerate()) <= before

    def test_a_backend_made_before_a_fork_works_on_both_sides_of_it(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        childs, parents = new_volume(), new_volume()
        _in_a_child(lambda: backend.attach(server, childs, None))
        backend.attach(server, parents, None)
        assert set(backend.attached(server)) == {childs.id, parents.id}

    # Attach.

    def test_a_server_without_volumes_shows_none(self, backend: Backend, server: Server) -> None:
        assert dict(backend.attached(server)) == {}

    def test_attach_says_the_device_that_attached_shows(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
    ) -> None:
        device = backend.attach(server, volume, None)
        assert dict(backend.attached(server)) == {volume.id: device}

    def test_a_device_is_a_path_or_empty_as_declared(self, backend: Backend, server: Server, volume: Volume) -> None:
        device = backend.attach(server, volume, None)
        assert device.startswith("/dev/") if self.reports_devices else device == ""

    def test_attached_is_a_mapping_of_strings(self, backend: Backend, server: Server, volume: Volume) -> None:
        backend.attach(server, volume, None)
        attached = backend.attached(server)
        assert isinstance(attached, Mapping)
        assert all(isinstance(text, str) for item in attached.items() for text in item)

    def test_each_volume_has_its_own_device(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        volumes = [new_volume() for _ in range(self._crowd)]
        devices = {volume.id: backend.attach(server, volume, None) for volume in volumes}
        assert dict(backend.attached(server)) == devices
        self._assert_distinct(list(devices.values()))

    def test_servers_are_apart(
        self,
        backend: Backend,
        server: Server,
        other_server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        here, there = new_volume(), new_volume()
        backend.attach(server, here, None)
        backend.attach(other_server, there, None)
        assert set(backend.attached(server)) == {here.id}
        assert set(backend.attached(other_server)) == {there.id}

    def test_a_repeated_attach_says_the_same_device(self, backend: Backend, server: Server, volume: Volume) -> None:
        device = backend.attach(server, volume, None)
        assert backend.attach(server, volume, None) == device
        assert dict(backend.attached(server)) == {volume.id: device}

    def test_a_repeated_attach_makes_no_second_disk(self, backend: Backend, server: Server, volume: Volume) -> None:
        backend.attach(server, volume, None)
        backend.attach(server, volume, None)
        backend.detach(server, volume, "")
        assert dict(backend.attached(server)) == {}

    def test_a_repeated_attach_says_the_present_device_whatever_is_asked_for(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
    ) -> None:
        device = backend.attach(server, volume, None)
        assert backend.attach(server, volume, self.requestable_device or "/dev/vdf") == device
        assert dict(backend.attached(server)) == {volume.id: device}

    # Detach.

    def test_detach_removes_the_volume(self, backend: Backend, server: Server, volume: Volume) -> None:
        device = backend.attach(server, volume, None)
        backend.detach(server, volume, device)
        assert dict(backend.attached(server)) == {}

    def test_detach_leaves_the_other_volumes(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        going, staying = new_volume(), new_volume()
        device = backend.attach(server, going, None)
        stays = backend.attach(server, staying, None)
        backend.detach(server, going, device)
        assert dict(backend.attached(server)) == {staying.id: stays}

    def test_a_repeated_detach_succeeds(self, backend: Backend, server: Server, volume: Volume) -> None:
        device = backend.attach(server, volume, None)
        backend.detach(server, volume, device)
        backend.detach(server, volume, device)
        assert dict(backend.attached(server)) == {}

    def test_detaching_what_was_never_attached_succeeds(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
    ) -> None:
        backend.detach(server, volume, "")
        assert dict(backend.attached(server)) == {}

    def test_detach_goes_by_the_volume_not_by_the_device(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        staying, never_there = new_volume(), new_volume()
        device = backend.attach(server, staying, None)
        backend.detach(server, never_there, device)
        assert dict(backend.attached(server)) == {staying.id: device}

    def test_detach_from_another_server_leaves_this_one(
        self,
        backend: Backend,
        server: Server,
        other_server: Server,
        volume: Volume,
    ) -> None:
        device = backend.attach(server, volume, None)
        backend.detach(other_server, volume, device)
        assert dict(backend.attached(server)) == {volume.id: device}

    def test_detach_needs_no_device(self, backend: Backend, server: Server, volume: Volume) -> None:
        backend.attach(server, volume, None)
        backend.detach(server, volume, "")
        assert dict(backend.attached(server)) == {}

    def test_detach_works_for_a_volume_gone_from_the_catalog(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
    ) -> None:
        device = backend.attach(server, volume, None)
        backend.detach(server, replace(volume, source=None, format=None), device)
        assert dict(backend.attached(server)) == {}

    def test_detach_works_for_a_server_as_it_was_last_seen(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
    ) -> None:
        device = backend.attach(server, volume, None)
        backend.detach(replace(server, status="UNKNOWN"), volume, device)
        assert dict(backend.attached(server)) == {}

    def test_a_detached_volume_can_be_attached_again(self, backend: Backend, server: Server, volume: Volume) -> None:
        backend.detach(server, volume, backend.attach(server, volume, None))
        device = backend.attach(server, volume, None)
        assert dict(backend.attached(server)) == {volume.id: device}

    # A server that the backend does not know.

    def test_attach_to_an_unknown_server_says_so(
        self,
        backend: Backend,
        unknown_server: Server,
        volume: Volume,
    ) -> None:
        with pytest.raises(ServerNotFound):
            backend.attach(unknown_server, volume, None)

    def test_attach_to_an_unknown_server_does_not_make_it(
        self,
        backend: Backend,
        unknown_server: Server,
        volume: Volume,
    ) -> None:
        with pytest.raises(ServerNotFound):
            backend.attach(unknown_server, volume, None)
        with pytest.raises(ServerNotFound):
            backend.attached(unknown_server)

    def test_detach_from_an_unknown_server_says_so(
        self,
        backend: Backend,
        unknown_server: Server,
        volume: Volume,
    ) -> None:
        with pytest.raises(ServerNotFound):
            backend.detach(unknown_server, volume, "")

    def test_attached_of_an_unknown_server_says_so(self, backend: Backend, unknown_server: Server) -> None:
        with pytest.raises(ServerNotFound):
            backend.attached(unknown_server)

    # A volume, a hypervisor or a server that is not as it should be.

    def test_a_volume_that_can_not_be_used_is_refused_and_nothing_happens(
        self,
        backend: Backend,
        server: Server,
        unusable_volume: Volume | None,
    ) -> None:
        if unusable_volume is None:
            pytest.skip("unusable_volume is None: every volume can be attached")
        for _ in range(2):
            with pytest.raises(AttachRefused) as refused:
                backend.attach(server, unusable_volume, None)
            assert dict(backend.attached(server)) == {}
        # Whoever asked gets to read the reason.
        assert not unusable_volume.source or unusable_volume.source not in str(refused.value)

    def test_an_unreachable_backend_does_not_pass_its_check(self, unreachable_backend: Backend | None) -> None:
        with pytest.raises(BackendUnavailable):
            _or_skip(unreachable_backend).check()

    def test_an_unreachable_backend_does_not_take_a_server_for_gone(
        self,
        unreachable_backend: Backend | None,
        server: Server,
        volume: Volume,
    ) -> None:
        backend = _or_skip(unreachable_backend)
        with pytest.raises(BackendUnavailable):
            backend.attach(server, volume, None)
        with pytest.raises(BackendUnavailable):
            backend.detach(server, volume, "")
        with pytest.raises(BackendUnavailable):
            backend.attached(server)

    def test_a_server_that_does_not_let_go_leaves_the_outcome_open_in_time(
        self,
        options: Mapping[str, str],
        stubborn_server: Server | None,
        volume: Volume,
    ) -> None:
        if stubborn_server is None:
            pytest.skip("stubborn_server is None: every server lets go")
        backend = self.backend_class({**options, "operation_timeout": str(OPERATION_TIMEOUT)})
        device = backend.attach(stubborn_server, volume, None)
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            backend.detach(stubborn_server, volume, device)
        assert time.monotonic() - began < OPERATION_TIMEOUT
        assert dict(backend.attached(stubborn_server)) == {volume.id: device}

    # A device that was asked for.

    def test_a_device_asked_for_is_the_one_that_the_disk_gets(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
    ) -> None:
        wanted = self._needs_device()
        assert backend.attach(server, volume, wanted) == self._as_reported(wanted)
        assert dict(backend.attached(server)) == {volume.id: self._as_reported(wanted)}

    def test_a_device_in_use_is_refused_and_nothing_happens(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        wanted = self._needs_device()
        first, second = new_volume(), new_volume()
        device = backend.attach(server, first, wanted)
        with pytest.raises(DeviceInUse):
            backend.attach(server, second, wanted)
        assert dict(backend.attached(server)) == {first.id: device}

    def test_a_device_that_the_backend_chose_is_in_use_too(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        self._needs_device()
        if not self.reports_devices:
            pytest.skip("reports_devices is False: there is no telling which the backend chose")
        first, second = new_volume(), new_volume()
        device = backend.attach(server, first, None)
        with pytest.raises(DeviceInUse):
            backend.attach(server, second, device)
        assert dict(backend.attached(server)) == {first.id: device}

    def test_the_device_of_a_detached_volume_can_be_asked_for(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        wanted = self._needs_device()
        first, second = new_volume(), new_volume()
        backend.detach(server, first, backend.attach(server, first, wanted))
        assert backend.attach(server, second, wanted) == self._as_reported(wanted)

    def test_a_device_that_can_not_be_asked_for_is_refused(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
    ) -> None:
        if self.requestable_device is not None:
            pytest.skip("requestable_device is declared: a device can be asked for")
        with pytest.raises(AttachRefused):
            backend.attach(server, volume, "/dev/vdf")
        assert dict(backend.attached(server)) == {}

    # How many a server takes.

    def test_one_volume_more_than_the_limit_is_refused_and_nothing_happens(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        full = {volume.id: backend.attach(server, volume, None) for volume in self._as_many_as_fit(new_volume)}
        with pytest.raises(TooManyAttachments) as refused:
            backend.attach(server, new_volume(), None)
        assert refused.value.limit == self.limit
        assert dict(backend.attached(server)) == full

    def test_a_full_server_still_answers_a_repeated_attach(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        volumes = self._as_many_as_fit(new_volume)
        devices = [backend.attach(server, volume, None) for volume in volumes]
        assert [backend.attach(server, volume, None) for volume in volumes] == devices

    def test_a_full_server_has_room_again_after_a_detach(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        volumes = self._as_many_as_fit(new_volume)
        devices = [backend.attach(server, volume, None) for volume in volumes]
        backend.detach(server, volumes[0], devices[0])
        late = new_volume()
        backend.attach(server, late, None)
        assert set(backend.attached(server)) == {volume.id for volume in [*volumes[1:], late]}

    # Multiattach.

    def test_a_multiattach_volume_may_be_on_two_servers_at_once(
        self,
        backend: Backend,
        server: Server,
        other_server: Server,
        volume: Volume,
    ) -> None:
        if not self.multiattach:
            pytest.skip("multiattach is False: see test_a_multiattach_volume_is_refused_where_it_is_not_supported")
        shared = replace(volume, multiattach=True)
        here = backend.attach(server, shared, None)
        there = backend.attach(other_server, shared, None)
        assert dict(backend.attached(server)) == {shared.id: here}
        backend.detach(server, shared, here)
        assert dict(backend.attached(server)) == {}
        assert dict(backend.attached(other_server)) == {shared.id: there}

    def test_a_multiattach_volume_is_refused_where_it_is_not_supported(
        self,
        backend: Backend,
        server: Server,
        other_server: Server,
        volume: Volume,
    ) -> None:
        if self.multiattach:
            pytest.skip("multiattach is True")
        shared = replace(volume, multiattach=True)

        def attach_twice() -> None:
            backend.attach(server, shared, None)  # refused here already, or only there
            backend.attach(other_server, shared, None)

        with pytest.raises(AttachRefused):
            attach_twice()
        assert dict(backend.attached(other_server)) == {}

    # Many at once.

    def test_threads_that_attach_different_volumes_get_different_devices(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        self._assert_different_volumes_fit([backend], server, new_volume)

    def test_backend_objects_that_attach_different_volumes_get_different_devices(
        self,
        new_backend: Callable[[], Backend],
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        self._assert_different_volumes_fit([new_backend(), new_backend()], server, new_volume)

    def test_threads_that_attach_the_same_volume_make_one_disk(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
    ) -> None:
        self._assert_one_disk([backend], server, volume)

    def test_backend_objects_that_attach_the_same_volume_make_one_disk(
        self,
        new_backend: Callable[[], Backend],
        server: Server,
        volume: Volume,
    ) -> None:
        self._assert_one_disk([new_backend(), new_backend()], server, volume)

    def test_threads_that_detach_the_same_volume_all_succeed(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
    ) -> None:
        device = backend.attach(server, volume, None)
        _together([lambda: backend.detach(server, volume, device)] * 8)
        assert dict(backend.attached(server)) == {}

    def test_threads_that_detach_different_volumes_detach_them_all(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        volumes = [new_volume() for _ in range(self._crowd)]
        _together([_call(backend.detach, server, each, backend.attach(server, each, None)) for each in volumes])
        assert dict(backend.attached(server)) == {}

    def test_volumes_that_come_while_others_go_are_there(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        half = self._crowd // 2
        going, coming = [new_volume() for _ in range(half)], [new_volume() for _ in range(half)]
        detaching = [_call(backend.detach, server, each, backend.attach(server, each, None)) for each in going]
        attaching = [_call(backend.attach, server, each, None) for each in coming]
        devices = [str(answer) for answer in _together([*attaching, *detaching])[:half]]
        self._assert_distinct(devices)
        assert dict(backend.attached(server)) == dict(zip([each.id for each in coming], devices, strict=True))

    def test_threads_that_want_the_same_device_do_not_share_it(
        self,
        backend: Backend,
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        wanted = self._needs_device()
        volumes = [new_volume() for _ in range(self._crowd)]

        def attach(volume: Volume) -> Volume | None:
            try:
                backend.attach(server, volume, wanted)
            except DeviceInUse:
                return None
            return volume

        winners = [each for each in _together([_call(attach, volume) for volume in volumes]) if each]
        assert len(winners) == 1
        assert dict(backend.attached(server)) == {winners[0].id: self._as_reported(wanted)}

    # What is attached outlives the object that attached it.

    def test_a_new_backend_object_sees_what_a_former_one_attached(
        self,
        new_backend: Callable[[], Backend],
        server: Server,
        volume: Volume,
    ) -> None:
        device = new_backend().attach(server, volume, None)
        assert dict(new_backend().attached(server)) == {volume.id: device}

    def test_a_new_backend_object_repeats_and_undoes_what_a_former_one_attached(
        self,
        new_backend: Callable[[], Backend],
        server: Server,
        volume: Volume,
    ) -> None:
        former, later = new_backend(), new_backend()
        device = former.attach(server, volume, None)
        assert later.attach(server, volume, None) == device
        later.detach(server, volume, device)
        assert dict(former.attached(server)) == {}

    # Only BackendErrors, whatever comes.

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_hostile_server_id_raises_backend_errors_only(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
        name: str,
    ) -> None:
        hostile = replace(server, id=name, instance_name=None)
        with pytest.raises(BackendError):
            backend.attach(hostile, volume, None)
        with pytest.raises(BackendError):
            backend.detach(hostile, volume, "")
        with pytest.raises(BackendError):
            backend.attached(hostile)

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_hostile_volume_id_is_attached_truly_or_refused(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
        name: str,
    ) -> None:
        self._assert_truly_or_not_at_all(backend, server, replace(volume, id=name), None)

    @pytest.mark.parametrize("device", HOSTILE_DEVICES, ids=ascii)
    def test_a_hostile_device_is_attached_truly_or_refused(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
        device: str,
    ) -> None:
        self._assert_truly_or_not_at_all(backend, server, volume, device)

    # Said once for several tests.

    def _as_many_as_fit(self, new_volume: Callable[[], Volume]) -> list[Volume]:
        return [new_volume() for _ in range(self._needs_limit())]

    def _assert_distinct(self, devices: Sequence[str]) -> None:
        if self.reports_devices:
            assert len(set(devices)) == len(devices)

    def _assert_different_volumes_fit(
        self,
        backends: Sequence[Backend],
        server: Server,
        new_volume: Callable[[], Volume],
    ) -> None:
        volumes = [new_volume() for _ in range(self._crowd)]
        calls = [
            _call(backends[number % len(backends)].attach, server, volume, None)
            for number, volume in enumerate(volumes)
        ]
        devices = _together(calls)
        self._assert_distinct(devices)
        expected = {volume.id: device for volume, device in zip(volumes, devices, strict=True)}
        assert dict(backends[0].attached(server)) == expected

    def _assert_one_disk(self, backends: Sequence[Backend], server: Server, volume: Volume) -> None:
        takers = [backends[number % len(backends)] for number in range(8)]
        devices = _together([_call(backend.attach, server, volume, None) for backend in takers])
        assert len(set(devices)) == 1
        assert dict(backends[0].attached(server)) == {volume.id: devices[0]}
        backends[0].detach(server, volume, devices[0])
        assert dict(backends[0].attached(server)) == {}

    def _assert_truly_or_not_at_all(
        self,
        backend: Backend,
        server: Server,
        volume: Volume,
        device: str | None,
    ) -> None:
        try:
            got = backend.attach(server, volume, device)
        except BackendError:
            assert dict(backend.attached(server)) == {}
            return
        assert dict(backend.attached(server)) == {volume.id: got}
        backend.detach(server, volume, got)


def _or_skip(backend: Backend | None) -> Backend:
    if backend is None:
        pytest.skip("unreachable_backend is None: there is nothing to be reached")
    return backend


def _call(function: Callable[..., T], *arguments: object) -> Callable[[], T]:
    return lambda: function(*arguments)


def _together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make the calls at once, each in a thread of its own, and return what they return, in their order."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        start.wait(PATIENCE)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def _in_a_child(call: Callable[[], object]) -> None:
    """Make the call in a forked child, and fail if it raises there or does not end."""
    with warnings.catch_warnings():
        # Python 3.12 and later warn of threads in the parent, which another test may have left.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = multiprocessing.get_context("fork").Process(target=call)
        child.start()
    child.join(PATIENCE)
    if child.is_alive():
        child.kill()
        child.join()
        pytest.fail("the forked child did not end: what was made before the fork holds it up")
    assert child.exitcode == 0, "the call raised an exception in the forked child, printed above"
