"""The options of a database: what reaches the driver and the pool, and what is refused."""

import sys
import traceback
from types import SimpleNamespace

import psycopg
import pymysql
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from os_volume_ext.backends.base import ConfigurationError
from os_volume_ext.errors import RegistryUnavailable, TransactionAborted
from os_volume_ext.registry import database as database_module
from os_volume_ext.registry import execution, postgresql
from os_volume_ext.registry.database import ATTEMPTS, Database, retry_on_deadlock

PASSWORD = "p@s:s/w?o#r%d +é"
QUOTED = "p%40s%3As%2Fw%3Fo%23r%25d%20%2B%C3%A9"
PSYCOPG = {"connect_timeout": 10, "prepare_threshold": None}
PYMYSQL = {"connect_timeout": 10, "read_timeout": 10, "write_timeout": 10}


@pytest.fixture
def connecting(monkeypatch):
    """Give ``connecting(url)``: the driver's arguments."""
    seen = []

    def refuse(*arguments, **options):
        seen.append(options)
        raise (psycopg if "dbname" in options or "context" in options else pymysql).OperationalError("not here")

    monkeypatch.setattr(psycopg.Connection, "connect", refuse)
    monkeypatch.setattr(pymysql, "connect", refuse)

    def connect(url):
        with pytest.raises(DBAPIError):
            Database({"url": url}).make_engine().connect()
        (options,) = seen
        return {name: value for name, value in options.items() if name not in ("context", "client_flag")}

    return connect


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (
            f"postgresql+psycopg://us%40er:{QUOTED}@db.example:5433/volumes?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            {
                "user": "us@er",
                "password": PASSWORD,
                "host": "db.example",
                "port": 5433,
                "dbname": "volumes",
                "sslmode": "verify-full",
                "sslrootcert": "/etc/ca.pem",
                **PSYCOPG,
            },
        ),
        (
            "postgresql+psycopg:///volumes?host=/run/postgresql&connect_timeout=3&read_timeout=4",
            {"dbname": "volumes", "host": "/run/postgresql", "connect_timeout": "3", "prepare_threshold": None},
        ),
        (
            "postgresql+psycopg:///volumes?prepare_threshold=5&client_encoding=UTF8",
            {"dbname": "volumes", "client_encoding": "UTF8", **PSYCOPG, "prepare_threshold": 5},
        ),
        (
            "postgresql+psycopg://u@/volumes?host=one:5432&host=two:5433&target_session_attrs=read-write",
            {
                "user": "u",
                "dbname": "volumes",
                "host": "one,two",
                "port": "5432,5433",
                "target_session_attrs": "read-write",
                **PSYCOPG,
            },
        ),
        (
            f"mysql+pymysql://us%40er:{QUOTED}@[::1]:3307/volumes?charset=utf8mb4&ssl_ca=/ca.pem&ssl_check_hostname=true",
            {
                "user": "us@er",
                "password": PASSWORD,
                "host": "::1",
                "port": 3307,
                "database": "volumes",
                "charset": "utf8mb4",
                "ssl": {"ca": "/ca.pem", "check_hostname": True},
                **PYMYSQL,
            },
        ),
        (
            "mariadb+pymysql://u@/volumes?unix_socket=/run/mysqld/mysqld.sock&read_timeout=3&connect_timeout=4",
            {
                "user": "u",
                "database": "volumes",
                "unix_socket": "/run/mysqld/mysqld.sock",
                **PYMYSQL,
                "read_timeout": 3,
                "connect_timeout": 4,
            },
        ),
    ],
    ids=["a password and TLS", "a socket", "prepared", "two hosts", "MySQL with TLS", "MariaDB's socket"],
)
def test_the_driver_gets_the_options_of_the_url_and_our_timeouts_else(connecting, url, options):
    assert connecting(url) == options


def test_what_sqlalchemy_keeps_for_the_next_connection_stays_as_it_was(monkeypatch):
    monkeypatch.setattr(psycopg.Connection, "connect", lambda **options: SimpleNamespace(arguments=options))
    options = {"host": "h", "read_timeout": "3", "prepare_threshold": "0"}
    for _ in range(2):
        connection = postgresql.connect(None, None, [], options)
        assert (connection.arguments, connection.read_timeout) == ({"host": "h", "prepare_threshold": 0}, 3.0)


@pytest.mark.parametrize("url", ["postgresql+psycopg://u@h/d", "mysql+pymysql://u@h/d", "sqlite:////nowhere/x.db"])
def test_the_pool_gets_what_the_options_say(url):
    pool = {"pool_size": "3", "max_overflow": "2", "pool_timeout": "4", "pool_recycle": "60", "pool_pre_ping": "True"}
    made = Database({"url": url, **pool}).make_engine().pool
    assert (made.size(), made._max_overflow, made._timeout, made._recycle, made._pre_ping) == (3, 2, 4, 60, True)
    assert Database({"url": url, "pool_pre_ping": "false"}).make_engine().pool._pre_ping is False


@pytest.mark.parametrize("query", ["", "?uri=true", "?mode=rw&uri=true"])
def test_a_file_may_be_named_by_a_file_uri(tmp_path, query):
    (tmp_path / "registry.db").touch()
    database = Database({"url": f"sqlite:///file:{tmp_path}/registry.db{query}"})
    assert [path for _, _, path in database.query(text("PRAGMA database_list"))] == [f"{tmp_path}/registry.db"]
    database.dispose()


@pytest.mark.parametrize(
    "option",
    [
        "cached_statements=9",
        "check_same_thread=0",
        "detect_types=0",
        "isolation_level=DEFERRED",
        "timeout=3",
        "uri=true",
    ],
)
def test_a_url_may_have_each_option_of_sqlites_driver(tmp_path, option):
    (tmp_path / "registry.db").touch()
    database = Database({"url": f"sqlite:///{tmp_path}/registry.db?{option}"})
    assert database.query(text("SELECT 7")) == [(7,)]
    database.dispose()


def test_what_only_reads_can_not_change_a_file(tmp_path):
    (tmp_path / "registry.db").touch()
    database = Database({"url": f"sqlite:///{tmp_path}/registry.db"}, read_only=True)
    with pytest.raises(RegistryUnavailable, match="attempt to write a readonly database"):
        database.change(text("CREATE TABLE t (c)"))
    database.dispose()


def test_a_full_pool_is_reported_as_an_unavailable_registry(tmp_path):
    pool = {"pool_size": "1", "max_overflow": "0", "pool_timeout": "0"}
    (tmp_path / "registry.db").touch()
    database = Database({"url": f"sqlite:///{tmp_path}/registry.db", **pool})
    with database.transaction(), pytest.raises(RegistryUnavailable, match="QueuePool limit"), database.transaction():
        pass
    database.dispose()


