"""What a plugin's author needs to test a plugin; install ``os-volume-ext[testing]``.

``BackendContract`` is what every backend must do, as a pytest class to inherit.
"""

import pytest

# Before the import, or a failing assert in there would not say what it compared.
pytest.register_assert_rewrite("os_volume_ext.testing.contract")

from .contract import BackendContract  # noqa: E402

__all__ = ["BackendContract"]
