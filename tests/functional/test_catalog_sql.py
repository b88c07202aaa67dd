"""The sql catalog over a real database."""

import threading
from concurrent.futures import Future

import pytest
from sqlalchemy import delete, select

from os_volume_ext.backends.base import ConfigurationError, Volume
from os_volume_ext.catalog.base import VolumeAttached, VolumeCatalog, VolumeNotFound
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.context import RequestContext
from os_volume_ext.errors import RegistryUnavailable, VolumeExists
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, Attachment
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import volumes
from tests.support.databases import direct_connection
from tests.support.waiting import TIMEOUT

CONTEXT = RequestContext("req-1", {"user_id": "user", "project_id": "demo"}, lambda *_: True)


@pytest.fixture
def catalog(database):
    return SQLCatalog({}, database)


@pytest.fixture
def broken(tmp_path):
    return SQLCatalog({}, Database({"url": f"sqlite:///{tmp_path}/no/such/directory/registry.db"}))


def attach(database, state):
    row = Attachment("9", "1134", "demo", True, None, False, state, "req-1", None, None, None, None)
    Registry(database).reserve(row)
    return row


def test_a_volume_is_given_as_it_was_created(catalog):
    volume = Volume("9", "demo", "rbd:pool/image", "raw", True)
    catalog.create(volume)
    assert catalog.volume(CONTEXT, "9") == volume


def test_a_volume_needs_no_source(catalog):
    catalog.create(Volume("9", "demo"))
    assert catalog.get("9") == Volume("9", "demo", None, None, False)


def test_a_volume_that_is_not_there_is_not_found(catalog):
    with pytest.raises(VolumeNotFound, match="Volume 9 could not be found"):
        catalog.volume(CONTEXT, "9")


def test_a_volume_is_created_once(catalog):
    catalog.create(Volume("9", "demo"))
    with pytest.raises(VolumeExists, match="Volume 9 exists already"):
        catalog.create(Volume("9", "other"))
    assert catalog.get("9").project_id == "demo"


def test_volumes_are_listed_oldest_first(catalog):
    for volume_id in ("9", "1", "5"):
        catalog.create(Volume(volume_id, "demo"))
    assert [volume.id for volume in catalog.list_volumes()] == ["9", "1", "5"]


def test_volumes_of_one_project_are_listed(catalog):
    catalog.create(Volume("9", "demo"))
    catalog.create(Volume("10", "other"))
    assert [volume.id for volume in catalog.list_volumes("other")] == ["10"]
    assert catalog.list_volumes("nobody") == []


def test_a_deleted_volume_is_gone(catalog):
    catalog.create(Volume("9", "demo"))
    catalog.create(Volume("10", "demo"))
    catalog.delete(volume_id="9")
    assert [volume.id for volume in catalog.list_volumes()] == ["10"]


def test_to_delete_a_volume_that_is_not_there_is_reported(catalog):
    with pytest.raises(VolumeNotFound):
        catalog.delete(volume_id="9")


@pytest.mark.parametrize("state", [ATTACHING, ATTACHED, DETACHING])
def test_a_volume_with_an_attachment_in_whatever_state_is_not_deleted(catalog, database, state):
    catalog.create(Volume("9", "demo"))
    row = attach(database, state)
    with pytest.raises(VolumeAttached, match=r"Volume 9 is attached\. Detach it first"):
        catalog.delete(volume_id="9")
    assert catalog.get("9").id == "9"
    Registry(database).remove(row)
    catalog.delete(volume_id="9")


def test_other_volumes_attachments_do_not_matter(catalog, database):
    catalog.create(Volume("10", "demo"))
    attach(database, ATTACHED)
    catalog.delete(volume_id="10")
    assert catalog.list_volumes() == []


def test_an_option_is_refused_by_name(database):
    with pytest.raises(ConfigurationError, match=r"catalog\.url is not an option: the sql catalog has none"):
        SQLCatalog({"url": "http://cinder"}, database)


def test_a_database_that_does_not_respond_is_an_unavailable_registry(broken):
    with pytest.raises(RegistryUnavailable):
        broken.volume(CONTEXT, "9")


def test_the_commands_report_that_the_database_does_not_respond(broken):
    for send_request in (
        broken.list_volumes,
        lambda: broken.create(Volume("9", "demo")),
        lambda: broken.delete(volume_id="9"),
    ):
        with pytest.raises(RegistryUnavailable):
            send_request()


def test_a_volume_is_deleted_although_it_is_attached_to_the_server_that_is_gone(catalog, database):
    catalog.create(Volume("9", "demo", multiattach=True))
    attach(database, DETACHING)
    with pytest.raises(VolumeAttached):
        catalog.delete(server_id="1135", volume_id="9")
    catalog.delete(server_id="1134", volume_id="9")
    assert catalog.list_volumes() == []


def test_a_catalog_deletes_only_if_it_declares_it(catalog):
    class Another(VolumeCatalog):
        __init__ = volume = None

    assert (catalog.can_delete, Another.can_delete) == (True, False)
    with pytest.raises(NotImplementedError):
        VolumeCatalog.delete(catalog, volume_id="9")


@pytest.mark.parametrize("state", [ATTACHING, ATTACHED, DETACHING])
def test_a_volume_is_not_created_while_a_deleted_one_of_its_id_has_attachments(catalog, database, state):
    row = attach(database, state)
    with pytest.raises(VolumeAttached, match="A deleted volume 9 is still attached to server 1134"):
        catalog.create(Volume("9", "other"))
    assert catalog.list_volumes() == []
    Registry(database).remove(row)
    catalog.create(Volume("9", "other"))


@pytest.mark.only_on("postgresql", "mariadb")
class TestConcurrentDeletion:
    """On SQLite one transaction at a time writes, so none of this can happen."""

    def test_a_recheck_waits_for_a_deletion_that_has_looked_for_attachments(self, catalog, database):
        catalog.create(Volume("9", "demo"))
        recheck = Future()
        with direct_connection(database) as deletion:
            deletion.execute(select(volumes).where(volumes.c.id == "9").with_for_update())
            attach(database, ATTACHING)
            thread = threading.Thread(target=resolve, args=(recheck, lambda: catalog.recheck(CONTEXT, "9")))
            thread.start()
            thread.join(0.3)
            assert not recheck.done()
            deletion.execute(delete(volumes).where(volumes.c.id == "9"))
        with pytest.raises(VolumeNotFound):
            recheck.result(TIMEOUT)

    def test_a_deletion_that_waits_for_a_recheck_finds_the_reservation(self, catalog, database):
        catalog.create(Volume("9", "demo"))
        deletion = Future()
        with direct_connection(database) as recheck:
            recheck.execute(select(volumes).where(volumes.c.id == "9").with_for_update(read=True))
            thread = threading.Thread(target=resolve, args=(deletion, lambda: catalog.delete(volume_id="9")))
            thread.start()
            thread.join(0.3)
            assert not deletion.done()
            attach(database, ATTACHING)
        with pytest.raises(VolumeAttached):
            deletion.result(TIMEOUT)
        assert catalog.get("9").id == "9"


def resolve(future, function):
    """Set a future to what a function returns or raises."""
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)
