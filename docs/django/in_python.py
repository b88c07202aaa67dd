"""A compute API with os-volume-ext in front of it, configured in Python."""

from compute_api import application as compute_api

from os_volume_ext.filter import make_filter

application = make_filter(
    compute_api,
    dialect="openstack",
    backend="directory",
    max_limit=100,
    **{
        "database.url": "sqlite:////var/lib/compute/volumes.db",
        "backend.root": "/var/lib/compute/volumes",
    },
)
