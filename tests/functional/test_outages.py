"""A database server that goes away, behind a proxy that can do that: what callers get meanwhile, and afterwards."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from sqlalchemy import delete, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from os_volume_ext.attachments.periodic import PeriodicReconciler
from os_volume_ext.backends.base import ConfigurationError
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.errors import RegistryUnavailable
from os_volume_ext.registry import schema
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.leases import Leases
from os_volume_ext.registry.tables import utc_now, volumes
from tests.support.databases import direct_connection
from tests.support.proxy import Proxy
from tests.support.waiting import TIMEOUT

pytestmark = [pytest.mark.only_on("postgresql", "mariadb"), pytest.mark.one_format]

QUERY = {"connect_timeout": "2", "read_timeout": "2"}  # libpq takes 1 for 2
BOUND = 4.5  # seconds that a response may take, of which one is for a place in the pool


@pytest.fixture
def behind_proxy():
    """Give ``behind_proxy(url)``: the same database, behind a proxy; and the proxy."""
    proxies = []

    def make(url):
        url = make_url(url)
        proxies.append(Proxy(url.host, url.port))
        url = url.set(port=proxies[-1].port).update_query_dict(QUERY)
        return url.render_as_string(hide_password=False), proxies[-1]

    yield make
    for proxy in proxies:
        proxy.refuse()


@pytest.fixture
def proxy(urls, dialect, behind_proxy):
    urls[dialect.name], proxy = behind_proxy(urls[dialect.name])
    return proxy


@pytest.fixture
def client(proxy, start, paste_file, client_of):
    client = client_of(start(paste_file(**{"database.pool_timeout": "1"})))
    assert client.list().status == 200
    return client


def at_once(*requests):
    """Send requests from as many threads; return the responses, each of which came in time."""

    def timed(send_request):
        began = time.monotonic()
        response = send_request()
        assert time.monotonic() - began < BOUND
        return response

    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(timed, requests))


@pytest.mark.parametrize("dialect", ["openstack"], indirect=True)
class TestCallers:
    def test_idle_connections_that_were_closed_go_unnoticed(self, client, proxy):
        at_once(*[client.list] * 8)
        proxy.cut()
        assert [response.status for response in at_once(*[client.list] * 8)] == [200] * 8
        proxy.cut()
        assert client.attach().status == 200

    @pytest.mark.parametrize("how", ["refuse", "hang", "garble"])
    def test_while_it_is_down_requests_are_503_and_afterwards_succeed(self, client, proxy, rows, how):
        getattr(proxy, how)()
        assert all(each.is_unavailable for each in at_once(client.list, client.show, client.attach, client.detach))
        proxy.come_back()
        assert (client.attach().status, client.show().status) == (200, 200)
        assert len(rows()) == 1

    @pytest.mark.parametrize("how", ["refuse", "hang"])
    def test_more_requests_than_there_are_connections_do_not_get_stuck(self, client, proxy, how):
        at_once(*[client.list] * 4)
        getattr(proxy, how)()
        assert all(each.is_unavailable for each in at_once(*[client.list] * 24))
        proxy.come_back()
        assert [response.status for response in at_once(*[client.list] * 12)] == [200] * 12

    @pytest.mark.parametrize("how", ["refuse", "hang"])
    def test_when_it_goes_away_while_a_disk_is_attached_the_row_stays(self, client, proxy, rows, monkeypatch, how):
        attach = DirectoryBackend.attach

        def attach_and_lose_the_database(*arguments):
            getattr(proxy, how)()
            return attach(*arguments)

        monkeypatch.setattr(DirectoryBackend, "attach", attach_and_lose_the_database)
        assert client.attach().is_unavailable
        assert [row["state"] for row in rows()] == ["attaching"]
        proxy.come_back()
        again = client.attach()
        assert again.failure == client.dialect.conflict
        assert again.headers["Retry-After"]


@pytest.mark.parametrize("how", ["refuse", "hang"])
def test_periodic_reconciliation_continues_when_it_is_back(url, behind_proxy, caplog, how, make_database):
    url, proxy = behind_proxy(url)
    rounds = []
    reconciler = SimpleNamespace(reconcile_stale=lambda: rounds.append("made") or ())
    database = make_database(url)
    background = PeriodicReconciler(reconciler=reconciler, leases=Leases(database), interval=300)
    caplog.set_level("INFO")
    background.run_once()
    getattr(proxy, how)()
    for _ in range(2):
        background.run_once()
    assert len(rounds) == 1
    proxy.come_back()
    background.run_once()
    assert len(rounds) == 2
    database.dispose()
    logged = [(each.levelname, bool(each.exc_info)) for each in caplog.records]
    assert logged == [("INFO", False), ("WARNING", False), ("INFO", False)]


@pytest.mark.parametrize("how", ["cut", "refuse", "hang", "garble"])
def test_a_transaction_that_it_leaves_changes_nothing(url, behind_proxy, how, make_database):
    url, proxy = behind_proxy(url)
    database = make_database(url)

    def lose():
        with database.transaction() as connection:
            connection.change(
                insert(volumes).values(id="9", project_id="demo", multiattach=False, created_at=utc_now())
            )
            getattr(proxy, how)()
            connection.query(select(volumes))

    with pytest.raises(RegistryUnavailable):
        lose()
    proxy.come_back()
    assert not database.query(select(volumes))
    database.dispose()


@pytest.mark.only_on("postgresql")
def test_a_postgresql_that_does_not_respond_in_time_is_reported_with_the_limit(url, behind_proxy, make_database):
    url, proxy = behind_proxy(url)
    database = make_database(url)

    def lose():
        database.query(text("SELECT pg_sleep(0.3)"))  # psycopg looks at the time meanwhile
        proxy.hang()
        database.query(select(volumes))

    with pytest.raises(RegistryUnavailable) as raised:
        lose()
    assert str(raised.value) == "the server did not respond within 2.0 seconds"
    database.dispose()


@pytest.mark.only_on("postgresql")
def test_connections_to_a_server_that_could_only_be_read_are_not_used_again(url, make_database):
    database = make_database(url)
    name = make_url(url).database
    with direct_connection(database) as other:
        other.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    registry = Registry(database)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(database.transaction())
    assert registry.is_empty()
    with direct_connection(database) as other:
        other.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE")
        other.exec_driver_sql("COMMIT")
        other.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    with pytest.raises(RegistryUnavailable, match="read-only transaction"):
        database.change(delete(volumes))
    for _ in range(4):
        assert database.change(delete(volumes)) == 0


@pytest.mark.only_on("postgresql")
def test_a_connection_to_a_postgresql_that_does_not_respond_is_closed(url, behind_proxy, make_database):
    url, proxy = behind_proxy(url)
    engine = make_database(url).make_engine(read_timeout=0.2)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        connection.execute(select(volumes))
        proxy.hang()
        with pytest.raises(OperationalError):
            connection.execute(select(volumes))
        assert driver.closed
    engine.dispose()


@pytest.mark.parametrize("how", ["refuse", "hang", "garble"])
def test_a_start_without_it_is_refused_in_a_sentence(url, behind_proxy, how, make_database):
    url, proxy = behind_proxy(url)
    getattr(proxy, how)()
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"^database\.url: .* can't be used: "):
        schema.ensure(make_database(url))
    assert time.monotonic() - began < BOUND


@pytest.mark.only_on("postgresql")
def test_an_upgrade_waits_for_another_for_as_long_as_that_takes(new_url, behind_proxy, make_database):
    url, _ = behind_proxy(new_url)
    with direct_connection(make_database(new_url)) as other:
        other.exec_driver_sql(schema.UPGRADE_LOCK)
        upgrade = threading.Thread(target=schema.upgrade, args=(make_database(url),))
        upgrade.start()
        upgrade.join(2.5)  # longer than read_timeout
        assert upgrade.is_alive()
    upgrade.join(TIMEOUT)
    assert not upgrade.is_alive()
    assert schema.current(make_database(new_url)) == schema.HEAD
