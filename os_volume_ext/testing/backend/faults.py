"""Volumes that can't be used, and a backend that can't be reached."""

from functools import partial

from ...backends.base import AttachRefused, BackendUnavailable
from ..expectations import must_raise
from ..running import run_within
from .checks import assert_has
from .declarations import Declarations


class Faults(Declarations):
    """Failures, and what they must not change."""

    def test_a_volume_that_can_not_be_used_is_refused_and_nothing_happens(self, backend, server, unusable_volume):
        for _ in range(2):
            with must_raise(AttachRefused, "attach of a volume that can't be used"):
                backend.attach(server, unusable_volume, None)
            assert_has(backend, server, {}, "after a refused attach")

    def test_the_reason_of_a_refusal_does_not_show_the_source(self, backend, server, unusable_volume):
        with must_raise(AttachRefused, "attach of a volume that can't be used") as refused:
            backend.attach(server, unusable_volume, None)
        shown = unusable_volume.source and unusable_volume.source in str(refused.error)
        assert not shown, f"clients read the message, which must not show where the data is: {refused.error}"

    def test_an_unreachable_backend_does_not_pass_its_check(self, unreachable_backend):
        with must_raise(BackendUnavailable, "check of a backend that can't be reached"):
            unreachable_backend.check()

    def test_an_unreachable_backend_does_not_raise_server_not_found(self, unreachable_backend, server, volume):
        with must_raise(BackendUnavailable, "attach while the backend can't be reached"):
            unreachable_backend.attach(server, volume, None)
        with must_raise(BackendUnavailable, "detach while the backend can't be reached"):
            unreachable_backend.detach(server, volume, None)
        with must_raise(BackendUnavailable, "attached while the backend can't be reached"):
            unreachable_backend.attached(server)

    def test_an_unreachable_backend_is_reported_in_time(self, unreachable_backend, server, volume):
        calls = {
            "attach": partial(unreachable_backend.attach, server, volume, None),
            "detach": partial(unreachable_backend.detach, server, volume, None),
            "attached": partial(unreachable_backend.attached, server),
            "check": unreachable_backend.check,
        }
        for name, call in calls.items():
            what = f"{name} while the backend can't be reached"
            with must_raise(BackendUnavailable, what):
                run_within(self.short_timeout, what, call)
