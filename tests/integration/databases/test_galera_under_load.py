"""Many workers at a Galera cluster, nodes of which are killed, cut off or hang meanwhile."""

import contextlib
import time

import pytest

from tests.support import galera, haproxy
from tests.support.hammer import Load, exercise, unavailable

# Few volumes and servers, so that the workers compete for volumes, devices and places.
COMPETING = Load(
    2000,
    "openstack",
    processes=3,
    devices=("/dev/vdb", "/dev/vdc", "/dev/vdd", "/dev/vde"),
    options={"max_attachments": "3"},
)
# Many volumes, since a fault leaves one pending for each thread that is changing it. As many requests as last until the
# fault is over. The limit is the backend's own: what that refused would have been reserved for a while.
ROOMY = Load(
    8000, "openstack", server_count=4, volume_count=90, processes=3, options={"max_attachments": "25"}, pause=0.1
)
BEFORE, AFTER = 300, 300  # requests before the fault, and after it
HANG = 13  # seconds, more than any timeout of the package


# -- how the workers get to the nodes: each process has the next one of these URLs -------------------


@contextlib.contextmanager
def each_at_its_own_node(cluster, database):
    yield cluster.urls(database)


@contextlib.contextmanager
def round_robin(cluster, database):
    with haproxy.running(cluster.nodes, haproxy.ROUND_ROBIN) as port:
        yield [galera.url(port, database)]


@contextlib.contextmanager
def one_writer(cluster, database):
    with haproxy.running(cluster.nodes, haproxy.ONE_WRITER) as port:
        yield [galera.url(port, database)]


# -- what fails: the first node, which is the only writer where there is only one ----------------------


def kill(cluster):
    """Kill a node as ``kill -9`` does, and start it again when the others know that it is gone."""
    cluster.nodes[0].kill()
    cluster.heal()


def cut_off(cluster):
    """Let a node be cut off from the others until these have excluded it."""
    with cluster.nodes[0].isolated():
        cluster.wait_for(galera.SIZE - 1)


def hang(cluster):
    """Stop a node for longer than anybody waits for it, and let it continue."""
    with cluster.nodes[0].hanging():
        time.sleep(HANG)


FAULTS = (kill, cut_off, hang)


def in_turn(first, times):
    """Return as many faults as there are rounds: one in an ordinary run."""
    start = FAULTS.index(first)
    return [FAULTS[number % len(FAULTS)] for number in range(start, start + times)]


# -- the tests -------------------------------------------------------------------------------------


def exercise_through(access, cluster, directory, load, during=None):
    """Exercise workers that have one of these ways to a new database; return the responses."""
    directory.mkdir()
    database = cluster.new_database()
    with access(cluster, database) as urls:
        return exercise(directory, cluster.nodes[1].url(database), load, during, urls)


@pytest.mark.parametrize("access", [each_at_its_own_node, round_robin])
def test_workers_at_several_nodes_are_linearizable(cluster, access, tmp_path, times):
    for number in range(times):
        responses = exercise_through(access, cluster, tmp_path / str(number), COMPETING)
        assert unavailable(responses) == []


@pytest.mark.parametrize(
    ("access", "first"),
    [(each_at_its_own_node, cut_off), (each_at_its_own_node, hang), (round_robin, kill), (one_writer, kill)],
)
def test_nothing_is_lost_when_a_node_fails_under_load(cluster, access, first, tmp_path, times):
    for number, fail in enumerate(in_turn(first, times)):
        fault = Fault(cluster, fail)
        responses = exercise_through(access, cluster, tmp_path / str(number), ROOMY, fault.happen)
        assert unavailable(responses)
        later = [each for each in responses if each.start > fault.repaired]
        assert len(later) >= AFTER / 2
        assert unavailable(later) == []


class Fault:
    """A fault while workers send requests; ``repaired`` is when all nodes were in sync again."""

    def __init__(self, cluster, fail):
        self._cluster = cluster
        self._fail = fail
        self.repaired = 0

    def happen(self, run):
        """Let it happen while a load is running, which ends some time after it."""
        run.wait_for(BEFORE / ROOMY.requests)
        self._fail(self._cluster)
        self._cluster.heal()
        self.repaired = time.monotonic_ns()
        run.end_after(AFTER)
