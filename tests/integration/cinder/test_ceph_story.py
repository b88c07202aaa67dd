"""Volumes of Cinder in Ceph, attached over HTTP: what Cinder, Ceph, libvirt and the guests see of it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.cinder.served import fault
from tests.support.ceph import FENCE
from tests.support.waiting import wait_until

AVAILABLE = ("available", [])


@pytest.fixture
def watchers(ceph):
    """Give ``watchers(volume)``: the addresses of the clients that have its image open."""
    return lambda volume: ceph.watchers(f"volume-{volume}")


@pytest.fixture
def holders(ceph):
    """Give ``holders(volume)``: the servers that it is fenced for."""
    return lambda volume: ceph.holders(f"os-volume-ext.{volume}")


def test_a_volume_goes_from_one_guest_to_another_with_its_bytes(served, new_ceph_volume, two_servers, shown, watchers):
    volume, (here, there) = new_ceph_volume(), two_servers
    response = served.attach(here.id, volume)
    assert response.status_code == 200, response.text
    attachment = {"id": volume, "volumeId": volume, "serverId": here.id, "device": "/dev/vda"}
    assert response.json() == {"volumeAttachment": attachment}
    assert here.blocks() == {"vda": f"volumes/volume-{volume}"}
    assert here.disks() == here.disks(inactive=True) == {volume: "vda"}
    here.console.wait_for("/dev/vda")
    gibibyte = 2**30 // 512
    assert here.console.run("cat /sys/block/vda/serial /sys/block/vda/size") == f"{volume[:20]}{gibibyte}"
    here.console.run("echo precious >/dev/vda && sync")
    assert shown(volume) == ("in-use", [(here.id, "/dev/vda")])
    assert len(watchers(volume)) == 1

    assert served.detach(here.id, volume).status_code == 202
    assert here.console.run("ls /sys/block") == ""
    assert (here.blocks(), shown(volume), watchers(volume), served.rows(volume)) == ({}, AVAILABLE, [], [])

    assert served.attach(there.id, volume).status_code == 200
    there.console.wait_for("/dev/vda")
    assert there.console.run("head -c 8 /dev/vda") == "precious"
    assert served.detach(there.id, volume).status_code == 202
    assert (shown(volume), watchers(volume)) == (AVAILABLE, [])


def test_a_guest_sees_the_new_size_of_a_volume_that_cinder_has_extended(
    served, new_ceph_volume, two_servers, cinder, people, shown
):
    volume, (here, _) = new_ceph_volume(), two_servers
    assert served.attach(here.id, volume).status_code == 200
    here.console.wait_for("/dev/vda")
    extend = {"os-extend": {"new_size": 2}}
    where = people.tokens["member"], people.projects["here"]
    assert cinder.send("POST", *where, f"/volumes/{volume}/action", extend).ok
    assert wait_until(lambda: shown(volume)[0] == "in-use")
    assert served.reconcile()
    assert wait_until(lambda: here.console.run("cat /sys/block/vda/size") == str(2 * 2**30 // 512))
    assert served.detach(here.id, volume).status_code == 202
    assert shown(volume) == AVAILABLE


def test_others_do_not_find_the_volume_and_readers_may_not_attach_it(served, new_ceph_volume, two_servers, shown):
    volume, (here, _) = new_ceph_volume(), two_servers
    assert fault(served.attach(here.id, volume, "outsider"))[0] == 404
    assert fault(served.attach(here.id, volume, "reader"))[0] == 403
    assert served.attach(here.id, volume).status_code == 200
    assert fault(served.detach(here.id, volume, "outsider"))[0] == 404
    assert fault(served.detach(here.id, volume, "reader"))[0] == 403
    assert shown(volume) == ("in-use", [(here.id, "/dev/vda")])
    assert served.detach(here.id, volume).status_code == 202


def test_a_volume_of_another_project_is_not_found(served, cinder, people, ceph_volume_service, two_servers):
    theirs = cinder.new_volume(people.tokens["outsider"], people.projects["there"], availability_zone="ceph")
    assert fault(served.attach(two_servers[0].id, theirs))[0] == 404
    assert two_servers[0].blocks() == {}


def test_of_two_servers_at_once_one_gets_the_volume(served, new_ceph_volume, two_servers, shown, watchers):
    volume = new_ceph_volume()
    with ThreadPoolExecutor(2) as pool:
        responses = list(pool.map(lambda machine: served.attach(machine.id, volume), two_servers))
    [winner] = [machine for machine, each in zip(two_servers, responses, strict=True) if each.status_code == 200]
    [loser] = [each for each in responses if each.status_code != 200]
    assert loser.status_code in (400, 409)
    assert shown(volume) == ("in-use", [(winner.id, "/dev/vda")])
    assert served.rows(volume) == [(winner.id, "attached")]
    assert [list(machine.disks()) for machine in two_servers if machine is not winner] == [[]]
    assert len(watchers(volume)) == 1
    assert served.detach(winner.id, volume).status_code == 202
    assert shown(volume) == AVAILABLE


def test_a_guest_can_not_write_to_a_volume_that_is_read_only_in_cinder(
    served, new_ceph_volume, two_servers, send, shown
):
    volume, (here, _) = new_ceph_volume(), two_servers
    assert send("POST", f"/volumes/{volume}/action", {"os-update_readonly_flag": {"readonly": True}}).ok
    assert served.attach(here.id, volume).status_code == 200
    here.console.wait_for("/dev/vda")
    assert here.console.run("cat /sys/block/vda/ro") == "1"
    assert served.detach(here.id, volume).status_code == 202
    assert shown(volume) == AVAILABLE


def test_two_guests_share_a_multiattach_volume(served, new_ceph_volume, two_servers, multiattach_type, shown, watchers):
    volume, (here, there) = new_ceph_volume(volume_type=multiattach_type), two_servers
    for machine in two_servers:
        assert served.attach(machine.id, volume).status_code == 200
        machine.console.wait_for("/dev/vda")
    status, attachments = shown(volume)
    assert (status, sorted(attachments)) == ("in-use", sorted((each.id, "/dev/vda") for each in two_servers))
    assert len(watchers(volume)) == 2
    here.console.run("echo shared >/dev/vda && sync")
    assert there.console.run("head -c 6 /dev/vda") == "shared"
    assert served.detach(here.id, volume).status_code == 202
    assert shown(volume) == ("in-use", [(there.id, "/dev/vda")])
    assert served.detach(there.id, volume).status_code == 202
    assert (shown(volume), watchers(volume)) == (AVAILABLE, [])


def test_a_fence_refuses_what_cinder_and_another_database_do_not_know(
    served, fenced, serve_ceph, new_ceph_volume, two_servers, shown, holders, delete_attachments
):
    """Cinder's attachment is deleted by somebody while the guest has the disk."""
    other = serve_ceph(fence=FENCE)
    volume, (here, there) = new_ceph_volume(), two_servers
    assert fenced.attach(here.id, volume).status_code == 200
    assert set(holders(volume)) == {here.id}
    assert fault(served.attach(there.id, volume))[0] == 409  # by Cinder
    delete_attachments(volume)
    status, message = fault(other.attach(there.id, volume))
    assert (status, there.blocks()) == (409, {})
    assert f"is fenced in the storage for server {here.id}" in message
    assert (shown(volume), set(holders(volume)), other.rows(volume)) == (AVAILABLE, {here.id}, [])
    assert fenced.detach(here.id, volume).status_code == 202
    assert (holders(volume), here.blocks()) == ([], {})
    assert other.attach(there.id, volume).status_code == 200
    assert other.detach(there.id, volume).status_code == 202


