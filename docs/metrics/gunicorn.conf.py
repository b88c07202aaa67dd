"""Remove the values of a process that has ended, in multiprocess mode."""

import os

from prometheus_client.multiprocess import mark_process_dead


def child_exit(server, worker):
    """Called by gunicorn when a worker has ended."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        mark_process_dead(worker.pid)
