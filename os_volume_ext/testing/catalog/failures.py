"""A storage that can't be reached, or does not respond."""

from functools import partial

import pytest

from ...catalog.base import TIME_LIMIT
from ..leftovers import assert_leaves_nothing
from ..running import Call
from .fixtures import LOOK_UPS, CatalogFixtures, assert_found


class Failures(CatalogFixtures):
    """Test that a catalog reports failures as what they are, in time, and recovers."""

    @pytest.mark.parametrize("look_up", LOOK_UPS)
    def test_a_catalog_that_can_not_be_reached_is_unavailable(self, catalog, context, volume, outage, look_up):
        assert_found(catalog, volume, context)
        with outage(), pytest.raises(self.unavailable):
            getattr(catalog, look_up)(context, volume.id)

    def test_a_catalog_that_can_not_be_reached_can_be_made(self, new_catalog, context, volume, outage):
        with outage():
            catalog = new_catalog()
        assert_found(catalog, volume, context)

    @pytest.mark.parametrize("look_up", LOOK_UPS)
    def test_the_same_object_is_used_after_an_outage(self, catalog, context, volume, outage, look_up):
        with outage(), pytest.raises(self.unavailable):
            getattr(catalog, look_up)(context, volume.id)
        assert getattr(catalog, look_up)(context, volume.id) == volume

    def test_many_failed_calls_leave_no_thread_file_or_connection_behind(self, catalog, context, volume, outage):
        def call():
            for look_up in LOOK_UPS:
                with pytest.raises(self.unavailable):
                    getattr(catalog, look_up)(context, volume.id)

        with outage():
            assert_leaves_nothing(call, "look-ups during an outage")

    def test_a_call_that_gets_no_response_ends_in_time(self, catalog, context, new_volumes, stall):
        volume, deleted = new_volumes(2)
        assert_found(catalog, volume, context)
        calls = [partial(getattr(catalog, look_up), context, volume.id) for look_up in LOOK_UPS]
        if self.can_delete:
            calls.append(partial(catalog.delete, volume_id=deleted.id))
        with stall():
            started = [Call(call) for call in calls]
            for call in started:
                call.wait(TIME_LIMIT)
        unavailable = [call for call in started if self._is_unavailable(call)]
        assert unavailable, "no call was unavailable: does the fixture `stall` work?"
        assert_found(catalog, volume, context)

    def _is_unavailable(self, call: Call[object]) -> bool:
        try:
            call.result(TIME_LIMIT, "a call that got no response")
        except self.unavailable:
            return True
        return False
