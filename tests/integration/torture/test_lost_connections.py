"""Many workers whose connections to the database are lost again and again: no acknowledged change is lost."""

from contextlib import suppress
from functools import partial

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.support.hammer import Load, exercise

REQUESTS = 2_000
TIMES = 40  # that all connections are lost
SESSIONS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()",
}
END = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}


def end_sessions(url, run):
    """End all sessions in the database, at equal distances of the requests."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    for number in range(TIMES):
        run.wait_for(number / TIMES)
        with engine.connect() as connection:
            for session in connection.execute(text(SESSIONS[engine.name])).scalars().all():
                with suppress(OperationalError):  # MariaDB has an error for a session that has ended by itself
                    connection.execute(text(END[engine.name].format(session)))
    engine.dispose()


@pytest.mark.only_on("postgresql", "mariadb")
def test_no_acknowledged_change_is_lost_with_connections(database_kind, tmp_path, times):
    load = Load(
        REQUESTS * times,
        "openstack",
        server_count=12,
        volume_count=60,
        devices=("/dev/vdb", "/dev/vdc", "/dev/vdd", "/dev/vde", "/dev/vdf", "/dev/vdg"),
        options={"max_attachments": "5"},
    )
    with database_kind.new() as url:
        requests = exercise(tmp_path, url, load, partial(end_sessions, url))
    assert {("attach", 202), ("attach", 503), ("detach", 202)} <= {(each.operation, each.status) for each in requests}
