"""Several workers, each at another node of a Galera cluster, and nodes that leave it or have another clock."""

import multiprocessing
import re
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
from sqlalchemy.engine import make_url

from os_volume_ext.errors import ConfigurationError, RegistryUnavailable
from os_volume_ext.models import ATTACHED, DETACHING
from os_volume_ext.registry import schema, statements
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database
from tests.support import galera, worker_app
from tests.support.command import error_message
from tests.support.proxy import Proxy
from tests.support.rows import attachment
from tests.support.threads import in_threads
from tests.support.waiting import TIMEOUT

ROUNDS = 100
UPGRADES = 5
POOLED = 5  # connections that the pool keeps by default
AHEAD = 200  # seconds; more than ``stale_after`` has by default
ABOUT_AHEAD = rf"(?:{AHEAD - 1}\.9|{AHEAD}\.\d)"


@pytest.fixture
def urls(cluster):
    """Give the URLs of a database without tables, at each node."""
    return cluster.urls(cluster.new_database())


@pytest.fixture
def registries(urls, make_database):
    """Give a registry at each node, of the same database."""
    schema.upgrade(make_database(urls[0]))
    return [Registry(make_database(url)) for url in urls]


def nodes_in_turn(registries):
    """Yield numbers, each with the registries in another order."""
    for number in range(ROUNDS):
        first = number % len(registries)
        yield str(number), registries[first:] + registries[:first]


# -- what one node has changed, and another reads or changes ----------------------------------------


def test_a_change_at_one_node_is_read_at_the_others_at_once(registries):
    for volume, (one, other, third) in nodes_in_turn(registries):
        one.reserve(attachment(volume, state=ATTACHED))
        assert [volume_id for volume_id, *_ in other.list_visible("1134")] == [volume]
        assert third.get_visible("1134", volume) is not None
        assert other.remove(third.get("1134", volume))
        assert one.count("1134") == 0


def test_a_row_reserved_at_one_node_is_confirmed_at_another_at_once(registries):
    for volume, (one, other, third) in nodes_in_turn(registries):
        row = attachment(volume)
        one.reserve(row)
        assert other.confirm(row, f"/dev/vd{volume}")
        assert third.get("1134", volume).state == ATTACHED


def test_a_row_claimed_at_one_node_is_changed_at_another_at_once(registries):
    for volume, (one, other, third) in nodes_in_turn(registries):
        row = attachment(volume, state=ATTACHED)
        one.reserve(row)
        claimed = row.claimed(DETACHING, "req-2")
        assert other.claim(row, claimed)
        assert third.remove(claimed)


def test_a_node_that_is_behind_reads_nothing_stale(cluster, registries):
    assert registries[2].is_empty()
    with ThreadPoolExecutor(1) as thread, cluster.nodes[2].behind() as catch_up:
        registries[0].reserve(attachment())
        read = thread.submit(registries[2].get, "1134", "9")
        futures.wait([read], 0.5)
        catch_up()
        assert read.result(TIMEOUT) is not None


# -- conflicts between nodes ------------------------------------------------------------------------


def race(registries, method, *arguments, **options):
    """Call a method of all registries at once.

    :param arguments: for each registry those of its call.
    :param options: those of all calls.
    :returns: what each call returned or raised.
    """
    calls = [getattr(registry, method) for registry in registries]
    return in_threads(*[partial(call, *own, **options) for call, own in zip(calls, arguments, strict=True)])


def names(outcomes):
    return sorted(type(outcome).__name__ for outcome in outcomes)


def test_of_three_nodes_at_the_limit_one_gets_the_last_place(registries, times):
    for number in range(ROUNDS * times):
        server = f"server-{number}"
        rows = [attachment(f"{number}-{device}", server, device=f"/dev/vd{device}") for device in "bcd"]
        outcomes = race(registries, "reserve", *[(row,) for row in rows], limit=1)
        assert names(outcomes) == ["AttachmentLimitReached", "AttachmentLimitReached", "NoneType"]
        assert [row.volume_id for row in registries[0].find(server_id=server)] == [rows[outcomes.index(None)].volume_id]


