"""Run the tests that every catalog has to pass on InventoryCatalog."""

import contextlib
import fcntl
import json
import uuid

import pytest
from inventory import InventoryCatalog

from os_volume_ext.catalog.base import Volume
from os_volume_ext.testing import CatalogContract


class TestInventoryCatalog(CatalogContract):
    """Declare what InventoryCatalog can do, and provide the fixtures."""

    catalog_class = InventoryCatalog
    can_delete = True
    multiattach = True

    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "volumes.json"
        path.write_text("{}")
        return path

    @pytest.fixture
    def options(self, path):
        return {"path": str(path)}

    @pytest.fixture
    def wrong_options(self):
        return [("path", None), ("path", "not/absolute.json")]

    @pytest.fixture
    def edit(self, path):
        @contextlib.contextmanager
        def edit():
            entries = json.loads(path.read_text())
            yield entries
            new = path.with_suffix(".edited")
            new.write_text(json.dumps(entries))
            new.replace(path)

        return edit

    @pytest.fixture
    def new_volume(self, edit):
        def new_volume(project_id, multiattach=False):
            volume_id = str(uuid.uuid4())
            with edit() as entries:
                entries[volume_id] = {
                    "project": project_id,
                    "source": f"/srv/{volume_id}",
                    "format": "raw",
                    "multiattach": multiattach,
                    "servers": [],
                }
            return Volume(volume_id, project_id, f"/srv/{volume_id}", "raw", multiattach)

        return new_volume

    @pytest.fixture
    def remove_volume(self, edit):
        def remove_volume(volume):
            with edit() as entries:
                del entries[volume.id]

        return remove_volume

    @pytest.fixture
    def change_volume(self, edit):
        def change_volume(volume):
            with edit() as entries:
                entries[volume.id]["format"] = "qcow2"
            return Volume(volume.id, volume.project_id, volume.source, "qcow2", volume.multiattach)

        return change_volume

    @pytest.fixture
    def attach(self, path, edit):
        def attach(server_id, volume):
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                with edit() as entries:
                    if volume.id in entries:
                        entries[volume.id]["servers"].append(server_id)

        return attach

    @pytest.fixture
    def outage(self, path):
        @contextlib.contextmanager
        def outage():
            path.rename(path.with_suffix(".unmounted"))
            yield
            path.with_suffix(".unmounted").rename(path)

        return outage

    @pytest.fixture
    def stall(self, path):
        @contextlib.contextmanager
        def stall():
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield

        return stall
