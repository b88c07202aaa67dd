"""The extension inside Nova: whose attachments are shown, and what becomes of servers that are not as others."""

import json
import re
import shutil

import pytest

CONFLICT, MISSING, FORBIDDEN = (409, "conflictingRequest"), (404, "itemNotFound"), (403, "forbidden")


def fault(response):
    [(name, value)] = response.json().items()
    assert value["code"] == response.status_code
    return response.status_code, name


def attach_request(volume):
    return {"volumeAttachment": {"volumeId": volume}}


def path_of(server, volume=None, base="/v2.1"):
    return f"{base}/servers/{server}/os-volume_attachments" + (f"/{volume}" if volume else "")


@pytest.fixture
def attach(send_request):
    """Give ``attach(SERVER, VOLUME, who="member")``: the response."""
    return lambda server, volume, who="member": send_request("POST", path_of(server), who, json=attach_request(volume))


@pytest.fixture
def listed(send_request):
    """Give ``listed(SERVER)``: the volumes that are shown as attached."""

    def volumes(server, **options):
        response = send_request("GET", path_of(server), **options)
        assert response.status_code == 200, response.text
        return [each["volumeId"] for each in response.json()["volumeAttachments"]]

    return volumes


class TestVolumeAttachments:
    @pytest.mark.parametrize("base", ["/v2.1", "/v2.1/{project}", "/v2", "/v2/{project}"])
    def test_they_are_ours_below_each_version_with_and_without_the_project(
        self, send_request, people, server, volume, base, nova
    ):
        base = base.format(project=people.projects["here"])
        shown = {"device": "/dev/vdb", "serverId": server, "id": volume, "volumeId": volume}
        attached = send_request("POST", path_of(server, base=base), json=attach_request(volume))
        assert (attached.status_code, attached.json()) == (200, {"volumeAttachment": shown})
        assert (nova.directory / "volumes/servers" / server / "vdb").is_symlink()
        assert send_request("GET", path_of(server, base=base)).json() == {"volumeAttachments": [shown]}
        assert send_request("GET", path_of(server, volume, base)).json() == {"volumeAttachment": shown}
        in_xml = send_request("GET", path_of(server, volume, base), Accept="application/xml")
        assert in_xml.headers["Content-Type"] == "application/xml; charset=UTF-8"
        assert f'id="{volume}"' in in_xml.text
        detached = send_request("DELETE", path_of(server, volume, base))
        assert (detached.status_code, detached.content) == (202, b"")
        assert send_request("GET", path_of(server, base=base)).json() == {"volumeAttachments": []}

    def test_they_bear_the_request_id_that_nova_logs(self, send_request, server, volume):
        response = send_request("GET", path_of(server))
        assert re.fullmatch(r"req-[0-9a-f-]{36}", response.headers["X-Openstack-Request-Id"])
        assert response.headers["X-Compute-Request-Id"] == response.headers["X-Openstack-Request-Id"]

    def test_with_anothers_project_in_the_path_the_response_is_novas(self, send_request, people, server):
        base = f"/v2.1/{people.projects['there']}"
        ours, novas = (send_request("GET", path) for path in (path_of(server, base=base), f"{base}/servers/{server}"))
        assert ours.status_code == novas.status_code == 400
        assert ours.json() == novas.json()

    def test_what_nova_attached_before_is_shown_once_it_is_adopted(
        self, send_request, listed, servers, new_volume, nova, plain
    ):
        server = servers["with a volume of Nova's"]
        [volume] = listed(server, of=plain)
        assert listed(server) == []
        new_volume(volume_id=volume)
        (nova.directory / "volumes/volumes" / volume).touch()
        (nova.directory / "volumes/servers" / server / "vdb").symlink_to(f"../../volumes/{volume}")
        nova.command("attachment", "adopt", server, volume, "--device", "/dev/vdb")
        assert listed(server) == [volume]

    def test_what_is_attached_through_us_is_unknown_to_nova(self, send_request, attach, listed, server, volume, plain):
        assert attach(server, volume).status_code == 200
        assert listed(server, of=plain) == []
        server = send_request("GET", f"/v2.1/servers/{server}").json()["server"]
        assert server["os-extended-volumes:volumes_attached"] == []


