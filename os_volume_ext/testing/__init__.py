"""Tests for plugins; install ``os-volume-ext[testing]``.

``BackendContract`` is a pytest class that tests what ``os_volume_ext.backends.base`` requires of a backend, and
``CatalogContract`` one that tests what ``os_volume_ext.catalog.base`` requires of a catalog. A fixture that a plugin
has nothing to provide for returns ``Absent("the reason")``.
"""

import pytest

# Before the imports: otherwise a failing assert in these modules does not show the compared values.
for _module in ("backend", "catalog", "declarations", "expectations", "leftovers"):
    pytest.register_assert_rewrite(f"os_volume_ext.testing.{_module}")

from .absent import Absent  # noqa: E402
from .backend import BackendContract  # noqa: E402
from .catalog import CatalogContract  # noqa: E402

__all__ = ["Absent", "BackendContract", "CatalogContract"]
