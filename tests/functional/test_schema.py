"""The schema: what the migrations make, and which database the filter starts with."""

import datetime
import fcntl
import logging
import multiprocessing
import os
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, insert, select, text
from sqlalchemy.engine import make_url

from os_volume_ext.backends.base import ConfigurationError
from os_volume_ext.registry import schema, server
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.migrations.target import metadata
from os_volume_ext.registry.tables import SERVER_LOCKS, UTCDateTime, server_locks, utc_now
from tests.support.databases import direct_connection
from tests.support.migrations import alembic_config, upgrade_to
from tests.support.waiting import TIMEOUT

NEW_FILES = 20


LONG_AGO = datetime.datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=datetime.UTC)
# As text, since the tables of today are not those of then.
FIRST_ROWS = {
    "attachments": {
        "volume_id": "9",
        "server_id": "1134",
        "id": "5ea5ed00-1111-4222-8333-444444444444",
        "exclusive_volume_id": "9",
        "project_id": "demo",
        "device": "/dev/vdb",
        "root": False,
        "tag": "\u03b1",
        "delete_on_termination": True,
        "state": "attached",
        "request_id": "req-1",
        "created_at": LONG_AGO.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "updated_at": LONG_AGO.strftime("%Y-%m-%d %H:%M:%S.%f"),
    },
    "volumes": {
        "id": "9",
        "project_id": "demo",
        "multiattach": False,
        "created_at": LONG_AGO.strftime("%Y-%m-%d %H:%M:%S.%f"),
    },
}


REVISIONS = [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]

sqlite = pytest.mark.only_on("sqlite")
servers = pytest.mark.only_on("postgresql", "mariadb")


@pytest.fixture
def database(new_url):
    return Database({"url": new_url})


@pytest.fixture
def path(database):
    return Path(database.url.database)


def compare(database):
    engine = database.make_engine()
    try:
        with engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    finally:
        engine.dispose()


def be_at(database, revision):
    """Make a database say that it is at a revision."""
    schema.upgrade(database)
    with direct_connection(database) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_the_migrations_make_the_tables_of_the_package(database):
    schema.upgrade(database)
    assert compare(database) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_revision_can_be_upgraded(database, revision):
    upgrade_to(database, revision)
    assert schema.current(database) == revision
    schema.upgrade(database)
    assert schema.current(database) == schema.HEAD
    assert compare(database) == []


@pytest.fixture
def first_rows(database):
    """Give ``first_rows()``: what is in the tables of a database that was filled at the first revision."""
    upgrade_to(database, "0001")
    with direct_connection(database) as connection:
        for table, row in FIRST_ROWS.items():
            names = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)

    def read():
        with direct_connection(database) as connection:
            found = {table: connection.execute(text(f"SELECT * FROM {table}")).mappings().all() for table in FIRST_ROWS}
        return {table: [dict(row) for row in rows] for table, rows in found.items()}

    return read


def with_claim_ids(tables):
    """Return what revision 0003 makes of the tables."""
    return tables | {"attachments": [row | {"claim_id": row["id"]} for row in tables["attachments"]]}


@pytest.mark.usefixtures("first_rows")
def test_an_upgrade_that_was_interrupted_after_its_first_statement_is_completed(database):
    upgrade_to(database, "0002")
    with direct_connection(database) as connection:
        connection.execute(text("ALTER TABLE attachments ADD COLUMN claim_id VARCHAR(36)"))
    schema.upgrade(database)
    assert compare(database) == []
    assert Registry(database).get("1134", "9").claim_id == FIRST_ROWS["attachments"]["id"]
    database.dispose()


@sqlite
def test_a_start_upgrades_a_file_of_the_first_revision_and_keeps_its_rows(database, first_rows):
    before = first_rows()
    assert schema.check(database) == "0001"
    schema.ensure(database)
    assert schema.current(database) == schema.HEAD
    assert compare(database) == []
    assert first_rows() == with_claim_ids(before)


@servers
def test_the_command_upgrades_a_server_of_the_first_revision_and_keeps_its_rows(database, first_rows):
    before = first_rows()
    with pytest.raises(ConfigurationError, match=r"is at revision 0001 but must be at .*: run os-volume-ext db upgr"):
        schema.ensure(database)
    schema.upgrade(database)
    assert schema.current(database) == schema.HEAD
    assert compare(database) == []
    assert first_rows() == with_claim_ids(before)


@pytest.mark.usefixtures("first_rows")
def test_a_registry_reads_what_the_first_revision_had(database):
    schema.upgrade(database)
    row = Registry(database).get("1134", "9")
    assert (row.state, row.device, row.exclusive, row.created_at) == ("attached", "/dev/vdb", True, LONG_AGO)
    database.dispose()


