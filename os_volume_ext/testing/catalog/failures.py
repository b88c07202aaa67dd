"""A storage that can't be reached, or does not respond."""

from functools import partial

import pytest

from ...catalog.base import TIME_LIMIT
from ..expectations import must_raise, must_succeed
from ..leftovers import assert_leaves_nothing
from ..running import Call, run_within
from .fixtures import (
    LOOK_UPS,
    CatalogFixtures,
    assert_found,
    assert_not_found,
    must_delete,
    must_pass_check,
)

AT_ONCE = 4
"""How many calls of each kind get no response at once."""

METHODS = (*LOOK_UPS, "check")
OUTAGE = "while the storage can't be reached"


class Failures(CatalogFixtures):
    """Test that a catalog reports failures as what they are, in time, and recovers."""

    @pytest.mark.parametrize("method", METHODS)
    def test_a_catalog_that_can_not_be_reached_is_unavailable(self, catalog, context, volume, outage, method):
        assert_found(catalog, volume, context)
        with outage(), must_raise(self.unavailable, f"{method} {OUTAGE}"):
            run_within(TIME_LIMIT, f"{method} {OUTAGE}", _call(catalog, method, context, volume))

    def test_a_catalog_that_can_not_be_reached_can_be_made(self, new_catalog, context, volume, outage):
        with outage(), must_succeed("making a catalog while the storage can't be reached"):
            catalog = new_catalog()
        assert_found(catalog, volume, context, when="looked up by a catalog made during an outage")

    @pytest.mark.parametrize("method", METHODS)
    def test_the_same_object_is_used_after_an_outage(self, catalog, context, volume, outage, method):
        with outage(), must_raise(self.unavailable, f"{method} {OUTAGE}"):
            _call(catalog, method, context, volume)()
        assert_found(catalog, volume, context, when="looked up by the same object after an outage")
        must_pass_check(catalog)

    def test_many_failed_calls_leave_no_thread_file_or_connection_behind(self, catalog, context, volume, outage):
        methods = (*METHODS, "delete") if self.can_delete else METHODS

        def call():
            for method in methods:
                with must_raise(self.unavailable, f"{method} {OUTAGE}"):
                    _call(catalog, method, context, volume)()

        with outage():
            assert_leaves_nothing(call, "calls during an outage")

    def test_a_call_that_gets_no_response_ends_in_time(self, catalog, context, new_volumes, stall):
        volume, *deleted = new_volumes(1 + AT_ONCE)
        assert_found(catalog, volume, context)
        calls = [_call(catalog, method, context, volume) for method in METHODS] * AT_ONCE
        if self.can_delete:
            calls += [_call(catalog, "delete", context, each) for each in deleted]
        with stall():
            started = [Call(call) for call in calls]
            for call in started:
                call.wait(TIME_LIMIT)
        unavailable = [call for call in started if self._is_unavailable(call)]
        assert unavailable, "no call was unavailable: does the fixture `stall` work?"
        assert_found(catalog, volume, context, when="looked up by the same object after it got no response")
        must_pass_check(catalog)
        (later,) = new_volumes(1)
        if self.can_delete:
            must_delete(catalog, later)
            assert_not_found(catalog, later.id, context, when="after its deletion")

    def _is_unavailable(self, call: Call[object]) -> bool:
        try:
            call.result(TIME_LIMIT, "a call that got no response")
        except self.unavailable:
            return True
        except Exception as error:
            name = self.unavailable.__name__
            raise AssertionError(f"a call that got no response raised {error!r}: it must raise {name}") from error
        return False


def _call(catalog, method, context, volume):
    """Return a call of a method."""
    if method == "check":
        return catalog.check
    if method == "delete":
        return partial(catalog.delete, volume_id=volume.id)
    return partial(getattr(catalog, method), context, volume.id)
