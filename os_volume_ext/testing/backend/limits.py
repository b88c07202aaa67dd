"""Time limits: each call ends in time, and nothing of it takes effect later."""

import time
from contextlib import suppress
from functools import partial

from ...backends.base import BackendError, BackendUnavailable, OutcomeUnknown
from ..running import TIMEOUT, Call, repeated_in_child, run_within, stopped
from .checks import assert_has, must_raise
from .declarations import Declarations

LATER = 2
"""The seconds after a time limit in which an effect of the call is noticed."""

ATTEMPTS = 8
"""How often to stop a process, so that it is stopped in the middle of a call."""

HEAD_START = 0.2
"""The seconds after which a call that waits for a guest is in progress."""

STOPPED = "while a process is stopped in the middle of a call for the same server"

STUBBORN = "detach from a server that does not release the disk"


class TimeLimits(Declarations):
    """What a guest that does not respond, or a process that stops, can hold up."""

    def test_a_healthy_backend_passes_its_check_in_time(self, hasty_backend):
        run_within(self.short_timeout, "check", hasty_backend.check)

    def test_a_disk_that_is_not_released_is_an_unknown_outcome_in_time(self, hasty_backend, stubborn_server, volume):
        device = hasty_backend.attach(stubborn_server, volume, None)
        with must_raise(OutcomeUnknown, STUBBORN):
            run_within(self.short_timeout, STUBBORN, partial(hasty_backend.detach, stubborn_server, volume, device))
        assert_has(hasty_backend, stubborn_server, {volume.id: device}, "which it does not release")

    def test_several_calls_for_a_server_that_does_not_respond_end_in_time(self, hasty_backend, stubborn_server, volume):
        device = hasty_backend.attach(stubborn_server, volume, None)
        calls = [Call(partial(hasty_backend.detach, stubborn_server, volume, device)) for _ in range(4)]
        for call in calls:
            with must_raise((OutcomeUnknown, BackendUnavailable), STUBBORN):
                call.result(self.short_timeout, f"one of {len(calls)} calls that came at once: {STUBBORN}")

    def test_a_disk_that_was_not_released_in_time_stays(self, hasty_backend, stubborn_server, volume):
        device = hasty_backend.attach(stubborn_server, volume, None)
        end = time.monotonic() + self.short_timeout + LATER
        with must_raise(OutcomeUnknown, STUBBORN):
            hasty_backend.detach(stubborn_server, volume, device)
        while time.monotonic() < end:
            assert_has(hasty_backend, stubborn_server, {volume.id: device}, "some time after detach gave up")
            time.sleep(0.2)

    def test_a_disk_that_was_not_released_counts_as_attached(self, hasty_backend, stubborn_server, volume):
        device = hasty_backend.attach(stubborn_server, volume, None)
        with must_raise(OutcomeUnknown, STUBBORN):
            hasty_backend.detach(stubborn_server, volume, device)
        again = hasty_backend.attach(stubborn_server, volume, None)
        assert again == device, f"the disk is still there at {device!r}, and attach returned {again!r}"
        assert_has(hasty_backend, stubborn_server, {volume.id: device}, "after a detach timed out and an attach")

    def test_a_server_that_does_not_respond_holds_up_no_other(self, hasty_backend, stubborn_server, server, new_volume):
        held, free = new_volume(), new_volume()
        device = hasty_backend.attach(stubborn_server, held, None)
        hanging = Call(partial(hasty_backend.detach, stubborn_server, held, device))
        time.sleep(HEAD_START)
        attach = Call(partial(hasty_backend.attach, server, free, None))
        attach.result(TIMEOUT, "attach to another server")
        with must_raise(OutcomeUnknown, STUBBORN):
            hanging.result(TIMEOUT, STUBBORN)
        assert attach.ended < hanging.ended or hanging.ended - hanging.started < 2 * HEAD_START, (
            "attach to a server ended only after the detach from another one, which does not respond, timed out"
        )

    def test_a_process_that_stops_in_a_call_does_not_hold_up_others(self, hasty_backend, server, new_volume):
        volume, late = new_volume(), new_volume()

        def attach_and_detach():
            hasty_backend.attach(server, volume, None)
            hasty_backend.detach(server, volume, None)

        with repeated_in_child(attach_and_detach) as child:
            for attempt in range(ATTEMPTS):
                time.sleep(0.02 + attempt / 1000)
                with stopped(child):
                    refused = self._attach_in_time(hasty_backend, server, late)
                    if refused:
                        self._others_end_in_time(hasty_backend, server, late)
                        break
                hasty_backend.detach(server, late, None)
        time.sleep(1)
        seen = hasty_backend.attached(server)
        assert not (refused and late.id in seen), f"attach raised {refused!r}, and the volume was attached later"

    def _attach_in_time(self, backend, server, volume):
        """Return the exception that says that nothing has changed, or None."""
        what = f"attach {STOPPED}"
        try:
            run_within(self.short_timeout, what, partial(backend.attach, server, volume, None))
        except BackendUnavailable as error:
            return error
        except OutcomeUnknown:
            return None
        except BackendError as error:
            raise AssertionError(f"{what} raised {error!r}: it must raise BackendUnavailable") from error
        return None

    def _others_end_in_time(self, backend, server, volume):
        calls = {"attached": partial(backend.attached, server), "detach": partial(backend.detach, server, volume, None)}
        for name, call in calls.items():
            with suppress(BackendUnavailable, OutcomeUnknown):
                run_within(self.short_timeout, f"{name} {STOPPED}", call)
