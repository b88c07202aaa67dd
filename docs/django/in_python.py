"""A compute API wrapped by os-volume-ext, with the options in Python."""

from compute_api import application as compute_api

from os_volume_ext.filter import make_filter

application = make_filter(
    compute_api,
    **{
        "dialect": "openstack",
        "database.url": "sqlite:////var/lib/compute/volumes.db",
        "backend": "directory",
        "backend.root": "/var/lib/compute/volumes",
    },
)
