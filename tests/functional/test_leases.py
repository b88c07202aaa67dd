"""Leases: who holds one, for how long, and that exactly one of several concurrent holders acquires it."""

import datetime
import multiprocessing
import threading
from typing import NamedTuple

import pytest
from sqlalchemy import insert, select, update

from os_volume_ext.errors import TransactionAborted
from os_volume_ext.registry import sqlite
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.leases import Leases
from os_volume_ext.registry.tables import leases as table
from os_volume_ext.registry.tables import utc_now
from tests.support.databases import direct_connection, nanoseconds
from tests.support.waiting import TIMEOUT

LASTS = 1000  # seconds that no test takes
NAMES = [f"lease-{number}" for number in range(25)]
LONG_AGO = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Row(NamedTuple):
    holder: str
    taken_at: datetime.datetime
    now: datetime.datetime


@pytest.fixture
def leases(database):
    return Leases(database)


@pytest.fixture
def row(database):
    """Give ``row()``: holder and time of the one lease, and the database's time."""

    def read():
        (row,) = database.query(select(table.c.holder, table.c.taken_at, utc_now()))
        return Row(*row)

    return read


@pytest.fixture
def pass_time(database):
    """Give ``pass_time(seconds)``; with less than none, the clock is set back."""

    def move(seconds):
        for name, taken_at in database.query(select(table.c.name, table.c.taken_at)):
            moment = taken_at - datetime.timedelta(seconds=seconds)
            database.change(update(table).where(table.c.name == name).values(taken_at=moment))

    return move


def test_a_free_lease_goes_to_the_first_that_acquires_it(leases, row):
    assert leases.acquire("work", "a", LASTS)
    holder, taken_at, now = row()
    assert holder == "a"
    assert datetime.timedelta(0) <= now - taken_at < datetime.timedelta(seconds=LASTS)


def test_no_other_holder_acquires_it_before_it_expires(leases, pass_time, row):
    leases.acquire("work", "a", LASTS)
    pass_time(LASTS / 2)
    before = row()[:2]
    assert not leases.acquire("work", "b", LASTS)
    assert row()[:2] == before


def test_its_holder_renews_it_and_has_it_for_as_long_again(leases, pass_time):
    leases.acquire("work", "a", LASTS)
    for _ in range(3):
        pass_time(LASTS * 0.7)
        assert leases.acquire("work", "a", LASTS)
    assert not leases.acquire("work", "b", LASTS)


def test_when_it_has_run_out_another_takes_it_and_the_first_has_it_no_more(leases, pass_time, row):
    leases.acquire("work", "a", LASTS)
    pass_time(LASTS)
    assert leases.acquire("work", "b", LASTS)
    assert row().holder == "b"
    assert not leases.acquire("work", "a", LASTS)


def test_an_expired_lease_that_is_still_free_is_renewed(leases, pass_time):
    leases.acquire("work", "a", LASTS)
    pass_time(2 * LASTS)
    assert leases.acquire("work", "a", LASTS)
    assert not leases.acquire("work", "b", LASTS)


def test_a_clock_that_is_set_back_does_not_make_it_last_until_then(leases, pass_time):
    leases.acquire("work", "a", LASTS)
    pass_time(-2 * LASTS)
    assert leases.acquire("work", "b", LASTS)


def test_clocks_that_differ_a_little_do_not_end_it(leases, pass_time):
    """As the clocks of several database servers in one cluster do."""
    leases.acquire("work", "a", LASTS)
    pass_time(-5)
    assert not leases.acquire("work", "b", LASTS)


@pytest.mark.only_on("sqlite")
def test_it_expires_when_its_time_has_passed_and_not_later(leases, monkeypatch):
    now = [LONG_AGO]
    monkeypatch.setattr(sqlite, "time_ns", lambda: nanoseconds(now[0]))
    leases.acquire("work", "a", LASTS)
    now[0] = LONG_AGO + datetime.timedelta(seconds=LASTS, microseconds=-1)
    assert not leases.acquire("work", "b", LASTS)
    now[0] = LONG_AGO + datetime.timedelta(seconds=LASTS)
    assert leases.acquire("work", "b", LASTS)


