"""A worker is killed at each step of attach and detach; then registry, Cinder and the other backend agree again.

The steps are the requests to Cinder, the calls of the other backend, and what libvirt does for it: the worker dies
before and after each.
"""

import os
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from os_volume_ext.assembly import Assembly, assemble_current
from os_volume_ext.attachments.reconcile import Outcome
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.filter import Filter, make_filter
from os_volume_ext.outbound.cinder import Cinder as CinderClient
from os_volume_ext.settings import Settings
from tests.integration.cinder.real_cinder import Cinder
from tests.integration.libvirt.real_libvirt import Libvirtd, Machine, backend_class
from tests.support.ceph import FENCE, Ceph
from tests.support.databases import age_rows, direct_connection
from tests.support.inprocess import collection, compute_api, get_response
from tests.support.real_keystone import People

LONG = timedelta(hours=1)  # after which any row is stale
Seams = Sequence[tuple[type, str]]


@dataclass(frozen=True)
class Inner:
    """The other backend, with a server and volumes for it."""

    server: str
    options: Mapping[str, str]
    seams: Seams
    """Classes and the methods that are steps."""
    new_volume: Callable[[], str]
    has_disk: Callable[[str], bool]


@dataclass
class Worker:
    """Serves requests in a process of its own, in which it may die."""

    app: Filter
    assembly: Assembly
    project_id: str
    token: str
    server: str
    seams: Seams

    def request(self, method: str, volume: str, die_at: int = 0) -> tuple[int, int]:
        """Send a request in a forked process; return the status, 0 if the process died, and the number of steps.

        :param die_at: the number of the step at which to die; 0 for none.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            steps = _count_steps((*self.seams, (CinderClient, "request")), die_at)
            status = self.send(method, volume)
            os.write(writing, f"{status} {len(steps)}".encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            text = pipe.read()
        ended = os.waitpid(child, 0)[1]
        assert ended in (0, signal.SIGKILL)
        status, steps = text.split() if text else ("0", "0")
        return int(status), int(steps)

    def send(self, method: str, volume: str) -> int:
        """Send a request in this process; return the status."""
        path = collection(self.server) + (f"/{volume}" if method == "DELETE" else "")
        document = {"volumeAttachment": {"volumeId": volume}} if method == "POST" else None
        headers = {"X-Project-Id": self.project_id, "X-Auth-Token": self.token}
        return get_response(self.app, method, path, document, headers).status


def _count_steps(seams: Seams, die_at: int) -> list[None]:
    """Record the steps of this process, and die at one."""
    steps: list[None] = []

    def step() -> None:
        steps.append(None)
        if len(steps) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            step()
            result = method(*arguments, **options)
            step()
            return result

        return call

    for owner, name in seams:
        setattr(owner, name, wrapped(getattr(owner, name)))
    return steps


@pytest.fixture
def directory(volume_ids: Callable[[], str], tmp_path: Path) -> Inner:
    """Give directories for servers, and files for volumes."""
    server = str(uuid.uuid4())
    links = tmp_path / "root/servers" / server
    links.mkdir(parents=True)
    return Inner(
        server,
        {"inner": "directory", "inner.root": str(tmp_path / "root")},
        ((DirectoryBackend, "attach"), (DirectoryBackend, "detach")),
        volume_ids,
        lambda volume: volume in [path.readlink().name for path in links.iterdir()],
    )


@pytest.fixture
def libvirt(
    libvirtd: Libvirtd, machine: Callable[..., Machine], ceph: Ceph, ceph_conf: Path, new_ceph_volume: Any
) -> Inner:
    """Give a virtual machine, and images of Ceph that are fenced."""
    backend = backend_class()
    from os_volume_ext.backends.libvirt.domain import Domain
    from os_volume_ext.backends.libvirt.fence import RadosFence

    server = machine("scsi")
    seams = (
        (backend, "attach"),
        (backend, "detach"),
        (Domain, "attach_device"),
        (Domain, "remove_from_config"),
        (Domain, "detach_device"),
        (RadosFence, "clear"),
    )
    own = {"uri": libvirtd.uri, "bus": "scsi", "ceph_conf": str(ceph_conf), "fence": FENCE}

    def has_disk(volume: str) -> bool:
        live, config = volume in server.disks(), volume in server.disks(inactive=True)
        is_open, holders = bool(ceph.watchers(f"volume-{volume}")), ceph.holders(f"os-volume-ext.{volume}")
        assert live == config == is_open
        assert set(holders) == ({server.id} if live else set())
        return live

    return Inner(
        server.id,
        {"inner": "libvirt", **{f"inner.{name}": value for name, value in own.items()}},
        seams,
        new_ceph_volume,
        has_disk,
    )


@pytest.fixture(params=["directory", "libvirt"])
def inner(request: pytest.FixtureRequest) -> Inner:
    """Give each of the other backends."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def worker(
    options: Mapping[str, str], cinder: Cinder, people: People, inner: Inner, tmp_path: Path
) -> Iterator[Worker]:
    """Give a worker of a server of the project ``here``."""
    own = {**options, "endpoint": f"{cinder.url}/v3"}
    settings = {
        "dialect": "openstack",
        "database.url": f"sqlite:///{tmp_path}/registry.db",
        "operation_timeout": "120",
        "stale_after": "300",
        "catalog": "cinder",
        "backend": "cinder",
        **{f"backend.{name}": value for name, value in inner.options.items()},
        **{f"{plugin}.{name}": value for plugin in ("catalog", "backend") for name, value in own.items()},
    }
    project_id = people.projects["here"]
    assembly = assemble_current(Settings.parse(settings))
    app = make_filter(compute_api([inner.server], project_id), **settings)
    worker = Worker(app, assembly, project_id, people.tokens["member"], inner.server, inner.seams)
    volume = inner.new_volume()
    assert [worker.send(method, volume) for method in ("POST", "DELETE")] == [200, 202]  # gets the tokens
    yield worker
    assembly.close()
    app.close()