def test_a_volume_of_a_server_whose_host_is_lost_is_freed_in_ceph_and_in_cinder(
    fenced, new_ceph_volume, two_servers, libvirtd, ceph, shown, watchers
):
    volume, (here, there) = new_ceph_volume(), two_servers
    assert fenced.attach(here.id, volume).status_code == 200
    here.console.wait_for("/dev/vda")
    here.console.run("echo first >/dev/vda && sync")
    [address] = watchers(volume)
    here.freeze()
    libvirtd.freeze()
    try:
        assert fenced.detach(here.id, volume).status_code == 503
        fenced.run("attachment", "force-detach", here.id, volume, "--dry-run")
        assert shown(volume) == ("in-use", [(here.id, "/dev/vda")])
        printed = fenced.run("attachment", "force-detach", here.id, volume, "--yes")
    finally:
        libvirtd.thaw()
    assert f"Client {address}: it will be cut off from the storage" in printed
    assert (shown(volume), fenced.rows(volume), watchers(volume)) == (AVAILABLE, [], [])
    assert fenced.attach(there.id, volume).status_code == 200
    there.console.wait_for("/dev/vda")
    assert there.console.run("head -c 5 /dev/vda") == "first"
    there.console.run("echo second >/dev/vda && sync")
    here.thaw()
    assert here.console.run("(echo third >/dev/vda && sync) || echo failed").endswith("failed")
    assert ceph.read(f"volume-{volume}", 7) == b"second\n"
    assert fenced.detach(there.id, volume).status_code == 202
