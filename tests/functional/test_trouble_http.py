"""The responses when the backend, the database or the extension itself fails, and the options that limit waiting."""

import datetime
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, select, update

from os_volume_ext.attachments import periodic
from os_volume_ext.attachments.manager import AttachmentManager
from os_volume_ext.backends.base import BackendUnavailable, Server, ServerNotFound
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.compute.remote import RemoteComputeAPI
from os_volume_ext.registry import execution
from os_volume_ext.registry.tables import attachments, leases, utc_now
from tests.support.sample import backend_class
from tests.support.waiting import wait_until

pytestmark = pytest.mark.one_format
TIMEOUT = 30  # seconds for what happens at once

LONG_AGO = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def backend():
    """Give the class of the sample's backends, whose methods a test can replace before the sample starts."""

    class Troubled(DirectoryBackend):
        pass

    with backend_class(Troubled):
        yield Troubled


@pytest.fixture
def hanging(backend):
    """Give the event that lets the backend's attach go on.

    Its ``started`` is released by each call; if there are ``servers``, only attaches to those hang.
    """
    go_on = threading.Event()
    go_on.started = threading.Semaphore(0)
    go_on.servers = ()
    attach = backend.attach

    def hang(self, server, volume, device):
        if server.id in (go_on.servers or [server.id]):
            go_on.started.release()
            assert go_on.wait(TIMEOUT)
        return attach(self, server, volume, device)

    backend.attach = hang
    yield go_on
    go_on.set()


def test_a_backend_that_is_not_available_is_503_and_leaves_no_row(backend, start, client_of, rows):
    def refuse(self, server, volume, device):
        raise BackendUnavailable("hypervisor-17 is down")

    backend.attach = refuse
    client = client_of(start())
    response = client.attach()
    assert response.failure == ("serviceUnavailable", 503)
    assert int(response.headers["Retry-After"]) > 0
    assert "hypervisor-17" not in response.fault.message
    assert rows() == []


def test_a_server_that_only_the_backend_lacks_is_404_with_its_reason_in_the_log(
    backend, start, client_of, rows, caplog
):
    def refuse(self, server, volume, device):
        raise ServerNotFound("hypervisor-17 has no such machine")

    backend.attach = refuse
    caplog.set_level(logging.INFO)
    response = client_of(start()).attach()
    assert response.failure == ("itemNotFound", 404)
    assert "hypervisor-17" not in response.fault.message
    assert "could not be found.': backend: hypervisor-17 has no such machine" in caplog.text
    assert rows() == []


def test_what_no_backend_should_raise_is_503_and_keeps_the_row(backend, start, client_of, rows, caplog):
    def fail(self, server, volume, device):
        raise ZeroDivisionError("a bug in the plugin")

    backend.attach = fail
    response = client_of(start()).attach()
    assert response.failure == ("serviceUnavailable", 503)
    assert "ZeroDivision" not in response.body.decode()
    assert "ZeroDivisionError: a bug in the plugin" in caplog.text
    assert response.headers["X-Openstack-Request-Id"] in caplog.text
    assert [row["state"] for row in rows()] == ["attaching"]


@pytest.mark.parametrize("method", ["volume", "recheck"])
def test_a_catalog_that_returns_no_volume_is_503_and_leaves_no_row(method, monkeypatch, start, client_of, rows, caplog):
    client = client_of(start())
    monkeypatch.setattr(SQLCatalog, method, lambda *_: None)
    response = client.attach()
    assert response.failure == ("serviceUnavailable", 503)
    assert response.headers["Retry-After"]
    assert f"SQLCatalog.{method} returned an invalid value" in caplog.text
    assert rows() == []


def test_a_backend_that_hangs_is_waited_for_no_longer_than_operation_timeout(
    hanging, start, paste_file, client_of, rows
):
    client = client_of(start(paste_file(operation_timeout="1")))
    response = client.attach()
    assert response.failure == ("serviceUnavailable", 503)
    assert response.headers["Retry-After"]
    assert [row["state"] for row in rows()] == ["attaching"]
    assert client.list().attachments == []
    again = client.attach()
    assert again.status in (400, 409)
    assert "is being attached to" in again.fault.message
    assert again.headers["Retry-After"]


