"""Many workers at PgBouncer, and at a primary with a synchronous standby, while these fail."""

import time

import pytest

from tests.support import pgbouncer, postgresql
from tests.support.hammer import Load, exercise, unavailable

# Few volumes and a limit, so that they compete.
COMPETING = Load(1000, "openstack", devices=("/dev/vdb", "/dev/vdc", "/dev/vdd"), options={"max_attachments": "2"})
# Many, since a fault leaves one pending for each thread that is changing it.
ROOMY = Load(600, server_count=6, volume_count=80)
DETECTION = 1  # second until the manager of a cluster has noticed that a process is down
HANG = 13  # seconds, more than any timeout of the package


@pytest.fixture
def directories(tmp_path, times):
    """Give a directory for each round; one round in an ordinary run."""
    found = [tmp_path / str(number) for number in range(times)]
    for directory in found:
        directory.mkdir()
    return found


def assert_well_again(responses):
    """Check that there was a fault, and that the last third of the requests did not notice it."""
    ordered = sorted(responses)
    assert unavailable(ordered)
    assert unavailable(ordered[-(len(ordered) // 3) :]) == []


def after_a_third(fail):
    """Return what ``hammer`` calls: ``fail()`` when a third of the requests has begun."""

    def run_and_fail(run):
        run.wait_for(1 / 3)
        fail()

    return run_and_fail


@pytest.mark.only_on("postgresql")
class TestPgBouncer:
    @pytest.fixture
    def bouncer(self):
        with pgbouncer.running() as bouncer:
            yield bouncer

    @pytest.fixture
    def exercise_through(self, database_kind, directories, bouncer):
        """Give ``exercise_through(load, during)``: the responses of each round, of which each has a new database."""

        def run(load, during=None):
            for directory in directories:
                with database_kind.new() as url:
                    yield exercise(directory, url, load, during, [bouncer.url(url)])

        return run

    def test_the_responses_to_workers_that_share_connections_are_linearizable(self, exercise_through):
        for responses in exercise_through(COMPETING):
            assert unavailable(responses) == []

    def test_nothing_is_lost_when_pgbouncer_is_killed_under_load(self, exercise_through, bouncer):
        def kill_and_start():
            bouncer.kill()
            time.sleep(DETECTION)
            bouncer.start()

        for responses in exercise_through(ROOMY, after_a_third(kill_and_start)):
            assert_well_again(responses)

    def test_nothing_is_lost_when_pgbouncer_hangs_under_load(self, exercise_through, bouncer):
        def hang():
            with bouncer.hanging():
                time.sleep(HANG)

        for responses in exercise_through(ROOMY, after_a_third(hang)):
            assert_well_again(responses)


class TestStandby:
    def test_nothing_is_lost_when_the_standby_is_promoted_under_load(self, directories):
        def fail_over():
            pair.primary.kill()
            time.sleep(DETECTION)
            pair.promote()

        for directory in directories:
            with postgresql.running_pair() as pair:
                assert_well_again(exercise(directory, pair.url(), ROOMY, after_a_third(fail_over)))

    @pytest.mark.parametrize("name", ["primary", "standby"])  # without the standby nothing is committed
    def test_nothing_is_lost_when_one_of_the_two_hangs_under_load(self, directories, name):
        def hang():
            with getattr(pair, name).hanging():
                time.sleep(HANG)

        for directory in directories:
            with postgresql.running_pair() as pair:
                assert_well_again(exercise(directory, pair.url(), ROOMY, after_a_third(hang)))
