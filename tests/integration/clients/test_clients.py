"""Clients of Nova, as they are on PyPI, against the served sample; each in its own way of asking."""

import pytest

from tests.integration.clients.clients import Refused

WEB, MAIL = "4335bab6-6086-4247-8274-8b8b048edaaa", "20f0cb44-7b00-4019-a612-364777cd2931"
VOLUME, OTHER_VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803", "a26887c6-c47b-4654-abb5-dfadf7d3f804"
BUILDING = "5d1f7c1a-0c5e-4c6f-9d5b-5a1d3f0c9b77"
ROOTED, ROOT_VOLUME = "7be0e5f4-8c1d-4a53-9a54-2f6d1c0e8b10", "c0ffee00-1111-4222-8333-444444444444"

# What each client raises for these statuses.
SDK = {
    400: "BadRequestException",
    403: "ForbiddenException",
    404: "NotFoundException",
    409: "ConflictException",
}
PLAIN = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 409: "Conflict"}
RAISED = {
    "openstackclient": SDK,
    "openstackclient at 2.1": SDK,
    "openstacksdk": SDK,
    "novaclient": PLAIN,
    "libcloud": dict.fromkeys(PLAIN, "BaseHTTPError"),
    "tempest": PLAIN,
}


@pytest.fixture(params=list(RAISED))
def name(request):
    return request.param


@pytest.fixture
def client(name, command_line, python_client):
    if name == "openstackclient":
        return command_line()
    if name == "openstackclient at 2.1":
        return command_line("--os-compute-api-version", "2.1")
    return python_client(name)


def shown(server, volume=VOLUME, device="/dev/vdb"):
    return {"device": device, "serverId": server, "id": volume, "volumeId": volume}


class TestEachClient:
    def test_it_attaches_shows_lists_and_detaches(self, client):
        assert client.send_request("attach", WEB, VOLUME) == shown(WEB)
        assert client.send_request("show", WEB, VOLUME) == shown(WEB)
        assert client.send_request("list", WEB) == [shown(WEB)]
        assert client.send_request("detach", WEB, VOLUME) is None
        assert client.send_request("list", WEB) == []

    @pytest.fixture
    def refused(self, client, name):
        """Give ``refused(status, *question)``: the client's error for that status."""

        def send_request(status, *question, **user):
            with pytest.raises(Refused) as refused:
                client.send_request(*question, **user)
            assert refused.value.name == RAISED[name][status]
            assert name == "tempest" or str(status) in str(refused.value)  # tempest has words for it
            return str(refused.value)

        return send_request

    def test_it_reports_that_a_volume_is_in_use(self, client, refused):
        client.send_request("attach", MAIL, VOLUME)
        assert f"Volume {VOLUME} is attached to server {MAIL}." in refused(400, "attach", WEB, VOLUME)

    def test_it_reports_that_a_reader_may_not_attach(self, refused):
        assert "Policy does not allow this operation." in refused(403, "attach", WEB, VOLUME, user="reader")

    def test_it_reports_that_a_volume_is_no_longer_attached(self, client, refused):
        client.send_request("attach", WEB, VOLUME)
        client.send_request("detach", WEB, VOLUME)
        assert f"Volume {VOLUME} is not attached to server {WEB}." in refused(404, "detach", WEB, VOLUME)

    def test_it_reports_that_the_servers_status_forbids_it(self, refused):
        assert "while it is in status BUILD" in refused(409, "attach", BUILDING, VOLUME)


def test_openstackclient_takes_names_for_servers_and_a_device(command_line):
    openstack = command_line()
    assert openstack.send_request("attach", "web", VOLUME, "--device", "/dev/vdx") == shown(WEB, device="/dev/vdx")
    assert openstack.send_request("list", "rooted") == [shown(ROOTED, ROOT_VOLUME, "/dev/vda")]
    [volume, _] = openstack.read("volume", "list")
    assert (volume["ID"], volume["Status"]) == (VOLUME, "in-use")
    assert volume["Attached to"][0]["device"] == "/dev/vdx"
    assert openstack.send_request("detach", "web", VOLUME) is None


def test_openstackclient_lists_and_shows_servers(command_line):
    openstack = command_line()
    listed = {server["Name"]: server for server in openstack.read("server", "list")}
    assert listed.keys() == {"web", "mail", "unfinished", "rooted"}
    assert (listed["web"]["ID"], listed["web"]["Status"], listed["web"]["Flavor"]) == (WEB, "ACTIVE", "demo.tiny")
    server = openstack.read("server", "show", "web")
    assert (server["id"], server["status"], server["project_id"]) == (WEB, "ACTIVE", "demo")


