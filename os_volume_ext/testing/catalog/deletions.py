"""What ``delete`` deletes, and what it keeps."""

import pytest

from ...catalog.base import VolumeAttached, VolumeNotFound
from ..expectations import must_raise
from ..ids import similar_ids
from ..leftovers import assert_leaves_nothing
from .fixtures import HOSTILE_IDS, OTHER_SERVER, SERVER, CatalogFixtures, assert_found, assert_not_found, must_delete

GONE = "delete of a volume that is deleted already"


DELETIONS = 8
"""How many deletions may leave nothing behind."""


class Deletions(CatalogFixtures):
    """Test deletions, where the catalog can delete."""

    @pytest.mark.parametrize("names", [(), ("server_id",), ("project_id",), ("server_id", "project_id")], ids="-".join)
    def test_a_deleted_volume_is_not_found(self, deletes, new_catalog, context, volume, names):
        named = {"server_id": SERVER, "project_id": volume.project_id}
        catalogs = [new_catalog(), new_catalog()]
        must_delete(catalogs[0], volume, **{name: named[name] for name in names})
        for catalog in catalogs:
            assert_not_found(catalog, volume.id, context, when="after its deletion")

    def test_a_deletion_leaves_the_other_volumes(self, deletes, catalog, context, new_volumes):
        before, deleted, after = new_volumes(3)
        must_delete(catalog, deleted)
        for volume in (before, after):
            assert_found(catalog, volume, context, when="after the deletion of another volume")

    def test_a_repeated_deletion_does_not_find_the_volume(self, deletes, catalog, volume):
        must_delete(catalog, volume, server_id=SERVER, project_id=volume.project_id)
        with must_raise(VolumeNotFound, GONE):
            catalog.delete(volume_id=volume.id, server_id=SERVER, project_id=volume.project_id)

    def test_a_volume_of_another_project_is_not_deleted(self, deletes, catalog, context, volume, other_project_id):
        with must_raise(VolumeNotFound, "delete of a volume of another project than project_id"):
            catalog.delete(volume_id=volume.id, server_id=SERVER, project_id=other_project_id)
        assert_found(catalog, volume, context, when="after a deletion for another project")

    def test_a_deletion_compares_the_id_as_a_whole_and_exactly(self, deletes, catalog, context, volume):
        for similar in similar_ids(volume.id):
            with must_raise(VolumeNotFound, f"delete of volume {similar!r}, while there is {volume.id!r},"):
                catalog.delete(volume_id=similar)
            assert_found(catalog, volume, context, when=f"after the deletion of {similar!r}")

    @pytest.mark.parametrize("hostile", HOSTILE_IDS, ids=ascii)
    def test_a_hostile_id_deletes_nothing(self, deletes, catalog, context, volume, hostile):
        with must_raise(VolumeNotFound, f"delete of volume {hostile!r}"):
            catalog.delete(volume_id=hostile)
        assert_found(catalog, volume, context, when=f"after the deletion of {hostile!r}")

    def test_a_deletion_during_an_outage_is_repeated_after_it(self, deletes, catalog, context, volume, outage):
        with outage(), must_raise(self.unavailable, "delete while the storage can't be reached"):
            catalog.delete(volume_id=volume.id)
        must_delete(catalog, volume)
        assert_not_found(catalog, volume.id, context, when="after its deletion, which failed before during an outage")

    # Volumes that are attached.

    @pytest.mark.parametrize("server_id", [None, OTHER_SERVER])
    def test_a_volume_that_another_server_has_is_not_deleted(
        self, deletes, catalog, context, volume, attach, server_id
    ):
        attach(SERVER, volume)
        with must_raise(VolumeAttached, f"delete with the server_id {server_id}, while another server has the volume,"):
            catalog.delete(volume_id=volume.id, server_id=server_id, project_id=volume.project_id)
        assert_found(catalog, volume, context, when="after a refused deletion")

    def test_a_volume_that_only_the_deleted_server_has_is_deleted(self, deletes, catalog, context, volume, attach):
        attach(SERVER, volume)
        must_delete(catalog, volume, server_id=SERVER, project_id=volume.project_id)
        assert_not_found(catalog, volume.id, context, when="after its deletion")

    def test_a_volume_that_another_server_has_too_is_not_deleted(
        self, deletes, catalog, context, new_volume, project_id, attach
    ):
        if not self.multiattach:
            pytest.skip("multiattach is False: no volume has two servers")
        volume = new_volume(project_id, multiattach=True)
        attach(SERVER, volume)
        attach(OTHER_SERVER, volume)
        with must_raise(VolumeAttached, "delete with one of the two servers of a volume as server_id"):
            catalog.delete(volume_id=volume.id, server_id=SERVER, project_id=volume.project_id)
        assert_found(catalog, volume, context, when="after a refused deletion")

    # What deletions leave behind.

    def test_deletions_leave_no_thread_file_or_connection_behind(self, deletes, catalog, new_volumes, other_project_id):
        volumes = iter(new_volumes(2 + DELETIONS))

        def call():
            volume = next(volumes)
            with must_raise(VolumeNotFound, "delete of a volume of another project than project_id"):
                catalog.delete(volume_id=volume.id, project_id=other_project_id)
            must_delete(catalog, volume)
            with must_raise(VolumeNotFound, GONE):
                catalog.delete(volume_id=volume.id)

        assert_leaves_nothing(call, "deletions", DELETIONS)

    def test_refused_deletions_leave_no_thread_file_or_connection_behind(self, deletes, catalog, volume, attach):
        attach(SERVER, volume)

        def call():
            with must_raise(VolumeAttached, "delete of a volume that a server has"):
                catalog.delete(volume_id=volume.id)

        assert_leaves_nothing(call, "refused deletions")
