"""The sample of ``etc/api-paste-keystone.ini`` against a real Keystone: who may do what, and what befalls tokens."""

import itertools
import json

import pytest
import requests

from tests.integration.keystone.sample import CLI
from tests.support.real_keystone import project
from tests.support.waiting import TIMEOUT, wait_until

FORBIDDEN, MISSING, UNAUTHORIZED = (403, "forbidden"), (404, "itemNotFound"), (401, "unauthorized")
ON, OFF = "delay_auth_decision = true", "delay_auth_decision = false"
AT_ONCE = "\nhttp_request_max_retries = 0"  # else authtoken calls a Keystone that is down four times, and waits between

# For what is before the dialects, or takes many requests.
in_one_dialect = pytest.mark.parametrize("dialect", ["openstack"], indirect=True)


def attach_list_show_and_detach(client, token, where="here"):
    shown = client.attachment(where)
    assert client.read(client.attach(token, where)) == shown
    assert client.read(client.list(token, where)) == [shown]
    assert client.read(client.show(token, where)) == shown
    assert client.detach(token, where).status_int == client.dialect.detached
    assert client.read(client.list(token, where)) == []


class TestRoles:
    def test_a_member_attaches_lists_shows_and_detaches(self, client, people):
        attach_list_show_and_detach(client, people.tokens["member"])

    def test_a_reader_lists_and_shows_but_neither_attaches_nor_detaches(self, client, people):
        reader = people.tokens["reader"]
        assert client.fault(client.attach(reader)) == FORBIDDEN
        shown = client.read(client.attach(people.tokens["member"]))
        assert client.read(client.list(reader)) == [shown]
        assert client.read(client.show(reader)) == shown
        assert client.fault(client.detach(reader)) == FORBIDDEN
        assert client.read(client.list(reader)) == [shown]

    @pytest.mark.parametrize("where", ["here", "there"])
    def test_an_admin_does_all_of_it_in_any_project(self, client, people, where):
        attach_list_show_and_detach(client, people.tokens["admin"], where)

    def test_to_another_project_a_server_is_missing(self, client, people):
        shown = client.read(client.attach(people.tokens["member"]))
        responses = client.all_four(people.tokens["outsider"])
        assert [client.fault(response) for response in responses] == [MISSING] * 4
        assert client.read(client.list(people.tokens["member"])) == [shown]


@in_one_dialect
class TestScopes:
    @pytest.mark.parametrize("who", ["unscoped", "domain-member", "system-reader"])
    def test_a_token_of_no_project_that_is_no_admins_is_forbidden_everything(self, client, people, who):
        client.attach(people.tokens["member"])
        responses = client.all_four(people.tokens[who])
        assert [client.fault(response) for response in responses] == [FORBIDDEN] * 4

    @pytest.mark.parametrize("who", ["domain-admin", "system-admin"])
    def test_the_role_admin_counts_in_a_domain_and_in_the_system_too(self, client, people, who):
        attach_list_show_and_detach(client, people.tokens[who])

    def test_an_application_credential_does_what_its_user_does(self, client, keystone, people, request):
        token = of_application_credential(keystone, people, request.node.name)
        attach_list_show_and_detach(client, token)

    def test_an_application_credential_with_fewer_roles_does_less(self, client, keystone, people, request):
        token = of_application_credential(keystone, people, request.node.name, roles=[{"name": "reader"}])
        assert client.read(client.list(token)) == []
        assert client.fault(client.attach(token)) == FORBIDDEN


def of_application_credential(keystone, people, name, **restrictions):
    made = keystone.make(
        "application_credential",
        people.tokens["member"],
        path=f"/users/{people.users['member']}/application_credentials",
        name=name,
        **restrictions,
    )
    credential = {"id": made["id"], "secret": made["secret"]}
    return keystone.authenticate({"methods": ["application_credential"], "application_credential": credential})


@in_one_dialect
class TestTokensThatDoNotHold:
    def refused(self, client, keystone, token, **headers):
        for response in client.all_four(token, **headers):
            assert client.fault(response) == UNAUTHORIZED
            # Ours, and behind it authtoken's, which knows where Keystone is.
            assert f'Keystone uri="{keystone.url}"' in response.headers.getall("WWW-Authenticate")

    @pytest.mark.parametrize("token", [None, "", "garbled", "gAAAAABm" + "x" * 180, "a b", "../auth/tokens"])
    def test_an_absent_or_garbled_one_is_refused(self, client, keystone, people, token):
        self.refused(client, keystone, token)
        assert client.read(client.list(people.tokens["member"])) == []

    def test_a_revoked_one_is_refused_at_once(self, client, keystone, people):
        token = keystone.token("member", project("here"))
        client.read(client.attach(token))
        assert keystone.send_request("DELETE", "/auth/tokens", token, subject=token).status_code == 204
        self.refused(client, keystone, token)
        assert len(client.read(client.list(people.tokens["member"]))) == 1

    def test_an_expired_one_is_refused_unless_a_service_passes_it_on(self, client, keystone, people, expired_token):
        self.refused(client, keystone, expired_token)
        service = {"X_Service_Token": people.tokens["volumes"]}
        assert client.read(client.list(expired_token, **service)) == []
        # A token without the role service is none of a service.
        self.refused(client, keystone, expired_token, X_Service_Token=people.tokens["admin"])

    def test_with_delay_auth_decision_off_authtoken_responds_itself(self, serve, keystone, people, paste_file):
        client = serve(paste_file(ON, OFF))
        assert client.read(client.list(people.tokens["member"])) == []
        for token in (None, "garbled"):
            for response in client.all_four(token):
                assert (response.status_int, response.content_type) == (401, "application/json")
                assert json.loads(response.body)["error"]["title"] == "Unauthorized"
                assert response.headers.getall("WWW-Authenticate") == [f'Keystone uri="{keystone.url}"']


