"""How many volumes a server can have."""

from ...backends.base import TooManyAttachments
from ..expectations import must_raise
from .checks import assert_has, must_attach, must_detach, try_attach
from .declarations import Declarations

MORE_THAN_ANY_LIMIT = 2
"""By what factor to exceed the declared limit before a server counts as one without a limit."""


class Places(Declarations):
    """The limit of a server, and what takes a place."""

    def test_one_volume_more_than_the_limit_is_refused_and_nothing_happens(self, backend, server, new_volume):
        full = {volume.id: must_attach(backend, server, volume) for volume in self._fill(new_volume)}
        with must_raise(TooManyAttachments, f"attach to a server that has {self.limit} volumes") as refused:
            backend.attach(server, new_volume(), None)
        limit = refused.error.limit
        assert limit == self.limit, f"limit is declared as {self.limit}, and the exception's limit is {limit}"
        assert_has(backend, server, full, "after a refused attach")

    def test_a_repeated_attach_succeeds_on_a_full_server(self, backend, server, new_volume):
        volumes = self._fill(new_volume)
        devices = {volume.id: must_attach(backend, server, volume) for volume in volumes}
        again = {volume.id: must_attach(backend, server, volume) for volume in volumes}
        assert again == devices, "a repeated attach to a full server returned another device than the first one"

    def test_a_full_server_takes_a_volume_after_a_detach(self, backend, server, new_volume):
        volumes = self._fill(new_volume)
        devices = {volume.id: must_attach(backend, server, volume) for volume in volumes}
        must_detach(backend, server, volumes[0], devices.pop(volumes[0].id))
        late = new_volume()
        devices[late.id] = must_attach(backend, server, late)
        assert_has(backend, server, devices, "after it was full and a volume was detached")

    def test_each_server_has_a_limit_of_its_own(self, backend, server, other_server, new_volume):
        for volume in self._fill(new_volume):
            must_attach(backend, server, volume)
        self._assert_limit_is_what_it_has(backend, other_server, new_volume)

    def test_the_limit_does_not_count_disks_that_are_no_volumes(self, backend, server, new_volume, attach_other_disk):
        attach_other_disk(server)
        self._assert_limit_is_what_it_has(backend, server, new_volume)

    def _fill(self, new_volume):
        return [new_volume() for _ in range(self.limit_or_skip())]

    def _assert_limit_is_what_it_has(self, backend, server, new_volume):
        limit = self.limit_or_skip()
        devices: dict[str, str | None] = {}
        refused = None
        while refused is None and len(devices) <= limit * MORE_THAN_ANY_LIMIT:
            volume = new_volume()
            device, refused = try_attach(backend, server, volume, allowed=(TooManyAttachments,))
            if not refused:
                devices[volume.id] = device
        assert refused, f"limit is declared as {limit}, and the server took {len(devices)} volumes"
        assert refused.limit == len(devices), (
            f"the server has {len(devices)} volumes and takes no more, and the exception's limit is {refused.limit}"
        )
        assert devices, "the server took no volume: volumes of other servers take its places"
        assert_has(backend, server, devices, "after a refused attach")
