"""A real Cinder for the whole session."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.integration.cinder.real_cinder import Cinder, virtual_host
from tests.support import databases
from tests.support.real_keystone import PASSWORD, Keystone, People, project

OPTIONS = {
    "auth_type": "v3password",
    "username": "volumes",
    "password": PASSWORD,
    "user_domain_id": "default",
    "project_name": "service",
    "project_domain_id": "default",
}


@pytest.fixture(scope="session")
def cinder(
    service_venv: Callable[[str], Path],
    keystone: Keystone,
    people: People,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cinder]:
    """Serve Cinder."""
    cinder = Cinder(service_venv("cinder"), tmp_path_factory.mktemp("cinder"))
    with databases.of_kind("mariadb") as server, server.new() as database, virtual_host() as host:
        cinder.set_up(keystone, database, host)
        cinder.register(keystone, people.tokens["admin"])
        with cinder.all_serving(keystone.token("volumes", project("service")), people.projects["service"]):
            yield cinder


@pytest.fixture(scope="session")
def options(keystone: Keystone) -> Mapping[str, str]:
    """Give the options of the service user, which have Keystone's and not Cinder's URL."""
    return {"auth_url": f"{keystone.url}/v3", **OPTIONS}


@pytest.fixture(scope="session")
def multiattach_type(cinder: Cinder, people: People) -> str:
    """Give the name of a volume type whose volumes may be attached to several servers."""
    admin, where = people.tokens["volumes"], people.projects["service"]
    document = {"volume_type": {"name": "shared", "extra_specs": {"multiattach": "<is> True"}}}
    assert cinder.send("POST", admin, where, "/types", document).ok
    return "shared"
