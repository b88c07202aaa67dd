"""Volumes in Ceph over HTTP: sources of the catalog, and what clients get when Ceph does not respond."""

import contextlib

import pytest

from os_volume_ext.backends.base import Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.filter import make_filter
from os_volume_ext.registry.database import Database
from tests.integration.libvirt.real_libvirt import backend_class
from tests.support.ceph import CLIENT, FENCE, POOL
from tests.support.inprocess import collection, compute_api, send_request

backend_class()


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture
def new_app(url, libvirtd, ceph_conf, two_guests):
    """Give ``new_app(**options)``: a filter in front of a compute API that has the two guests."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            given = {"uri": libvirtd.uri, "ceph_conf": str(ceph_conf), "fence": FENCE, **options}
            app = make_filter(
                compute_api({machine.id for machine in two_guests}),
                dialect="openstack",
                backend="libvirt",
                operation_timeout=30,
                **{"database.url": url},
                **{f"backend.{name}": value for name, value in given.items()},
            )
            return stack.enter_context(contextlib.closing(app))

        yield make
        for machine in two_guests:
            machine.clear()


@pytest.fixture
def new_image(ceph, secret, url):
    """Give ``new_image(port)``: the id of a volume whose monitor is at that port."""

    def make(port=None):
        image = ceph.image()
        source = f"rbd://127.0.0.1:{port or ceph.port}/{POOL}/{image}?user={CLIENT}&secret={secret}"
        volume = Volume(image.removeprefix("volume-"), "demo", source)
        database = Database({"url": url})
        SQLCatalog({}, database).create(volume)
        database.dispose()
        return volume.id

    return make


def attach(app, machine, volume_id):
    return send_request(app, "POST", collection(machine.id), {"volumeAttachment": {"volumeId": volume_id}})


def detach(app, machine, volume_id):
    status, _ = send_request(app, "DELETE", f"{collection(machine.id)}/{volume_id}")
    return status


def test_a_volume_of_the_catalog_goes_from_one_guest_to_the_other(new_app, new_image, two_guests, ceph):
    app, (here, there) = new_app(), two_guests
    volume_id = new_image()
    status, document = attach(app, here, volume_id)
    assert (status, document["volumeAttachment"]["device"]) == (200, "/dev/vda")
    here.console.wait_for("/dev/vda")
    here.console.run("echo bytes >/dev/vda && sync")
    assert detach(app, here, volume_id) == 202
    assert ceph.read(f"volume-{volume_id}", 6) == b"bytes\n"
    assert attach(app, there, volume_id)[0] == 200
    there.console.wait_for("/dev/vda")
    assert there.console.run("head -c 5 /dev/vda") == "bytes"
    assert detach(app, there, volume_id) == 202


def test_a_monitor_that_is_not_there_is_a_503_and_the_volume_stays_free(new_app, new_image, two_guests, free_port):
    app, machine = new_app(), two_guests[0]
    volume_id = new_image(free_port)
    status, document = attach(app, machine, volume_id)
    assert status == 503
    assert "127.0.0.1" not in str(document)
    assert machine.console.run("echo alive") == "alive"
    assert send_request(app, "GET", collection(machine.id)) == (200, {"volumeAttachments": []})
    assert detach(app, machine, volume_id) == 404


def test_a_volume_that_is_fenced_for_another_server_is_a_conflict_that_names_it(
    new_app, new_image, two_guests, leave_fence
):
    app, (here, there) = new_app(), two_guests
    volume_id = new_image()
    leave_fence(there.server, Volume(volume_id, "demo"))
    status, document = attach(app, here, volume_id)
    assert status == 409
    assert f"fenced in the storage for server {there.id}" in document["conflictingRequest"]["message"]
    assert send_request(app, "GET", collection(here.id)) == (200, {"volumeAttachments": []})
