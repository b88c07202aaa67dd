"""The hammer and its checks: faults come where they are due, what must not be is noticed, and nothing stays running."""

import multiprocessing
from dataclasses import replace

import pytest
from sqlalchemy import delete

from os_volume_ext.backends.base import Server, Volume
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments
from tests.support.databases import Files, direct_connection
from tests.support.hammer import (
    LONGEST,
    Load,
    check_agreement,
    check_linearizable,
    check_responses,
    check_witness,
    hammer,
    prepare,
)
from tests.support.history import REGISTRY, Request
from tests.support.worker_app import Witness

LOAD = Load(400, processes=2, threads=2)
S = 1_000_000_000


@pytest.fixture
def url(tmp_path):
    with Files().new(tmp_path / "registry.sqlite") as url:
        prepare(tmp_path, url, LOAD)
        yield url


def test_faults_come_at_shares_of_the_requests(url, tmp_path):
    shares = []

    def during(run):
        for share in (0.25, 0.75):
            run.wait_for(share)
            shares.append(run.begun / LOAD.requests)

    requests = hammer(tmp_path, [url], LOAD, during)
    assert 0.25 <= shares[0] < 0.75 <= shares[1] <= 1
    assert len(requests) == LOAD.requests + LOAD.server_count  # and a list of each server at the end
    check_responses(requests)
    check_witness(tmp_path)
    check_linearizable(requests, LOAD)
    check_agreement(tmp_path, url, LOAD, requests)


def test_the_requests_end_early_when_the_fault_is_over(url, tmp_path):
    begun = []

    def during(run):
        run.wait_for(0.1)
        run.end_after(50)
        begun.append(run.begun)

    requests = hammer(tmp_path, [url], replace(LOAD, requests=3000, pause=0.001), during)
    assert 300 <= begun[0] <= len(requests) - LOAD.server_count <= begun[0] + 50


def test_no_process_outlives_a_fault_injection_that_fails(url, tmp_path):
    def during(run):
        run.wait_for(0.1)
        raise RuntimeError("the node did not start")

    with pytest.raises(RuntimeError, match="did not start"):
        hammer(tmp_path, [url], LOAD, during)
    assert multiprocessing.active_children() == []


def test_a_process_that_fails_ends_the_run(tmp_path, url):
    options = {"max_limit": "0"}
    with pytest.raises(AssertionError, match="processes ended with"):
        hammer(tmp_path, [url], Load(400, processes=2, options=options))


def test_acknowledged_changes_that_are_lost_are_noticed(url, tmp_path):
    def during(run):
        run.wait_for(0.5)
        with direct_connection(Database({"url": url})) as connection:
            connection.execute(delete(attachments))

    requests = hammer(tmp_path, [url], LOAD, during)
    with pytest.raises(AssertionError, match="There is no order of events"):
        check_linearizable(requests, LOAD)


def test_changes_that_are_lost_after_the_last_request_are_noticed(url, tmp_path):
    requests = hammer(tmp_path, [url], LOAD)
    with direct_connection(Database({"url": url})) as connection:
        connection.execute(delete(attachments))
    with pytest.raises(AssertionError):
        check_agreement(tmp_path, url, LOAD, requests)


@pytest.mark.parametrize(
    ("seconds", "status", "has_retry_after"),
    [(1, 500, False), (1, 502, True), (1, 503, False), (LONGEST + 1, 503, True), (LONGEST + 1, 200, False)],
)
def test_a_response_that_may_not_be_is_noticed(seconds, status, has_retry_after):
    good = Request(0, LONGEST * S, "show", "1", "1134", 503, REGISTRY, True)
    check_responses([good])
    with pytest.raises(AssertionError):
        check_responses([good, good._replace(end=seconds * S, status=status, has_retry_after=has_retry_after)])


def test_a_server_with_too_many_disks_is_noticed(url, tmp_path, monkeypatch):
    for method in ("attach", "detach"):
        monkeypatch.setattr(DirectoryBackend, method, getattr(DirectoryBackend, method))
    Witness(tmp_path).watch(max_attachments=1)
    backend = DirectoryBackend({"root": str(tmp_path / "backend")})
    server = Server(LOAD.servers[0], "demo", "ACTIVE")
    backend.attach(server, Volume("1", "demo"), None)
    check_witness(tmp_path)
    backend.attach(server, Volume("2", "demo"), None)
    with pytest.raises(AssertionError, match="has 2 disks, and may have 1"):
        check_witness(tmp_path)