def test_the_comparison_sees_a_table_that_is_different(database):
    schema.upgrade(database)
    with direct_connection(database) as connection:
        connection.execute(text("ALTER TABLE volumes ADD COLUMN colour VARCHAR(8)"))
    assert [difference[0] for difference in compare(database)] == ["remove_column"]


def test_the_constraints_are_in_the_database(database):
    schema.upgrade(database)
    inspector = sqlalchemy.inspect(database.make_engine())
    assert inspector.get_pk_constraint("attachments")["constrained_columns"] == ["volume_id", "server_id"]
    unique = [each["column_names"] for each in inspector.get_unique_constraints("attachments")]
    assert sorted(unique) == [["exclusive_volume_id"], ["server_id", "device"]]
    assert inspector.get_pk_constraint("leases")["constrained_columns"] == ["name"]
    assert set(inspector.get_table_names()) == {"attachments", "leases", "server_locks", "volumes", "alembic_version"}
    inspector.bind.dispose()


def test_constraints_have_the_names_by_which_a_later_revision_finds_them(database):
    schema.upgrade(database)
    inspector = sqlalchemy.inspect(database.make_engine())
    for table in metadata.sorted_tables:
        if inspector.dialect.name != "mysql":  # which gives primary keys no names
            assert inspector.get_pk_constraint(table.name)["name"] == table.primary_key.name
        unique = {each.name for each in table.constraints if isinstance(each, sqlalchemy.UniqueConstraint)}
        assert {each["name"] for each in inspector.get_unique_constraints(table.name)} == unique
    inspector.bind.dispose()


def test_a_new_database_is_at_no_revision(database):
    assert schema.current(database) is None


def test_an_upgraded_database_is_at_the_head(database):
    schema.upgrade(database)
    assert schema.current(database) == schema.HEAD


def test_the_head_is_the_last_migration():
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == schema.HEAD


def test_upgrading_twice_changes_nothing(database):
    schema.upgrade(database)
    with direct_connection(database) as connection:
        connection.execute(
            insert(metadata.tables["volumes"]).values(
                id="9", project_id="demo", multiattach=False, created_at=utc_now()
            )
        )
    schema.upgrade(database)
    with direct_connection(database) as connection:
        assert connection.execute(text("SELECT id FROM volumes")).scalar_one() == "9"


@sqlite
def test_ensuring_makes_a_new_file_and_its_directory(tmp_path):
    database = Database({"url": f"sqlite:///{tmp_path}/a/new/directory/registry.db"})
    schema.ensure(database)
    assert schema.current(database) == schema.HEAD
    assert compare(database) == []


@sqlite
def test_a_new_file_its_lock_and_its_directory_are_for_this_user_only(tmp_path):
    path = tmp_path / "new" / "registry.db"
    database = Database({"url": f"sqlite:///{path}"})
    schema.ensure(database)
    with database.transaction():
        files = sorted(each.name for each in path.parent.iterdir())
        assert set(files) >= {"registry.db", "registry.db-wal", "registry.db-shm", "registry.db.lock"}
        assert {stat.S_IMODE((path.parent / each).stat().st_mode) for each in files} == {0o600}
    database.dispose()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@sqlite
