"""A real Cinder for the whole session."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.cinder.real_cinder import CEPH_ZONE, Cinder, virtual_host
from tests.integration.cinder.served import CLI, Served, write_paste
from tests.integration.libvirt.real_libvirt import Libvirtd, Machine, backend_class
from tests.support import ceph as real_ceph
from tests.support import databases
from tests.support.daemons import Daemon
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.real_keystone import PASSWORD, Keystone, People, project
from tests.support.services import require_service
from tests.support.waiting import wait_until

# Parts of the names of those tests of the contracts that fill servers with volumes, or repeat races with Cinder for 15
# seconds.
LONG = {
    "test_backend_contract.py": (
        "full",
        "held_up",
        "limit_of_its_own",
        "more_than_the_limit",
        "the_limit_does",
        "place",
        "stops",
    ),
    "test_catalog_contract.py": ("after_a_recheck", "held_up", "killed"),
}
# Parts of the names of those tests that kill a process in the middle of a call, which Cinder may yet carry out.
KILLING = ("gave_up", "held_up", "stops")
OPTIONS = {
    "auth_type": "v3password",
    "username": "volumes",
    "password": PASSWORD,
    "user_domain_id": "default",
    "project_name": "service",
    "project_domain_id": "default",
}


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark the tests that take too long for CI."""
    for item in items:
        if any(part in item.name for part in LONG.get(item.path.name, ())):
            item.add_marker("long")


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
def ceph_volume_service(
    cinder: Cinder, ceph: real_ceph.Ceph, ceph_conf: Path, secret: str, people: People
) -> Iterator[Daemon]:
    """Serve volumes in Ceph; see ``new_ceph_volume``."""
    require_service(shutil.which("ceph-mgr"), "ceph-mgr not found: tools/install-system-packages installs it")
    service = cinder.ceph_volume_service(ceph_conf, secret)
    ceph.start_manager()
    service.start()
    admin, where = people.tokens["volumes"], people.projects["service"]
    try:
        assert wait_until(lambda: cinder.has_pools("ceph", admin, where)), service.log
        yield service
    finally:
        service.kill()


@pytest.fixture(scope="session")
def new_ceph_volume(cinder: Cinder, ceph_volume_service: Daemon, people: People) -> Callable[..., str]:
    """Give ``new_ceph_volume(**values)``: the id of a new volume of the project ``here``, an image in Ceph."""
    where = {"availability_zone": CEPH_ZONE}
    return partial(cinder.new_volume, people.tokens["member"], people.projects["here"], **where)


@pytest.fixture(scope="session")
def serve_ceph(
    keystone: Keystone,
    people: People,
    ceph_volume_service: Daemon,
    libvirtd: Libvirtd,
    ceph_conf: Path,
    start_lasting_server: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Served]:
    """Give ``serve_ceph(**inner)``: the filter, served with a database of its own and the same servers.

    ``inner`` are options of the backend libvirt.
    """
    backend_class()
    var = tmp_path_factory.mktemp("served")

    def serve(**inner: str) -> Served:
        port = free_port()
        paste, database = var / f"api-paste-{port}.ini", var / f"registry-{port}.db"
        write_paste(paste, database, uri=libvirtd.uri, ceph_conf=str(ceph_conf), **inner)
        options = ("--paste", paste, "--var", var, "--set", f"keystone={keystone.url}")
        command = ("env", f"PYTHONPATH={ROOT}", f"OS_VOLUME_EXT_PORT={port}", *CLI)
        start_lasting_server(*command, "serve", *options, port=port)
        return Served(f"http://127.0.0.1:{port}", people.tokens, database, command, options)

    return serve


@pytest.fixture(scope="session")
def served(serve_ceph: Callable[..., Served]) -> Served:
    """Give the filter, served without a fence."""
    return serve_ceph()


@pytest.fixture(scope="session")
def fenced(serve_ceph: Callable[..., Served]) -> Served:
    """Give another filter of the same servers, with a database of its own and a fence."""
    return serve_ceph(fence=real_ceph.FENCE)


@pytest.fixture(scope="session")
def _two_servers(served: Served, libvirtd: Libvirtd, guest: Path) -> tuple[Machine, Machine]:
    first, second = (
        libvirtd.machine(bus="virtio", server_id=served.new_server(), guest=guest).start() for _ in range(2)
    )
    return first, second


@pytest.fixture
def two_servers(_two_servers: tuple[Machine, Machine]) -> Iterator[tuple[Machine, Machine]]:
    """Give the machines of two servers of the project ``here``, with guests and without disks."""
    yield _two_servers
    for machine in _two_servers:
        machine.clear()


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
            response = send("DELETE", f"/attachments/{each['id']}")
            assert response.ok or response.status_code == 404  # Cinder may yet have a request of a killed process

    return delete


@pytest.fixture
def volume_ids(
    request: pytest.FixtureRequest,
    cinder: Cinder,
    people: People,
    _pool: list[str],
    delete_attachments: Callable[[str], None],
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
    if not any(part in request.node.name for part in KILLING):
        _pool.extend(used)


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


@pytest.fixture
def shown(cinder: Cinder, people: People) -> Callable[[str], Any]:
    """Give ``shown(volume_id)``: the status in Cinder, and server and device of each attachment."""

    def shown(volume_id: str) -> Any:
        response = cinder.send("GET", people.tokens["member"], people.projects["here"], f"/volumes/{volume_id}")
        document = response.json()["volume"]
        return document["status"], [(each["server_id"], each["device"]) for each in document["attachments"]]

    return shown
