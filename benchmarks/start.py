"""The time of importing and making the filter, against importing its dependencies."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from .measure import Finding, compare

DEPENDENCIES = """
import webob, paste.deploy, routes, lxml.etree, sqlalchemy, alembic.command, alembic.config, alembic.migration
import alembic.script, oslo_policy.policy, oslo_config.cfg, requests
"""
FILTER = """
import sys
from os_volume_ext.filter import make_filter
state = sys.argv[1]
options = {"database.url": f"sqlite:///{state}/registry.db", "backend": "directory", "backend.root": f"{state}/root"}
make_filter(lambda environ, start_response: [], **options)
"""


def run() -> Iterator[Finding]:
    with TemporaryDirectory(prefix="os-volume-ext-bench-") as directory:
        Path(directory, "root").mkdir()
        # The unmeasured first call creates the database.
        yield compare(
            "import and build the filter",
            lambda: python(DEPENDENCIES, directory),
            lambda: python(FILTER, directory),
            1.3,
            rounds=15,
        )


def python(code: str, directory: str) -> None:
    subprocess.run([sys.executable, "-c", code, directory], check=True)
