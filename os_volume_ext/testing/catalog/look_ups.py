"""What ``volume`` and ``recheck`` return."""

from functools import partial

import pytest

from ...catalog.base import Volume, VolumeNotFound
from ...context import operator_context
from ..ids import similar_ids
from ..leftovers import assert_leaves_nothing
from ..running import run_at_once
from .fixtures import HOSTILE_IDS, LOOK_UPS, ROUNDS, CatalogFixtures, assert_found


class LookUps(CatalogFixtures):
    """Test the values of look-ups, also of many at once."""

    @pytest.mark.parametrize("look_up", LOOK_UPS)
    def test_a_caller_finds_a_volume_of_the_own_project(self, catalog, context, volume, look_up):
        assert getattr(catalog, look_up)(context, volume.id) == volume

    @pytest.mark.parametrize("look_up", LOOK_UPS)
    def test_the_operator_finds_the_volumes_of_every_project(
        self, catalog, new_volume, project_id, other_project_id, look_up
    ):
        for volume in (new_volume(project_id), new_volume(other_project_id)):
            assert getattr(catalog, look_up)(operator_context(), volume.id) == volume

    @pytest.mark.parametrize("look_up", LOOK_UPS)
    def test_whether_a_volume_is_multiattach_is_returned(self, catalog, context, new_volume, project_id, look_up):
        if not self.multiattach:
            pytest.skip("multiattach is False: the catalog has no multiattach volumes")
        for multiattach in (True, False):
            volume = new_volume(project_id, multiattach=multiattach)
            assert getattr(catalog, look_up)(context, volume.id).multiattach is multiattach

    @pytest.mark.parametrize("look_up", LOOK_UPS)
    def test_the_values_have_the_documented_types(self, catalog, context, volume, look_up):
        found = getattr(catalog, look_up)(context, volume.id)
        assert isinstance(found, Volume)
        assert isinstance(found.id, str)
        assert isinstance(found.project_id, str)
        assert isinstance(found.source, str | None)
        assert isinstance(found.format, str | None)
        assert isinstance(found.multiattach, bool)

    def test_a_volume_that_does_not_change_is_returned_with_equal_values(self, new_catalog, context, volume):
        catalogs = [new_catalog(), new_catalog()]
        found = {getattr(each, look_up)(context, volume.id) for each in catalogs for look_up in [*LOOK_UPS, *LOOK_UPS]}
        assert len(found) == 1, "the values differ, which refuses an attach"

    @pytest.mark.parametrize("look_up", LOOK_UPS)
    def test_a_changed_volume_is_returned_as_it_is_now(self, catalog, context, volume, change_volume, look_up):
        assert_found(catalog, volume, context)
        changed = change_volume(volume)
        assert changed != volume, "the fixture `change_volume` has to change the volume"
        assert getattr(catalog, look_up)(context, volume.id) == changed

    @pytest.mark.parametrize("look_up", LOOK_UPS)
    def test_a_removed_volume_is_not_found(self, catalog, context, volume, remove_volume, look_up):
        assert_found(catalog, volume, context)
        remove_volume(volume)
        with pytest.raises(VolumeNotFound):
            getattr(catalog, look_up)(context, volume.id)

    @pytest.mark.parametrize("look_up", LOOK_UPS)
    def test_an_id_is_compared_as_a_whole_and_exactly(self, catalog, context, volume, look_up):
        for similar in similar_ids(volume.id):
            try:
                found = getattr(catalog, look_up)(context, similar)
            except VolumeNotFound:
                continue
            pytest.fail(f"{look_up} returned {found} for the id {similar!r}, which no volume has")

    @pytest.mark.parametrize("look_up", LOOK_UPS)
    @pytest.mark.parametrize("hostile", HOSTILE_IDS, ids=ascii)
    @pytest.mark.usefixtures("volume")
    def test_a_hostile_id_is_not_found(self, catalog, context, hostile, look_up):
        with pytest.raises(VolumeNotFound):
            getattr(catalog, look_up)(context, hostile)

    def test_threads_that_look_up_different_volumes_get_their_own(self, catalog, context, new_volumes):
        volumes = new_volumes(8)
        assert_found(catalog, volumes[0], context)  # what is opened now may be used by another thread next
        calls = [partial(getattr(catalog, look_up), context, each.id) for each in volumes for look_up in LOOK_UPS]
        expected = [each for each in volumes for _ in LOOK_UPS]
        for _ in range(ROUNDS):
            found = run_at_once(calls)
            assert found == expected, "threads that looked up volumes at the same time got one of another thread"

    def test_many_calls_leave_no_thread_file_or_connection_behind(self, catalog, context, volume):
        def call():
            for look_up in LOOK_UPS:
                assert getattr(catalog, look_up)(context, volume.id) == volume
                with pytest.raises(VolumeNotFound):
                    getattr(catalog, look_up)(context, f"{volume.id}0")

        assert_leaves_nothing(call, "look-ups")
