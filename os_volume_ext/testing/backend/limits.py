"""Time limits: each call ends in time, and nothing of it takes effect later."""

import time
from contextlib import contextmanager
from functools import partial

from ...backends.base import BackendUnavailable, OutcomeUnknown
from ..expectations import must_raise, must_succeed
from ..running import TIMEOUT, Call, repeated_in_child, run_within, stopped
from .checks import assert_has, must_attach, must_detach, must_show
from .declarations import Declarations

LATER = 2
"""The seconds after a time limit in which an effect of the call is noticed; one that comes later still is not."""

ATTEMPTS = 8
"""How often to stop a process, so that it is stopped in the middle of a call."""

HEAD_START = 0.2
"""The seconds after which a call that waits for a guest is in progress."""

STOPPED = "while a process is stopped in the middle of a call for the same server"

STUBBORN = "detach from a server that does not release the disk"


class TimeLimits(Declarations):
    """What a guest that does not respond, or a process that stops, can hold up."""

    def test_a_healthy_backend_passes_its_check_in_time(self, hasty_backend):
        with must_succeed("check of a backend that works"):
            run_within(self.short_timeout, "check", hasty_backend.check)

    def test_a_disk_that_is_not_released_is_an_unknown_outcome_in_time(self, hasty_backend, stubborn_server, volume):
        device = must_attach(hasty_backend, stubborn_server, volume)
        with must_raise(OutcomeUnknown, STUBBORN):
            run_within(self.short_timeout, STUBBORN, partial(hasty_backend.detach, stubborn_server, volume, device))
        assert_has(hasty_backend, stubborn_server, {volume.id: device}, "which it does not release")

    def test_several_calls_for_a_server_that_does_not_respond_end_in_time(self, hasty_backend, stubborn_server, volume):
        device = must_attach(hasty_backend, stubborn_server, volume)
        calls = [Call(partial(hasty_backend.detach, stubborn_server, volume, device)) for _ in range(4)]
        for call in calls:
            with must_raise((OutcomeUnknown, BackendUnavailable), STUBBORN):
                call.result(self.short_timeout, f"one of {len(calls)} calls that came at once: {STUBBORN}")

    def test_a_disk_that_was_not_released_in_time_stays(self, hasty_backend, stubborn_server, volume):
        device = must_attach(hasty_backend, stubborn_server, volume)
        end = time.monotonic() + self.short_timeout + LATER
        with must_raise(OutcomeUnknown, STUBBORN):
            hasty_backend.detach(stubborn_server, volume, device)
        while time.monotonic() < end:
            assert_has(hasty_backend, stubborn_server, {volume.id: device}, "some time after detach gave up")
            time.sleep(0.2)

    def test_a_disk_that_was_not_released_counts_as_attached(self, hasty_backend, stubborn_server, volume):
        device = must_attach(hasty_backend, stubborn_server, volume)
        with must_raise(OutcomeUnknown, STUBBORN):
            hasty_backend.detach(stubborn_server, volume, device)
        again = must_attach(hasty_backend, stubborn_server, volume)
        assert again == device, f"the disk is still there at {device!r}, and attach returned {again!r}"
        assert_has(hasty_backend, stubborn_server, {volume.id: device}, "after a detach timed out and an attach")

    def test_a_server_that_does_not_respond_holds_up_no_other(self, hasty_backend, stubborn_server, server, new_volume):
        held, free = new_volume(), new_volume()
        device = must_attach(hasty_backend, stubborn_server, held)
        hanging = Call(partial(hasty_backend.detach, stubborn_server, held, device))
        time.sleep(HEAD_START)
        attach = Call(partial(must_attach, hasty_backend, server, free))
        attach.result(TIMEOUT, "attach to another server")
        with must_raise(OutcomeUnknown, STUBBORN):
            hanging.result(TIMEOUT, STUBBORN)
        assert attach.ended < hanging.ended or hanging.ended - hanging.started < 2 * HEAD_START, (
            "attach to a server ended only after the detach from another one, which does not respond, timed out"
        )

    def test_a_process_that_stops_in_a_call_does_not_hold_up_others(self, hasty_backend, server, new_volume):
        volume, late = new_volume(), new_volume()
        with _attaching_and_detaching(hasty_backend, server, volume) as child:
            for attempt in range(ATTEMPTS):
                time.sleep(0.02 + attempt / 1000)
                with stopped(child):
                    if self._attach_in_time(hasty_backend, server, late):
                        self._others_end_in_time(hasty_backend, server, late)
                        return
                must_detach(hasty_backend, server, late)

    def test_an_attach_that_gave_up_has_no_effect_later(self, hasty_backend, server, new_volume):
        volume, late = new_volume(), new_volume()
        with _attaching_and_detaching(hasty_backend, server, volume) as child:
            for attempt in range(ATTEMPTS):
                time.sleep(0.02 + attempt / 1000)
                with stopped(child):
                    error = self._attach_in_time(hasty_backend, server, late)
                if error:
                    break
                must_detach(hasty_backend, server, late)
        if not error:
            return  # whatever a process is doing when it stops, it holds up no other
        may_have_it = isinstance(error, OutcomeUnknown) and late.id in must_show(hasty_backend, server)
        start = time.monotonic()
        while not may_have_it and (seconds := time.monotonic() - start) < self.short_timeout + LATER:
            assert late.id not in must_show(hasty_backend, server), (
                f"attach raised {error!r}, and the server has the volume {seconds:.1f} seconds after the process that "
                "held it up had gone: nothing of a call may take effect after it has ended"
            )
            time.sleep(0.2)

    def _attach_in_time(self, backend, server, volume):
        """Return the exception that says that the call has ended without success, or None."""
        what = f"attach {STOPPED}"
        with must_succeed(what, BackendUnavailable, OutcomeUnknown) as ended:
            run_within(self.short_timeout, what, partial(backend.attach, server, volume, None))
        return ended.error

    def _others_end_in_time(self, backend, server, volume):
        for name, call in (("attached", backend.attached), ("detach", lambda of: backend.detach(of, volume, None))):
            what = f"{name} {STOPPED}"
            with must_succeed(what, BackendUnavailable, OutcomeUnknown):
                run_within(self.short_timeout, what, partial(call, server))


@contextmanager
def _attaching_and_detaching(backend, server, volume):
    """Attach and detach a volume without end in another process, which is killed in the end."""

    def attach_and_detach():
        backend.attach(server, volume, None)
        backend.detach(server, volume, None)

    with repeated_in_child(attach_and_detach) as child:
        yield child