class TestServers:
    def test_one_of_another_project_is_missing_to_all_but_its_own_and_admins(
        self, send_request, attach, servers, new_volume
    ):
        server, volume = servers["of another project"], new_volume("there")
        assert attach(server, volume, "outsider").status_code == 200
        requested = [("GET", None), ("GET", volume), ("POST", None), ("DELETE", volume)]
        for method, which in requested:
            response = send_request(
                method, path_of(server, which), json=attach_request(volume) if method == "POST" else None
            )
            assert fault(response) == MISSING
            assert server in response.text
        assert send_request("GET", path_of(server, volume), "admin").status_code == 200
        assert send_request("DELETE", path_of(server, volume), "admin").status_code == 202

    def test_one_that_is_being_built_takes_none(self, send_request, attach, listed, servers, volume):
        response = attach(servers["building"], volume)
        assert fault(response) == CONFLICT
        assert "BUILD" in response.text
        assert "Retry-After" in response.headers
        assert listed(servers["building"]) == []

    def test_one_that_is_paused_takes_them(self, send_request, attach, servers, volume):
        assert attach(servers["paused"], volume).status_code == 200
        assert send_request("DELETE", path_of(servers["paused"], volume)).status_code == 202

    def test_one_that_its_owner_locked_takes_none_until_it_is_unlocked(
        self, send_request, attach, listed, server, volume
    ):
        assert send_request("POST", f"/v2.1/servers/{server}/action", json={"lock": None}).status_code == 202
        response = attach(server, volume)
        assert fault(response) == CONFLICT
        assert "locked" in response.text
        assert attach(server, volume, "admin").status_code == 200
        assert fault(send_request("DELETE", path_of(server, volume))) == CONFLICT
        assert listed(server) == [volume]
        assert send_request("POST", f"/v2.1/servers/{server}/action", json={"unlock": None}).status_code == 202
        assert send_request("DELETE", path_of(server, volume)).status_code == 202

    def test_nova_being_unable_to_show_one_is_503_and_passes(self, attach, listed, server, volume, surroundings):
        with surroundings.down():
            response = attach(server, volume)
            assert fault(response) == (503, "serviceUnavailable")
            assert "Retry-After" in response.headers
            assert listed(server) == []  # server_read_path requests what needs no Neutron
        assert attach(server, volume).status_code == 200


class TestDeletedServers:
    @pytest.fixture
    def deleted(self, send_request, attach, server, volume, nova):
        """Give a server that was deleted through Nova's API with the volume attached, machine and all."""
        assert attach(server, volume).status_code == 200
        response = send_request("DELETE", f"/v2.1/servers/{server}")
        assert response.status_code == 204, response.text
        assert send_request("GET", f"/v2.1/servers/{server}").status_code == 404
        shutil.rmtree(nova.directory / "volumes/servers" / server)
        return server

    def test_their_volumes_can_be_attached_elsewhere(self, send_request, attach, listed, deleted, new_server, volume):
        elsewhere = new_server()
        assert attach(elsewhere, volume).status_code == 200
        assert listed(elsewhere) == [volume]
        assert fault(send_request("GET", path_of(deleted))) == MISSING

    def test_their_volumes_can_still_be_detached_from_them(self, send_request, deleted, volume):
        assert send_request("DELETE", path_of(deleted, volume)).status_code == 202
        assert fault(send_request("DELETE", path_of(deleted, volume))) == MISSING

    def test_while_the_machine_is_still_there_its_volume_stays_with_it(
        self, send_request, attach, server, new_server, volume, nova
    ):
        elsewhere = new_server()
        assert attach(server, volume).status_code == 200
        assert send_request("DELETE", f"/v2.1/servers/{server}").status_code == 204
        response = attach(elsewhere, volume)
        assert fault(response) == (400, "badRequest")
        assert "another server" in response.text
        shutil.rmtree(nova.directory / "volumes/servers" / server)
        assert attach(elsewhere, volume).status_code == 200

    def test_reconcile_mends_the_row_if_no_one_tries(self, deleted, volume, nova):
        def rows():
            return nova.command("attachment", "list", "--volume", volume, "-f", "value", "-c", "server_id").split()

        assert rows() == [deleted]
        printed = nova.command("reconcile", "--all", "-f", "csv")
        assert deleted in printed
        assert rows() == []


class TestPolicy:
    @pytest.fixture
    def policy(self, nova):
        """Give ``policy(TEXT)``: write Nova's policy.yaml, which is empty again afterwards."""
        path = nova.directory / "policy.yaml"
        before = path.read_text()
        yield path.write_text
        path.write_text(before)

    def test_novas_own_file_overrides_our_rules_as_it_does_novas(self, send_request, policy, server, plain):
        assert send_request("GET", path_of(server)).status_code == 200
        policy('"os_compute_api:os-volumes-attachments:index": "rule:context_is_admin"\n')
        for each in ({}, {"of": plain}):
            assert fault(send_request("GET", path_of(server), **each)) == FORBIDDEN
            assert send_request("GET", path_of(server), "admin", **each).status_code == 200

    def test_a_base_rule_of_it_decides_who_is_an_admin(self, send_request, policy, servers):
        server = servers["of another project"]
        assert fault(send_request("GET", path_of(server), "reader")) == MISSING
        policy('"context_is_admin": "role:admin or role:reader"\n')
        assert send_request("GET", path_of(server), "reader").status_code == 200

    def test_readers_may_look_and_not_touch(self, send_request, attach, server, volume):
        assert send_request("GET", path_of(server), "reader").status_code == 200
        assert fault(attach(server, volume, "reader")) == FORBIDDEN


