"""Clients of Nova and Cinder with a real Keystone and Cinder, and the filter in front of the compute API."""

from contextlib import closing

import pytest

from tests.integration.cinder.real_cinder import CEPH_ZONE
from tests.integration.clients.clients import CommandLine, PythonClient
from tests.support.real_keystone import PASSWORD
from tests.support.waiting import wait_until


@pytest.fixture(scope="session")
def environment(cinder, keystone, people, served, tmp_path_factory):
    """Give the environment of the clients, for the project ``here``; Keystone's catalog has the filter.

    libcloud looks for these names, and for Cinder by the former name of its kind.
    """
    admin = people.tokens["admin"]
    services = {("compute", "nova"): f"{served.url}/v2.1", ("volumev3", "cinderv3"): f"{cinder.url}/v3/$(project_id)s"}
    for (kind, name), url in services.items():
        service = keystone.make("service", admin, type=kind, name=name)
        for interface in ("internal", "public"):
            values = {"service_id": service["id"], "url": url, "interface": interface, "region_id": "RegionOne"}
            keystone.make("endpoint", admin, **values)
    return {
        "HOME": str(tmp_path_factory.mktemp("home")),
        "OS_AUTH_URL": f"{keystone.url}/v3",
        "OS_PROJECT_NAME": "here",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_IDENTITY_API_VERSION": "3",
    }


@pytest.fixture
def openstack(service_venv, environment):
    return CommandLine(service_venv("clients"), environment, password=PASSWORD)


@pytest.fixture(params=["openstackclient", "openstacksdk", "novaclient", "libcloud", "tempest"])
def client(request, openstack, service_venv, environment):
    if request.param == "openstackclient":
        yield openstack
        return
    with closing(PythonClient(request.param, None, service_venv("clients"), environment, PASSWORD)) as client:
        yield client


def test_each_client_attaches_shows_lists_and_detaches_a_volume_of_cinder(
    client, new_ceph_volume, two_servers, shown, ceph
):
    volume, machine = new_ceph_volume(), two_servers[0]
    attachment = {"device": "/dev/vda", "serverId": machine.id, "id": volume, "volumeId": volume}

    def send_request(method, *arguments):
        return client.send_request(method, machine.id, *arguments, user="member")

    assert send_request("attach", volume) == attachment
    assert shown(volume) == ("in-use", [(machine.id, "/dev/vda")])
    assert send_request("show", volume) == attachment
    assert send_request("list") == [attachment]
    assert machine.disks() == {volume: "vda"}
    assert send_request("detach", volume) is None
    assert send_request("list") == []
    assert (shown(volume), machine.blocks(), ceph.watchers(f"volume-{volume}")) == (("available", []), {}, [])


def test_openstackclient_makes_attaches_shows_and_detaches_a_volume(openstack, two_servers):
    def read(*words):
        return openstack.read(*words, user="member")

    machine = two_servers[0]
    volume = read("volume", "create", "--size", "1", "--availability-zone", CEPH_ZONE, "data")["id"]
    assert wait_until(lambda: read("volume", "show", volume)["status"] == "available")
    added = read("server", "add", "volume", machine.id, "data")
    assert (added["Server ID"], added["Volume ID"], added["Device"]) == (machine.id, volume, "/dev/vda")
    found = read("volume", "show", "data")
    [attachment] = found["attachments"]
    assert (found["status"], attachment["server_id"], attachment["device"]) == ("in-use", machine.id, "/dev/vda")
    openstack.run("server", "remove", "volume", machine.id, "data", user="member")
    found = read("volume", "show", "data")
    assert (found["status"], found["attachments"]) == ("available", [])
