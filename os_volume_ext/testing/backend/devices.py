"""Requested devices."""

import pytest

from ...backends.base import AttachRefused, DeviceInUse
from ..expectations import must_raise
from .checks import assert_has, must_attach, must_detach
from .declarations import Declarations

MALFORMED_DEVICES = ("", "vdb", "/dev/", "/dev/../vdb", "/dev/vdb/x", "/dev/vdb\n", "/dev/vdb\0", "/dev/" + "v" * 300)


class Devices(Declarations):
    """Where a backend supports requested devices, and where it does not."""

    def test_a_requested_device_is_used(self, backend, server, volume):
        requested = self.device_or_skip()
        device = must_attach(backend, server, volume, requested)
        expected = self.as_reported(requested)
        assert device == expected, f"the device {requested!r} was requested, and attach returned {device!r}"
        assert_has(backend, server, {volume.id: expected}, f"after an attach at {requested}")

    def test_a_device_in_use_is_refused_and_nothing_happens(self, backend, server, new_volume):
        requested = self.device_or_skip()
        first, second = new_volume(), new_volume()
        device = must_attach(backend, server, first, requested)
        with must_raise(DeviceInUse, "attach at the device of another volume"):
            backend.attach(server, second, requested)
        assert_has(backend, server, {first.id: device}, "after a refused attach")

    def test_a_device_that_the_backend_chose_is_in_use_too(self, backend, server, new_volume):
        self.device_or_skip()
        if not self.reports_devices:
            pytest.skip("reports_devices is False: the chosen device is not known")
        first, second = new_volume(), new_volume()
        device = must_attach(backend, server, first)
        with must_raise(DeviceInUse, "attach at the device of another volume, which the backend chose,"):
            backend.attach(server, second, device)
        assert_has(backend, server, {first.id: device}, "after a refused attach")

    def test_the_device_of_a_detached_volume_can_be_requested(self, backend, server, new_volume):
        requested = self.device_or_skip()
        first, second = new_volume(), new_volume()
        must_detach(backend, server, first, must_attach(backend, server, first, requested))
        device = must_attach(backend, server, second, requested)
        assert device == self.as_reported(requested), f"{requested!r} is free again, and attach returned {device!r}"

    def test_a_requested_device_is_refused_where_it_is_not_supported(self, backend, server, volume):
        if self.requestable_device is not None:
            pytest.skip("requestable_device is declared: a device can be requested")
        with must_raise(AttachRefused, "attach at a requested device, which is not supported,"):
            backend.attach(server, volume, "/dev/vdf")
        assert_has(backend, server, {}, "after a refused attach")

    @pytest.mark.parametrize("device", MALFORMED_DEVICES, ids=ascii)
    def test_a_malformed_device_is_refused_and_nothing_happens(self, backend, server, volume, device):
        with must_raise(AttachRefused, f"attach at the malformed device {device!r}"):
            backend.attach(server, volume, device)
        assert_has(backend, server, {}, "after a refused attach")
