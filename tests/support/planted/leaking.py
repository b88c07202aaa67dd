"""Faults of what calls leave behind."""

import os
import threading
import time
from contextlib import contextmanager, nullcontext

from os_volume_ext.backends.base import (
    AttachRefused,
    BackendUnavailable,
    DeviceInUse,
    OutcomeUnknown,
    ServerNotFound,
    TooManyAttachments,
)

from .reference import Reference, caught_by


@contextmanager
def leaking(*exceptions):
    """Leave a descriptor open if the block raises one of the exceptions."""
    try:
        yield
    except exceptions:
        os.open(os.devnull, os.O_RDONLY)
        raise


@caught_by("test_calls_leave_no_descriptor_and_no_thread_behind")
class LeaksADescriptor(Reference):
    def find(self, server):
        with nullcontext(os.open(os.devnull, os.O_RDONLY)):
            return super().find(server)


@caught_by("test_calls_leave_no_descriptor_and_no_thread_behind")
class LeaksAThread(Reference):
    def attach(self, server, volume, device):
        threading.Thread(target=time.sleep, args=(15,), daemon=True).start()
        return super().attach(server, volume, device)


@caught_by("test_calls_for_an_unknown_server_leave_nothing_behind")
class LeaksForAnUnknownServer(Reference):
    def directory(self, server):
        with leaking(ServerNotFound):
            return super().directory(server)


@caught_by("test_calls_of_an_unreachable_backend_leave_nothing_behind")
class LeaksWhenItIsUnreachable(Reference):
    def check(self):
        with leaking(BackendUnavailable):
            super().check()


@caught_by("test_detaches_that_time_out_leave_nothing_behind")
class LeaksWhenADetachTimesOut(Reference):
    def wait_for_guest(self, directory):
        with leaking(OutcomeUnknown):
            super().wait_for_guest(directory)


@caught_by("test_calls_for_a_server_that_does_not_run_leave_nothing_behind")
class LeaksWhenItRefusesADetach(Reference):
    def detach(self, server, volume, device):
        with leaking(AttachRefused):
            if server.status == "SHUTOFF":
                raise AttachRefused("The server does not run.")
        super().detach(server, volume, device)


@caught_by("test_a_refused_attach_leaves_no_descriptor_and_no_thread_behind")
class LeaksWhenADeviceIsInUse(Reference):
    def choose(self, disks, device):
        with leaking(DeviceInUse):
            return super().choose(disks, device)


@caught_by("test_a_refused_attach_leaves_no_descriptor_and_no_thread_behind")
class LeaksWhenADeviceIsMalformed(Reference):
    def choose(self, disks, device):
        with leaking(AttachRefused):
            return super().choose(disks, device)


@caught_by("test_a_refused_attach_leaves_no_descriptor_and_no_thread_behind")
class LeaksWhenAServerIsFull(Reference):
    def check_limit(self, disks):
        with leaking(TooManyAttachments):
            super().check_limit(disks)


@caught_by("test_a_refused_attach_leaves_no_descriptor_and_no_thread_behind")
class LeaksWhenItRefusesASecondServer(Reference):
    def check_exclusive(self, server, volume):
        with leaking(AttachRefused):
            super().check_exclusive(server, volume)


@caught_by("test_a_refused_attach_leaves_no_descriptor_and_no_thread_behind")
class LeaksWhenAVolumeCanNotBeUsed(Reference):
    def check_source(self, volume):
        with leaking(AttachRefused):
            super().check_source(volume)