class TestIdentity:
    def test_without_a_token_the_response_is_that_of_novas_own_pipeline(self, send_request, server):
        ours, novas = (send_request("GET", path, who=None) for path in (path_of(server), f"/v2.1/servers/{server}"))
        assert ours.status_code == novas.status_code == 401
        assert (ours.content, ours.headers["WWW-Authenticate"]) == (novas.content, novas.headers["WWW-Authenticate"])

    def test_forged_headers_are_not_trusted(self, send_request, people, server):
        forged = {"X_Identity_Status": "Confirmed", "X_Project_Id": people.projects["here"], "X_Roles": "admin"}
        assert send_request("GET", path_of(server), who=None, **forged).status_code == 401
        assert fault(send_request("GET", path_of(server), "outsider", **forged)) == MISSING


class TestCheck:
    def test_in_novas_own_paste_file_as_documented_all_is_right(self, nova):
        printed = nova.command("check", "--config-file", "nova.conf", "--name", "osapi_compute", "-f", "json")
        rows = json.loads(printed)
        assert {row["result"] for row in rows} == {"ok"}, rows
        below_v2, below_v21 = (row["details"] for row in rows if row["check"] == "position")
        assert below_v2.startswith("authtoken authenticates: cors ")
        assert below_v2.endswith(" keystonecontext legacy_v2_compatible volumes osapi_compute_app_v21")
        assert below_v21.endswith(" keystonecontext volumes osapi_compute_app_v21")


class TestExtensions:
    def test_novas_list_and_entry_are_left_as_they_are(self, send_request, plain):
        for path in ("/v2.1/extensions", "/v2.1/extensions/os-volumes"):
            ours, novas = (send_request("GET", path, **of) for of in ({}, {"of": plain}))
            assert ours.status_code == 200
            assert ours.content == novas.content
        listed = send_request("GET", "/v2.1/extensions").json()["extensions"]
        assert [each["alias"] for each in listed].count("os-volumes") == 1


class TestMicroversions:
    def test_what_newer_ones_say_reaches_the_client_through_novas_pipeline(self, send_request, server, volume):
        newest = {"OpenStack_API_Version": "compute 2.89"}
        described = {"volumeAttachment": {"volumeId": volume, "tag": "mine", "delete_on_termination": True}}
        attached = send_request("POST", path_of(server), json=described, **newest)
        assert (attached.status_code, attached.json()["volumeAttachment"]["tag"]) == (200, "mine")
        shown = send_request("GET", path_of(server, volume), **newest)
        assert shown.json()["volumeAttachment"]["bdm_uuid"] == shown.json()["volumeAttachment"]["attachment_id"]
        assert shown.headers["OpenStack-API-Version"] == "compute 2.89"
        assert shown.headers["X-OpenStack-Nova-API-Version"] == "2.89"
        changed = {"volumeAttachment": {"volumeId": volume, "delete_on_termination": False}}
        assert send_request("PUT", path_of(server, volume), json=changed, **newest).status_code == 202

    def test_below_v2_nova_takes_the_version_away_on_both_ways(self, send_request, server, volume):
        response = send_request(
            "POST", path_of(server, base="/v2"), json=attach_request(volume), OpenStack_API_Version="compute 2.101"
        )
        assert (response.status_code, "OpenStack-API-Version" in response.headers) == (200, False)
        assert response.headers["Vary"] == "Accept,X-Auth-Token"

    def test_one_that_is_not_spoken_is_refused_as_nova_refuses_it(self, send_request, server):
        requested = {"OpenStack_API_Version": "compute 2.999"}
        ours, novas = (send_request("GET", path, **requested) for path in (path_of(server), f"/v2.1/servers/{server}"))
        assert ours.status_code == novas.status_code == 406
        assert ours.json() == novas.json()
        names = ("OpenStack-API-Version", "X-OpenStack-Nova-API-Version")
        assert [ours.headers.get(name) for name in names] == [novas.headers.get(name) for name in names]
