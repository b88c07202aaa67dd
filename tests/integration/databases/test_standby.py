"""A PostgreSQL primary with a synchronous standby: what works at a standby, and who finds the promoted one."""

import contextlib

import pytest
from sqlalchemy import insert
from sqlalchemy.engine import make_url

from os_volume_ext.errors import ConfigurationError, RegistryUnavailable
from os_volume_ext.registry import schema
from os_volume_ext.registry.tables import utc_now, volumes
from tests.support import pgbouncer, postgresql, worker_app
from tests.support.command import error_message
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

POOLED = 5  # connections that the pool keeps by default
SHORT = {"connect_timeout": "2", "read_timeout": "2"}  # libpq takes 1 for 2


@pytest.fixture
def pair():
    with postgresql.running_pair() as pair:
        yield pair


@pytest.fixture
def prepared(pair, tmp_path):
    """Give the pair with the tables and volumes of a filter."""
    worker_app.prepare(tmp_path, pair.primary.url())
    pair.wait_for_replay()
    return pair


class Address:
    """An address at which clients reach the primary or the standby, such as a load balancer's."""

    def __init__(self, server):
        self.proxy = Proxy("127.0.0.1", server.port)
        self.url = make_url(server.url()).set(port=self.proxy.port).render_as_string(hide_password=False)

    def lead_to(self, server):
        """Forward new connections to a server; open ones stay where they are."""
        self.proxy.target = ("127.0.0.1", server.port)


@pytest.fixture
def address(prepared):
    address = Address(prepared.primary)
    yield address
    address.proxy.refuse()


def create(connection, volume_id):
    """Insert a row of the table of volumes."""
    row = {"id": volume_id, "project_id": "demo", "multiattach": False}
    connection.change(insert(volumes).values(created_at=utc_now(), **row))


def use_connections(database, volume_ids=()):
    """Have as many connections at once as the pool keeps, and create volumes on the first of them."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(database.transaction()) for _ in range(POOLED)]
        for connection, volume_id in zip(connections, volume_ids, strict=False):
            create(connection, volume_id)


def test_at_a_standby_looks_are_200_and_changes_503(prepared, address, serve):
    client = serve(address.url)
    assert client.attach(volume="1").status == 200
    prepared.wait_for_replay()
    address.lead_to(prepared.standby)
    address.proxy.cut()
    for _ in range(3):
        assert (client.list().volumes, client.show(volume="1").status) == (["1"], 200)
        assert client.attach(volume="2").is_unavailable
        assert client.detach(volume="1").is_unavailable
    address.lead_to(prepared.primary)
    assert (client.attach(volume="2").status, client.detach(volume="1").status) == (200, 200)


def test_a_change_that_a_standby_refuses_ends_all_connections_to_it(prepared, address, make_database):
    address.lead_to(prepared.standby)
    database = make_database(address.url)
    use_connections(database)
    with pytest.raises(RegistryUnavailable):
        create(database, "21")
    address.lead_to(prepared.primary)
    use_connections(database, ["21", "22", "23", "24", "25"])


def test_a_start_at_a_standby_is_warned_of_in_a_sentence(prepared, serve, caplog):
    client = serve(prepared.standby.url())
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    message = warning.getMessage()
    assert "standby" in message
    assert "primary" in message  # what to name instead
    assert prepared.standby.address in message
    assert "\n" not in message
    assert warning.exc_info is None
    assert client.list().status == 200


def test_an_upgrade_of_a_standby_is_refused_in_a_sentence(pair, run):
    message = error_message(lambda *arguments: run(pair.standby.url(), *arguments), "db", "upgrade")
    assert "database.url: " in message
    assert "standby" in message or "read-only" in message


def test_the_check_finds_out_that_the_database_is_a_standby(prepared, run):
    status, out, _ = run(prepared.standby.url(), "check", "-f", "value")
    [line] = [line for line in out.splitlines() if line.startswith("volumes database ")]
    assert status == 1
    assert line.startswith("volumes database wrong ")
    assert "standby" in line or "read-only" in line
    _, out, _ = run(prepared.primary.url(), "check", "-f", "value")
    assert "volumes database ok" in out


def test_the_revision_of_a_standby_can_be_shown(prepared, run):
    status, out, _ = run(prepared.standby.url(), "db", "current", "-f", "value", "-c", "current")
    assert (status, out) == (0, f"{schema.HEAD}\n")


def test_a_client_with_both_hosts_finds_the_promoted_standby(prepared, serve):
    client = serve(prepared.url())
    assert client.attach(volume="1").status == 200
    prepared.primary.kill()
    assert client.list().is_unavailable
    assert client.attach(volume="2").is_unavailable
    assert client.detach(volume="1").is_unavailable
    prepared.promote()
    assert client.list().volumes == ["1"]
    assert (client.attach(volume="2").status, client.detach(volume="1").status) == (200, 200)
    assert client.list().volumes == ["2"]


def test_a_client_with_both_hosts_starts_while_the_first_is_down(prepared, serve):
    prepared.primary.kill()
    prepared.promote()
    assert serve(prepared.url()).attach(volume="1").status == 200


def test_a_start_with_both_hosts_and_no_primary_is_refused_in_a_sentence(prepared, serve):
    prepared.primary.kill()
    with pytest.raises(ConfigurationError, match=r"^database\.url: [^\n]*read-only[^\n]*$"):
        serve(prepared.url())


def test_clients_of_a_pgbouncer_that_is_led_to_the_promoted_standby_need_nothing(prepared, address, serve):
    with pgbouncer.running(address.url) as bouncer:
        client = serve(bouncer.url(address.url, **SHORT))
        assert client.attach(volume="1").status == 200
        address.lead_to(prepared.standby)
        prepared.primary.kill()
        assert client.attach(volume="2").is_unavailable
        prepared.promote()
        assert wait_until(lambda: client.list().status == 200)
        assert (client.list().volumes, client.attach(volume="2").status) == (["1"], 200)


def test_a_primary_that_hangs_is_passed_over_when_the_standby_is_promoted(prepared, serve):
    client = serve(prepared.url(**SHORT))
    assert client.attach(volume="1").status == 200
    with prepared.primary.hanging():
        assert client.list().is_unavailable
        assert client.attach(volume="2").is_unavailable
        prepared.promote()
        assert client.list().volumes == ["1"]
        assert client.attach(volume="2").status == 200
        prepared.primary.kill()  # as the manager of a cluster does, lest it be used again
    assert client.list().volumes == ["1", "2"]


def test_without_the_synchronous_standby_changes_are_503_and_looks_200(prepared, serve):
    client = serve(prepared.url(**SHORT))
    assert client.attach(volume="1").status == 200
    prepared.standby.kill()
    assert client.attach(volume="2").is_unavailable
    assert client.list().volumes == ["1"]
    prepared.standby.start()
    assert client.attach(volume="3").status == 200
    assert client.list().volumes == ["1", "3"]
