"""How the databases find the rows: by which columns of an index, as they explain it themselves.

The table has 20,000 rows of 2,000 servers in the order of their creation, so each server's rows are scattered. A
planner without the right index would read all of them, or sort what it found.
"""

import datetime
import random
import uuid

import pytest
from sqlalchemy import create_engine, insert
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateIndex, DropIndex

from os_volume_ext.models import ATTACHED, AttachmentDetail, AttachmentSummary
from os_volume_ext.registry import schema, statements
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments as table
from tests.support.databases import direct_connection
from tests.support.plans import explain

SERVERS, PER_SERVER = 2_000, 10
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
STATISTICS = {
    "sqlite": "ANALYZE",
    "postgresql": "VACUUM ANALYZE attachments",
    "mysql": "ANALYZE TABLE attachments",
    "mariadb": "ANALYZE TABLE attachments",
}
CHANGES = ("CLAIM", "RESTORE", "RESTAMP", "SET_DEVICE", "REMOVE")
KEY = ("volume_id", "server_id")


def make_rows():
    numbers = random.Random(1)
    server_ids = [str(uuid.UUID(int=numbers.getrandbits(128))) for _ in range(SERVERS)] * PER_SERVER
    for number, server_id in enumerate(server_ids):
        volume_id = str(uuid.UUID(int=numbers.getrandbits(128)))
        yield {
            "volume_id": volume_id,
            "server_id": server_id,
            "id": volume_id,
            "exclusive_volume_id": volume_id,
            "project_id": "demo",
            "device": f"/dev/vd{chr(ord('b') + number // SERVERS)}",
            "root": False,
            "delete_on_termination": False,
            "state": ATTACHED,
            "request_id": "req-1",
            "created_at": BEGIN + datetime.timedelta(minutes=number),
            "updated_at": BEGIN,
            "claim_id": volume_id,
        }


@pytest.fixture(scope="module")
def filled(database_kind, tmp_path_factory):
    """Give a database with many rows, and one of them."""
    first, *others = make_rows()
    with database_kind.new(tmp_path_factory.mktemp("plans") / "registry.db") as url:
        # Only rows whose commit is on the disk are known as visible to all, which reading an index alone needs.
        database = Database({"url": str(make_url(url).difference_update_query(["options"]))})
        schema.upgrade(database)
        with direct_connection(database) as connection:
            connection.execute(insert(table), [first, *others])
        engine = create_engine(database.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(STATISTICS[connection.dialect.name])
        engine.dispose()
        yield database, first


@pytest.fixture
def plan_of(filled):
    """Give ``plan_of(statement, **parameters)``; the parameters that are not given are those of one of the rows."""
    database, row = filled
    more = {
        "limit": 1000,
        "offset": 0,
        "since": BEGIN + datetime.timedelta(days=10),
        "lock_id": 3,
        "of_server_id": row["server_id"],
        "old_device": row["device"],
        **{f"seen_{name}": row[name] for name in ("volume_id", "server_id", "state", "claim_id")},
        **{f"new_{name}": row.get(name) for name in map(str, table.c.keys())},
    }

    def plan_of(statement, **parameters):
        with direct_connection(database) as connection:
            return explain(connection, statement, **{**row, **more, **parameters})

    return plan_of


@pytest.mark.parametrize(
    ("conditions", "columns"),
    [
        ((), ("server_id",)),
        (("project_id",), ("server_id",)),
        (("since",), ("server_id", "created_at")),
        (("project_id", "since"), ("server_id", "created_at")),
    ],
)
@pytest.mark.parametrize("projection", [AttachmentSummary, AttachmentDetail])
def test_a_list_reads_no_other_rows_than_those_of_its_server(plan_of, projection, conditions, columns):
    plan = plan_of(statements.LISTS[projection, conditions])
    assert plan.columns == columns


@pytest.mark.parametrize("projection", [AttachmentSummary, AttachmentDetail])
def test_a_page_of_a_list_is_read_in_order_without_sorting(plan_of, projection):
    # For all ten, PostgreSQL may read them in the order of the table, and sort them: they are few.
    plan = plan_of(statements.LISTS[projection, ()], limit=2)
    assert plan.columns == ("server_id",)
    assert not plan.sorts


@pytest.mark.parametrize("projection", [AttachmentSummary, AttachmentDetail])
def test_a_show_finds_its_row_by_the_primary_key(plan_of, projection):
    assert plan_of(statements.ONE_VISIBLE[projection]).columns == KEY


def test_the_count_of_a_servers_rows_reads_only_an_index(plan_of):
    plan = plan_of(statements.COUNTS[True, False])
    assert plan.columns == ("server_id",)
    assert plan.only_index


@pytest.mark.parametrize("change", CHANGES)
def test_a_compare_and_set_change_finds_its_row_by_the_primary_key(plan_of, change):
    plan = plan_of(getattr(statements, change))
    assert plan.columns == KEY


@pytest.mark.parametrize(
    ("statement", "columns"),
    [
        ("ONE", KEY),
        ("OF_VOLUME", ("volume_id",)),
        ("AT_DEVICE", ("server_id", "device")),
        ("VACATE", ("server_id", "device")),
        ("LOCK_SERVERS", ("id",)),
    ],
)
def test_the_other_statements_of_an_attach_find_their_rows_by_an_index(plan_of, statement, columns):
    plan = plan_of(getattr(statements, statement))
    assert plan.columns[: len(columns)] == columns


def test_the_search_for_pending_rows_reads_no_others(plan_of):
    plan = plan_of(statements.PENDING_PAGE, state="", server_id="", volume_id="")
    assert plan.index == "ix_attachments_pending"


def test_a_page_of_all_rows_is_read_in_order_without_sorting(plan_of):
    plan = plan_of(statements.PAGE, server_id="1", volume_id="")  # near the beginning: most rows follow
    assert plan.columns[:1] == ("server_id",)
    assert not plan.sorts


def test_a_search_by_a_column_without_an_index_reads_all_rows(plan_of):
    assert plan_of(statements.find("project_id")).columns == ()


def test_without_its_index_a_list_sorts_what_it_found(filled, plan_of):
    database, _ = filled
    [index] = [each for each in table.indexes if "created_at" in each.columns]
    with direct_connection(database) as connection:
        connection.execute(DropIndex(index))
    try:
        assert plan_of(statements.LISTS[AttachmentSummary, ()], limit=2).sorts
    finally:
        with direct_connection(database) as connection:
            connection.execute(CreateIndex(index))
