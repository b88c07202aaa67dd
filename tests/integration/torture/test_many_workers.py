"""Many workers on few volumes: all responses are consistent with one order of events (linearizable)."""

import pytest

from tests.support.hammer import Load, exercise, log_of
from tests.support.history import KINDS

REQUESTS = 10_000  # in each dialect


@pytest.mark.parametrize("dialect", KINDS)
def test_the_responses_to_many_workers_are_linearizable(database_kind, tmp_path, times, dialect):
    load = Load(REQUESTS * times, dialect)
    with database_kind.new(tmp_path / "registry.sqlite") as url:
        requests = exercise(tmp_path, url, load)
    assert log_of(tmp_path).read_text() == ""  # nothing here is worth a warning
    assert {(each.operation, each.status) for each in requests} == KINDS[load.dialect]
