"""Tests for plugins; install ``os-volume-ext[testing]``.

``BackendContract`` is a pytest class that tests what ``os_volume_ext.backends.base`` requires of a backend.
"""

import pytest

# Before the import: otherwise a failing assert in that module does not show the compared values.
pytest.register_assert_rewrite("os_volume_ext.testing.contract")

from .contract import BackendContract  # noqa: E402

__all__ = ["BackendContract"]
