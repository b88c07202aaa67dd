"""What a plugin author declares and provides, and what the tests derive from it."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest

from ...backends.base import MAX_DEVICE_LENGTH, Backend, Server, Volume
from ..absent import Absent
from ..declarations import CheckedDeclarations
from ..expectations import must_succeed
from ..running import TIMEOUT


class Declarations(CheckedDeclarations):
    """The declarations of a backend's tests."""

    attributes = ("backend_class", "limit", "requestable_device", "reports_devices", "multiattach")
    fixtures = ("options", "server", "other_server", "unknown_server", "new_volume")
    absent_fixtures = (
        "wrong_options",
        "unusable_volume",
        "unreachable_backend",
        "stubborn_server",
        "stopped_server",
        "extend_volume",
        "encrypted_volume",
        "attach_by_hand",
        "attach_other_disk",
    )

    backend_class: type[Backend]
    """The backend under test."""

    limit: int | None
    """How many volumes ``server`` can have, at least 2; None if the backend does not have a limit."""

    requestable_device: str | None
    """A device that may be requested, and that the backend does not choose soon; None if it refuses all requests."""

    reports_devices: bool
    """Whether the backend knows the devices of disks. If it does not, ``attach`` and ``attached`` report None."""

    multiattach: bool
    """Whether a multiattach volume can be attached to two servers at once. If it can't, the backend refuses."""

    id_length: int = 36
    """The least length of the ids that the fixtures provide; less only if no real ids are as long as a UUID."""

    short_timeout: int = 2
    """The ``operation_timeout``, in seconds, of the tests of time limits; more for a backend whose calls take long."""

    # Fixtures that the plugin author overrides.

    @pytest.fixture
    def options(self) -> Mapping[str, str]:
        """Provide the ``backend.*`` options, without that prefix and without ``operation_timeout``."""
        raise NotImplementedError

    @pytest.fixture
    def server(self) -> Server:
        """Provide a server that exists, runs and, at the start of each test, has no volume."""
        raise NotImplementedError

    @pytest.fixture
    def other_server(self) -> Server:
        """Provide another such server."""
        raise NotImplementedError

    @pytest.fixture
    def unknown_server(self) -> Server:
        """Provide a server that the backend does not have."""
        raise NotImplementedError

    @pytest.fixture
    def new_volume(self) -> Callable[[], Volume]:
        """Provide a function that creates a volume at each call, which can be attached and is not attached.

        Do not return volumes of earlier tests: some kill a process in the middle of a call, and a storage service may
        carry out what it was asked for later.
        """
        raise NotImplementedError

    # Absent("reason") for one that does not exist. Provide a real failure, not a fake, if possible.

    @pytest.fixture
    def wrong_options(self) -> Sequence[tuple[str, str | None]] | Absent:
        """Provide names of options, each with a value that must be refused; None if it must not be left out."""
        raise NotImplementedError

    @pytest.fixture
    def unusable_volume(self) -> Volume | Absent:
        """Provide a volume that can't be attached, such as one whose source does not exist."""
        raise NotImplementedError

    @pytest.fixture
    def unreachable_backend(self) -> Backend | Absent:
        """Provide a backend that can't reach what it depends on, with an ``operation_timeout`` of ``short_timeout``."""
        raise NotImplementedError

    @pytest.fixture
    def stubborn_server(self) -> Server | Absent:
        """Provide a server to which a volume can be attached, and which never releases it."""
        raise NotImplementedError

    @pytest.fixture
    def stopped_server(self) -> Server | Absent:
        """Provide a server that exists, does not run, and has no volume."""
        raise NotImplementedError

    @pytest.fixture
    def extend_volume(self) -> Callable[[Volume], Volume] | Absent:
        """Provide a function that makes a volume larger, attached or not, and returns it with the size it has then."""
        raise NotImplementedError

    @pytest.fixture
    def encrypted_volume(self) -> Volume | Absent:
        """Provide a volume whose data is in LUKS format, and whose ``connection`` has its passphrase."""
        raise NotImplementedError

    @pytest.fixture
    def attach_by_hand(self) -> Callable[[Server, Volume], str | None] | Absent:
        """Provide a function that attaches a volume as an administrator would do it, and returns its device."""
        raise NotImplementedError

    @pytest.fixture
    def attach_other_disk(self) -> Callable[[Server], str | None] | Absent:
        """Provide a function that gives a server a disk that is no volume, such as a CD-ROM, and returns its device."""
        raise NotImplementedError

    def test_the_declarations_are_complete(self):
        super().test_the_declarations_are_complete()
        assert self.limit is None or self.limit >= 2, f"limit is {self.limit}: the tests need a server with two volumes"

    def test_the_ids_are_as_long_as_real_ones(self, server, other_server, unknown_server, volume):
        short = [each.id for each in (server, other_server, unknown_server, volume) if len(each.id) < self.id_length]
        assert not short, (
            f"the fixtures provide the ids {short}, which have fewer than {self.id_length} characters: "
            "provide ids as they are in use, such as UUIDs, or declare id_length"
        )

    # What the tests derive from it.

    def make_backend(self, options: Mapping[str, str], timeout: int = TIMEOUT) -> Backend:
        """Create a backend and do not prepare it.

        :param options: without ``operation_timeout``.
        :param timeout: the ``operation_timeout``.
        """
        return self.backend_class(MappingProxyType({**options, "operation_timeout": str(timeout)}))

    @pytest.fixture
    def new_backend(self, options: Mapping[str, str]) -> Callable[[], Backend]:
        """Return a function that creates and prepares a backend with these options, as each start does."""

        def make() -> Backend:
            with must_succeed("making and preparing a backend"):
                backend = self.make_backend(options)
                backend.prepare()
            return backend

        return make

    @pytest.fixture
    def backend(self, new_backend: Callable[[], Backend]) -> Backend:
        """Create the backend under test."""
        return new_backend()

    @pytest.fixture
    def hasty_backend(self, options: Mapping[str, str]) -> Backend:
        """Create a backend whose ``operation_timeout`` is ``short_timeout``."""
        with must_succeed(f"making and preparing a backend with the operation_timeout {self.short_timeout}"):
            backend = self.make_backend(options, self.short_timeout)
            backend.prepare()
        return backend

    @pytest.fixture
    def volume(self, new_volume: Callable[[], Volume]) -> Volume:
        """Create one volume."""
        return new_volume()

    @property
    def many(self) -> int:
        """How many volumes to attach to ``server`` where the number does not matter."""
        return 8 if self.limit is None else min(8, self.limit)

    def limit_or_skip(self) -> int:
        """Return the limit, or skip the test."""
        if self.limit is None:
            pytest.skip("limit is None: it can't be exceeded")
        return self.limit

    def device_or_skip(self) -> str:
        """Return the requestable device, or skip the test."""
        if self.requestable_device is None:
            pytest.skip("requestable_device is None: see test_a_requested_device_is_refused_where_it_is_not_supported")
        return self.requestable_device

    def skip_unless_it_refuses(self, backend: Backend) -> None:
        """Skip the test if the backend does not refuse a second server."""
        if not backend.refuses_second_server:
            pytest.skip("refuses_second_server is False: the filter's database keeps an exclusive volume to one server")

    def as_reported(self, device: str) -> str | None:
        """Return a device as the backend reports it."""
        return device if self.reports_devices else None

    # Assertions of several topics.

    def assert_as_declared(self, device: Any) -> None:
        """Check that a device is a path, or None, as ``reports_devices`` declares."""
        assert device != "", 'the device is "": a device that the backend does not know must be None'
        if not self.reports_devices:
            assert device is None, f"reports_devices is False, but the device is {device!r}: it must be None"
            return
        assert isinstance(device, str), f"reports_devices is True, but the device is {device!r}"
        assert device.startswith("/dev/"), f"the device is {device!r}: it must begin with /dev/"
        assert len(device) <= MAX_DEVICE_LENGTH, f"the device has {len(device)} characters: at most 255 are allowed"

    def assert_distinct(self, devices: Mapping[str, str | None], how: str = "") -> None:
        """Check that no two volumes have the same device.

        :param devices: by volume id.
        :param how: how they were attached, for the message.
        """
        by_device: dict[str | None, list[str]] = {}
        for volume_id, device in devices.items():
            by_device.setdefault(device, []).append(volume_id)
        shared = [
            f"the volumes {' and '.join(ids)} have the same device {device}"
            for device, ids in by_device.items()
            if len(ids) > 1
        ]
        assert not self.reports_devices or not shared, "; ".join(shared) + f" {how}".rstrip()
