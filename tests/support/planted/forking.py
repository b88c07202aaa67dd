"""Faults of processes that fork."""

import os
import threading

from os_volume_ext.backends.base import OutcomeUnknown

from .reference import Reference, caught_by


@caught_by(
    "test_a_backend_made_before_a_fork_works_on_both_sides_of_it",
    "test_a_backend_used_before_a_fork_works_on_both_sides_of_it",
)
class WorksInTheProcessThatMadeItOnly(Reference):
    def __init__(self, options):
        super().__init__(options)
        self.process = os.getpid()

    def find(self, server):
        if os.getpid() != self.process:
            raise OutcomeUnknown("the connection is another process's")
        return super().find(server)


@caught_by("test_a_backend_used_before_a_fork_works_on_both_sides_of_it")
class WorksInTheProcessThatUsedItFirstOnly(Reference):
    process = None

    def find(self, server):
        self.process = self.process or os.getpid()
        if os.getpid() != self.process:
            raise OutcomeUnknown("the connection is another process's")
        return super().find(server)


@caught_by("test_a_backend_used_before_a_fork_works_on_both_sides_of_it")
class NeedsAThreadThatAForkEnds(Reference):
    thread = None

    def find(self, server):
        if self.thread is None:
            self.thread = threading.Thread(target=threading.Event().wait, args=(5,), daemon=True)
            self.thread.start()
        if not self.thread.is_alive():
            raise OutcomeUnknown("the thread is gone")
        return super().find(server)


@caught_by("test_a_backend_used_before_a_fork_works_on_both_sides_of_it")
class DetachesInTheProcessThatDidSoFirstOnly(Reference):
    process = None

    def detach(self, server, volume, device):
        self.process = self.process or os.getpid()
        if os.getpid() != self.process:
            raise OutcomeUnknown("the connection is another process's")
        super().detach(server, volume, device)
