"""What Prometheus asks for: the metrics of this process, or in multiprocess mode of all."""

import os

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector


def app_factory(global_conf):
    """Make the application that a paste file names."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return make_wsgi_app()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return make_wsgi_app(registry)