def test_an_attach_that_timed_out_leaves_its_slot_to_others(hanging, start, paste_file, client_of, rows):
    client = client_of(start(paste_file(operation_timeout="3", max_operations="1")))
    hanging.servers = (client.dialect.server,)
    assert client.attach().failure == ("serviceUnavailable", 503)
    assert client.attach(client.dialect.other_server, client.dialect.other_volume).status == 200
    assert sorted(row["state"] for row in rows()) == ["attached", "attaching"]
    assert client.list().status == 200


def test_requests_without_a_free_slot_are_503_and_leave_no_row(hanging, start, paste_file, client_of, rows):
    client = client_of(start(paste_file(operation_timeout=str(TIMEOUT), stale_after="100", max_operations="1")))
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(client.attach)
        assert hanging.started.acquire(timeout=TIMEOUT)
        responses = [client.attach(volume=client.dialect.other_volume) for _ in range(3)]
        assert {response.failure for response in responses} == {("serviceUnavailable", 503)}
        assert {response.fault.message for response in responses} == {"Too many operations are in progress."}
        assert all(response.headers["Retry-After"] for response in responses)
        assert [row["volume_id"] for row in rows()] == [client.dialect.volume]
        assert (client.list().status, client.show(client.dialect.rooted, client.dialect.root_volume).status) == (
            200,
            200,
        )
        assert not waiting.done()
        hanging.set()
        assert waiting.result().status == 200


def test_when_a_hung_backend_is_back_its_stale_rows_are_repaired(
    hanging, start, paste_file, client_of, rows, tables, backgrounds, monkeypatch
):
    monkeypatch.setattr(RemoteComputeAPI, "server", lambda self, server_id: Server(server_id, "demo", "ACTIVE"))
    client = client_of(start(paste_file(operation_timeout="1", max_operations="1", reconcile_interval="7")))
    assert client.attach().status == 503
    hanging.set()
    assert wait_until(lambda: client.attach(volume=client.dialect.other_volume).status == 200)
    assert client.list().attachments == [client.shown(volume=client.dialect.other_volume, device=devices(client)[1])]
    with tables() as connection:
        connection.execute(update(attachments).where(attachments.c.state == "attaching").values(updated_at=LONG_AGO))
    backgrounds[0].run_once()
    assert [row["state"] for row in rows()] == ["attached", "attached"]
    assert client.show().attachment == client.shown(device=devices(client)[0])
    assert client.detach().status == client.dialect.detach_status
    assert client.attach().status == 200


def devices(client):
    """Return where the first two disks are, as far as the dialect shows."""
    return ("/dev/vdb", "/dev/vdc") if client.dialect.first_device else ("", "")


def test_a_backend_that_is_dead_refuses_changes_at_once_and_leaves_all_as_it_was(start, client_of, var, rows):
    client = client_of(start())
    other = client.dialect.other_volume
    assert client.attach().status == 200
    before = [(row["volume_id"], row["state"], row["device"]) for row in rows()]
    servers = var / client.dialect.name / "servers"
    away = servers.rename(servers.with_name("away"))
    for response in (client.attach(volume=other), client.detach()):
        assert response.failure == ("serviceUnavailable", 503)
        assert response.headers["Retry-After"]
    assert [(row["volume_id"], row["state"], row["device"]) for row in rows()] == before
    assert client.list().attachments == [client.show().attachment] == [client.shown()]
    away.rename(servers)
    assert (client.attach(volume=other).status, client.detach().status) == (200, client.dialect.detach_status)


def test_a_database_that_fails_is_503_and_nothing_of_it_is_reported(start, tables, client_of):
    client = client_of(start())
    assert client.list().status == 200
    with tables() as connection:
        connection.exec_driver_sql("ALTER TABLE attachments RENAME TO elsewhere")
    for response in (client.list(), client.show(), client.attach(), client.detach()):
        assert response.failure == ("serviceUnavailable", 503)
        assert response.headers["Retry-After"]
        assert "table" not in response.fault.message
    with tables() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO attachments")
    assert client.list().status == 200


