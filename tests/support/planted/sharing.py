"""Faults of volumes at two servers, and of calls that come at once in one process."""

import os
import threading
import time
from contextlib import contextmanager, suppress

from os_volume_ext.backends.base import AttachRefused

from .reference import Reference, caught_by

TESTING = os.getpid()
"""The process that runs the tests, and not one that they fork."""


@caught_by("test_a_multiattach_volume_can_be_attached_to_two_servers")
class RefusesMultiattach(Reference):
    def check_volume(self, volume):
        if volume.multiattach:
            raise AttachRefused("Multiattach is not supported.")
        super().check_volume(volume)


@caught_by("test_a_multiattach_volume_is_refused_where_it_is_not_supported", multiattach=False)
class SupportsMultiattachUndeclared(Reference):
    pass


@caught_by("test_a_multiattach_volume_can_be_attached_to_two_servers")
class DetachesASharedVolumeFromAllServers(Reference):
    def remove(self, directory, device):
        for each in directory.parent.glob(f"*/{device.removeprefix('/dev/')}"):
            each.unlink()


@caught_by(
    "test_an_exclusive_volume_is_refused_by_a_second_server",
    "test_servers_that_attach_an_exclusive_volume_at_once_do_not_share_it",
)
class ClaimsToRefuseASecondServer(Reference):
    def check_exclusive(self, server, volume):
        pass


@caught_by("test_servers_that_attach_an_exclusive_volume_at_once_do_not_share_it")
class LooksForASecondServerWithoutTheLock(Reference):
    def attach(self, server, volume, device):
        if volume.id not in self.attached(server):
            super().check_exclusive(server, volume)
        time.sleep(0.2)  # until the call for the other server has looked too
        return super().attach(server, volume, device)

    def check_exclusive(self, server, volume):
        pass


@caught_by("test_processes_that_attach_an_exclusive_volume_at_once_do_not_share_it")
class LooksForASecondServerInOneProcessAtATime(LooksForASecondServerWithoutTheLock.backend):
    lock = threading.Lock()

    def attach(self, server, volume, device):
        with self.lock:
            return super().attach(server, volume, device)


class ChoosesWithoutALock(Reference):
    """Let calls that come at once choose before one of them has attached."""

    def wait_for_lock(self, descriptor):
        pass

    def choose(self, disks, device):
        chosen = super().choose(disks, device)
        time.sleep(0.3)
        return chosen

    def disks(self, directory):
        while True:
            with suppress(FileNotFoundError):  # detached meanwhile
                return super().disks(directory)

    def add(self, directory, volume, device):
        (directory / device.removeprefix("/dev/")).write_text(volume.id)


@caught_by(
    "test_threads_that_attach_different_volumes_get_different_devices",
    "test_backend_objects_that_attach_different_volumes_get_different_devices",
    "test_threads_that_request_the_same_device_do_not_share_it",
)
class TakesNoLock(ChoosesWithoutALock):
    pass


class TakesALockOf(ChoosesWithoutALock):
    """Take the lock ``guard()`` too."""

    @contextmanager
    def locked(self, server):
        with self.guard(), super().locked(server) as directory:
            yield directory


@caught_by(
    "test_backend_objects_that_attach_different_volumes_get_different_devices",
    "test_processes_that_attach_different_volumes_get_different_devices",
)
class LocksOutThreadsOfOneObjectOnly(TakesALockOf):
    def __init__(self, options):
        super().__init__(options)
        self.lock = threading.Lock()

    def guard(self):
        return self.lock


@caught_by("test_processes_that_attach_different_volumes_get_different_devices")
class LocksOutThreadsOfOneProcessOnly(TakesALockOf):
    lock = threading.Lock()

    def guard(self):
        return self.lock


@caught_by("test_threads_that_detach_different_volumes_detach_them_all")
class RestoresWhatOthersDetach(Reference):
    def detach(self, server, volume, device):
        with self.locked(server) as directory:
            before = self.disks(directory)
        time.sleep(0.3)  # until calls that came at once have read too
        with self.locked(server) as directory:
            for each, volume_id in before.items():
                path = directory / each.removeprefix("/dev/")
                path.unlink(missing_ok=True) if volume_id == volume.id else path.write_text(volume_id)


@caught_by("test_volumes_attached_while_others_are_detached_stay_attached")
class RemovesWhatOthersAttach(Reference):
    def attach(self, server, volume, device):
        time.sleep(0.15)  # until calls that came at once have read what is there
        return super().attach(server, volume, device)

    def detach(self, server, volume, device):
        with self.locked(server) as directory:
            before = self.disks(directory)
        time.sleep(0.3)  # until calls that came at once have attached theirs
        with self.locked(server) as directory:
            for each, volume_id in self.disks(directory).items():
                if volume_id == volume.id or each not in before:
                    self.remove(directory, each)


@caught_by("test_threads_that_detach_the_same_volume_all_succeed")
class StumblesOverAConcurrentDetach(Reference):
    def detach(self, server, volume, device):
        with self.locked(server) as directory:
            found = self.devices_of(directory, volume)
        time.sleep(0.2)  # until calls that came at once have found it too
        for each in found:
            self.remove(directory, each)


@caught_by("test_calls_of_one_volume_may_come_from_different_threads")
class KeepsAConnectionPerThread(Reference):
    def __init__(self, options):
        super().__init__(options)
        self.local = threading.local()

    def attach(self, server, volume, device):
        self.local.seen = {volume.id}
        return super().attach(server, volume, device)

    def attached(self, server):
        seen = getattr(self.local, "seen", set())
        return {each: device for each, device in super().attached(server).items() if each in seen}


# The lock is fast, and keeps out the threads of one process only. Nothing waits: two calls seldom come at once.


class LocksInOneProcessOnly(Reference):
    lock = threading.Lock()

    @contextmanager
    def locked(self, server):
        with self.lock:
            yield self.directory(server)

    def disks(self, directory):
        while True:
            with suppress(FileNotFoundError):  # detached meanwhile
                return super().disks(directory)

    def remove(self, directory, device):
        with suppress(FileNotFoundError):
            super().remove(directory, device)

    def add(self, directory, volume, device):
        (directory / device.removeprefix("/dev/")).write_text(volume.id)


@caught_by(
    "test_a_process_that_is_held_up_gets_a_device_of_its_own",
    "test_a_process_that_is_held_up_does_not_share_an_exclusive_volume",
)
class LocksInOneProcessOnlyAndIsFast(LocksInOneProcessOnly):
    pass


@caught_by("test_a_process_that_is_held_up_makes_no_second_disk")
class LocksInOneProcessOnlyAndChoosesAnyDevice(LocksInOneProcessOnly):
    def choose(self, disks, device):
        time.sleep(0.01)  # without it, a loaded machine does not always stop the process here
        hidden = {f"/dev/vd{letter}": "" for letter in ("" if os.getpid() == TESTING else "b")}
        return super().choose({**hidden, **disks}, device)

    def devices_of(self, directory, volume):
        return super().devices_of(directory, volume)[:1]