@pytest.mark.parametrize("start", [schema.check, schema.ensure, schema.upgrade], ids=["check", "ensure", "upgrade"])
def test_a_lock_that_is_held_is_waited_for_with_a_bound(database, path, monkeypatch, start):
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", 0.1)
    path.touch()
    with path.with_name(f"{path.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match=r"\.lock is held by another process for more than 0\.1 seconds"):
            start(database)
    start(database)


@sqlite
def test_the_lock_is_released_even_where_a_forked_process_has_its_descriptor(database, path, monkeypatch):
    copies = []
    really = fcntl.flock

    def copy_and_lock(descriptor, how):
        copies.append(os.dup(descriptor))
        really(descriptor, how)

    path.touch()
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", copy_and_lock)
        schema.current(database)
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", 0.1)
    schema.current(database)
    for copy in copies:
        os.close(copy)


@sqlite
def test_ensuring_brings_an_empty_file_to_the_head(database, path):
    path.touch()
    schema.ensure(database)
    assert schema.current(database) == schema.HEAD


@sqlite
def test_a_check_reports_the_revision_and_changes_nothing(database, path):
    assert schema.check(database) is None
    assert list(path.parent.iterdir()) == []
    path.touch()
    assert schema.check(database) is None
    assert schema.current(database) is None
    schema.upgrade(database)
    assert schema.check(database) == schema.HEAD


def test_ensuring_leaves_a_current_database_alone(database, monkeypatch):
    schema.upgrade(database)
    monkeypatch.setattr(schema, "upgrade", lambda database: pytest.fail("it is at the head"))
    schema.ensure(database)


@pytest.mark.parametrize("start", [schema.check, schema.ensure, schema.upgrade], ids=["check", "ensure", "upgrade"])
def test_a_database_of_a_later_version_is_refused(database, start):
    be_at(database, "9999")
    with pytest.raises(
        ConfigurationError, match=r"^database\.url: .* is at revision 9999, .* does not know: install the version"
    ):
        start(database)
    assert schema.current(database) == "9999"


@servers
def test_a_database_server_is_not_upgraded_by_itself(database):
    with pytest.raises(ConfigurationError, match=r"revision none but must be at .*: run os-volume-ext db upgrade$"):
        schema.ensure(database)
    assert schema.current(database) is None


@servers
def test_a_refusal_does_not_tell_the_password(new_url):
    url = make_url(new_url).set(password="secret")
    with pytest.raises(ConfigurationError) as raised:
        schema.ensure(Database({"url": url.render_as_string(hide_password=False)}))
    assert url.username in str(raised.value)
    assert "secret" not in str(raised.value)


@servers
def test_several_may_upgrade_the_same_database_at_once(database):
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(schema.upgrade, [database] * 4)) == [None] * 4
    assert compare(database) == []


def upgrade(url):
    schema.upgrade(Database({"url": url}))


@servers
def test_several_processes_may_upgrade_the_same_database_at_once(database):
    spawn = multiprocessing.get_context("spawn")
    url = database.url.render_as_string(hide_password=False)
    processes = [spawn.Process(target=upgrade, args=(url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert compare(database) == []


@pytest.mark.parametrize("revision", [None, *sorted(REVISIONS)[:-1]])
@pytest.mark.usefixtures("first_rows")
def test_each_step_of_an_upgrade_can_be_repeated(database, revision):
    schema.upgrade(database)
    with direct_connection(database) as connection:
        connection.execute(text("UPDATE attachments SET claim_id = 'a claim since then'"))
        connection.execute(text("DELETE FROM alembic_version"))
        if revision:
            connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})
    schema.upgrade(database)
    assert schema.current(database) == schema.HEAD
    assert compare(database) == []
    assert Registry(database).get("1134", "9").claim_id == "a claim since then"
    assert number_of_locks(database) == SERVER_LOCKS
    database.dispose()


def number_of_locks(database):
    with direct_connection(database) as connection:
        return connection.execute(select(func.count()).select_from(server_locks)).scalar()


@pytest.mark.only_on("postgresql")
def test_a_database_with_another_encoding_is_refused(database):
    name = f"{database.url.database}_latin"
    create = text(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    database.change(create)
    url = database.url.set(database=name).render_as_string(hide_password=False)
    for work in (schema.upgrade, schema.ensure):
        with pytest.raises(ConfigurationError, match=r"has the encoding LATIN1: create it with ENCODING 'UTF8' TEMPL"):
            work(Database({"url": url}))
    database.change(text(f"DROP DATABASE {name} WITH (FORCE)"))
    database.dispose()


@pytest.mark.only_on("postgresql")
def test_an_upgrade_of_a_database_that_may_only_be_read_says_what_to_do(database):
    schema.upgrade(database)
    be_at(database, "0003")
    url = database.url.update_query_dict({"options": "-cdefault_transaction_read_only=on"})
    with pytest.raises(ConfigurationError, match=r"can't be used: .* in a read-only transaction: it may only be read"):
        schema.upgrade(Database({"url": url.render_as_string(hide_password=False)}))


@servers
def test_a_database_that_is_missing_is_reported(database):
    url = database.url.set(database=f"{database.url.database}_missing").render_as_string(hide_password=False)
    sentence = {
        "mysql": ": create an empty database of that name$",
        "postgresql": "does not exist: check that the server runs",
    }
    for work in (schema.upgrade, schema.ensure):
        with pytest.raises(ConfigurationError, match=sentence[database.url.get_backend_name()]):
            work(Database({"url": url}))


@servers
def test_an_unknown_option_of_the_driver_is_reported(database):
    url = database.url.update_query_dict({"colour": "blue"}).render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError, match=r"^database.url: .*colour") as raised:
        schema.ensure(Database({"url": url}))
    assert "\n" not in str(raised.value)


@pytest.mark.only_on("mariadb")
def test_mariadb_keeps_transactions_and_compares_text_byte_by_byte(database):
    schema.upgrade(database)
    made = text(
        "SELECT table_name, engine, table_collation FROM information_schema.tables WHERE table_schema = DATABASE()"
    )
    with direct_connection(database) as connection:
        found = {name: how for name, *how in connection.execute(made)}
    assert all(found[name] == ["InnoDB", "utf8mb4_nopad_bin"] for name in metadata.tables)


@pytest.mark.only_on("mariadb")
def test_mariadb_keeps_microseconds(database):
    schema.upgrade(database)
    made = text(
        "SELECT table_name, column_name, datetime_precision FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND data_type = 'datetime'"
    )
    with direct_connection(database) as connection:
        found = {(table, column): precision for table, column, precision in connection.execute(made)}
    times = {(table.name, each.name) for table in metadata.tables.values() for each in table.c if is_time(each)}
    assert found == dict.fromkeys(times, 6)


def is_time(column):
    return isinstance(column.type, UTCDateTime)


@sqlite
def test_a_file_that_is_no_database_is_refused(database, path):
    path.write_text("not a database at all, but a text of some length" * 100)
    with pytest.raises(ConfigurationError, match=r"^database\.url: sqlite:////.* can't be used: file is no"):
        schema.ensure(database)


@sqlite
@pytest.mark.parametrize("start", [schema.check, schema.ensure, schema.upgrade], ids=["check", "ensure", "upgrade"])
def test_a_directory_that_can_not_be_made_is_refused(tmp_path, start):
    (tmp_path / "file").touch()
    database = Database({"url": f"sqlite:///{tmp_path}/file/registry.db"})
    with pytest.raises(ConfigurationError, match=r"^database\.url: "):
        start(database)


def start_on_new_files(directory, start, outcomes):
    found = []
    for number in range(NEW_FILES):
        database = Database({"url": f"sqlite:///{directory}/{number}/registry.db"})
        start.wait(TIMEOUT)
        try:
            schema.ensure(database)
            found.append(schema.current(database))
        except Exception as error:
            found.append(repr(error))
    outcomes.put(found)


@sqlite
@pytest.mark.parametrize("start", [schema.check, schema.ensure, schema.current, schema.upgrade])
def test_a_file_that_can_not_be_looked_for_is_reported(tmp_path, start):
    # As in a directory that the user may not enter; but root may.
    with pytest.raises(ConfigurationError, match=r"^database.url: .*/xxx.* can't be (opened|written): "):
        start(Database({"url": f"sqlite:///{tmp_path}/{'x' * 300}"}))


def put_problems(url, outcomes):
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    outcomes.put(list(server.problems(Database({"url": url}), 60)))


@sqlite
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("mode", "count"), [(0o644, 1), (0o666, 0)])
def test_a_file_that_this_user_may_only_read_is_reported(mode, count):
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        path = Path(directory) / "volumes.db"
        schema.upgrade(Database({"url": f"sqlite:///{path}"}))
        path.chmod(mode)
        context = multiprocessing.get_context("fork")
        outcomes = context.Queue()
        process = context.Process(target=put_problems, args=(f"sqlite:///{path}", outcomes))
        process.start()
        found = outcomes.get(timeout=TIMEOUT)
        process.join()
    assert [each.partition(": run this as the user")[0] for each in found] == [
        f"sqlite:///{path} may only be read, so each attach and detach gets 503"
    ] * count


@sqlite
def test_several_processes_may_start_on_the_same_new_file_at_once(tmp_path):
    for number in range(0, NEW_FILES, 2):  # made by another process, and not yet opened
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "registry.db").touch()
    spawn = multiprocessing.get_context("spawn")
    start, outcomes = spawn.Barrier(4), spawn.Queue()
    processes = [spawn.Process(target=start_on_new_files, args=(tmp_path, start, outcomes)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [outcomes.get(timeout=TIMEOUT) for _ in processes]
    for process in processes:
        process.join(TIMEOUT)
    assert found == [[schema.HEAD] * NEW_FILES] * 4
    for number in range(NEW_FILES):
        assert compare(Database({"url": f"sqlite:///{tmp_path}/{number}/registry.db"})) == []


def test_the_hosts_logging_is_left_alone(database):
    loggers = [logging.getLogger(name) for name in (None, "host.of.the.filter", "sqlalchemy.engine", "alembic")]

    def how_it_is():
        return [(list(each.handlers), each.level, each.disabled, each.propagate) for each in loggers]

    before = how_it_is()
    schema.upgrade(database)
    assert how_it_is() == before
    assert not any(logger.disabled for logger in loggers)
