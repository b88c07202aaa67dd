"""A driver of Cinder with files for volumes; runs in Cinder's virtualenv and directory.

Cinder's own fake driver needs what its unit tests need, and its volumes are nowhere.
"""

from pathlib import Path

from cinder.volume.driver import VolumeDriver

DIRECTORY = Path("files").absolute()


class FilesDriver(VolumeDriver):
    """Volumes are files of this machine, whose paths are in the connection_info."""

    VERSION = "1"

    def check_for_setup_error(self):
        pass

    def create_volume(self, volume):
        (DIRECTORY / volume["id"]).touch()

    def extend_volume(self, volume, new_size):
        pass

    def delete_volume(self, volume):
        (DIRECTORY / volume["id"]).unlink(missing_ok=True)

    def ensure_export(self, context, volume):
        pass

    def create_export(self, context, volume, connector):
        pass

    def remove_export(self, context, volume):
        pass

    def initialize_connection(self, volume, connector):
        return {"driver_volume_type": "local", "data": {"device_path": str(DIRECTORY / volume["id"])}}

    def terminate_connection(self, volume, connector, **options):
        pass

    def _update_volume_stats(self):
        self._stats = {
            "volume_backend_name": "files",
            "vendor_name": "tests",
            "driver_version": self.VERSION,
            "storage_protocol": "local",
            "total_capacity_gb": "infinite",
            "free_capacity_gb": "infinite",
            "multiattach": True,
        }
