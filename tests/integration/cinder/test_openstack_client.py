"""The command ``openstack`` with a real Keystone and Cinder, and the filter in front of the compute API."""

import json

import pytest

from tests.integration.cinder.real_cinder import CEPH_ZONE
from tests.support.real_keystone import PASSWORD
from tests.support.waiting import wait_until


@pytest.fixture(scope="session")
def environment(keystone, people, served):
    """Give the environment of the command, for a member of the project ``here``; Keystone's catalog has the filter."""
    service = keystone.make("service", people.tokens["admin"], type="compute", name="nova")
    url = f"{served.url}/v2.1"
    for interface in ("internal", "public"):
        values = {"service_id": service["id"], "url": url, "interface": interface, "region_id": "RegionOne"}
        keystone.make("endpoint", people.tokens["admin"], **values)
    return {
        "OS_AUTH_URL": f"{keystone.url}/v3",
        "OS_USERNAME": "member",
        "OS_PASSWORD": PASSWORD,
        "OS_PROJECT_NAME": "here",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_IDENTITY_API_VERSION": "3",
    }


@pytest.fixture
def openstack(service_venv, run_command, environment, tmp_path):
    """Give ``openstack(*words)``: what the command prints."""
    program = service_venv("clients") / "bin/openstack"
    return lambda *words: run_command(program, *words, cwd=tmp_path, HOME=str(tmp_path), **environment)


def test_the_client_attaches_and_detaches_a_volume_of_cinder(openstack, ceph, two_servers):
    def read(*words):
        return json.loads(openstack(*words, "-f", "json"))

    machine = two_servers[0]
    volume = read("volume", "create", "--size", "1", "--availability-zone", CEPH_ZONE, "data")["id"]
    assert wait_until(lambda: read("volume", "show", volume)["status"] == "available")

    added = read("server", "add", "volume", machine.id, "data")
    assert (added["Server ID"], added["Volume ID"], added["Device"]) == (machine.id, volume, "/dev/vda")
    shown = read("volume", "show", "data")
    [attachment] = shown["attachments"]
    assert (shown["status"], attachment["server_id"], attachment["device"]) == ("in-use", machine.id, "/dev/vda")
    [listed] = read("server", "volume", "list", machine.id)
    assert (listed["Server ID"], listed["Volume ID"], listed["Device"]) == (machine.id, volume, "/dev/vda")
    assert machine.disks() == {volume: "vda"}

    openstack("server", "remove", "volume", machine.id, "data")
    shown = read("volume", "show", "data")
    assert (shown["status"], shown["attachments"]) == ("available", [])
    assert read("server", "volume", "list", machine.id) == []
    assert (machine.blocks(), ceph.watchers(f"volume-{volume}")) == ({}, [])
