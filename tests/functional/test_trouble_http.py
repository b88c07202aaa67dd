"""What callers are told when the backend, the database or we ourselves fail, and the options that bound it."""

import datetime
import logging
import threading

import pytest
from sqlalchemy import insert

from os_volume_ext import assembly
from os_volume_ext.backends.base import BackendUnavailable, Server
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.compute import RemoteComputeAPI
from os_volume_ext.manager import AttachmentManager
from os_volume_ext.registry.tables import attachments

PATIENCE = 30  # seconds for what happens at once

LONG_AGO = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def backend(monkeypatch):
    """Give a directory backend whose methods a test can replace before the sample starts."""

    class Troubled(DirectoryBackend):
        pass

    load = assembly._plugin
    monkeypatch.setattr(
        assembly, "_plugin", lambda option, *name: Troubled if option == "backend" else load(option, *name)
    )
    return Troubled


@pytest.fixture
def hanging(backend):
    """Give the event that lets the backend's attach go on."""
    go_on = threading.Event()
    attach = backend.attach

    def hang(self, server, volume, device):
        assert go_on.wait(PATIENCE)
        return attach(self, server, volume, device)

    backend.attach = hang
    yield go_on
    go_on.set()


def test_a_backend_that_is_not_available_is_503_and_leaves_no_row(backend, start, client_of, rows):
    def refuse(self, server, volume, device):
        raise BackendUnavailable("hypervisor-17 is down")

    backend.attach = refuse
    client = client_of(start())
    answer = client.attach()
    assert answer.failure == ("serviceUnavailable", 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert "hypervisor-17" not in answer.fault.message
    assert rows() == []


def test_what_no_backend_should_raise_is_503_and_keeps_the_row(backend, start, client_of, rows, caplog):
    def fail(self, server, volume, device):
        raise ZeroDivisionError("a bug in the plugin")

    backend.attach = fail
    answer = client_of(start()).attach()
    assert answer.failure == ("serviceUnavailable", 503)
    assert "ZeroDivision" not in answer.body.decode()
    assert "ZeroDivisionError: a bug in the plugin" in caplog.text
    assert answer.headers["X-Openstack-Request-Id"] in caplog.text
    assert [row["state"] for row in rows()] == ["attaching"]


def test_a_backend_that_hangs_is_waited_for_no_longer_than_operation_timeout(
    hanging, start, paste_file, client_of, rows
):
    client = client_of(start(paste_file(operation_timeout="1")))
    answer = client.attach()
    assert answer.failure == ("serviceUnavailable", 503)
    assert answer.headers["Retry-After"]
    assert [row["state"] for row in rows()] == ["attaching"]
    assert client.list().attachments == []
    again = client.attach()
    assert again.status in (400, 409)
    assert "is being attached to" in again.fault.message
    assert again.headers["Retry-After"]


def test_more_operations_than_max_operations_are_503_and_reads_go_on(hanging, start, paste_file, client_of, rows):
    client = client_of(start(paste_file(operation_timeout="1", max_operations="1")))
    client.attach()
    answer = client.attach(volume=client.dialect.other_volume)
    assert answer.failure == ("serviceUnavailable", 503)
    assert answer.fault.message == "Too many operations are under way."
    assert answer.headers["Retry-After"]
    assert len(rows()) == 1
    assert client.list().status == 200


def test_a_database_that_fails_is_503_and_nothing_of_it_is_told(start, tables, client_of):
    client = client_of(start())
    assert client.list().status == 200
    with tables() as connection:
        connection.exec_driver_sql("ALTER TABLE attachments RENAME TO elsewhere")
    for answer in (client.list(), client.show(), client.attach(), client.detach()):
        assert answer.failure == ("serviceUnavailable", 503)
        assert answer.headers["Retry-After"]
        assert "table" not in answer.fault.message
    with tables() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO attachments")
    assert client.list().status == 200


def test_what_nobody_expected_is_500_and_only_the_log_tells_it(sample, client, monkeypatch, caplog):
    def fail(self, *arguments):
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr(AttachmentManager, "list", fail)
    answer = client.list()
    assert answer.failure == (
        {"cyclades": "internalServerError", "openstack": "computeFault"}[client.dialect.name],
        500,
    )
    assert "secret" not in answer.body.decode()
    assert "RuntimeError: secret of the inside" in caplog.text
    assert answer.headers["X-Openstack-Request-Id"] in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_with_reconcile_interval_the_filter_settles_by_itself_what_a_crash_left(
    start, paste_file, client_of, tables, dialect, rows, monkeypatch, caplog
):
    reached, go_on = threading.Event(), threading.Event()
    rests = []

    def rest(seconds):
        rests.append(seconds)
        if len(rests) > 1:
            reached.set()
            go_on.wait(PATIENCE)
            raise SystemExit  # of this thread

    monkeypatch.setattr(assembly.time, "sleep", rest)
    monkeypatch.setattr(RemoteComputeAPI, "server", lambda self, server_id: Server(server_id, "demo", "ACTIVE"))
    caplog.set_level(logging.INFO)
    left = {
        "volume_id": dialect.volume,
        "exclusive_volume_id": dialect.volume,
        "server_id": dialect.server,
        "project_id": "demo",
        "id": "5ea5ed00-1111-4222-8333-444444444444",
        "state": "attaching",
        "request_id": "req-of-the-dead",
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    }
    with tables() as connection:
        connection.execute(insert(attachments).values(left))
    client = client_of(start(paste_file(reconcile_interval="7")))
    assert rests == []  # the server may fork yet
    assert client.list().status == 200
    assert reached.wait(PATIENCE)
    assert rests == [7, 7]
    assert rows() == []
    assert "settled: detached, the row removed" in caplog.text
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "os-volume-ext-reconcile":
            thread.join(PATIENCE)