def test_of_three_nodes_that_move_rows_to_a_server_with_one_place_one_wins(registries, times):
    for number in range(ROUNDS * times // 4):
        server = f"server-{number}"
        rows = [attachment(f"{number}-{device}", f"gone-{device}") for device in "bcd"]
        moved = [attachment(row.volume_id, server, device=f"/dev/vd{row.volume_id[-1]}") for row in rows]
        for row in rows:
            registries[0].reserve(row)
        outcomes = race(registries, "transfer", *zip(rows, moved, strict=True), limit=1)
        assert names(outcomes) == ["AttachmentLimitReached", "AttachmentLimitReached", "bool"]
        assert registries[0].count(server) == 1
        assert registries[0].count() == 3 * (number + 1)


def test_of_three_nodes_that_reserve_one_volume_one_wins(registries, times):
    servers = [f"server-{node}" for node in range(3)]
    for number in range(ROUNDS * times):
        outcomes = race(registries, "reserve", *[(attachment(f"{number}", server),) for server in servers])
        assert names(outcomes) == ["AlreadyReserved", "AlreadyReserved", "NoneType"]
        assert [row.server_id for row in registries[0].of_volume(f"{number}")] == [servers[outcomes.index(None)]]


def test_of_three_nodes_that_claim_one_row_one_wins(registries, times):
    for number in range(ROUNDS * times):
        row = attachment(f"{number}", state=ATTACHED)
        registries[0].reserve(row)
        claims = [row.claimed(DETACHING, f"req-{node}") for node in range(3)]
        outcomes = race(registries, "claim", *[(row, claim) for claim in claims])
        assert sorted(map(str, outcomes)) == ["False", "False", "True"]
        assert registries[0].get("1134", f"{number}").claim_id == claims[outcomes.index(True)].claim_id


# -- the schema -------------------------------------------------------------------------------------


def upgrade_all(urls, start, outcomes):
    """Upgrade each database at the same moment as the other processes do; put what went wrong."""
    wrong = []
    for url in urls:
        start.wait(TIMEOUT)
        try:
            schema.upgrade(Database({"url": url}))
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
    outcomes.put(wrong)


def test_upgrades_at_three_nodes_at_once_all_succeed(cluster, make_database, times):
    of_databases = [cluster.urls(cluster.new_database()) for _ in range(UPGRADES * times)]
    spawn = multiprocessing.get_context("spawn")
    start, outcomes = spawn.Barrier(3), spawn.Queue()
    processes = [
        spawn.Process(target=upgrade_all, args=(of_node, start, outcomes))
        for of_node in zip(*of_databases, strict=True)
    ]
    for process in processes:
        process.start()
    wrong = [outcomes.get(timeout=TIMEOUT * times) for _ in processes]
    for process in processes:
        process.join(TIMEOUT)
    assert wrong == [[], [], []]
    for urls in of_databases:
        assert [schema.current(make_database(url)) for url in urls] == [schema.HEAD] * 3


def prepared(cluster, directory):
    """Return the name of a new database with all that ``worker_app`` needs, at a cluster that is whole."""
    cluster.heal()
    database = cluster.new_database()
    worker_app.prepare(directory, cluster.nodes[0].url(database))
    return database


# -- a node that is cut off -------------------------------------------------------------------------


class TestNodeCutOff:
    """One partition for all these tests, since it takes a while until the others miss the node."""

    @pytest.fixture(scope="class")
    @staticmethod
    def directory(tmp_path_factory):
        return tmp_path_factory.mktemp("cut-off")

    @pytest.fixture(scope="class")
    @staticmethod
    def url(lasting_cluster, directory):
        """Give the URL of a prepared database at a node that is not primary."""
        database = prepared(lasting_cluster, directory)
        node = lasting_cluster.nodes[2]
        with node.isolated():
            lasting_cluster.wait_for(2)
            assert not node.is_primary
            yield node.url(database)

    def test_every_use_of_the_registry_is_unavailable(self, url, make_database):
        registry, row = Registry(make_database(url)), attachment()
        for use in (
            lambda: registry.list_visible("1134"),
            lambda: registry.get_visible("1134", "9"),
            lambda: registry.count("1134"),
            lambda: list(registry.walk()),
            lambda: registry.reserve(row),
            lambda: registry.reserve(row, limit=2),
            lambda: registry.transfer(row, attachment(server_id="1135")),
            lambda: registry.claim(row, row.claimed(DETACHING, "req-2")),
            lambda: registry.confirm(row, "/dev/vdb"),
            lambda: registry.remove(row),
        ):
            with pytest.raises(RegistryUnavailable):
                use()

    def test_a_start_is_refused_in_a_sentence(self, url, directory):
        with pytest.raises(ConfigurationError) as raised:
            worker_app.make_app(worker_app.options(directory, url))
        assert_says_that_the_node_is_cut_off(str(raised.value))

    @pytest.mark.parametrize("command", ["current", "upgrade"])
    def test_a_command_fails_with_a_sentence(self, url, run, command):
        assert_says_that_the_node_is_cut_off(error_message(run, url, "db", command))

    def test_the_check_finds_it_out(self, url, run):
        status, out, _ = run(url, "check", "-f", "value")
        [line] = [line for line in out.splitlines() if line.startswith("volumes database ")]
        assert status == 1
        assert_says_that_the_node_is_cut_off(line.removeprefix("volumes database wrong "))


def assert_says_that_the_node_is_cut_off(message):
    assert re.search(r"database\.url: [^\n]* can't be used: [^\n]*[^\n.]$", message), message
    assert "WSREP" in message or "primary" in message.lower(), message


def test_requests_at_a_node_are_503_while_it_is_cut_off_and_then_succeed(cluster, urls, tmp_path, serve):
    worker_app.prepare(tmp_path, urls[0])
    client = serve(urls[2], max_attachments="20")
    assert (client.attach(volume="1").status, client.list().volumes) == (200, ["1"])
    with cluster.nodes[2].isolated():
        cluster.wait_for(2)
        for _ in range(3):
            responses = [client.list(), client.show(volume="1"), client.attach(volume="2"), client.detach(volume="1")]
            assert [each.is_unavailable for each in responses] == [True] * 4
    cluster.heal()
    assert (client.attach(volume="2").status, client.detach(volume="1").status) == (200, 200)
    assert client.list().volumes == ["2"]


def test_a_node_that_is_cut_off_ends_all_connections_to_it(cluster, urls, make_database):
    schema.upgrade(make_database(urls[0]))
    one, _, other = cluster.nodes
    proxy = Proxy("127.0.0.1", other.port)  # such as a load balancer that leaves connections where they are
    database = make_database(galera.url(proxy.port, make_url(urls[0]).database))
    use_connections(database)
    with other.isolated():
        cluster.wait_for(2)
        proxy.target = ("127.0.0.1", one.port)
        with pytest.raises(RegistryUnavailable):
            Registry(database).is_empty()
        use_connections(database)
    proxy.refuse()


def use_connections(database):
    """Read on as many connections at once as the pool keeps."""
    with ExitStack() as stack:
        for connection in [stack.enter_context(database.transaction()) for _ in range(POOLED)]:
            assert connection.query(statements.ANY) == ()


# -- a node with another clock ----------------------------------------------------------------------


class TestClock:
    @pytest.fixture(scope="class")
    @staticmethod
    def directory(tmp_path_factory):
        return tmp_path_factory.mktemp("clock")

    @pytest.fixture(scope="class")
    @staticmethod
    def url(lasting_cluster, directory):
        """Give the URL of a prepared database at a node whose clock is ahead."""
        database = prepared(lasting_cluster, directory)
        with lasting_cluster.with_clock(lasting_cluster.nodes[2], f"+{AHEAD}s"):
            yield lasting_cluster.nodes[2].url(database)

    def test_the_check_reports_it(self, url, run):
        status, out, _ = run(url, "check", "-f", "value")
        [line] = [line for line in out.splitlines() if line.startswith("volumes database ")]
        assert status == 1
        assert re.match(rf"volumes database wrong .* {ABOUT_AHEAD} seconds ahead of ", line), line

    def test_a_start_logs_a_warning(self, url, directory, caplog):
        app = worker_app.make_app(worker_app.options(directory, url))
        app.close()
        [message] = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert re.search(rf"clock.* {ABOUT_AHEAD} seconds ahead of ", message), message

    def test_a_start_at_another_node_logs_none(self, url, lasting_cluster, directory, caplog):
        url = lasting_cluster.nodes[0].url(make_url(url).database)
        app = worker_app.make_app(worker_app.options(directory, url))
        app.close()
        assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == []
