"""Options, and what making a catalog may and may not do."""

import threading
from functools import partial
from types import MappingProxyType

import pytest

from ...catalog.base import ConfigurationError, VolumeCatalog
from ..running import open_descriptors, run_in_children
from .fixtures import CatalogFixtures, assert_found


class Making(CatalogFixtures):
    """Test the options, and that catalogs are made before a fork."""

    def test_it_is_a_catalog_that_deletes_as_declared(self, catalog):
        assert isinstance(catalog, VolumeCatalog)
        assert catalog.can_delete is self.can_delete
        has_delete = type(catalog).delete is not VolumeCatalog.delete
        assert has_delete or not self.can_delete, "can_delete is True, but there is no method delete"

    def test_an_unknown_option_is_refused_by_its_name(self, options, database):
        with pytest.raises(ConfigurationError, match="no_such_option"):
            self.catalog_class({**options, "no_such_option": "1"}, database)

    def test_a_missing_or_wrong_option_is_refused_by_its_name(self, options, database, wrong_options):
        for name, value in wrong_options:
            changed = {**options, name: value}
            with pytest.raises(ConfigurationError, match=name):
                self.catalog_class({each: changed[each] for each in changed if changed[each] is not None}, database)

    def test_the_options_are_only_read(self, options, database):
        self.catalog_class(MappingProxyType(dict(options)), database)

    def test_making_a_catalog_starts_no_thread(self, new_catalog):
        before = set(threading.enumerate())
        made = new_catalog()
        assert set(threading.enumerate()) <= before, f"{made} started a thread, which does not survive a fork"

    def test_making_a_catalog_opens_nothing(self, new_catalog):
        before = open_descriptors()
        made = new_catalog()
        assert open_descriptors() <= before, f"{made} opened a file or a connection, which would be shared after a fork"

    def test_a_catalog_made_before_a_fork_works_on_both_sides_of_it(self, catalog, new_volumes):
        here, there = new_volumes(2)
        run_in_children([lambda: assert_found(catalog, there)])
        assert_found(catalog, here)

    def test_a_catalog_used_before_a_fork_works_on_both_sides_of_it(self, catalog, new_volumes):
        here, *there = new_volumes(3)
        assert_found(catalog, here)
        run_in_children([partial(assert_found, catalog, volume) for volume in there])
        assert_found(catalog, here)
