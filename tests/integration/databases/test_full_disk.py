"""A PostgreSQL whose disk is full."""

import contextlib

import psycopg
import pytest

from os_volume_ext.registry import schema
from tests.support import postgresql, worker_app
from tests.support.command import error_message

FILL = "INSERT INTO filler SELECT repeat('x', 2000) FROM generate_series(1, {rows})"


@pytest.fixture
def server():
    with postgresql.running_on_small_disk("24m") as server:
        yield server


@contextlib.contextmanager
def full_disk(server):
    """Use all of the disk meanwhile."""
    server.execute("CREATE TABLE filler (line text)", postgresql.DATABASE)
    for rows in (1000, 1):  # by megabytes, and then by pages
        with contextlib.suppress(psycopg.errors.DiskFull):
            while True:
                server.execute(FILL.format(rows=rows), postgresql.DATABASE)
    try:
        yield
    finally:
        server.execute("DROP TABLE filler", postgresql.DATABASE)


def test_while_the_disk_is_full_changes_are_503_and_looks_200(server, tmp_path, serve):
    worker_app.prepare(tmp_path, server.url())
    client = serve(server.url())
    with full_disk(server):
        assert client.attach(volume="1").is_unavailable
        assert client.list().volumes == []
    assert client.attach(volume="1").status == 200
    assert client.list().volumes == ["1"]


def test_an_upgrade_on_a_full_disk_changes_nothing_and_says_what_to_do(server, run):
    def upgrade(*arguments):
        return run(server.url(), "db", "upgrade", *arguments)

    with full_disk(server):
        message = error_message(upgrade)
    assert "No space left on device" in message
    assert "free some space" in message
    status, out, _ = upgrade()
    assert (status, out.split()[-1]) == (0, schema.HEAD)
