"""Faults of time limits, and of what takes effect after them."""

import fcntl
import threading
import time
from contextlib import contextmanager

from os_volume_ext.backends.base import BackendUnavailable, DeviceInUse, OutcomeUnknown, ServerNotFound

from .reference import HOLDS, STUBBORN_SERVER, Reference, caught_by


@caught_by("test_a_healthy_backend_passes_its_check_in_time")
class TakesLongForItsCheck(Reference):
    def check(self):
        time.sleep(1.5 * self.timeout if self.timeout < 5 else 0)
        super().check()


@caught_by("test_an_unreachable_backend_is_reported_in_time")
class TakesLongToFindOutThatItIsUnreachable(Reference):
    def check(self):
        if not self.root.is_dir():
            time.sleep(1.5 * self.timeout)
        super().check()


@caught_by("test_an_unreachable_backend_does_not_pass_its_check")
class AlwaysPassesItsCheck(Reference):
    def check(self):
        pass

    def find(self, server):
        super().check()
        return super().find(server)


@caught_by("test_an_unreachable_backend_does_not_raise_server_not_found")
class TakesAllServersForMissingWhenUnreachable(Reference):
    def directory(self, server):
        try:
            return super().directory(server)
        except BackendUnavailable as error:
            raise ServerNotFound("there is no such server") from error


@caught_by(
    "test_a_disk_that_is_not_released_is_an_unknown_outcome_in_time",
    "test_a_disk_that_was_not_released_in_time_stays",
)
class TakesAnAcceptedDetachForADoneOne(Reference):
    def detach(self, server, volume, device):
        if server.id != STUBBORN_SERVER:
            super().detach(server, volume, device)


@caught_by("test_a_disk_that_is_not_released_is_an_unknown_outcome_in_time")
class ReportsThatNothingHasChanged(Reference):
    def time_out(self):
        try:
            super().time_out()
        except OutcomeUnknown as error:
            raise BackendUnavailable("the guest did not respond") from error


@caught_by("test_a_disk_that_is_not_released_is_an_unknown_outcome_in_time")
class WaitsForTheGuestTooLong(Reference):
    def time_out(self):
        time.sleep(self.timeout)
        super().time_out()


@caught_by("test_several_calls_for_a_server_that_does_not_respond_end_in_time")
class WaitsForTheGuestOneCallAfterTheOther(Reference):
    lock = threading.Lock()

    def wait_for_guest(self, directory):
        with self.lock:
            super().wait_for_guest(directory)

    def time_out(self):
        time.sleep(self.timeout / 4)  # three calls need more than the time limit
        super().time_out()


@caught_by("test_a_disk_that_was_not_released_in_time_stays")
class DetachesAfterItGaveUp(Reference):
    def wait_for_guest(self, directory):
        if (directory / HOLDS).exists():
            disks = self.disks(directory)
            threading.Timer(self.timeout * 1.5, lambda: [self.remove(directory, each) for each in disks]).start()
        super().wait_for_guest(directory)


@caught_by(
    "test_a_disk_that_was_not_released_counts_as_attached",
    "test_a_disk_that_is_not_released_is_an_unknown_outcome_in_time",
)
class HidesADiskThatWasNotReleased(Reference):
    def time_out(self):
        self.pending = True
        super().time_out()

    def attached(self, server):
        return {} if hasattr(self, "pending") else super().attached(server)


@caught_by("test_a_disk_that_was_not_released_counts_as_attached")
class RefusesWhatWasNotReleased(Reference):
    def time_out(self):
        self.pending = True
        super().time_out()

    def attach(self, server, volume, device):
        if hasattr(self, "pending"):
            raise DeviceInUse("a detach is pending")
        return super().attach(server, volume, device)


@caught_by("test_a_server_that_does_not_respond_holds_up_no_other", short_timeout=2)
class WaitsForTheGuestWithTheLock(Reference):
    lock = threading.Lock()

    @contextmanager
    def locked(self, server):
        with self.lock, super().locked(server) as directory:
            yield directory

    def detach(self, server, volume, device):
        with self.locked(server) as directory:
            for each in self.devices_of(directory, volume):
                self.wait_for_guest(directory)
                self.remove(directory, each)


class HoldsTheLockForLong(Reference):
    """Let a process that is stopped have the lock."""

    def check_volume(self, volume):
        time.sleep(0.1)
        super().check_volume(volume)

    def remove(self, directory, device):
        time.sleep(0.1)
        super().remove(directory, device)


@caught_by("test_a_process_that_stops_in_a_call_does_not_hold_up_others")
class WaitsForALockWithoutEnd(HoldsTheLockForLong):
    def wait_for_lock(self, descriptor):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


@caught_by("test_a_process_that_stops_in_a_call_does_not_hold_up_others")
class WaitsForALockWithoutEndToRead(HoldsTheLockForLong):
    is_reading = False

    def attached(self, server):
        self.is_reading = True
        try:
            return super().attached(server)
        finally:
            self.is_reading = False

    def wait_for_lock(self, descriptor):
        if self.is_reading:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        else:
            super().wait_for_lock(descriptor)


@caught_by("test_a_process_that_stops_in_a_call_does_not_hold_up_others")
class TakesALockedServerForMissing(HoldsTheLockForLong):
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except BackendUnavailable as error:
            raise ServerNotFound("there is no such server") from error


@caught_by("test_an_attach_that_gave_up_has_no_effect_later")
class AttachesAfterItGaveUp(HoldsTheLockForLong):
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except BackendUnavailable:
            self.timeout *= 10
            threading.Thread(target=super().attach, args=(server, volume, device), daemon=True).start()
            raise


@caught_by("test_an_attach_that_gave_up_has_no_effect_later")
class AttachesAfterAnUnknownOutcome(HoldsTheLockForLong):
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except BackendUnavailable as error:
            threading.Timer(1.5, super().attach, (server, volume, device)).start()
            raise OutcomeUnknown("the request was sent, and there was no response") from error