def test_openstacksdk_waits_until_a_volume_is_in_use_and_until_it_is_available(python_client):
    sdk = python_client("openstacksdk")
    assert sdk.send_request("attach_and_wait", WEB, VOLUME) == "in-use"
    assert sdk.send_request("detach_and_wait", WEB, VOLUME) == "available"


@pytest.mark.parametrize("name", ["openstacksdk", "novaclient", "tempest"])
def test_a_root_volume_is_not_detached(python_client, name):
    with pytest.raises(Refused, match="root") as refused:
        python_client(name).send_request("detach", ROOTED, ROOT_VOLUME)
    assert refused.value.name == RAISED[name][400]


class TestMicroversions:
    """Each client up to the newest that it knows: novaclient 2.96, openstacksdk 2.89, tempest's schemas 2.100."""

    @pytest.mark.parametrize(
        ("name", "version"),
        [
            *(("novaclient", version) for version in ("2.49", "2.70", "2.79", "2.89", "2.96")),
            *(("openstacksdk", version) for version in (None, "2.49", "2.79", "2.89")),
            *(("tempest", version) for version in ("2.49", "2.70", "2.79", "2.89", "2.100")),
        ],
    )
    def test_the_details_of_an_attachment_are_stored_and_shown(self, python_client, name, version):
        client, minor = python_client(name, version), int((version or "2.89")[2:])
        details = {"tag": "mine"} | ({"delete_on_termination": True} if minor >= 79 else {})
        attached = client.send_request("attach_described", WEB, VOLUME, **details)
        assert attached["volumeId"] == VOLUME
        shown = client.send_request("describe", WEB, VOLUME)
        if minor >= 70:
            assert details.items() <= shown.items()
        if minor >= 89:
            assert shown["attachment_id"] == shown["bdm_uuid"] != VOLUME
        assert client.send_request("detach", WEB, VOLUME) is None

    @pytest.mark.parametrize(
        ("name", "version"),
        [
            ("novaclient", "2.85"),
            ("novaclient", "2.96"),
            ("openstacksdk", None),
            ("tempest", "2.85"),
            ("tempest", "2.100"),
        ],
    )
    def test_delete_on_termination_is_changed(self, python_client, name, version):
        client = python_client(name, version)
        client.send_request("attach_described", WEB, VOLUME)
        for flag in (True, False):
            client.send_request("update", WEB, VOLUME, VOLUME, delete_on_termination=flag)
            assert client.send_request("describe", WEB, VOLUME)["delete_on_termination"] is flag
        client.send_request("detach", WEB, VOLUME)

    @pytest.mark.parametrize(
        ("name", "version"), [("novaclient", "2.1"), ("novaclient", "2.96"), ("openstacksdk", None), ("tempest", "2.1")]
    )
    def test_a_swap_is_refused(self, python_client, name, version):
        client = python_client(name, version)
        client.send_request("attach_described", WEB, VOLUME)
        with pytest.raises(Refused, match="Policy does not allow") as refused:
            client.send_request("update", WEB, VOLUME, OTHER_VOLUME)
        assert refused.value.name == RAISED[name][403]
        client.send_request("detach", WEB, VOLUME)

    @pytest.mark.parametrize("version", ["2.79", "2.85", "2.89", "2.100", "2.104"])
    def test_openstackclient_speaks_it(self, command_line, version):
        openstack, minor = command_line("--os-compute-api-version", version), int(version[2:])
        openstack.run("server", "add", "volume", "web", VOLUME, "--tag", "mine", "--enable-delete-on-termination")
        [listed] = openstack.read("server", "volume", "list", "web")
        assert (listed["Volume ID"], listed["Tag"], listed["Delete On Termination?"]) == (VOLUME, "mine", True)
        assert ("ID" in listed, "Attachment ID" in listed) == (minor < 89, minor >= 89)
        if minor >= 85:
            openstack.run("server", "volume", "update", "web", VOLUME, "--preserve-on-termination")
            [listed] = openstack.read("server", "volume", "list", "web")
            assert (listed["Tag"], listed["Delete On Termination?"]) == ("mine", False)
        openstack.run("server", "remove", "volume", "web", VOLUME)
        assert openstack.read("server", "volume", "list", "web") == []
        assert openstack.read("server", "show", "web")["id"] == WEB