def test_an_unexpected_exception_is_500_with_details_in_the_log_only(sample, client, monkeypatch, caplog):
    def fail(*arguments, **named):
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr(AttachmentManager, "list_attachments", fail)
    response = client.list()
    assert response.failure == (
        {"cyclades": "internalServerError", "openstack": "computeFault"}[client.dialect.name],
        500,
    )
    assert "secret" not in response.body.decode()
    assert "RuntimeError: secret of the inside" in caplog.text
    assert response.headers["X-Openstack-Request-Id"] in caplog.text


@pytest.fixture
def leave(tables, dialect):
    """Give ``leave()``: what a worker leaves that died in the middle of an attach, long ago."""

    def insert_row():
        left = {
            "volume_id": dialect.volume,
            "exclusive_volume_id": dialect.volume,
            "server_id": dialect.server,
            "project_id": "demo",
            "root": False,
            "delete_on_termination": False,
            "id": "5ea5ed00-1111-4222-8333-444444444444",
            "state": "attaching",
            "request_id": "req-of-the-dead",
            "claim_id": "claim-1",
            "created_at": LONG_AGO,
            "updated_at": LONG_AGO,
        }
        with tables() as connection:
            connection.execute(insert(attachments).values(left))

    return insert_row


@pytest.fixture
def by_itself(start, paste_file, client_of, backgrounds, monkeypatch, caplog):
    """Give the periodic reconcilers of an application that has handled a list."""
    monkeypatch.setattr(RemoteComputeAPI, "server", lambda self, server_id: Server(server_id, "demo", "ACTIVE"))
    caplog.set_level(logging.INFO)
    client = client_of(start(paste_file(reconcile_interval="7")))
    assert backgrounds == []  # the server may fork yet
    assert client.list().status == 200
    assert client.list().status == 200
    (background,) = backgrounds
    return background


def test_with_reconcile_interval_the_filter_repairs_what_a_crash_left(by_itself, leave, rows, caplog):
    leave()
    by_itself.run_once()
    assert rows() == []
    assert "repaired: detached, row removed" in caplog.text
    assert f"{by_itself.holder} acquired the reconcile lease; the interval is 7 seconds" in caplog.text


def test_while_another_worker_has_the_lease_the_filter_repairs_nothing(by_itself, leave, rows, tables):
    leave()
    with tables() as connection:
        connection.execute(insert(leases).values(name="reconcile", holder="another", taken_at=utc_now()))
    by_itself.run_once()
    assert len(rows()) == 1
    with tables() as connection:
        connection.execute(update(leases).values(taken_at=LONG_AGO))
    by_itself.run_once()
    assert rows() == []


def test_without_its_table_periodic_reconcile_retries_and_reports_that_once(by_itself, leave, rows, tables, caplog):
    leave()
    with tables() as connection:
        connection.exec_driver_sql("ALTER TABLE leases RENAME TO elsewhere")
    for _ in range(3):
        by_itself.run_once()
    assert len(rows()) == 1
    with tables() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO leases")
    by_itself.run_once()
    assert rows() == []
    logged = [record.levelname for record in caplog.records if record.name == periodic.__name__]
    assert logged == ["WARNING", "INFO", "INFO"]  # an error, the acquired lease, the end of the error


def test_without_reconcile_interval_nothing_reconciles_and_leases_are_not_looked_at(
    start, client_of, backgrounds, tables, caplog
):
    caplog.set_level("DEBUG", logger=execution.__name__)
    client = client_of(start())
    assert (client.attach().status, client.list().status) == (200, 200)
    assert backgrounds == []
    statements = [record.getMessage() for record in caplog.records if record.name == execution.__name__]
    assert any("attachments" in statement for statement in statements)
    assert [statement for statement in statements if "leases" in statement] == []
    with tables() as connection:
        assert connection.execute(select(leases)).all() == []
