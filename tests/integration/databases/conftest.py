"""The filter in front of a small compute API, on a database of the test's choice."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from webtest import TestApp

from tests.support import galera, worker_app
from tests.support.client import Client
from tests.support.command import Command, restoring_loggers
from tests.support.dialects import DIALECTS
from tests.support.formats import FORMATS
from tests.support.inprocess import IDENTITY

PASTE = """\
[pipeline:main]
pipeline = auth volumes compute

[filter:auth]
use = egg:os-volume-ext#demo_tokens

[filter:volumes]
use = egg:os-volume-ext
{options}

[app:compute]
use = egg:os-volume-ext#demo_versions
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Give ``serve(url, **options)``: a client of a filter with that database, which is closed at the end.

    ``worker_app.prepare`` has to prepare the database and ``tmp_path`` before.
    """
    with contextlib.ExitStack() as stack:

        def start(url: str, **options: str) -> Client:
            app = worker_app.make_app(worker_app.options(tmp_path, url) | options)
            stack.callback(app.close)  # type: ignore[attr-defined]
            identified = TestApp(lambda environ, start_response: app(environ | IDENTITY, start_response))
            return Client(identified, replace(DIALECTS["cyclades"], base=""), FORMATS["json"])

        yield start


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Give ``run(url, *arguments)``: the command's status, stdout and stderr; its paste file names the database."""

    def call(url: str, *arguments: str) -> tuple[int, str, str]:
        paste = tmp_path / "api-paste.ini"
        options = worker_app.options(tmp_path, url)
        lines = (f"{name} = {value}".replace("%", "%%") for name, value in options.items())
        paste.write_text(PASTE.format(options="\n".join(lines)))
        return Command(paste, capsys)(*arguments)

    with restoring_loggers():
        yield call


@pytest.fixture(scope="session")
def lasting_cluster() -> Iterator[galera.Cluster]:
    """Give the one Galera cluster of the session, in whatever state the last test has left it."""
    with galera.running() as cluster:
        yield cluster


@pytest.fixture
def cluster(lasting_cluster: galera.Cluster) -> galera.Cluster:
    """Give that cluster when all nodes are in sync."""
    lasting_cluster.heal()
    return lasting_cluster
