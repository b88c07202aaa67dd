"""A real Cinder for the whole session."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

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


@pytest.fixture(scope="session")
def send(cinder: Cinder, people: People) -> Callable[..., requests.Response]:
    """Give ``send(METHOD, PATH, DOCUMENT)``: the response of Cinder to its service user."""
    return partial(_send, cinder, people)


def _send(cinder: Cinder, people: People, method: str, path: str, document: Any = None) -> requests.Response:
    token = people.tokens["volumes"]
    return cinder.send(method, token, people.projects["service"], path, document, service=token)


@pytest.fixture(scope="session")
def _pool() -> list[str]:
    return []


@pytest.fixture
def attachments_of(send: Callable[..., requests.Response]) -> Callable[[str], Any]:
    """Give ``attachments_of(volume_id)``: Cinder's list."""
    return lambda volume_id: send("GET", f"/attachments?all_tenants=1&volume_id={volume_id}").json()["attachments"]


@pytest.fixture
def delete_attachments(
    send: Callable[..., requests.Response], attachments_of: Callable[[str], Any]
) -> Callable[[str], None]:
    """Give ``delete_attachments(volume_id)``."""

    def delete(volume_id: str) -> None:
        for each in attachments_of(volume_id):
            assert send("DELETE", f"/attachments/{each['id']}").ok

    return delete


@pytest.fixture
def volume_ids(
    cinder: Cinder, people: People, _pool: list[str], delete_attachments: Callable[[str], None]
) -> Iterator[Callable[[], str]]:
    """Give ``volume_ids()``: the id of a volume of the project ``here`` that is not attached."""
    used: list[str] = []

    def take() -> str:
        if not _pool:  # to make several takes as long as one
            _pool.extend(cinder.new_volumes(8, people.tokens["member"], people.projects["here"]))
        used.append(_pool.pop(0))
        return used[-1]

    yield take
    for volume_id in used:
        delete_attachments(volume_id)
        _pool.append(volume_id)


@pytest.fixture
def reserve(send: Callable[..., requests.Response]) -> Callable[[str, str], str]:
    """Give ``reserve(server_id, volume_id)``: the id of an attachment of Cinder's, made by somebody else."""

    def reserve(server_id: str, volume_id: str) -> str:
        values = {"volume_uuid": volume_id, "instance_uuid": server_id}
        return send("POST", "/attachments", {"attachment": values}).json()["attachment"]["id"]

    return reserve


@pytest.fixture
def connect(send: Callable[..., requests.Response]) -> Callable[[str], None]:
    """Give ``connect(attachment_id)``, to some host."""

    def connect(attachment_id: str) -> None:
        assert send("PUT", f"/attachments/{attachment_id}", {"attachment": {"connector": {"host": "elsewhere"}}}).ok

    return connect


@pytest.fixture
def attach_in_cinder(cinder: Cinder, people: People) -> Callable[..., None]:
    """Give ``attach_in_cinder(server_id, volume_id, device)``."""
    return partial(cinder.attach, people.tokens["volumes"], people.projects["service"])


@pytest.fixture(scope="session")
def volume_in_error(cinder: Cinder, people: People, send: Callable[..., requests.Response]) -> str:
    """Give the id of a volume in status ``error``."""
    volume_id = cinder.new_volume(people.tokens["member"], people.projects["here"])
    assert send("POST", f"/volumes/{volume_id}/action", {"os-reset_status": {"status": "error"}}).ok
    return volume_id


@pytest.fixture
def shared_volume(
    cinder: Cinder, people: People, multiattach_type: str, delete_attachments: Callable[[str], None]
) -> Iterator[str]:
    """Give the id of a multiattach volume."""
    volume_id = cinder.new_volume(people.tokens["member"], people.projects["here"], volume_type=multiattach_type)
    yield volume_id
    delete_attachments(volume_id)
