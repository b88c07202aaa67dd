"""Fixtures and hooks of all tests."""

# First of all: what is imported only within a run of pytester's is forgotten after it, but not by all who have it.
import contextlib
import multiprocessing.connection  # noqa: F401
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

pytest.register_assert_rewrite("tests.support")  # before anything there is imported

from os_volume_ext.registry.database import Database  # noqa: E402
from tests.support import databases  # noqa: E402
from tests.support.waiting import backend_calls, wait_until  # noqa: E402

pytest_plugins = ["pytester"]

# A test does not fail for how long it takes; what else Hypothesis has for a CI machine stays.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


# The directories of tests/integration whose tests need services.
SERVICES = {
    "ceph",
    "cinder",
    "clients",
    "databases",
    "keystone",
    "libvirt",
    "monitoring",
    "notifications",
    "nova",
    "torture",
}
# Those whose tests share something slow, so that one worker of xdist runs all of them.
GROUPS = {
    directory: directory for directory in ("databases", "docs", "libvirt", "monitoring", "notifications", "packaging")
}
GROUPS |= dict.fromkeys(("clients", "keystone", "nova"), "openstack") | dict.fromkeys(("ceph", "cinder"), "storage")


def pytest_configure(config: pytest.Config) -> None:
    """Register our markers."""
    config.addinivalue_line("markers", "changes_nothing: the test leaves the sample as it was")
    config.addinivalue_line("markers", "one_format: the format does not matter; run the test with JSON only")
    config.addinivalue_line("markers", "only_on(*kinds): run the test on these kinds of database only")


class _Scheduling(LoadScopeScheduling):
    """Lets one worker run the tests of a group, and any worker each other test."""

    def _split_scope(self, nodeid: str) -> str:
        directory = Path(nodeid.partition("::")[0]).parent.name
        return GROUPS.get(directory, nodeid)


@pytest.hookimpl(optionalhook=True)  # without xdist too
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Replace xdist's choice of a scheduler; its groups have no effect under pytest 9.2."""
    return _Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark the tests that need a service."""
    for item in items:
        directory = item.path.parent.name if "integration" in item.path.parts else ""
        if directory in SERVICES or _database(item) != "sqlite" or "service_venv" in item.fixturenames:
            item.add_marker("service")


def _database(item: pytest.Function) -> str:
    return item.callspec.params.get("database_kind", "sqlite") if hasattr(item, "callspec") else "sqlite"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that need a database on each kind."""
    if "database_kind" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("only_on")
    kinds = marker.args if marker else databases.KINDS
    if metafunc.definition.get_closest_marker("changes_nothing"):
        kinds = ("sqlite",)  # what is refused is refused above the database
    metafunc.parametrize("database_kind", kinds, indirect=True, scope="session")


@pytest.fixture(autouse=True)
def _no_call_outlives_its_test() -> Iterator[None]:
    """Wait for calls that timed out: what they log at their end would be in the next test's log."""
    yield
    assert wait_until(lambda: not backend_calls())


@pytest.fixture(scope="session")
def database_kind(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give what makes the databases of a test; see ``databases``."""
    with databases.of_kind(request.param) as database_kind:
        yield database_kind


@pytest.fixture
def make_database() -> Iterator[Callable[..., Database]]:
    """Give ``make_database(url, **options)``: a database whose connections are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(url: str, **options: str) -> Database:
            database = Database({"url": url, **options})
            stack.callback(database.dispose)
            return database

        yield make
