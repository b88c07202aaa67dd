"""The benchmark of several processes and many rows: it does what its tables are about. No test here measures time."""

from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, inspect, select

from benchmarks import cloud, scaling, worker
from benchmarks.growing import FREE_VOLUME, KINDS, PER_SERVER, SERVER, VOLUME, growing, id_of
from benchmarks.measure import Skipped
from benchmarks.worker import THREADS
from benchmarks.workers import workers
from os_volume_ext.registry.tables import attachments
from tests.support import databases
from tests.support.services import require_service
from tests.support.waiting import wait_until

ROWS = 1000
SECONDS = 0.2


@pytest.fixture(params=KINDS)
def new(request):
    try:
        with growing(request.param) as database:
            yield database
    except Skipped as reason:
        require_service(False, str(reason))


@pytest.fixture
def grown(new):
    new.grow(ROWS)
    return new


@contextmanager
def connected(database):
    engine = create_engine(database.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def keys(database):
    """Return all keys and indexes of the table."""
    with connected(database) as connection:
        table = inspect(connection)
        found = [*table.get_unique_constraints("attachments"), *table.get_indexes("attachments")]
        primary = table.get_pk_constraint("attachments")["constrained_columns"]
    return {each["name"]: each["column_names"] for each in found} | {"primary": primary}


def pairs(database):
    with connected(database) as connection:
        return sorted(map(tuple, connection.execute(select(attachments.c.server_id, attachments.c.volume_id))))


@pytest.mark.service
def test_a_table_has_the_same_keys_after_it_has_grown(new):
    before = keys(new)
    new.grow(ROWS)
    assert keys(new) == before


@pytest.mark.service
def test_each_server_of_a_grown_table_has_the_volumes_that_are_asked_for(grown):
    grown.grow(2 * ROWS)
    grown.grow(ROWS)  # which it has
    numbers = range(2 * ROWS)
    assert pairs(grown) == sorted((id_of(number // PER_SERVER, SERVER), id_of(number, VOLUME)) for number in numbers)


@pytest.mark.service
def test_all_processes_do_each_operation_and_leave_no_row(grown):
    before = pairs(grown)
    with workers(grown) as started:
        started.start(2)
        for operation in worker.OPERATIONS:
            measured = started.measure(operation, SECONDS)
            assert all(load.count > 0 for load in measured.loads), operation
            assert 0 < measured.connections <= 2 * THREADS
    assert pairs(grown) == before


@pytest.mark.service
def test_a_response_that_is_not_as_expected_fails_the_benchmark(grown):
    with connected(grown) as connection:
        connection.execute(attachments.delete())
    with workers(grown) as started:
        started.start(1)
        with pytest.raises(RuntimeError, match=r"exited 1: [\s\S]*fewer than 10 attachments are listed"):
            started.measure("list", SECONDS)


@pytest.mark.service
def test_its_processes_end_with_the_benchmark(grown):
    with workers(grown) as started:
        started.start(2)
        started.measure("show", SECONDS)
        assert grown.connections() > 0
    assert wait_until(lambda: grown.connections() == 0)


@pytest.mark.service
def test_its_tables_have_each_operation_size_and_number_of_processes(new, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "PROCESSES", (1, 2))
    tables = scaling.Tables()
    scaling.measure(new, [100, 200], SECONDS, tables)
    name = KINDS[new.kind]
    assert [row[:3] for row in tables.throughput] == [
        (name, rows, operation) for rows in ("100", "200") for operation in worker.OPERATIONS
    ]
    assert [row[:5] for row in tables.processes] == [
        (name, "1", "5", "15", "8"),
        (name, "2", "5", "30", "16"),
        (name, "1", "8", "18", "8"),
        (name, "2", "8", "36", "16"),
    ]
    assert [row[:2] for row in tables.sizes] == [(name, "100"), (name, "200")]
    tables.print()
    assert capsys.readouterr().out.count(name) == 12 + len(tables.cloud)


def test_the_volumes_that_are_attached_are_no_volumes_of_the_table():
    attached = {id_of(number, VOLUME) for number in range(ROWS)}
    assert len(attached) == ROWS
    assert attached.isdisjoint(id_of(number, FREE_VOLUME) for number in range(ROWS))


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_server_its_part_is_skipped(kind, monkeypatch, capsys):
    monkeypatch.setitem(databases.SERVERS, kind, databases.SERVERS[kind].replace(":5432/", ":1/").replace("3306", "1"))
    scaling.main(["--databases", kind, "--rows", "10"])
    assert f"{kind}: SKIPPED: no {KINDS[kind]} at " in capsys.readouterr().err


@pytest.mark.parametrize("rows", ["9", "many"])
def test_a_number_of_rows_that_is_too_small_or_none_is_refused(rows, capsys):
    with pytest.raises(SystemExit, match="2"):
        scaling.main(["--rows", rows])
    assert f"invalid integer value: '{rows}'" in capsys.readouterr().err


def test_what_a_cloud_needs_follows_from_the_costs_of_its_requests():
    costs = {"list": cloud.Cost(0.0002, 4_000), "show": cloud.Cost(0.0001, 8_000), "both": cloud.Cost(0.0016, 500)}
    assert [(what, result) for what, _, result in cloud.rows(costs, bytes_per_row=800, megabytes=75)] == [
        ("Backend calls in progress", "231"),
        ("Processes", "29"),
        ("Memory, without the compute API", "2.2 GB"),
        ("Connections, at most", "493"),
        ("Cores for the processes", "0.4"),
        ("Share of the measured machine", "49%"),
        ("Disk", "1.4 GB"),
    ]


def test_a_table_is_as_wide_as_its_cells(capsys):
    scaling.print_table("Title", ("A", "Second"), [("12", "3"), ("4", "5")])
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Title",
        "",
        "==  ======",
        "A   Second",
        "==  ======",
        "12  3",
        "4   5",
        "==  ======",
    ]
