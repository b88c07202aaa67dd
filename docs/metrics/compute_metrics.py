"""Serve the metrics of this process, or of all processes in multiprocess mode, to Prometheus."""

import os

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector


def app_factory(global_conf):
    """Return the WSGI application, for a paste file."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return make_wsgi_app()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return make_wsgi_app(registry)
