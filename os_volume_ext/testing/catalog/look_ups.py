"""What ``volume`` and ``recheck`` return."""

from functools import partial

import pytest

from ...catalog.base import Volume, VolumeNotFound
from ...context import operator_context
from ..expectations import must_succeed
from ..ids import similar_ids
from ..leftovers import assert_leaves_nothing
from ..running import run_at_once
from .fixtures import (
    HOSTILE_IDS,
    LOOK_UPS,
    ROUNDS,
    CatalogFixtures,
    assert_found,
    assert_not_found,
    look_up,
    must_pass_check,
)


class LookUps(CatalogFixtures):
    """Test the values of look-ups, also of many at once."""

    @pytest.mark.parametrize("method", LOOK_UPS)
    def test_a_caller_finds_a_volume_of_the_own_project(self, catalog, context, volume, method):
        assert_found(catalog, volume, context, [method], "which is of the caller's project")

    @pytest.mark.parametrize("method", LOOK_UPS)
    def test_the_operator_finds_the_volumes_of_every_project(
        self, catalog, new_volume, project_id, other_project_id, method
    ):
        for volume in (new_volume(project_id), new_volume(other_project_id)):
            assert_found(catalog, volume, operator_context(), [method], "looked up without a caller's credentials")

    @pytest.mark.parametrize("method", LOOK_UPS)
    def test_a_volume_of_another_project_is_returned_as_such_or_not_found(
        self, catalog, context, new_volume, other_project_id, method
    ):
        volume = new_volume(other_project_id)
        with must_succeed(f"{method} of a volume of another project than the caller's", VolumeNotFound) as missing:
            found = getattr(catalog, method)(context, volume.id)
        assert missing.error or found == volume, (
            f"{method} returned {found!r}, and the volume is {volume!r}, which is not of the caller's project"
        )

    @pytest.mark.parametrize("method", LOOK_UPS)
    def test_the_size_of_a_volume_is_returned(self, catalog, context, volume, method):
        found = look_up(catalog, method, context, volume.id)
        assert found.size == volume.size, (
            f"{method} returned a volume whose size is {found.size!r}: new_volume returned one of {volume.size!r}"
        )

    @pytest.mark.parametrize("method", LOOK_UPS)
    def test_whether_a_volume_is_multiattach_is_returned(self, catalog, context, new_volume, project_id, method):
        if not self.multiattach:
            pytest.skip("multiattach is False: the catalog has no multiattach volumes")
        for multiattach in (True, False):
            volume = new_volume(project_id, multiattach=multiattach)
            found = look_up(catalog, method, context, volume.id)
            assert found.multiattach is multiattach, (
                f"{method} returned a volume whose multiattach is {found.multiattach!r}: it is {multiattach}"
            )

    @pytest.mark.parametrize("method", LOOK_UPS)
    def test_the_values_have_the_documented_types(self, catalog, context, volume, method):
        found = look_up(catalog, method, context, volume.id)
        assert isinstance(found, Volume), f"{method} returned {found!r}: it must return a Volume"
        types = {"id": str, "project_id": str, "source": str | None, "format": str | None, "multiattach": bool}
        for name, kind in types.items():
            value = getattr(found, name)
            assert isinstance(value, kind), f"{method} returned a volume whose {name} is {value!r}: it must be {kind}"

    def test_a_volume_that_does_not_change_is_returned_with_equal_values(self, new_catalog, context, volume):
        catalogs = [new_catalog(), new_catalog()]
        found = {look_up(each, method, context, volume.id) for each in catalogs for method in [*LOOK_UPS, *LOOK_UPS]}
        assert len(found) == 1, f"look-ups of a volume that did not change returned {found}, which refuses an attach"

    # What the catalog has now.

    @pytest.mark.parametrize("method", LOOK_UPS)
    def test_a_changed_volume_is_returned_as_it_is_now(self, catalog, context, volume, change_volume, method):
        assert_found(catalog, volume, context)
        changed = change_volume(volume)
        assert changed != volume, "the fixture `change_volume` has to change the volume"
        assert_found(catalog, changed, context, [method], "after it was changed: no value may come from a cache")

    @pytest.mark.parametrize("method", LOOK_UPS)
    def test_a_removed_volume_is_not_found(self, catalog, context, volume, remove_volume, method):
        assert_found(catalog, volume, context)
        remove_volume(volume)
        assert_not_found(catalog, volume.id, context, [method], "after it was removed")

    @pytest.mark.parametrize("method", LOOK_UPS)
    def test_a_volume_that_is_added_later_is_found(self, catalog, context, volume, new_volumes, method):
        assert_found(catalog, volume, context)
        (later,) = new_volumes(1)
        assert_found(catalog, later, context, [method], "which was added after the first look-up")

    # Ids.

    @pytest.mark.parametrize("method", LOOK_UPS)
    def test_an_id_is_compared_as_a_whole_and_exactly(self, catalog, context, volume, method):
        for similar in similar_ids(volume.id):
            assert_not_found(catalog, similar, context, [method], f"while there is the volume {volume.id!r}")

    @pytest.mark.parametrize("method", LOOK_UPS)
    @pytest.mark.parametrize("hostile", HOSTILE_IDS, ids=ascii)
    @pytest.mark.usefixtures("volume")
    def test_a_hostile_id_is_not_found(self, catalog, context, hostile, method):
        assert_not_found(catalog, hostile, context, [method])

    # Many calls.

    def test_threads_that_look_up_different_volumes_get_their_own(self, catalog, context, new_volumes):
        volumes = new_volumes(8)
        assert_found(catalog, volumes[0], context)  # what is opened now may be used by another thread next
        calls = [partial(look_up, catalog, method, context, each.id) for each in volumes for method in LOOK_UPS]
        expected = [each for each in volumes for _ in LOOK_UPS]
        for _ in range(ROUNDS):
            found = run_at_once(calls)
            assert found == expected, "threads that looked up volumes at the same time got one of another thread"

    def test_many_calls_leave_no_thread_file_or_connection_behind(self, catalog, context, volume):
        def call():
            assert_found(catalog, volume, context)
            assert_not_found(catalog, f"{volume.id}0", context)
            must_pass_check(catalog)

        assert_leaves_nothing(call, "look-ups and checks")
