"""How many volumes a server can have."""

import pytest

from ...backends.base import AttachRefused, DeviceInUse, TooManyAttachments
from .checks import assert_has, must_raise
from .declarations import Declarations

MORE_THAN_ANY_LIMIT = 2
"""By what factor to exceed the declared limit before a server counts as one without a limit."""


class Places(Declarations):
    """The limit of a server, and what takes a place."""

    def test_one_volume_more_than_the_limit_is_refused_and_nothing_happens(self, backend, server, new_volume):
        full = {volume.id: backend.attach(server, volume, None) for volume in self._fill(new_volume)}
        with must_raise(TooManyAttachments, f"attach to a server that has {self.limit} volumes") as refused:
            backend.attach(server, new_volume(), None)
        limit = refused.error.limit
        assert limit == self.limit, f"limit is declared as {self.limit}, and the exception's limit is {limit}"
        assert_has(backend, server, full, "after a refused attach")

    def test_a_repeated_attach_succeeds_on_a_full_server(self, backend, server, new_volume):
        volumes = self._fill(new_volume)
        devices = {volume.id: backend.attach(server, volume, None) for volume in volumes}
        again = {volume.id: backend.attach(server, volume, None) for volume in volumes}
        assert again == devices, "a repeated attach to a full server returned another device than the first one"

    def test_a_full_server_takes_a_volume_after_a_detach(self, backend, server, new_volume):
        volumes = self._fill(new_volume)
        devices = {volume.id: backend.attach(server, volume, None) for volume in volumes}
        backend.detach(server, volumes[0], devices.pop(volumes[0].id))
        late = new_volume()
        devices[late.id] = backend.attach(server, late, None)
        assert_has(backend, server, devices, "after it was full and a volume was detached")

    def test_each_server_has_a_limit_of_its_own(self, backend, server, other_server, new_volume):
        for volume in self._fill(new_volume):
            backend.attach(server, volume, None)
        self._assert_limit_is_what_it_has(backend, other_server, new_volume)

    def test_the_limit_does_not_count_disks_that_are_no_volumes(self, backend, server, new_volume, attach_other_disk):
        attach_other_disk(server)
        self._assert_limit_is_what_it_has(backend, server, new_volume)

    def test_a_volume_that_can_not_be_used_takes_no_place(self, backend, server, new_volume, unusable_volume):
        places = self._places()
        for _ in range(places + 1):
            with must_raise(AttachRefused, "attach of a volume that can't be used"):
                backend.attach(server, unusable_volume, None)
        self._assert_places_are_free(backend, server, [new_volume() for _ in range(places)])

    def test_a_volume_that_can_not_be_used_takes_no_device(self, backend, server, volume, unusable_volume):
        requested = self.device_or_skip()
        with must_raise(AttachRefused, "attach of a volume that can't be used"):
            backend.attach(server, unusable_volume, requested)
        device = backend.attach(server, volume, requested)
        assert_has(backend, server, {volume.id: device}, f"after another one was refused at {requested}")

    def test_a_refused_device_takes_no_place(self, backend, server, new_volume):
        requested = self.device_or_skip()
        places, holder = self._places(), new_volume()
        expected = {holder.id: backend.attach(server, holder, requested)}
        for _ in range(places + 1):
            with must_raise(DeviceInUse, "attach at the device of another volume"):
                backend.attach(server, new_volume(), requested)
        self._assert_places_are_free(backend, server, [new_volume() for _ in range(places - 1)], expected)

    def _places(self):
        return self.limit or self.many

    def _fill(self, new_volume):
        return [new_volume() for _ in range(self.limit_or_skip())]

    def _assert_places_are_free(self, backend, server, volumes, present=()):
        devices = dict(present)
        for volume in volumes:
            try:
                devices[volume.id] = backend.attach(server, volume, None)
            except TooManyAttachments:
                pytest.fail(f"the server took {len(devices)} volumes only: refused attaches keep their places")
        assert_has(backend, server, devices, "after refused attaches")

    def _assert_limit_is_what_it_has(self, backend, server, new_volume):
        limit = self.limit_or_skip()
        devices: dict[str, str | None] = {}
        refused = None
        while refused is None and len(devices) <= limit * MORE_THAN_ANY_LIMIT:
            volume = new_volume()
            try:
                devices[volume.id] = backend.attach(server, volume, None)
            except TooManyAttachments as error:
                refused = error
        assert refused, f"limit is declared as {limit}, and the server took {len(devices)} volumes"
        assert refused.limit == len(devices), (
            f"the server has {len(devices)} volumes and takes no more, and the exception's limit is {refused.limit}"
        )
        assert devices, "the server took no volume: volumes of other servers take its places"
        assert_has(backend, server, devices, "after a refused attach")
