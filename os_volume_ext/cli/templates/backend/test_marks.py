"""Run the tests that every backend has to pass on MarksBackend."""

import fcntl
import os
import uuid

import pytest
from marks import MarksBackend

from os_volume_ext.backends.base import Server, Volume
from os_volume_ext.testing import Absent, BackendContract


def make_server(root, status="ACTIVE"):
    """Make the directory of a server, and return the server."""
    server = Server(str(uuid.uuid4()), "demo", status)
    (root / server.id).mkdir()
    return server


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
        return make_server(tmp_path)

    @pytest.fixture
    def other_server(self, tmp_path):
        return make_server(tmp_path)

    @pytest.fixture
    def unknown_server(self):
        return Server(str(uuid.uuid4()), "demo", "ACTIVE")

    @pytest.fixture
    def new_volume(self):
        return lambda: Volume(str(uuid.uuid4()), "demo")

    # What can go wrong.

    @pytest.fixture
    def wrong_options(self):
        return [("root", None), ("root", "not/absolute")]

    @pytest.fixture
    def unusable_volume(self):
        return Volume("9", "demo", source="/srv/9.img")

    @pytest.fixture
    def unreachable_backend(self, tmp_path):
        return MarksBackend({"root": str(tmp_path / "missing"), "operation_timeout": str(self.short_timeout)})

    @pytest.fixture
    def stubborn_server(self, tmp_path):
        server = make_server(tmp_path)
        guest = os.open(tmp_path / server.id, os.O_RDONLY)
        fcntl.flock(guest, fcntl.LOCK_SH)
        yield server
        os.close(guest)

    # What others do to a server.

    @pytest.fixture
    def stopped_server(self, tmp_path):
        return make_server(tmp_path, "SHUTOFF")

    @pytest.fixture
    def extend_volume(self):
        return Absent("a mark has no size")

    @pytest.fixture
    def encrypted_volume(self):
        return Absent("a mark has no data")

    @pytest.fixture
    def attach_by_hand(self, tmp_path):
        return lambda server, volume: (tmp_path / server.id / volume.id).touch()

    @pytest.fixture
    def attach_other_disk(self, tmp_path):
        return lambda server: (tmp_path / server.id / "cdrom.iso").touch()
