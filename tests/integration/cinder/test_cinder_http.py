"""The pipeline of ``etc/api-paste-cinder.ini``, loaded into the tests' process, with a real Keystone and Cinder."""

import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from webtest import TestApp, TestResponse

from tests.integration.cinder.real_cinder import Cinder
from tests.support.paths import ROOT
from tests.support.real_keystone import PASSWORD, Keystone, People, project
from tests.support.sample import closing_apps, load
from tests.support.waiting import wait_until

PASTE = ROOT / "etc" / "api-paste-cinder.ini"
CLI = (sys.executable, "-m", "os_volume_ext.cli.main")
TestApp.__test__ = False


@dataclass(frozen=True)
class Client:
    """Sends requests to the pipeline."""

    app: TestApp
    tokens: dict[str, str]

    def new_server(self, who: str = "member") -> str:
        headers = {"X-Auth-Token": self.tokens[who]}
        made = self.app.post_json("/v2.1/servers", {"server": {"name": "made"}}, headers=headers)
        return made.json["server"]["id"]

    def attach(self, server: str, volume: str, who: str = "member", **headers: str) -> TestResponse:
        return self.app.post_json(
            _path(server),
            {"volumeAttachment": {"volumeId": volume}},
            headers={"X-Auth-Token": self.tokens[who], **headers},
            expect_errors=True,
        )

    def detach(self, server: str, volume: str, who: str = "member") -> TestResponse:
        headers = {"X-Auth-Token": self.tokens[who]}
        return self.app.delete(f"{_path(server)}/{volume}", headers=headers, expect_errors=True)


def _path(server: str) -> str:
    return f"/v2.1/servers/{server}/os-volume_attachments"


def fault(response: TestResponse) -> tuple[int, str]:
    """Return the status and the message of a fault."""
    [document] = response.json.values()
    assert document["code"] == response.status_int
    return response.status_int, document["message"]


