"""Connections and statements: what is reused, what is closed after an error, and how values are converted."""

import datetime
import sqlite3
import threading
import traceback

import pytest
from sqlalchemy import bindparam, create_engine, event, insert, select, text, update
from sqlalchemy.engine import Engine

from os_volume_ext.errors import ConstraintViolated, RegistryUnavailable
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.execution import Pool
from os_volume_ext.registry.tables import volumes
from tests.support.waiting import TIMEOUT, wait_until

NOW = datetime.datetime(2026, 1, 1, 12, 30, 59, 123456, datetime.UTC)
INSERT = insert(volumes).values(
    id=bindparam("volume_id"), project_id="demo", multiattach=bindparam("shared"), created_at=bindparam("made")
)
ALL = select(volumes.c.id, volumes.c.multiattach, volumes.c.source, volumes.c.created_at).order_by(volumes.c.id)


class Stopped(BaseException):
    """What ends a thread in the middle of a statement, as GreenletExit does."""


@pytest.fixture
def made():
    """Give a list that grows by each connection that is made."""
    made = []

    def note(connection, record):
        made.append(connection)

    event.listen(Engine, "connect", note)
    yield made
    event.remove(Engine, "connect", note)


def add(database, volume_id="9"):
    return database.change(INSERT, {"volume_id": volume_id, "shared": True, "made": NOW})


def test_values_are_read_as_they_were_written(database):
    assert add(database) == 1
    assert [tuple(row) for row in database.query(ALL)] == [("9", True, None, NOW)]


def test_a_change_returns_how_many_rows_it_changed(database):
    for volume_id in ("1", "2", "3"):
        add(database, volume_id)
    change = update(volumes).where(volumes.c.id != bindparam("other")).values(project_id="demo")
    assert database.change(change, {"other": "2"}) == 2


def test_a_missing_parameter_is_an_error_and_no_null(database):
    with pytest.raises(KeyError):
        database.change(INSERT, {"volume_id": "9", "shared": True})
    assert not database.query(ALL)


def test_a_constraint_that_forbids_a_change_is_reported(database, made):
    add(database)
    with pytest.raises(ConstraintViolated):
        add(database)
    assert len(database.query(ALL)) == 1
    assert len(made) <= 1


def test_a_connection_whose_statement_failed_is_not_used_again(database, made):
    database.query(ALL)
    before = len(made)
    with pytest.raises(RegistryUnavailable):
        database.query(text("SELECT nothing FROM nowhere"))
    database.query(ALL)
    assert len(made) == before + 1


def test_a_connection_whose_transaction_was_left_is_used_again(database, made):
    def fail():
        with database.transaction() as connection:
            connection.change(INSERT, {"volume_id": "9", "shared": True, "made": NOW})
            raise ZeroDivisionError

    database.query(ALL)
    before = len(made)
    with pytest.raises(ZeroDivisionError):
        fail()
    assert not database.query(ALL)
    assert len(made) == before


def test_a_connection_whose_thread_was_stopped_is_not_used_again(database, made):
    def stop():
        with database.transaction() as connection:
            connection.change(INSERT, {"volume_id": "9", "shared": True, "made": NOW})
            raise Stopped

    database.query(ALL)
    before = len(made)
    with pytest.raises(Stopped):
        stop()
    assert not database.query(ALL)
    assert len(made) == before + 1


def test_a_transaction_whose_end_fails_changes_nothing(database, made):
    def lose():
        with database.transaction() as connection:
            connection.change(INSERT, {"volume_id": "9", "shared": True, "made": NOW})
            connection.execute("ROLLBACK")
            connection.execute("nonsense")

    with pytest.raises(RegistryUnavailable):
        lose()
    assert not database.query(ALL)


@pytest.mark.only_on("sqlite")
def test_a_statement_that_failed_leaves_no_cursor_open(database):
    """Garbage collection in another thread would close it, and could wait for the connection with the GIL."""
    add(database)
    with pytest.raises(ConstraintViolated) as caught:
        add(database)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__cause__.__traceback__)]
    cursors = [value for frame in frames for value in frame.f_locals.values() if isinstance(value, sqlite3.Cursor)]
    assert cursors
    for cursor in cursors:
        with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
            cursor.fetchone()


@pytest.mark.only_on("sqlite")
class TestIdleConnections:
    """Of SQLite, a few are kept outside of the pool."""

    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_whoever_waits_for_the_pool_gets_the_next_connection(self, url, size):
        pool = Pool(create_engine(url, pool_size=size, max_overflow=0, pool_reset_on_return=None))
        go_on, inside = threading.Event(), threading.Barrier(size + 1)
        found = []

        def hold():
            with pool.connect():
                inside.wait(TIMEOUT)
                go_on.wait(TIMEOUT)

        def query():
            with pool.connect() as connection:
                found.append(connection.query(ALL))

        holders = [threading.Thread(target=hold) for _ in range(size)]
        for holder in holders:
            holder.start()
        inside.wait(TIMEOUT)
        waiting = threading.Thread(target=query)
        waiting.start()
        assert found == []
        go_on.set()
        assert wait_until(lambda: found == [[]])
        for thread in (*holders, waiting):
            thread.join(TIMEOUT)
        pool.dispose()

    def test_they_are_closed_with_the_database(self, url, made):
        database = Database({"url": url})
        database.query(ALL)
        database.dispose()
        (connection,) = made
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
