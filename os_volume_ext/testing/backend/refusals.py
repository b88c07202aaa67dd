"""What a refused attach keeps: nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ...backends.base import (
    AttachRefused,
    Backend,
    BackendError,
    DeviceInUse,
    Server,
    TooManyAttachments,
    Volume,
)
from ..declarations import skip_if_absent
from ..expectations import must_raise
from ..leftovers import assert_leaves_nothing
from .checks import assert_has, must_attach, must_detach, try_attach
from .declarations import Declarations

REFUSALS = 30
"""How often to attach what is refused: more often than there are devices with one letter."""


@dataclass(frozen=True)
class Refusal:
    """Something that is refused."""

    what: str
    exceptions: tuple[type[BackendError], ...]
    attach: Callable[[str | None], object]
    """Attach at a requested device, which is ignored where another one is the reason to refuse."""
    attached: tuple[tuple[Server, Volume], ...] = ()
    """What was attached so that it is refused."""

    def run(self, device: str | None = None) -> None:
        """Attach, and check that it is refused."""
        with must_raise(self.exceptions, self.what):
            self.attach(device)

    def end(self, backend: Backend) -> None:
        """Detach what was attached so that it is refused."""
        for server, volume in self.attached:
            must_detach(backend, server, volume)


class Refusals(Declarations):
    """Each kind of refusal, and what it must not keep."""

    @pytest.fixture(params=["device_in_use", "malformed_device", "full_server", "second_server", "unusable_volume"])
    def make_refusal(self, request):
        return request.getfixturevalue(f"make_{request.param}")

    def test_a_refused_attach_takes_no_place(self, backend, server, new_volume, make_refusal):
        refusal = make_refusal()
        for _ in range(REFUSALS):
            refusal.run()
        refusal.end(backend)
        devices: dict[str, str | None] = {}
        for volume in [new_volume() for _ in range(self.limit or self.many)]:
            device, error = try_attach(backend, server, volume, allowed=(TooManyAttachments,))
            assert not error, (
                f"after {REFUSALS} refusals of an {refusal.what}, the server took {len(devices)} volumes only: "
                "the refused attaches keep their places"
            )
            devices[volume.id] = device
        assert_has(backend, server, devices, "after refused attaches")

    def test_a_refused_attach_takes_no_requested_device(self, backend, volume, server, make_refusal):
        requested = self.device_or_skip()
        refusal = make_refusal()
        refusal.run(requested)
        refusal.end(backend)
        self._assert_is_free(requested, backend, server, volume, f"the refused {refusal.what}, which requested it,")

    def test_a_refused_attach_takes_no_device_that_the_backend_chose(self, backend, server, volume, make_refusal):
        self.device_or_skip()
        if not self.reports_devices:
            pytest.skip("reports_devices is False: the chosen device is not known")
        chosen = must_attach(backend, server, volume)
        must_detach(backend, server, volume, chosen)
        refusal = make_refusal()
        refusal.run()
        refusal.end(backend)
        self._assert_is_free(chosen, backend, server, volume, f"the refused {refusal.what}, for which it was chosen,")

    def test_a_refused_attach_leaves_no_descriptor_and_no_thread_behind(self, make_refusal):
        refusal = make_refusal()
        assert_leaves_nothing(refusal.run, f"an {refusal.what}, which was refused,")

    def _assert_is_free(self, device, backend, server, volume, culprit):
        attached_at, error = try_attach(backend, server, volume, device, allowed=(DeviceInUse, TooManyAttachments))
        assert not error, f"{culprit} keeps the device {device}: the next attach there raised {error!r}"
        assert_has(backend, server, {volume.id: attached_at}, "after a refused attach and a successful one")

    # The kinds: each is a function that prepares a refusal. They have no docstrings, so that they are not in the docs.

    @pytest.fixture
    def make_device_in_use(self, backend, server, new_volume):
        requested, holder = self.device_or_skip(), new_volume()

        def make():
            must_attach(backend, server, holder, requested)
            return Refusal(
                "attach at the device of another volume",
                (DeviceInUse,),
                lambda _: backend.attach(server, new_volume(), requested),
                ((server, holder),),
            )

        return make

    @pytest.fixture
    def make_malformed_device(self, backend, server, new_volume):
        what = "attach at a malformed device"
        return lambda: Refusal(what, (AttachRefused,), lambda _: backend.attach(server, new_volume(), "vdb"))

    @pytest.fixture
    def make_full_server(self, backend, server, new_volume):
        volumes = [new_volume() for _ in range(self.limit_or_skip())]

        def make():
            for volume in volumes:
                must_attach(backend, server, volume)
            return Refusal(
                f"attach to a server that has {len(volumes)} volumes",
                (TooManyAttachments, DeviceInUse),  # one of the volumes may have the requested device
                lambda device: backend.attach(server, new_volume(), device),
                tuple((server, volume) for volume in volumes),
            )

        return make

    @pytest.fixture
    def make_second_server(self, backend, server, other_server, new_volume):
        self.skip_unless_it_refuses(backend)
        exclusive = new_volume()

        def make():
            must_attach(backend, other_server, exclusive)
            return Refusal(
                "attach of an exclusive volume to a second server",
                (AttachRefused,),
                lambda device: backend.attach(server, exclusive, device),
                ((other_server, exclusive),),
            )

        return make

    @pytest.fixture
    def make_unusable_volume(self, request, backend, server):
        volume = request.getfixturevalue("unusable_volume")
        skip_if_absent("unusable_volume", volume)
        what = "attach of a volume that can't be used"
        return lambda: Refusal(what, (AttachRefused,), lambda device: backend.attach(server, volume, device))
