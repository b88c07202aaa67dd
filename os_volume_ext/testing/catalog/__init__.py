"""Tests of what ``os_volume_ext.catalog.base`` requires of a catalog.

A plugin author inherits them in a test module::

    class TestMyCatalog(CatalogContract):
        catalog_class = MyCatalog
        can_delete = False
        multiattach = True

        @pytest.fixture
        def options(self): ...

        @pytest.fixture
        def stall(self):
            return Absent("a file always responds")

and so on for every fixture whose docstring begins with "Provide". Run the tests against the real service or storage,
not a fake.
"""

from .concurrent_deletions import ConcurrentDeletions
from .deletions import Deletions
from .failures import Failures
from .look_ups import LookUps
from .making import Making


class CatalogContract(Making, LookUps, Failures, Deletions, ConcurrentDeletions):
    """Test a catalog. Inherit the class, declare its attributes, and override the fixtures that say "Provide"."""
