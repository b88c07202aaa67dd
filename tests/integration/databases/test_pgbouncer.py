"""PgBouncer in transaction mode: clients share server connections, and each transaction may get another one."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from os_volume_ext.errors import ConfigurationError, RegistryUnavailable
from os_volume_ext.models import ATTACHED
from os_volume_ext.registry import schema
from os_volume_ext.registry.attachments import Registry
from tests.support import pgbouncer, worker_app
from tests.support.rows import attachment

pytestmark = pytest.mark.only_on("postgresql")

CLIENTS = 8
ROUNDS = 150
UPGRADES = 6  # more than PgBouncer has server connections
PREPARED = text("SELECT count(*) FROM pg_prepared_statements")


@pytest.fixture(scope="module")
def bouncer():
    with pgbouncer.running() as bouncer:
        yield bouncer


@pytest.fixture
def url(database_kind):
    with database_kind.new() as url:
        yield url


@pytest.fixture
def upgraded(url, make_database):
    schema.upgrade(make_database(url))
    return url


@pytest.fixture
def client(bouncer, url, tmp_path, serve):
    worker_app.prepare(tmp_path, url)
    return serve(bouncer.url(url))


# Each a statement of its own that has to find the row of a volume, or all rows.
WAYS = (
    lambda registry, volume_id: registry.get("1134", volume_id).volume_id == volume_id,
    lambda registry, volume_id: registry.get_visible("1134", volume_id).volume_id == volume_id,
    lambda registry, volume_id: [row.volume_id for row in registry.of_volume(volume_id)] == [volume_id],
    lambda registry, volume_id: len(registry.list_visible("1134")) == CLIENTS,
    lambda registry, volume_id: registry.count("1134") == CLIENTS,
    lambda registry, volume_id: not registry.is_empty(),
)


def read(registry, volume_id, first):
    """Read ROUNDS times in all ways, beginning with another one than other clients; return how many were wrong."""
    ways = (WAYS[first:] + WAYS[:first]) * ROUNDS
    wrong = []
    for way in ways:
        try:
            if not way(registry, volume_id):
                wrong.append("another row")
        except (AttributeError, RegistryUnavailable) as error:  # None has no volume_id
            wrong.append(str(error))
    return Counter(wrong)


def test_clients_that_share_server_connections_read_the_right_rows(bouncer, upgraded, make_database):
    registries = [Registry(make_database(bouncer.url(upgraded))) for _ in range(CLIENTS)]
    volumes = [str(number) for number in range(CLIENTS)]
    for volume_id in volumes:
        registries[0].reserve(attachment(volume_id, state=ATTACHED))
    with ThreadPoolExecutor(CLIENTS) as threads:
        firsts = (number % len(WAYS) for number in range(CLIENTS))
        wrong = list(threads.map(read, registries, volumes, firsts))
    assert wrong == [Counter()] * CLIENTS


def prepared(database):
    """Return how many statements a connection has prepared that has queried many times."""
    registry = Registry(database)
    for _ in range(20):
        registry.is_empty()
    ((count,),) = database.query(PREPARED)
    return count


def test_statements_are_prepared_at_the_server_only_on_request(upgraded, make_database):
    assert prepared(make_database(upgraded)) == 0
    url = make_url(upgraded).update_query_dict({"prepare_threshold": "5"})
    assert prepared(make_database(url.render_as_string(hide_password=False))) > 0


@pytest.mark.parametrize("value", ["many", "-1", "2.5"])
def test_a_prepare_threshold_that_is_no_number_is_refused(make_database, value):
    with pytest.raises(ConfigurationError, match="prepare_threshold"):
        make_database(f"postgresql+psycopg://volumes@db.example/volumes?prepare_threshold={value}")


def test_startup_options_that_pgbouncer_rejects_are_named_in_a_sentence(bouncer, upgraded, make_database):
    url = bouncer.url(upgraded, options="-cstatement_timeout=5000")
    with pytest.raises(ConfigurationError, match=r"^database\.url: [^\n]*options[^\n]*$") as raised:
        schema.ensure(make_database(url))
    assert "unsupported startup parameter" in str(raised.value)


def test_startup_options_that_pgbouncer_ignores_do_no_harm(upgraded, make_database):
    with pgbouncer.running(ignore_startup_parameters="options") as bouncer:
        database = make_database(bouncer.url(upgraded, options="-cstatement_timeout=5000"))
        schema.ensure(database)
        assert Registry(database).is_empty()


def test_a_pgbouncer_in_session_mode_serves_as_well(url, tmp_path, serve):
    with pgbouncer.running(pool_mode="session") as bouncer:
        worker_app.prepare(tmp_path, bouncer.url(url))
        client = serve(bouncer.url(url))
        assert (client.attach(volume="1").status, client.list().volumes) == (200, ["1"])
        assert client.detach(volume="1").status == 200


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_requests_are_503_while_pgbouncer_is_down_and_then_succeed(bouncer, client, how):
    assert (client.attach(volume="1").status, client.list().volumes) == (200, ["1"])
    getattr(bouncer, how)()
    try:
        responses = [client.list(), client.show(volume="1"), client.attach(volume="2"), client.detach(volume="1")]
    finally:
        bouncer.start()
    assert all(each.is_unavailable for each in responses)
    assert (client.attach(volume="2").status, client.detach(volume="1").status) == (200, 200)
    assert client.list().volumes == ["2"]


def test_a_restart_of_pgbouncer_between_two_requests_goes_unnoticed(bouncer, client):
    for how in ("stop", "kill"):
        assert client.attach(volume="1").status == 200
        getattr(bouncer, how)()
        bouncer.start()
        assert client.detach(volume="1").status == 200


def test_several_upgrades_at_once_through_pgbouncer_all_succeed(bouncer, url, make_database):
    databases = [make_database(bouncer.url(url)) for _ in range(UPGRADES)]
    with ThreadPoolExecutor(UPGRADES) as threads:
        list(threads.map(schema.upgrade, databases))
        assert list(threads.map(schema.current, databases)) == [schema.HEAD] * UPGRADES