@pytest.mark.parametrize("url", ["postgresql+psycopg://u@h/d", "mysql+pymysql://u@h/d"])
def test_a_place_in_the_pool_is_not_waited_for_without_end(url):
    assert Database({"url": url}).make_engine().pool._timeout == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "database.url is missing"),
        ({"url": "sqlite://"}, "database.url names a database in memory"),
        (
            {"url": "sqlite:///var/registry.db"},
            "database.url has the relative path 'var/registry.db': write sqlite:///%(here)s/... or an absolute path",
        ),
        ({"url": "sqlite:///:memory:"}, "database.url names a database in memory"),
        ({"url": "sqlite:///file:/x.db?mode=memory&uri=true"}, "database.url names a database in memory"),
        ({"url": "sqlite:///file::memory:?uri=true"}, "database.url names a database in memory"),
        ({"url": "sqlite:///file:x.db?uri=true"}, "database.url has the relative path 'file:x.db'"),
        (
            {"url": "sqlite:///file:/x%23.db?uri=true"},
            "database.url has the URI 'file:/x#.db': quote ? and # in the name of a file twice, as %253F and %2523",
        ),
        ({"url": "sqlite:///file:/x%3F.db"}, "database.url has the URI 'file:/x?.db': quote ? and #"),
        (
            {"url": "postgresql+psycopg://u:pass@word@h/d"},
            "database.url is not a URL such as sqlite:////path/file: quote",
        ),
        ({"url": "mysql+pymysql://h/"}, "database.url names no database: write mysql+pymysql://.../NAME"),
        ({"url": "mariadb+pymysql://h"}, "database.url names no database: write mariadb+pymysql://.../NAME"),
        ({"url": "sqlite:////x.db?sslmode=require"}, "database.url has the unknown option 'sslmode': remove it"),
        (
            {"url": "postgresql+psycopg://h/d?prepare_threshold=often"},
            "database.url has prepare_threshold=often: it must be a whole number of uses",
        ),
        (
            {"url": "mysql+pymysql://h/d?read_timeout=1.5"},
            "database.url has read_timeout=1.5: it must be a whole number of seconds",
        ),
        (
            {"url": "postgresql+psycopg://h/d?connect_timeout=-1"},
            "database.url has connect_timeout=-1: it must be a whole number of seconds",
        ),
        (
            {"url": "mysql+pymysql://h/d?charset=latin1"},
            "database.url has charset=latin1: it must be utf8mb4, or be left out",
        ),
        (
            {"url": "postgresql+psycopg://h/d?client_encoding=latin1"},
            "database.url has client_encoding=latin1: it must be utf-8, or be left out",
        ),
        (
            {"url": "mssql+pyodbc://h/d"},
            "database.url is of mssql+pyodbc: it may be of sqlite, postgresql, mysql, mariadb",
        ),
        (
            {"url": "postgresql+psychopg://h/d"},
            "database.url is of postgresql+psychopg: write postgresql+psycopg://...",
        ),
        ({"url": "mysql+oursql://h/d"}, "database.url is of mysql+oursql: write mysql+pymysql://..."),
        ({"pool_size": "many"}, "database.*: SQLAlchemy rejects these options"),
        ({"pool_sise": "3"}, "database.*: SQLAlchemy rejects these options"),
        (
            {"connect_args": "sslmode=require"},
            "database.connect_args is not an option: the driver's options are part of",
        ),
        (
            {"isolation_level": "SERIALIZABLE"},
            "database.isolation_level is not an option: each transaction sets the level",
        ),
        (
            {"pool_reset_on_return": "rollback"},
            "database.pool_reset_on_return is not an option: each statement commits itself",
        ),
        ({"echo": "true"}, "database.echo is not an option: set the logger os_volume_ext.registry.execution to DEBUG"),
    ],
)
def test_what_can_not_be_used_is_reported(options, sentence):
    if options and "url" not in options:
        options = {"url": "postgresql+psycopg://u@h/d", **options}
    with pytest.raises(ConfigurationError) as raised:
        Database(options)
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    ("url", "module", "sentence"),
    [
        (
            "postgresql+psycopg://h/d",
            "psycopg",
            "postgresql+psycopg needs psycopg, which is not installed: install os-volume-ext[postgresql]",
        ),
        (
            "mysql+pymysql://h/d",
            "pymysql",
            "mysql+pymysql needs pymysql, which is not installed: install os-volume-ext[mysql]",
        ),
        (
            "mariadb+pymysql://h/d",
            "pymysql",
            "mariadb+pymysql needs pymysql, which is not installed: install os-volume-ext[mysql]",
        ),
        (
            "postgresql+psycopg2://h/d",
            "psycopg2",
            "postgresql+psycopg2 needs psycopg2, which is not installed: install os-volume-ext[postgresql] "
            "and write postgresql+psycopg://...",
        ),
        (
            "mysql://h/d",
            "MySQLdb",
            "mysql needs MySQLdb, which is not installed: install os-volume-ext[mysql] and write mysql+pymysql://...",
        ),
    ],
)
def test_a_missing_driver_is_reported_with_the_extra_to_install(monkeypatch, url, module, sentence):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as raised:
        Database({"url": url})
    assert str(raised.value) == f"database.url: {sentence}"