@pytest.fixture
def state(worker: Worker, inner: Inner, attachments_of: Callable[[str], Any]) -> Callable[[str], Any]:
    """Give ``state(volume)``: whether registry, Cinder and the other backend have the volume attached."""

    def state(volume: str) -> tuple[list[str], list[str], bool]:
        rows = [row.state for row in worker.assembly.registry.find(server_id=worker.server)]
        return rows, [each["status"] for each in attachments_of(volume)], inner.has_disk(volume)

    return state


DETACHED, ATTACHED = ([], [], False), (["attached"], ["attached"], True)


def reconcile(worker: Worker) -> None:
    """Let all rows be stale, and repair them; check that nothing is left to do then."""
    with direct_connection(worker.assembly.database) as connection:
        age_rows(connection, LONG)
    first = list(worker.assembly.reconciler().reconcile_all())
    assert all(each.outcome is not Outcome.UNRESOLVED for each in first), first
    again = list(worker.assembly.reconciler().reconcile_all())
    assert all(each.outcome is Outcome.CONSISTENT for each in again), again


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_worker_that_dies_in_an_attach_leaves_nothing_after_reconcile(worker, inner, state):
    volume = inner.new_volume()
    status, steps = worker.request("POST", volume)
    assert (status, state(volume)) == (200, ATTACHED)
    assert worker.request("DELETE", volume)[0] == 202
    for step in range(1, steps + 1):
        assert worker.request("POST", volume, die_at=step)[0] == 0
        reconcile(worker)
        # The row is attached where the disk was complete, and gone otherwise; never anything in between.
        found = state(volume)
        assert found in (DETACHED, ATTACHED), f"after step {step} of {steps}"
        if found == ATTACHED:
            assert worker.request("DELETE", volume)[0] == 202


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_worker_that_dies_in_a_detach_is_completed_by_reconcile(worker, inner, state):
    volume = inner.new_volume()
    assert worker.request("POST", volume)[0] == 200
    status, steps = worker.request("DELETE", volume)
    assert (status, state(volume)) == (202, DETACHED)
    for step in range(1, steps + 1):
        assert worker.request("POST", volume)[0] == 200
        assert worker.request("DELETE", volume, die_at=step)[0] == 0
        reconcile(worker)
        assert state(volume) == DETACHED, f"after step {step} of {steps}"


def test_an_attachment_without_a_row_is_named_by_reconcile(worker, inner, reserve):
    """The server is known by the row of another volume."""
    volume, left = inner.new_volume(), inner.new_volume()
    assert worker.send("POST", volume) == 200
    reserve(worker.server, left)
    findings = {each.volume_id: each for each in worker.assembly.reconciler().reconcile_all()}
    assert findings[volume].outcome is Outcome.CONSISTENT
    assert findings[left].outcome is Outcome.UNRESOLVED
    assert "incomplete attachment without a row: Cinder has an attachment in status reserved" in findings[left].detail