@pytest.fixture
def expired_token(second_keystone, keystone, people):
    """Give a member's token that Keystone itself calls expired: without that it still knows it."""
    brief = second_keystone(expiration=1)
    token = brief.token("member", project("here"))
    brief.stop()

    def found(query=""):
        return keystone.send_request("GET", f"/auth/tokens{query}", people.tokens["admin"], subject=token).status_code

    assert wait_until(lambda: found() == 404)
    assert found("?allow_expired=1") == 200
    return token


@in_one_dialect
class TestKeystoneDown:
    def test_authtoken_responds_503_meanwhile_and_recovers(self, serve, keystone, people, paste_file):
        client = serve(paste_file(ON, OFF + AT_ONCE))
        shown = client.read(client.attach(people.tokens["member"]))
        with keystone.down():
            assert [response.status_int for response in client.all_four(people.tokens["member"])] == [503] * 4
        assert client.read(client.list(people.tokens["member"])) == [shown]

    def test_with_delay_auth_decision_it_is_401_meanwhile(self, serve, keystone, people, paste_file):
        client = serve(paste_file(ON, ON + AT_ONCE))
        shown = client.read(client.attach(people.tokens["member"]))
        with keystone.down():
            responses = client.all_four(people.tokens["member"])
        assert [client.fault(response) for response in responses] == [UNAUTHORIZED] * 4
        assert client.read(client.list(people.tokens["member"])) == [shown]


@in_one_dialect
class TestForgedHeaders:
    @pytest.fixture
    def forgeries(self, people):
        """Give every combination of headers that identify an administrator or a member of the project."""
        headers = {
            "X_Identity_Status": "Confirmed",
            "X_Roles": "admin,member,reader",
            "X_Project_Id": people.projects["here"],
            "X_User_Id": people.users["member"],
            "Openstack_System_Scope": "all",
        }
        combinations = [
            dict(chosen)
            for size in range(1, len(headers) + 1)
            for chosen in itertools.combinations(headers.items(), size)
        ]
        assert len(combinations) == 31
        return combinations

    def test_they_are_not_trusted_without_a_token(self, client, forgeries):
        for forged in forgeries:
            assert client.fault(client.attach(None, **forged)) == UNAUTHORIZED, forged
            assert client.fault(client.list(None, **forged)) == UNAUTHORIZED, forged

    def test_they_are_not_trusted_with_a_garbled_token(self, client, forgeries):
        for forged in half(forgeries, client.format):
            assert client.fault(client.attach("garbled", **forged)) == UNAUTHORIZED, forged

    @pytest.mark.parametrize(("who", "fault"), [("reader", FORBIDDEN), ("outsider", MISSING)])
    def test_they_add_nothing_to_a_valid_token(self, client, people, forgeries, who, fault):
        for forged in half(forgeries, client.format):
            assert client.fault(client.attach(people.tokens[who], **forged)) == fault, forged

    def test_they_take_nothing_from_a_valid_token(self, client, people):
        forged = {
            "X_Identity_Status": "Invalid",
            "X_Roles": "reader",
            "X_Project_Id": people.projects["there"],
            "X_User_Id": people.users["outsider"],
        }
        assert client.read(client.attach(people.tokens["member"], **forged)) == client.attachment()


def half(combinations, format):
    """Return what one format tries of combinations, of which both try all: Keystone takes its time for each."""
    return combinations[format == "xml" :: 2]


class TestOutsideARequest:
    @pytest.mark.parametrize("format", ["json"], indirect=True)  # it has no say in what a command prints
    def test_reconcile_calls_the_served_compute_api_with_a_password(
        self, start_server, free_port, run_command, keystone, people, state, dialect, paste_file, tmp_path, format
    ):
        paste = paste_file("%(port)s", str(free_port))
        options = ("--paste", paste, "--var", state.directory, "--set", f"keystone={keystone.url}")
        start_server(*CLI, "serve", *options, "--port", str(free_port), port=free_port)
        server, volume = state.servers[dialect.name]["here"], dialect.volumes["here"]
        response = requests.post(
            f"http://127.0.0.1:{free_port}{dialect.base}/servers/{server}/os-volume_attachments",
            json={"volumeAttachment": {"volumeId": dialect.number(volume)}},
            headers={"X-Auth-Token": people.tokens["member"]},
            timeout=TIMEOUT,
        )
        assert response.status_code == 200, response.text
        disk = state.directory / dialect.name / "servers" / server / "vdb"
        disk.unlink()
        command = (*CLI, "reconcile", "--all", "--filter", f"volumes_{dialect.name}", *options)
        assert "the disk was missing: attached again" in run_command(*command, cwd=tmp_path)
        assert disk.is_symlink()

        # With a wrong password no server can be looked up, so every row is unresolved.
        disk.unlink()
        paste.write_text(paste.read_text().replace("compute.password = secret", "compute.password = wrong"))
        with pytest.raises(AssertionError, match="exited 1"):
            run_command(*command, cwd=tmp_path)
        assert not disk.is_symlink()
