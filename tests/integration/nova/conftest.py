"""A real Nova API for the whole session, with the extension in it, and servers and volumes to try it with."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from os_volume_ext.backends.base import Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.registry.database import Database
from tests.integration.nova.real_nova import PLAIN, Nova, Surroundings
from tests.support.real_keystone import Keystone, People
from tests.support.waiting import TIMEOUT

POOL = 40  # servers for the tests to take
OF_NOVA = "0a0a0a0a-1111-4222-8333-444444444444"  # a volume that Nova attached before the filter came


@pytest.fixture(scope="session")
def surroundings(keystone: Keystone, people: People) -> Iterator[Surroundings]:
    """Serve what Nova calls."""
    surroundings = Surroundings()
    surroundings.register(keystone, people.tokens["admin"])
    surroundings.start()
    yield surroundings
    surroundings.stop()


@pytest.fixture(scope="session")
def installed(
    service_venv: Callable[[str], Path],
    keystone: Keystone,
    tmp_path_factory: pytest.TempPathFactory,
) -> Nova:
    """Set Nova up, with the filter in its paste file; it does not serve."""
    nova = Nova(service_venv("nova"), tmp_path_factory.mktemp("nova"))
    nova.set_up(keystone)
    nova.plug_in(keystone)
    return nova


@pytest.fixture(scope="session")
def nova(installed: Nova, surroundings: Surroundings) -> Iterator[Nova]:
    """Serve Nova with the filter."""
    with installed.serving():
        yield installed


@pytest.fixture(scope="session")
def plain(installed: Nova, surroundings: Surroundings) -> Iterator[Nova]:
    """Serve the same Nova, of the same databases, with its paste file as it came."""
    plain = Nova(installed.venv, installed.directory, paste=PLAIN)
    with plain.serving():
        yield plain


@pytest.fixture(scope="session")
def made(installed: Nova, people: People) -> tuple[Iterator[str], dict[str, str]]:
    """Make the servers: ids of active ones for the tests to take, and those of others, by what they are."""

    def spec(project: str = "here", user: str = "member", **more: Any) -> dict[str, Any]:
        return {"project": people.projects[project], "user": people.users[user], **more}

    kinds = {
        "of another project": spec("there", "outsider"),
        "building": spec(vm_state="building"),
        "paused": spec(vm_state="paused", power_state=3),
        "with a volume of Nova's": spec(volumes=[OF_NOVA]),
    }
    made = installed.make_servers(*kinds.values(), *[spec()] * POOL)
    for server_id in made:
        (installed.directory / "volumes/servers" / server_id).mkdir(
            parents=True
        )  # what the directory backend attaches to
    return iter(made[len(kinds) :]), dict(zip(kinds, made, strict=False))


@pytest.fixture
def servers(made: tuple[Iterator[str], dict[str, str]]) -> dict[str, str]:
    """Give the ids of servers that are not as others are, by what they are."""
    return made[1]


@pytest.fixture
def new_server(made: tuple[Iterator[str], dict[str, str]]) -> Callable[[], str]:
    """Give ``new_server()``: the id of an active server of the project ``here``."""
    return lambda: next(made[0])


@pytest.fixture
def server(new_server: Callable[[], str]) -> str:
    """Give the id of an active server of the project ``here``."""
    return new_server()


@pytest.fixture
def new_volume(nova: Nova, people: People) -> Iterator[Callable[..., str]]:
    """Give ``new_volume(project="here")``: the id of a volume."""
    database = Database({"url": f"sqlite:///{nova.directory}/volumes/attachments.db"})
    catalog = SQLCatalog({}, database)

    def make(project: str = "here", volume_id: str | None = None) -> str:
        volume = Volume(volume_id or str(uuid.uuid4()), people.projects[project])
        catalog.create(volume)
        return volume.id

    yield make
    database.dispose()


@pytest.fixture
def volume(new_volume: Callable[..., str]) -> str:
    """Give the id of a volume of the project ``here``."""
    return new_volume()


@pytest.fixture
def send_request(nova: Nova, people: People) -> Callable[..., requests.Response]:
    """Give ``send_request(METHOD, PATH, who="member", of=nova, json=..., **HEADERS)``: the response of Nova."""

    def send(
        method: str, path: str, who: str | None = "member", of: Nova = nova, json: Any = None, **headers: str
    ) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        token = {} if who is None else {"X-Auth-Token": people.tokens[who]}
        return requests.request(method, of.url + path, json=json, headers=token | named, timeout=TIMEOUT)

    return send
