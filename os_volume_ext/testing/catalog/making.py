"""Options, and what making a catalog may and may not do."""

import threading
import time
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from ...catalog.base import ConfigurationError, Database, Volume, VolumeCatalog
from ..expectations import must_raise, must_succeed
from ..leftovers import open_descriptors, opened_since
from ..running import repeated_in_child, run_in_children
from .fixtures import CatalogFixtures, assert_found, assert_not_found, must_delete, must_pass_check

FORKED_ROUNDS = 200
"""How often to look up a volume in two processes at once."""

FORKED_DURATION = 5
"""The seconds after which to stop that, for catalogs whose calls take long."""


class Making(CatalogFixtures):
    """Test the options, and that catalogs are made before a fork."""

    def test_it_is_a_catalog_that_deletes_as_declared(self, catalog):
        assert isinstance(catalog, VolumeCatalog)
        assert catalog.can_delete is self.can_delete, (
            f"can_delete of the catalog is {catalog.can_delete!r}, and is declared as {self.can_delete}"
        )
        has_delete = type(catalog).delete is not VolumeCatalog.delete
        assert has_delete or not self.can_delete, "can_delete is True, but there is no method delete"

    def test_an_unknown_option_is_refused_by_its_name(self, options, database):
        self._assert_refused({**options, "no_such_option": "1"}, "no_such_option", database)

    def test_a_missing_or_wrong_option_is_refused_by_its_name(self, options, database, wrong_options):
        for name, value in wrong_options:
            changed = {**options, name: value}
            given = {each: changed[each] for each in changed if changed[each] is not None}
            self._assert_refused(given, name, database)

    def test_the_options_are_only_read(self, options, database):
        with must_succeed("making a catalog with options that can't be changed"):
            self.catalog_class(MappingProxyType(dict(options)), database)

    def _assert_refused(self, options: Mapping[str, str], name: str, database: Database) -> None:
        what = f"making a catalog with the options {dict(options)}"
        with must_raise(ConfigurationError, what) as refused:
            self.catalog_class(options, database)
        assert name in str(refused.error), f"{what} raised an exception that does not name {name}: {refused.error}"

    def test_making_a_catalog_starts_no_thread(self, new_catalog):
        before = set(threading.enumerate())
        made = new_catalog()
        assert set(threading.enumerate()) <= before, f"{made} started a thread, which does not survive a fork"

    def test_making_a_catalog_opens_nothing(self, new_catalog):
        before = open_descriptors()
        made = new_catalog()
        opened = opened_since(before)
        assert not opened, f"{made} opened {opened}: a file or a connection would be shared after a fork"

    # Checks.

    def test_a_catalog_that_works_passes_its_check(self, new_catalog, context, volume):
        catalog = new_catalog()
        must_pass_check(catalog)
        assert_found(catalog, volume, context, when="after a check of the catalog")
        must_pass_check(catalog)

    def test_a_check_changes_nothing(self, catalog, context, new_volumes):
        volumes = new_volumes(3)
        must_pass_check(catalog)
        for volume in volumes:
            assert_found(catalog, volume, context, when="before a check of the catalog")

    # Forks.

    def test_a_catalog_made_before_a_fork_works_on_both_sides_of_it(self, catalog, new_volumes):
        here, *there = new_volumes(3)
        run_in_children([partial(self._use, catalog, volume) for volume in there])
        self._use(catalog, here)

    def test_a_catalog_used_before_a_fork_works_on_both_sides_of_it(self, catalog, new_volumes):
        before, here, *there = new_volumes(4)
        self._use(catalog, before)
        run_in_children([partial(self._use, catalog, volume) for volume in there])
        self._use(catalog, here)

    def test_look_ups_at_once_on_both_sides_of_a_fork_return_their_own(self, catalog, new_volumes):
        here, there = new_volumes(2)
        assert_found(catalog, here)

        def look_up_there():
            assert_found(catalog, there)
            time.sleep(0.001)  # leaves the storage to the other process, too

        with repeated_in_child(look_up_there):
            end = time.monotonic() + FORKED_DURATION
            for _ in range(FORKED_ROUNDS):
                if time.monotonic() > end:
                    break
                assert_found(catalog, here, when="looked up while a forked process looks up another one")

    def _use(self, catalog: VolumeCatalog, volume: Volume) -> None:
        """Call each method."""
        assert_found(catalog, volume)
        must_pass_check(catalog)
        if self.can_delete:
            must_delete(catalog, volume)
            assert_not_found(catalog, volume.id, when="after its deletion")
