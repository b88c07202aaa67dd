"""A fork of a process that uses libvirt: its event loop is paused meanwhile, so that the child finds nothing locked."""

import os
import subprocess
import sys
import threading
import time

import pytest

from tests.integration.libvirt.real_libvirt import backend_class
from tests.support.waiting import TIMEOUT

backend_class()  # or these tests are skipped

import libvirt  # noqa: E402

from os_volume_ext.backends.libvirt import events  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Handler:
    """An event handler that takes a while, and that libvirt's loop calls repeatedly."""

    def __init__(self):
        self.seconds = 0.0
        self.busy = False
        self.started = threading.Semaphore(0)

    def __call__(self, *_):
        self.busy = True
        self.started.release()
        time.sleep(self.seconds)
        self.busy = False

    def runs_again(self):
        """Wait until it has started once more."""
        while self.started.acquire(blocking=False):
            pass
        return self.started.acquire(timeout=TIMEOUT)


@pytest.fixture
def handler():
    events.loop()
    handler = Handler()
    timer = libvirt.virEventAddTimeout(0, handler, None)
    yield handler
    libvirt.virEventRemoveTimeout(timer)


def busy_in_a_child(handler):
    """Return whether the handler was at work when the process forked, as a child has it."""
    child = os.fork()
    if child == 0:
        os._exit(handler.busy)
    return bool(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def test_a_fork_waits_for_what_the_loop_is_doing(handler):
    handler.seconds = 0.2
    for _ in range(3):
        assert handler.runs_again()
        assert not busy_in_a_child(handler)


def test_the_loop_resumes_after_a_fork(handler):
    for _ in range(100):
        busy_in_a_child(handler)
        assert handler.runs_again()


def test_the_loop_resumes_after_forks_of_several_threads(handler):
    threads = [threading.Thread(target=busy_in_a_child, args=(handler,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert handler.runs_again()


def test_a_fork_does_not_wait_for_a_loop_that_hangs(handler, monkeypatch, caplog):
    monkeypatch.setattr(events, "PAUSE_TIMEOUT", 0.1)
    handler.seconds = 2
    assert handler.runs_again()
    assert busy_in_a_child(handler)
    handler.seconds = 0
    assert handler.runs_again()
    assert not busy_in_a_child(handler)
    (record,) = [record for record in caplog.records if record.name == events.__name__]
    assert "may be unable to connect" in record.getMessage()


def test_a_child_that_is_forked_while_threads_end_opens_a_connection():
    program = """if True:
        import os
        import signal
        import threading

        import os_volume_ext.backends.libvirt
        import libvirt

        def use():
            libvirt.open("test:///default").listAllDomains()

        def use_and_end():
            use()
            used.wait()

        for _ in range(300):
            used = threading.Barrier(5)
            threads = [threading.Thread(target=use_and_end) for _ in range(4)]
            for thread in threads:
                thread.start()
            used.wait()
            child = os.fork()
            if child == 0:
                signal.alarm(TIMEOUT)
                use()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0, "the child hung"
            for thread in threads:
                thread.join()
    """.replace("TIMEOUT", str(TIMEOUT))
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
