"""What ``delete`` deletes, and what it keeps."""

from collections.abc import Callable
from functools import partial

import pytest

from ...catalog.base import RequestContext, Volume, VolumeAttached, VolumeCatalog, VolumeNotFound
from ..ids import similar_ids
from ..running import run_at_once, run_in_children
from .fixtures import (
    HOSTILE_IDS,
    LOOK_UPS,
    OTHER_SERVER,
    ROUNDS,
    SERVER,
    CatalogFixtures,
    assert_found,
)


class Deletions(CatalogFixtures):
    """Test deletions, where the catalog can delete."""

    @pytest.mark.parametrize("names", [(), ("server_id",), ("project_id",), ("server_id", "project_id")], ids="-".join)
    def test_a_deleted_volume_is_not_found(self, deletes, new_catalog, context, volume, names):
        named = {"server_id": SERVER, "project_id": volume.project_id}
        catalogs = [new_catalog(), new_catalog()]
        catalogs[0].delete(volume_id=volume.id, **{name: named[name] for name in names})
        for catalog in catalogs:
            for look_up in LOOK_UPS:
                with pytest.raises(VolumeNotFound):
                    getattr(catalog, look_up)(context, volume.id)

    def test_a_deletion_leaves_the_other_volumes(self, deletes, catalog, context, new_volumes):
        before, deleted, after = new_volumes(3)
        catalog.delete(volume_id=deleted.id)
        assert_found(catalog, before, context)
        assert_found(catalog, after, context)

    def test_a_repeated_deletion_does_not_find_the_volume(self, deletes, catalog, volume):
        catalog.delete(volume_id=volume.id, server_id=SERVER, project_id=volume.project_id)
        with pytest.raises(VolumeNotFound):
            catalog.delete(volume_id=volume.id, server_id=SERVER, project_id=volume.project_id)

    def test_a_volume_of_another_project_is_not_deleted(self, deletes, catalog, context, volume, other_project_id):
        with pytest.raises(VolumeNotFound):
            catalog.delete(volume_id=volume.id, server_id=SERVER, project_id=other_project_id)
        assert_found(catalog, volume, context)

    def test_a_deletion_compares_the_id_as_a_whole_and_exactly(self, deletes, catalog, context, volume):
        for similar in similar_ids(volume.id):
            with pytest.raises(VolumeNotFound):
                catalog.delete(volume_id=similar)
            assert_found(catalog, volume, context)

    @pytest.mark.parametrize("hostile", HOSTILE_IDS, ids=ascii)
    def test_a_hostile_id_deletes_nothing(self, deletes, catalog, context, volume, hostile):
        with pytest.raises(VolumeNotFound):
            catalog.delete(volume_id=hostile)
        assert_found(catalog, volume, context)

    def test_a_deletion_during_an_outage_is_repeated_after_it(self, deletes, catalog, context, volume, outage):
        with outage(), pytest.raises(self.unavailable):
            catalog.delete(volume_id=volume.id)
        catalog.delete(volume_id=volume.id)
        with pytest.raises(VolumeNotFound):
            catalog.volume(context, volume.id)

    # Volumes that are attached.

    @pytest.mark.parametrize("server_id", [None, OTHER_SERVER])
    def test_a_volume_that_another_server_has_is_not_deleted(
        self, deletes, catalog, context, volume, attach, server_id
    ):
        attach(SERVER, volume)
        with pytest.raises(VolumeAttached):
            catalog.delete(volume_id=volume.id, server_id=server_id, project_id=volume.project_id)
        assert_found(catalog, volume, context)

    def test_a_volume_that_only_the_deleted_server_has_is_deleted(self, deletes, catalog, context, volume, attach):
        attach(SERVER, volume)
        catalog.delete(volume_id=volume.id, server_id=SERVER, project_id=volume.project_id)
        with pytest.raises(VolumeNotFound):
            catalog.volume(context, volume.id)

    def test_a_volume_that_another_server_has_too_is_not_deleted(
        self, deletes, catalog, context, new_volume, project_id, attach
    ):
        if not self.multiattach:
            pytest.skip("multiattach is False: no volume has two servers")
        volume = new_volume(project_id, multiattach=True)
        attach(SERVER, volume)
        attach(OTHER_SERVER, volume)
        with pytest.raises(VolumeAttached):
            catalog.delete(volume_id=volume.id, server_id=SERVER, project_id=volume.project_id)
        assert_found(catalog, volume, context)

    def test_no_deletion_succeeds_after_a_recheck_of_what_is_reserved(
        self, deletes, new_catalog, context, new_volumes, attach
    ):
        def reserve(volume):
            attach(SERVER, volume)
            return _succeeds(lambda: new_catalog().recheck(context, volume.id))

        def delete(volume):
            return _succeeds(lambda: new_catalog().delete(volume_id=volume.id))

        for volume in new_volumes(ROUNDS):
            is_found, is_deleted = run_at_once([partial(reserve, volume), partial(delete, volume)])
            assert is_found != is_deleted, (
                f"the volume was reserved, {'found again' if is_found else 'not found again'} and "
                f"{'deleted' if is_deleted else 'not deleted'} at the same time"
            )

    # Deletions at once.

    def test_threads_that_delete_the_same_volume_succeed_or_do_not_find_it(
        self, deletes, catalog, context, new_volumes
    ):
        for volume in new_volumes(ROUNDS):
            delete = partial(catalog.delete, volume_id=volume.id)
            deleted = run_at_once([partial(_succeeds, delete)] * 4)
            assert any(deleted), "every one of the deletions did not find the volume, which existed"
            with pytest.raises(VolumeNotFound):
                catalog.volume(context, volume.id)

    def test_threads_that_delete_different_volumes_delete_them_all(self, deletes, catalog, context, new_volumes):
        staying, *going = new_volumes(9)
        run_at_once([partial(catalog.delete, volume_id=each.id) for each in going])
        _assert_deleted(catalog, context, going, staying)

    def test_look_ups_during_deletions_find_what_stays(self, deletes, catalog, context, new_volumes):
        staying, *going = new_volumes(9)
        deletions = [partial(catalog.delete, volume_id=each.id) for each in going]
        run_at_once([*deletions, *[partial(_look_up_often, catalog, staying, context)] * 4])

    def test_processes_that_delete_different_volumes_delete_them_all(self, deletes, new_catalog, context, new_volumes):
        staying, *going = new_volumes(9)
        run_in_children([partial(new_catalog().delete, volume_id=each.id) for each in going])
        _assert_deleted(new_catalog(), context, going, staying)


def _assert_deleted(catalog: VolumeCatalog, context: RequestContext, going: list[Volume], staying: Volume) -> None:
    """Check that concurrent deletions have deleted these, and nothing else."""
    assert_found(catalog, staying, context)
    for volume in going:
        with pytest.raises(VolumeNotFound):
            catalog.volume(context, volume.id)


def _look_up_often(catalog: VolumeCatalog, volume: Volume, context: RequestContext) -> None:
    for _ in range(ROUNDS):
        assert_found(catalog, volume, context)


def _succeeds(call: Callable[[], object]) -> bool:
    """Return False if the volume is not found, or is attached."""
    try:
        call()
    except (VolumeNotFound, VolumeAttached):
        return False
    return True
