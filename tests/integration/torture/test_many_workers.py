"""Many workers on few volumes: all responses are consistent with one order of events (linearizable)."""

import pytest

from tests.support.hammer import (
    Load,
    check_agreement,
    check_linearizable,
    check_responses,
    check_witness,
    hammer,
    log_of,
    prepare,
    summary,
)
from tests.support.history import KINDS

REQUESTS = 10_000  # in each dialect


@pytest.mark.parametrize("dialect", KINDS)
def test_the_responses_to_many_workers_are_linearizable(database_kind, tmp_path, times, dialect):
    load = Load(REQUESTS * times, dialect)
    with database_kind.new(tmp_path / "registry.sqlite") as url:
        prepare(tmp_path, url, load)
        requests = hammer(tmp_path, [url], load)
        print(summary(requests))
        check_responses(requests)
        check_witness(tmp_path)
        assert log_of(tmp_path).read_text() == ""  # nothing here is worth a warning
        assert {(each.operation, each.status) for each in requests} == KINDS[load.dialect]
        check_linearizable(requests, load)
        check_agreement(tmp_path, url, load, requests)
