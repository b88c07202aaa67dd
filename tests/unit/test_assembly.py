"""The assembly: what it opens on first use, and how that is closed."""

import threading
from pathlib import Path

import pytest

from os_volume_ext.assembly import Assembly, assemble, assemble_current
from os_volume_ext.attachments.periodic import THREAD
from os_volume_ext.attachments.reservations import new_row
from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.errors import ConfigurationError
from os_volume_ext.models import AttachRequest, Server, Volume
from os_volume_ext.observers.base import Observer, Observers
from os_volume_ext.settings import Settings


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.db"


@pytest.fixture
def make(path):
    """Give ``make(**options)``: an assembly, which the test has to close."""

    def make(**options):
        given = {"backend": "directory", "backend.root": path.parent, "database.url": f"sqlite:///{path}"}
        return assemble_current(Settings.parse(given | options))

    return make


def connections(path):
    """Return how many connections this process has to an SQLite file."""
    return [each.resolve() for each in Path("/proc/self/fd").iterdir()].count(path)


def reconcile_threads():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def test_nothing_is_open_after_the_start(make, path):
    assembly = make(reconcile_interval=3600)
    assert (connections(path), reconcile_threads()) == (0, [])
    assembly.close()


def test_close_ends_the_threads_and_connections_that_were_opened(make, path):
    assembly = make(reconcile_interval=3600)
    assembly.start_periodic_reconciler()
    assert assembly.registry.find() == []
    assert connections(path) == 1
    assert len(reconcile_threads()) == 1
    assembly.close()
    assert (connections(path), reconcile_threads()) == (0, [])
    assembly.close()


def test_directories_of_a_backend_that_has_attachments_are_not_created_again(make, path):
    """They would be empty, as on a file system that is not mounted, and all servers would look gone."""
    assembly = make()
    assembly.registry.reserve(new_row(Server("1", "demo", "ACTIVE"), Volume("9", "demo"), AttachRequest("9"), "req-1"))
    assembly.close()
    for name in ("volumes", "servers"):
        (path.parent / name).rmdir()
    assembly = make()
    assert not (path.parent / "servers").exists()
    with pytest.raises(BackendUnavailable, match="the directory of all servers is missing"):
        assembly.backend.attached(Server("1", "demo", "ACTIVE"))
    assembly.close()


def test_a_process_reconciles_in_one_thread(make):
    assembly = make(reconcile_interval=3600)
    for _ in range(3):
        assembly.start_periodic_reconciler()
    assert len(reconcile_threads()) == 1
    assembly.close()


def test_a_process_does_not_reconcile_without_an_interval(make):
    assembly = make()
    assembly.start_periodic_reconciler()
    assert reconcile_threads() == []
    assembly.close()


def test_observers_are_closed_once(make):
    class Recorder(Observer):
        closed = 0

        def close(self):
            self.closed += 1

    recorder, parts = Recorder(), make()
    assembly = Assembly(
        parts.settings,
        database=parts.database,
        catalog=parts.catalog,
        backend=parts.backend,
        compute=None,
        observers=Observers(recorder),
    )
    assembly.close()
    assembly.close()
    assert recorder.closed == 1


def test_a_catalog_that_can_not_be_loaded_is_named(path):
    options = {"backend": "directory", "backend.root": "/", "database.url": f"sqlite:///{path}", "catalog": "nothing"}
    with pytest.raises(ConfigurationError, match=r"^catalog is 'nothing': installed are cinder, sql"):
        assemble(Settings.parse(options))
