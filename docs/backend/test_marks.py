"""Run the tests that every backend has to pass on MarksBackend."""

import itertools

import pytest
from marks import MarksBackend

from os_volume_ext.backends.base import Server, Volume
from os_volume_ext.testing import BackendContract


class TestMarksBackend(BackendContract):
    """Declare what MarksBackend can do, and provide the fixtures."""

    backend_class = MarksBackend
    limit = None  # a server can have any number of volumes
    requestable_device = None  # it does not support a requested device
    reports_devices = False  # attach returns None
    multiattach = True

    @pytest.fixture
    def options(self, tmp_path):
        return {"root": str(tmp_path)}

    @pytest.fixture
    def server(self, tmp_path):
        (tmp_path / "1134").mkdir()
        return Server("1134", "demo", "ACTIVE")

    @pytest.fixture
    def other_server(self, tmp_path):
        (tmp_path / "1135").mkdir()
        return Server("1135", "demo", "ACTIVE")

    @pytest.fixture
    def unknown_server(self):
        return Server("1136", "demo", "ACTIVE")

    @pytest.fixture
    def new_volume(self):
        numbers = itertools.count(1)
        return lambda: Volume(str(next(numbers)), "demo")

    @pytest.fixture
    def unusable_volume(self):
        return Volume("no/name", "demo")

    @pytest.fixture
    def unreachable_backend(self, tmp_path):
        return MarksBackend({"root": str(tmp_path / "missing")})

    @pytest.fixture
    def stubborn_server(self):
        return None  # every server releases its disks
