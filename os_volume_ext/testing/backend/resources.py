"""What calls leave behind: no descriptor and no thread."""

from functools import partial

from ...backends.base import AttachRefused, BackendUnavailable, OutcomeUnknown, ServerNotFound
from ..expectations import must_raise, must_succeed
from ..leftovers import assert_leaves_nothing
from ..running import run_at_once
from .checks import must_attach, must_detach
from .declarations import Declarations

SLOW_ROUNDS = 3
"""How many rounds of calls that last for their whole time limit."""


class Resources(Declarations):
    """Calls that succeed, and calls that raise; see ``Refusals`` for refused attaches."""

    def test_calls_leave_no_descriptor_and_no_thread_behind(self, backend, server, volume):
        def call():
            must_detach(backend, server, volume, must_attach(backend, server, volume))
            with must_succeed("check"):
                backend.check()

        assert_leaves_nothing(call, "attach, attached, detach and check")

    def test_calls_for_an_unknown_server_leave_nothing_behind(self, backend, unknown_server, volume):
        def call():
            for each in _calls(backend, unknown_server, volume):
                with must_raise(ServerNotFound, "a call for a server that the backend does not have"):
                    each()

        assert_leaves_nothing(call, "calls for a server that the backend does not have")

    def test_calls_for_a_server_that_does_not_run_leave_nothing_behind(self, backend, stopped_server, volume):
        def call():
            for each in _calls(backend, stopped_server, volume):
                with must_succeed("a call for a server that does not run", AttachRefused):
                    each()

        assert_leaves_nothing(call, "calls for a server that does not run")

    def test_calls_of_an_unreachable_backend_leave_nothing_behind(self, unreachable_backend, server, volume):
        def call():
            for each in (*_calls(unreachable_backend, server, volume), unreachable_backend.check):
                with must_raise(BackendUnavailable, "a call while the backend can't be reached"):
                    each()

        calls = [call] * 4  # at once, because each may last for its whole time limit
        assert_leaves_nothing(lambda: run_at_once(calls), "calls while the backend can't be reached", SLOW_ROUNDS)

    def test_detaches_that_time_out_leave_nothing_behind(self, hasty_backend, stubborn_server, volume):
        device = must_attach(hasty_backend, stubborn_server, volume)

        def detach():
            with must_raise((OutcomeUnknown, BackendUnavailable), "detach of a disk that is not released"):
                hasty_backend.detach(stubborn_server, volume, device)

        assert_leaves_nothing(lambda: run_at_once([detach] * 4), "detaches of a disk that is not released", SLOW_ROUNDS)


def _calls(backend, server, volume):
    return [
        partial(backend.attach, server, volume, None),
        partial(backend.attached, server),
        partial(backend.detach, server, volume, None),
    ]
