"""Tests for plugins; install ``os-volume-ext[testing]``.

``BackendContract`` is a pytest class that tests what ``os_volume_ext.backends.base`` requires of a backend. A fixture
that a plugin has nothing to provide for returns ``Absent("the reason")``.
"""

import pytest

# Before the import: otherwise a failing assert in that package does not show the compared values.
pytest.register_assert_rewrite("os_volume_ext.testing.backend")

from .absent import Absent  # noqa: E402
from .backend import BackendContract  # noqa: E402

__all__ = ["Absent", "BackendContract"]