@pytest.fixture
def serve(keystone: Keystone, cinder: Cinder, people: People, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Give ``serve(replaced=by)``: a client of the pipeline, with some texts of its file replaced."""

    def serve(*replaced: tuple[str, str]) -> Client:
        text = PASTE.read_text()
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "api-paste.ini"
        path.write_text(text)
        return Client(load(path, tmp_path / "var", keystone=keystone.url), dict(people.tokens))

    with closing_apps():
        yield serve


@pytest.fixture
def client(serve: Callable[..., Client]) -> Client:
    """Give a client of the pipeline as it is."""
    return serve()


@pytest.fixture
def volume(volume_ids: Callable[[], str]) -> str:
    """Give the id of a volume of the project ``here``."""
    return volume_ids()


AVAILABLE = ("available", [])


def test_cinder_shows_the_server_and_the_device_until_the_detach(client, volume, shown):
    server = client.new_server()
    response = client.attach(server, volume)
    assert (response.status_int, response.json["volumeAttachment"]["device"]) == (200, "/dev/vdb")
    assert shown(volume) == ("in-use", [(server, "/dev/vdb")])
    assert client.detach(server, volume).status_int == 202
    assert shown(volume) == AVAILABLE


def test_a_volume_of_another_project_is_not_found(client, cinder, people, shown):
    theirs = cinder.new_volume(people.tokens["outsider"], people.projects["there"])
    assert fault(client.attach(client.new_server(), theirs))[0] == 404
    # An administrator sees it, and the server is of another project all the same.
    assert fault(client.attach(client.new_server(), theirs, "admin"))[0] == 404


def test_a_reader_may_not_attach(client, volume, shown):
    assert fault(client.attach(client.new_server(), volume, "reader"))[0] == 403
    assert shown(volume) == AVAILABLE


def test_an_expired_token_that_a_service_passes_on_attaches_and_detaches(client, keystone, people, volume, shown):
    brief = Keystone(keystone.venv, keystone.directory, expiration=1)
    with brief.serving():
        client.tokens["expired"] = token = brief.token("member", project("here"))
    path = "/auth/tokens"
    assert wait_until(lambda: not keystone.send_request("GET", path, people.tokens["admin"], subject=token).ok)
    server = client.new_server()
    assert fault(client.attach(server, volume, "expired"))[0] == 401
    response = client.attach(server, volume, "expired", **{"X-Service-Token": people.tokens["volumes"]})
    assert response.status_int == 200, response.text
    assert shown(volume)[0] == "in-use"


def test_a_volume_in_error_is_refused_with_its_status(client, volume_in_error, shown):
    expected = f"Volume {volume_in_error} is in status error (its status in Cinder is error)."
    assert fault(client.attach(client.new_server(), volume_in_error)) == (409, expected)
    assert shown(volume_in_error) == ("error", [])


def test_a_volume_that_is_reserved_for_another_server_is_refused(client, volume, reserve, shown):
    reserve("1c6a2b2e-61b9-4f0e-8a3e-5b0f2f0b9a01", volume)
    status, message = fault(client.attach(client.new_server(), volume))
    assert (status, shown(volume)) == (409, ("reserved", []))
    assert "is reserved for another server" in message


def test_a_refused_device_leaves_the_volume_available(client, volume_ids, shown):
    server, first, second = client.new_server(), volume_ids(), volume_ids()
    client.attach(server, first)
    headers = {"X-Auth-Token": client.tokens["member"]}
    document = {"volumeAttachment": {"volumeId": second, "device": "/dev/sdb"}}
    response = client.app.post_json(_path(server), document, headers=headers, expect_errors=True)
    assert fault(response)[0] == 409
    assert shown(second) == AVAILABLE


def test_of_two_servers_at_once_one_gets_the_volume(client, volume, shown):
    servers = [client.new_server(), client.new_server()]
    statuses: dict[str, int] = {}

    def attach(server: str) -> None:
        statuses[server] = client.attach(server, volume).status_int

    threads = [threading.Thread(target=attach, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [server for server in servers if statuses[server] == 200]
    assert sorted(statuses.values())[1] in (400, 409)
    assert shown(volume) == ("in-use", [(winner, "/dev/vdb")])


def test_without_cinder_it_is_503_and_then_it_works_again(client, cinder, volume, shown):
    server = client.new_server()
    assert client.attach(server, volume).status_int == 200
    with cinder.down():
        assert fault(client.attach(client.new_server(), volume))[0] == 503
        assert fault(client.detach(server, volume))[0] == 503
    assert client.detach(server, volume).status_int == 202
    assert shown(volume) == AVAILABLE


def test_a_wrong_endpoint_is_503(serve, volume, shown):
    for section in ("catalog", "backend"):
        line = f"{section} = cinder\n"
        client = serve((line, f"{line}{section}.endpoint = http://127.0.0.1:9/v3\n"))
        assert fault(client.attach(client.new_server(), volume))[0] == 503
        assert shown(volume) == AVAILABLE


def test_a_service_user_without_the_role_of_a_service_changes_nothing(serve, keystone, people, volume, shown):
    make_administrator(keystone, people, "no-service")
    client = serve(("catalog.username = volumes", "catalog.username = no-service"))
    assert fault(client.attach(client.new_server(), volume))[0] == 503
    client = serve(("backend.username = volumes", "backend.username = no-service"))
    assert fault(client.attach(client.new_server(), volume))[0] == 503
    assert shown(volume) == AVAILABLE


def test_the_check_proves_the_endpoint_and_names_a_missing_role(run_command, keystone, cinder, people, tmp_path):
    make_administrator(keystone, people, "unserving")
    options = ("--var", tmp_path, "--set", f"keystone={keystone.url}", "-f", "value", "-c", "check", "-c", "details")
    paste = tmp_path / "api-paste.ini"
    paste.write_text(PASTE.read_text().replace("backend.username = volumes", "backend.username = unserving"))
    with pytest.raises(AssertionError) as caught:  # nor does the compute API run
        run_command(*CLI, "check", "--paste", paste, *options, cwd=tmp_path, PYTHONPATH=str(ROOT))
    shown = str(caught.value)
    assert "catalog cinder of os-volume-ext" in shown
    assert re.search(r"backend the user of backend\.\* has the roles admin\b.*: Cinder needs the role service", shown)


def make_administrator(keystone: Keystone, people: People, name: str) -> None:
    """Make a user with the role admin in the project ``service``, and no other role."""
    admin = people.tokens["admin"]
    user = keystone.make("user", admin, name=name, password=PASSWORD, domain_id="default")["id"]
    [role] = keystone.send_request("GET", "/roles?name=admin", admin).json()["roles"]
    path = f"/projects/{people.projects['service']}/users/{user}/roles/{role['id']}"
    assert keystone.send_request("PUT", path, admin).ok
