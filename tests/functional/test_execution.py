"""Connections and statements: what is reused, what is closed after an error, and how values are converted."""

import datetime
import sqlite3
import threading
import traceback
from contextlib import ExitStack

import pytest
from sqlalchemy import bindparam, create_engine, event, insert, select, text, update
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from os_volume_ext.errors import ConstraintViolated, RegistryUnavailable
from os_volume_ext.registry import sqlite
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.execution import Pool
from os_volume_ext.registry.tables import volumes
from tests.support.databases import direct_connection
from tests.support.waiting import TIMEOUT

NOW = datetime.datetime(2026, 1, 1, 12, 30, 59, 123456, datetime.UTC)
ELSEWHERE = datetime.timezone(datetime.timedelta(hours=2))
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
    """Add a volume, with a time of another zone."""
    return database.change(INSERT, {"volume_id": volume_id, "shared": True, "made": NOW.astimezone(ELSEWHERE)})


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


@pytest.mark.parametrize(("error", "closed"), [(ZeroDivisionError, 0), (Stopped, 1)])
def test_a_transaction_that_was_left_changes_nothing(database, made, error, closed):
    """Its connection is used again, unless what ended it may have stopped a statement."""

    def leave():
        with database.transaction() as connection:
            connection.change(INSERT, {"volume_id": "9", "shared": True, "made": NOW})
            raise error

    database.query(ALL)
    before = len(made)
    with pytest.raises(error):
        leave()
    assert not database.query(ALL)
    assert len(made) == before + closed


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


class TestPool:
    """Connections of SQLite are kept outside of SQLAlchemy's pool, as long as nobody waits for one."""

    @pytest.fixture
    def make(self, url):
        """Give ``make(size, **options)``: a pool of ours, and that of SQLAlchemy under it."""
        engines = []
        options = {} if url.startswith("sqlite") else {"isolation_level": "AUTOCOMMIT", "paramstyle": "format"}

        def make(size=5, **more):
            sizes = {} if "poolclass" in more else {"pool_size": size, "max_overflow": 0, "pool_timeout": TIMEOUT}
            engines.append(create_engine(url, pool_reset_on_return=None, **sizes, **options, **more))
            if url.startswith("sqlite"):
                event.listen(engines[-1], "do_connect", sqlite.Connector().connect)
            return Pool(engines[-1]), engines[-1].pool

        yield make
        for engine in engines:
            engine.dispose()

    @staticmethod
    def use(pool, count):
        """Use several connections at once; they are returned, so that no garbage collection returns them."""
        with ExitStack() as stack:
            return [stack.enter_context(pool.connect()) for _ in range(count)]

    @pytest.mark.only_on("sqlite")
    @pytest.mark.parametrize(("size", "kept"), [(1, 0), (2, 1), (4, 3), (5, 4), (9, 4)])
    def test_a_few_are_kept_but_fewer_than_the_pool_has(self, make, size, kept):
        pool, under = make(size)
        used = self.use(pool, size)
        assert (under.checkedout(), under.checkedin()) == (kept, size - kept)
        again = self.use(pool, kept)
        assert {id(connection) for connection in again} <= {id(connection) for connection in used}

    @pytest.mark.only_on("postgresql", "mariadb")
    def test_none_of_a_server_is_kept(self, make):
        pool, under = make(5)
        used = self.use(pool, 5)
        assert (len(used), under.checkedout(), under.checkedin()) == (5, 0, 5)

    @pytest.mark.only_on("sqlite")
    def test_none_of_another_kind_of_pool_is_kept(self, make):
        pool, _ = make(poolclass=NullPool)
        first, second = (self.use(pool, 1)[0] for _ in range(2))
        assert first is not second
        assert not first.proxied.is_valid

    @pytest.mark.only_on("sqlite")
    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_whoever_waits_gets_the_next_one_and_then_some_are_kept_again(self, make, size):
        pool, under = make(size)
        found = []

        def query():
            with pool.connect() as connection:
                found.append(connection.query(ALL))

        with ExitStack() as others:
            for _ in range(size - 1):
                others.enter_context(pool.connect())
            with pool.connect():
                waiting = threading.Thread(target=query)
                waiting.start()
                waiting.join(0.1)
                assert found == []
            waiting.join(TIMEOUT)
            assert found == [[]]
        used = self.use(pool, size)
        assert (len(used), under.checkedout()) == (size, min(4, size - 1))

    @pytest.mark.only_on("sqlite")
    @pytest.mark.parametrize("error", [ZeroDivisionError, sqlite3.IntegrityError])
    def test_one_is_used_again_after_an_error_that_leaves_it_as_it_was(self, make, error):
        pool, _ = make()
        before = self.use(pool, 1)

        def fail():
            with pool.connect():
                raise error

        with pytest.raises((ZeroDivisionError, ConstraintViolated)):
            fail()
        assert self.use(pool, 1) == before

    @pytest.mark.only_on("sqlite")
    def test_one_whose_transaction_can_not_be_rolled_back_is_closed(self, make):
        pool, _ = make()
        used = []

        def fail():
            with pool.transaction() as connection:
                used.append(connection)
                connection.execute("COMMIT")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert not used[0].proxied.is_valid
        assert self.use(pool, 1) != used

    def test_an_error_of_one_statement_leaves_the_other_connections(self, make, made):
        pool, _ = make()
        self.use(pool, 3)
        before = len(made)
        with pytest.raises(RegistryUnavailable), pool.connect() as connection:
            connection.query(text("SELECT nothing FROM nowhere"))
        self.use(pool, 2)
        assert len(made) == before

    @pytest.mark.only_on("postgresql", "mariadb")
    def test_when_the_server_has_closed_one_the_others_are_not_tried(self, make, database):
        pool, _ = make()
        with ExitStack() as stack, direct_connection(database) as other:
            for _ in range(3):
                close(other, stack.enter_context(pool.connect()).proxied.dbapi_connection)
        with pytest.raises(RegistryUnavailable), pool.connect() as lost:
            lost.query(ALL)
        with ExitStack() as stack:
            for connection in [stack.enter_context(pool.connect()) for _ in range(3)]:
                assert list(connection.query(ALL)) == []

    @pytest.mark.only_on("postgresql", "mariadb")
    def test_when_one_is_lost_in_a_transaction_the_others_are_made_anew(self, make, made, database):
        pool, _ = make()
        self.use(pool, 3)

        def fail():
            with pool.transaction() as lost:
                close(other, lost.proxied.dbapi_connection)
                lost.query(ALL)

        with direct_connection(database) as other:
            before = len(made)
            with pytest.raises(RegistryUnavailable):
                fail()
        self.use(pool, 2)
        assert len(made) == before + 2

    @pytest.mark.only_on("sqlite")
    def test_those_that_are_kept_are_closed_with_the_database(self, url, made):
        database = Database({"url": url})
        database.query(ALL)
        database.dispose()
        (connection,) = made
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


def close(connection, driver):
    """Let the server close a connection of the driver.

    :param connection: another one.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_terminate_backend({driver.info.backend_pid})")
    else:
        connection.exec_driver_sql(f"KILL {driver.thread_id()}")