def test_an_acquisition_that_was_aborted_is_made_again(leases, database, monkeypatch):
    change = database.change
    aborted = [TransactionAborted("deadlock found")]

    def abort_once(statement, parameters):
        if aborted:
            raise aborted.pop()
        return change(statement, parameters)

    monkeypatch.setattr(database, "change", abort_once)
    assert leases.acquire("work", "a", LASTS)


def test_leases_of_other_names_are_others(leases):
    assert leases.acquire("work", "a", LASTS)
    assert leases.acquire("other work", "b", LASTS)


def test_to_take_one_leaves_others_as_they_are_though_they_look_the_same(leases, database):
    with direct_connection(database) as connection:
        dead = [{"name": name, "holder": "dead", "taken_at": LONG_AGO} for name in ("work", "other work")]
        connection.execute(insert(table), dead)
    assert leases.acquire("work", "a", LASTS)
    with direct_connection(database) as connection:
        other = select(table.c.holder, table.c.taken_at).where(table.c.name == "other work")
        assert connection.execute(other).one() == ("dead", LONG_AGO)


@pytest.fixture
def acquired_meanwhile(database, monkeypatch):
    """Let ``b`` acquire the lease after the next one who wants it has read, and before it writes."""
    change = database.change

    def interrupted(statement, parameters):
        monkeypatch.setattr(database, "change", change)
        assert Leases(database).acquire("work", "b", LASTS)
        return change(statement, parameters)

    monkeypatch.setattr(database, "change", interrupted)


def test_a_free_lease_that_another_acquires_between_read_and_write_is_theirs(leases, row, acquired_meanwhile):
    assert not leases.acquire("work", "a", LASTS)
    assert row().holder == "b"


def test_an_expired_lease_that_another_acquires_between_read_and_write_is_theirs(
    leases, row, database, acquired_meanwhile
):
    with direct_connection(database) as connection:
        connection.execute(insert(table).values(name="work", holder="dead", taken_at=LONG_AGO))
    assert not leases.acquire("work", "a", LASTS)
    assert row().holder == "b"


def compete(url, holder, start):
    """Try for each lease at the same moment as the others; return which were got."""
    database = Database({"url": url})
    got = []
    for name in NAMES:
        start.wait(TIMEOUT)
        if Leases(database).acquire(name, holder, LASTS):
            got.append(name)
    database.dispose()
    return got


def compete_in_process(url, holder, start, outcomes):
    outcomes.put(compete(url, holder, start))


@pytest.fixture(params=["new", "run out"])
def competing(request, database):
    """Have the leases not yet be there, or have run out."""
    if request.param == "run out":
        with direct_connection(database) as connection:
            dead = [{"name": name, "holder": "dead", "taken_at": LONG_AGO} for name in NAMES]
            connection.execute(insert(table), dead)


@pytest.mark.usefixtures("competing")
class TestAtOnce:
    def test_of_several_threads_exactly_one_gets_each(self, url):
        start, got = threading.Barrier(4), []
        takers = [
            threading.Thread(target=lambda holder=holder: got.extend(compete(url, holder, start))) for holder in "abcd"
        ]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join(TIMEOUT)
        assert sorted(got) == sorted(NAMES)

    def test_of_several_processes_exactly_one_gets_each(self, url):
        spawn = multiprocessing.get_context("spawn")
        start, outcomes = spawn.Barrier(3), spawn.Queue()
        takers = [
            spawn.Process(target=compete_in_process, args=(url, holder, start, outcomes)) for holder in ("a", "b", "c")
        ]
        for taker in takers:
            taker.start()
        got = [name for _ in takers for name in outcomes.get(timeout=TIMEOUT)]
        for taker in takers:
            taker.join(TIMEOUT)
        assert sorted(got) == sorted(NAMES)