def test_a_missing_driver_that_no_extra_has_is_reported(monkeypatch):
    for module in ("sqlcipher3", "pysqlcipher3"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as raised:
        Database({"url": "sqlite+pysqlcipher:////x.db"})
    assert str(raised.value).startswith("database.url: the driver of sqlite+pysqlcipher is not installed: ")


@pytest.mark.parametrize("url", ["postgresql+psycopg://volumes:hush", "mysql+pymysql://u@h:hush/x", "hush"])
def test_a_malformed_url_is_not_shown(url):
    with pytest.raises(ConfigurationError) as raised:
        Database({"url": url})
    assert str(raised.value).startswith("database.url is not a URL")
    assert "hush" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("query", ["user=u&password=hush", "connect_timeout=5&sslpassword=hush"])
def test_a_password_in_the_query_is_not_shown(query):
    shown = str(Database({"url": f"postgresql+psycopg://u:hush@h/d?{query}"}))
    assert shown.startswith("postgresql+psycopg://u:***@h/d?")
    assert "password=%2A%2A%2A" in shown
    assert "hush" not in shown


# -- giving way ------------------------------------------------------------------------------------


class Failing:
    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    @retry_on_deadlock
    def change(self, number):
        self.calls += 1
        if self.errors:
            raise self.errors.pop()
        return number


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr(database_module.time, "sleep", pauses.append)
    return pauses


def test_what_gave_way_begins_again_after_a_pause(pauses):
    failing = Failing(TransactionAborted(), TransactionAborted())
    assert failing.change(7) == 7
    assert failing.calls == 3
    assert len(pauses) == 2
    assert all(0 <= pause < 1 for pause in pauses)


@pytest.mark.parametrize(
    ("choose", "expected"), [(min, [0] * 9), (max, [0.02, 0.04, 0.08, 0.16, 0.2, 0.2, 0.2, 0.2, 0.2])]
)
def test_pauses_are_random_and_their_bound_doubles_up_to_a_fifth_of_a_second(pauses, monkeypatch, choose, expected):
    monkeypatch.setattr(database_module.random, "uniform", lambda *bounds: choose(bounds))
    with pytest.raises(TransactionAborted):
        Failing(*[TransactionAborted()] * 10).change(7)
    assert pauses == pytest.approx(expected)


def test_a_method_that_is_called_again_keeps_its_name():
    assert Failing.change.__name__ == "change"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (pymysql.OperationalError(1213, "Deadlock found when trying to get lock"), TransactionAborted),
        (pymysql.OperationalError(1020, "Record has changed since last read"), TransactionAborted),
        (pymysql.OperationalError(1205, "Lock wait timeout exceeded"), RegistryUnavailable),
        (pymysql.OperationalError(2013, "Lost connection to MySQL server"), RegistryUnavailable),
        (psycopg.errors.SerializationFailure("could not serialize access"), TransactionAborted),
        (psycopg.errors.DeadlockDetected("deadlock detected"), TransactionAborted),
        (psycopg.OperationalError("the connection is closed"), RegistryUnavailable),
        (psycopg.OperationalError(), RegistryUnavailable),
    ],
)
def test_only_deadlocks_and_serialization_failures_are_worth_another_attempt(error, expected):
    assert type(execution.translate(error)) is expected


def test_an_error_of_several_lines_is_reported_by_its_first():
    error = psycopg.OperationalError("no connection\n\tIs the server running?")
    assert str(execution.translate(error)) == "no connection"


def test_it_does_not_begin_again_without_end():
    failing = Failing(*[TransactionAborted()] * 99)
    with pytest.raises(TransactionAborted):
        failing.change(7)
    assert failing.calls == ATTEMPTS


def test_what_may_have_been_made_does_not_begin_again():
    failing = Failing(RegistryUnavailable())
    with pytest.raises(RegistryUnavailable):
        failing.change(7)
    assert failing.calls == 1
