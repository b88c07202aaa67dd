"""The floors of the benchmarks: they do what the filter does. No test here measures time."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from benchmarks import attach, instructions, listing, memory, passing, peer, postgresql, scale, show
from benchmarks.harness import SERVER, environ, harness, same_response, send_request
from benchmarks.measure import Skipped
from benchmarks.rows import connect, fill, volume_ids
from tests.support import databases
from tests.support.services import require_service


def same(sides):
    floor, here = sides
    return floor() == here()


@pytest.mark.parametrize("dialect", SERVER)
def test_the_floor_of_show_sends_the_response_of_the_filter(dialect):
    with show.sides(dialect) as sides:
        assert same(sides)


@pytest.mark.parametrize("dialect", SERVER)
@pytest.mark.parametrize("format", listing.TARGETS)
def test_the_floor_of_list_sends_the_response_of_the_filter(dialect, format):
    with listing.sides(dialect, format) as sides:
        assert same(sides)


def test_different_responses_are_an_error():
    with pytest.raises(RuntimeError, match="the responses differ: b'one' and b'two'"):
        same_response(lambda: b"one", lambda: b"two")


def test_the_filter_passes_the_measured_paths_on():
    with harness("openstack") as (filtered, app, _):
        for _, path, _ in passing.PATHS:
            request = environ("GET", path)
            assert send_request(filtered, dict(request), "200 OK") == send_request(app, dict(request), "200 OK")


def test_the_path_of_80_characters_has_80():
    assert {what: len(path) for what, path, _ in passing.PATHS}["a path of 80 characters"] == 80


def test_the_floors_of_attach_leave_no_row_like_the_filter():
    with (
        harness(attach.DIALECT) as (filtered, app, path),
        closing(connect(path)) as connection,
        ThreadPoolExecutor(1) as threads,
    ):
        attach.add_volume(path)
        for both in (
            attach.commits(attach.committing(connection)),
            attach.pair(attach.complete(connection, app, threads)),
            attach.pair(filtered),
        ):
            both()
            assert connection.execute("SELECT count(*) FROM attachments").fetchone() == (0,)


def responses(app, *requests):
    """Return status, headers and body of each response."""
    seen = []
    bodies = [
        b"".join(app(each, lambda status, headers, exc_info=None: seen.append((status, dict(headers)))))
        for each in requests
    ]
    return list(zip(seen, bodies, strict=True))


def test_the_complete_floor_of_attach_sends_the_responses_of_the_filter():
    def requests():
        body = b'{"volumeAttachment": {"volumeId": "%s"}}' % attach.VOLUME.encode()
        return environ("POST", attach.PATH, body), environ("DELETE", f"{attach.PATH}/{attach.VOLUME}")

    with (
        harness(attach.DIALECT) as (filtered, app, path),
        closing(connect(path)) as connection,
        ThreadPoolExecutor(1) as threads,
    ):
        attach.add_volume(path)
        floor = attach.complete(connection, app, threads)
        assert responses(floor, *requests()) == responses(filtered, *requests())


@pytest.mark.parametrize("dialect", SERVER)
def test_the_floor_of_show_sends_the_headers_of_the_filter(dialect):
    with harness(dialect) as (filtered, app, path):
        fill(path, ((volume, SERVER[dialect]) for volume in volume_ids(dialect, show.ROWS)))
        with closing(connect(path)) as connection:
            floor = show.floor(app, connection, dialect)
            request = show.show_request(dialect)
            assert responses(floor, dict(request)) == responses(filtered, dict(request))


def test_the_listed_server_has_as_many_rows_in_a_table_of_any_size():
    def listed(count):
        return [volume for volume, server in scale.pairs(count) if server == SERVER["cyclades"]]

    assert listed(100) == listed(1000)
    assert len(listed(100)) == scale.LISTED


def test_the_requests_that_fill_the_memory_get_their_statuses(monkeypatch):
    monkeypatch.setattr(memory, "CALLERS", 2)
    volume_id, *_ = volumes = volume_ids(memory.DIALECT, 10)
    with harness(memory.DIALECT) as (filtered, _, path):
        fill(path, ((each, SERVER[memory.DIALECT]) for each in volumes))
        memory.send(filtered, memory.requests(volume_id), 8)  # two of each kind; raises for another status


def test_the_peer_sends_the_response_of_the_filter():
    with peer.sides():
        pass  # which compares them


@pytest.mark.service
def test_the_floor_of_postgresql_sends_the_response_of_the_filter():
    try:
        with postgresql.database() as (url, connection), postgresql.show_sides(url, connection) as sides:
            assert same(sides)
    except Skipped as reason:
        require_service(False, str(reason))


def test_without_postgresql_its_benchmark_is_skipped(monkeypatch):
    monkeypatch.setitem(databases.SERVERS, "postgresql", "postgresql+psycopg://postgres@127.0.0.1:1/test")
    with pytest.raises(Skipped, match=r"no PostgreSQL at .*:1/test: "):
        list(postgresql.run())


def test_without_valgrind_its_benchmark_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Skipped, match="valgrind is not installed"):
        list(instructions.run())
