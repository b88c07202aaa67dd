"""The CPU time of starting the filter and a command, each in a new process, against importing dependencies."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from .harness import run_python
from .measure import Finding, children_time, compare

# What the filter imports to serve requests; it has to do more than that.
NEEDED = "import sqlalchemy, webob, paste.deploy, routes, lxml.etree, oslo_policy.policy, oslo_config.cfg"
# And what it needs only to upgrade a database, and to call another compute API.
ALL = f"{NEEDED}, alembic.command, alembic.config, alembic.migration, alembic.script, requests"
FILTER = """
import sys
from os_volume_ext.filter import make_filter
state = sys.argv[1]
options = {"database.url": f"sqlite:///{state}/registry.db", "backend": "directory", "backend.root": f"{state}/root"}
make_filter(lambda environ, start_response: [], **options)
"""
COMMAND_DEPENDENCIES = "import sqlalchemy, cliff.app, cliff.commandmanager, cliff.lister"
PASTE = """
[filter:volumes]
use = egg:os-volume-ext
database.url = sqlite:///%(here)s/registry.db
backend = directory
backend.root = %(here)s/root
"""
ROUNDS = 24


def run() -> Iterator[Finding]:
    with TemporaryDirectory(prefix="os-volume-ext-bench-") as directory:
        Path(directory, "root").mkdir()
        paste = Path(directory, "api-paste.ini")
        paste.write_text(PASTE)
        # Installed packages are compiled, a checkout need not be. The first processes compile what they import.
        compiled = str(Path(directory, "compiled"))
        run_compiled = partial(run_python, PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=compiled)
        for what, imports, target in ("all", ALL, 1.0), ("the needed", NEEDED, None):
            yield compare_processes(
                f"start the filter, and (floor) import {what} dependencies",
                partial(run_compiled, "-c", imports),
                partial(run_compiled, "-c", FILTER, directory),
                target,
            )
        yield compare_processes(
            "os-volume-ext volume list",
            partial(run_compiled, "-c", COMMAND_DEPENDENCIES),
            partial(run_compiled, "-m", "os_volume_ext.cli.main", "volume", "list", "--paste", str(paste)),
            target=1.5,
        )


def compare_processes(what: str, floor: Callable[[], str], here: Callable[[], str], target: float | None) -> Finding:
    """Compare two functions that run a process each. The first pair, which creates files, does not count."""
    return compare(what, floor, here, target, clock=children_time, rounds=ROUNDS)
