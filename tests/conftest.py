"""Fixtures and hooks of all tests."""

# First of all: what is imported only within a run of pytester's is forgotten after it, but not by all who have it.
import multiprocessing.connection  # noqa: F401
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.support")  # before anything there is imported

from tests.support import databases  # noqa: E402
from tests.support.waiting import backend_calls, wait_until  # noqa: E402

pytest_plugins = ["pytester"]

# A test does not fail for how long it takes; what else Hypothesis has for a CI machine stays.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


# The directories of tests/integration that need services, each with the group whose tests one xdist worker runs.
SERVICES = {
    "clients": "openstack",
    "keystone": "openstack",
    "libvirt": "libvirt",
    "notifications": "notifications",
    "nova": "openstack",
    "torture": None,
}


def pytest_configure(config: pytest.Config) -> None:
    """Register our markers."""
    config.addinivalue_line("markers", "changes_nothing: the test leaves the sample as it was")
    config.addinivalue_line("markers", "one_format: the format does not matter; run the test with JSON only")
    config.addinivalue_line("markers", "only_on(*kinds): run the test on these kinds of database only")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark the tests that need a service, and keep those together that share a slow one."""
    for item in items:
        directory = item.path.parent.name if "integration" in item.path.parts else ""
        if directory in SERVICES or _database(item) != "sqlite" or "service_venv" in item.fixturenames:
            item.add_marker("service")
        if SERVICES.get(directory):
            item.add_marker(pytest.mark.xdist_group(SERVICES[directory]))


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
