"""The sample of ``etc/api-paste-libvirt.ini``: what its API returns, virsh shows and guests see, also after faults."""

import configparser
import contextlib
import json
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from webob import Request

from tests.integration.libvirt.real_libvirt import IDS, ROOM, backend_class
from tests.support.paths import ROOT
from tests.support.sample import closing_apps, load

backend_class()
PASTE = ROOT / "etc" / "api-paste-libvirt.ini"


@dataclass(frozen=True)
class DialectCase:
    """What differs between dialects: ``servers`` are the two machines, ``nowhere`` is a server without one."""

    name: str
    base: str
    servers: tuple[str, str]
    nowhere: str
    volumes: tuple[str, ...]
    device: str
    detached: int
    conflict: tuple[int, str]
    full: tuple[int, str]


DIALECTS = {
    "cyclades": DialectCase(
        name="cyclades",
        base="/compute/v2.0",
        servers=("1134", "1135"),
        nowhere="1141",
        volumes=tuple(str(number) for number in range(9, 9 + ROOM + 1)),
        device="",
        detached=200,
        conflict=(400, "badRequest"),
        full=(400, "badRequest"),
    ),
    "openstack": DialectCase(
        name="openstack",
        base="/v2.1",
        servers=tuple(IDS),
        nowhere="7be0e5f4-8c1d-4a53-9a54-2f6d1c0e8b10",
        volumes=tuple(f"a26887c6-c47b-4654-abb5-dfadf7d3f8{number:02}" for number in range(3, 3 + ROOM + 1)),
        device="/dev/vda",
        detached=202,
        conflict=(409, "conflictingRequest"),
        full=(403, "forbidden"),
    ),
}


# What happens below the API is the same in both.
in_one_dialect = pytest.mark.parametrize("dialect", ["openstack"], indirect=True)


@pytest.fixture(params=list(DIALECTS))
def dialect(request):
    return DIALECTS[request.param]


@pytest.fixture
def machines(two_guests):
    yield two_guests
    for machine in two_guests:
        machine.clear()


@pytest.fixture
def paste(tmp_path):
    """Give the sample without ``compute.url``, where no one listens here, and with shorter timeouts."""
    parser = configparser.RawConfigParser()
    parser.read(PASTE)
    for name in DIALECTS:
        section = f"filter:volumes_{name}"
        parser.remove_option(section, "compute.url")
        parser.remove_option(section, "compute.token")
        parser.set(section, "operation_timeout", "30")
        parser.set(section, "backend.detach_timeout", "1")
    with (tmp_path / "api-paste.ini").open("w") as file:
        parser.write(file)
    return tmp_path / "api-paste.ini"


@pytest.fixture
def command(run_command, paste, libvirtd, dialect, tmp_path):
    """Give ``command(*words)``: what ``os-volume-ext`` printed."""
    which = ("--paste", paste, "--var", tmp_path, "--set", f"libvirt={libvirtd.uri}")

    def run(*words):
        words = (*words, *which, "--filter", f"volumes_{dialect.name}")
        return run_command(sys.executable, "-m", "os_volume_ext.cli.main", *words, cwd=tmp_path).split()

    return run


@pytest.fixture
def app(paste, libvirtd, machines, tmp_path):
    with closing_apps():
        yield load(paste, tmp_path, libvirt=libvirtd.uri).app


@pytest.fixture
def rows(app, dialect, tmp_path):
    """Give ``rows()``: the state of each attachment; ``rows(aged=True)`` makes them stale."""

    def read(aged=False):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{dialect.name}.db")) as connection, connection:
            if aged:
                connection.execute("UPDATE attachments SET updated_at = '2026-01-01 00:00:00.000000'")
            return [state for (state,) in connection.execute("SELECT state FROM attachments")]

    return read


@pytest.fixture
def add(app, dialect, tmp_path, libvirtd):
    """Give ``add(*volumes, **values)``: put them into the catalog, by default with images."""

    def insert(*volumes, source=None, format="raw"):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{dialect.name}.db")) as connection, connection:
            for volume in volumes:
                values = (volume, "demo", source or str(libvirtd.image()), format, False, "2026-01-01 00:00:00.000000")
                connection.execute("INSERT INTO volumes VALUES (?, ?, ?, ?, ?, ?)", values)

    return insert


@pytest.fixture
def api(app, dialect):
    """Give ``api(method, server, volume)``."""

    def call(method, server, volume=None):
        path = f"{dialect.base}/servers/{server}/os-volume_attachments"
        request = Request.blank(path, method=method, headers={"X-Auth-Token": "demo-token"})
        if method == "POST":
            request.content_type = "application/json"
            request.json_body = {"volumeAttachment": {"volumeId": volume}}
        elif volume:
            request.path_info += f"/{volume}"
        response = request.get_response(app)
        body = json.loads(response.body) if response.body else {}
        return SimpleNamespace(status=response.status_int, body=body, failure=(response.status_int, *body))

    return call


def at_once(*calls):
    with ThreadPoolExecutor(len(calls)) as pool:
        return [done.result() for done in [pool.submit(*call) for call in calls]]


def disks(machines):
    return [machine.blocks() for machine in machines]


# All is well


def test_a_disk_comes_and_goes_for_the_api_virsh_and_the_guest(command, api, machines, dialect, libvirtd, rows):
    server, volume, source = dialect.servers[0], dialect.volumes[0], str(libvirtd.image())
    command("volume", "create", volume, "--project", "demo", "--source", source, "--format", "raw")
    response = api("POST", server, volume)
    assert response.status == 200
    assert response.body["volumeAttachment"]["device"] == dialect.device
    assert disks(machines) == [{"vda": source}, {}]
    machines[0].console.wait_for("/dev/vda")
    assert machines[0].console.run("cat /sys/block/vda/serial") == volume[:20]
    assert api("DELETE", server, volume).status == dialect.detached
    assert disks(machines) == [{}, {}]
    assert machines[0].console.run("ls /sys/block") == ""
    assert rows() == []


# Many at once


def test_two_volumes_at_once_become_two_disks(api, add, machines, dialect, rows):
    server, volumes = dialect.servers[0], dialect.volumes[:2]
    add(*volumes)
    responses = at_once(*((api, "POST", server, volume) for volume in volumes))
    assert [response.status for response in responses] == [200, 200]
    assert set(machines[0].disks()) == set(machines[0].disks(inactive=True)) == set(volumes)
    assert rows() == ["attached", "attached"]
    responses = at_once(*((api, "DELETE", server, volume) for volume in volumes))
    assert [response.status for response in responses] == [dialect.detached] * 2
    assert disks(machines) == [{}, {}]


def test_a_volume_that_two_servers_ask_for_at_once_is_one_disk_of_one(api, add, machines, dialect, rows):
    volume = dialect.volumes[0]
    add(volume)
    responses = at_once(*((api, "POST", server, volume) for server in dialect.servers))
    assert sorted(response.status for response in responses)[0] == 200
    (lost,) = [response for response in responses if response.status != 200]
    assert lost.failure in ((400, "badRequest"), dialect.conflict)
    won = [response.status for response in responses].index(200)
    assert list(machines[won].disks()) == [volume]
    assert machines[1 - won].disks() == {}
    assert rows() == ["attached"]


# What is refused


@pytest.mark.parametrize(
    "wrong", [{"source": "/nowhere/disk.img"}, {"source": "floppy:a"}, {"format": "qcow2"}], ids=str
)
def test_a_volume_that_can_not_be_a_disk_is_a_conflict(api, add, machines, dialect, rows, wrong):
    add(dialect.volumes[0], **wrong)
    response = api("POST", dialect.servers[0], dialect.volumes[0])
    assert response.failure == dialect.conflict
    assert "/nowhere" not in str(response.body)
    assert (rows(), disks(machines), machines[0].disks(inactive=True)) == ([], [{}, {}], {})


def test_a_server_without_a_domain_is_missing(api, add, dialect, rows):
    add(dialect.volumes[0])
    assert api("POST", dialect.nowhere, dialect.volumes[0]).failure == (404, "itemNotFound")
    assert rows() == []


@in_one_dialect
def test_a_server_whose_memory_is_saved_to_a_file_is_a_conflict(app, api, add, machine, libvirtd, dialect, rows):
    request = Request.blank(f"{dialect.base}/servers", method="POST", headers={"X-Auth-Token": "demo-token"})
    request.content_type = "application/json"
    request.json_body = {"server": {"name": "saved"}}
    server = request.get_response(app).json["server"]["id"]
    saved = machine("virtio", server_id=server)
    libvirtd.virsh("managedsave", saved.name)
    add(dialect.volumes[0])
    response = api("POST", server, dialect.volumes[0])
    assert response.failure == dialect.conflict
    assert "saved to a file" in str(response.body)
    assert (rows(), saved.disks(inactive=True)) == ([], {})


def test_one_volume_more_than_the_bus_takes_is_refused_with_the_number(api, add, machines, dialect, rows):
    add(*dialect.volumes)
    server = dialect.servers[0]
    for volume in dialect.volumes[:-1]:
        assert api("POST", server, volume).status == 200
    response = api("POST", server, dialect.volumes[-1])
    assert response.failure == dialect.full
    assert f" {ROOM} " in str(response.body)
    assert rows() == ["attached"] * ROOM
    assert set(machines[0].disks()) == set(dialect.volumes[:-1])


@in_one_dialect
def test_a_guest_that_does_not_let_go_is_a_503_and_a_later_reconcile_repairs_it(
    api, add, command, libvirtd, machines, dialect, rows
):
    server, volume = dialect.servers[0], dialect.volumes[0]
    add(volume)
    api("POST", server, volume)
    libvirtd.virsh("suspend", machines[0].name)
    assert api("DELETE", server, volume).failure == (503, "serviceUnavailable")
    assert (rows(), list(machines[0].disks())) == (["detaching"], [volume])
    libvirtd.virsh("resume", machines[0].name)
    rows(aged=True)
    assert command("reconcile", "-f", "value", "-c", "outcome") == ["repaired"]
    assert (rows(), disks(machines)) == ([], [{}, {}])


# libvirtd dies


@pytest.fixture
def dies(libvirtd, monkeypatch):
    """Give ``dies(when, method)``: libvirtd is killed before or after a method of ``Domain`` has its effect."""
    from os_volume_ext.backends.libvirt.domain import Domain

    def plan(when, name):
        really = getattr(Domain, name)

        def die(*arguments):
            monkeypatch.setattr(Domain, name, really)
            if when == "before":
                libvirtd.freeze()  # the request has been sent when it is killed
                threading.Timer(0.5, libvirtd.kill).start()
                return really(*arguments)
            really(*arguments)
            return libvirtd.kill()

        monkeypatch.setattr(Domain, name, die)

    yield plan
    if not libvirtd.runs():
        libvirtd.start()


@in_one_dialect
@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_reconcile_repairs_an_attach_during_which_libvirtd_died(
    api, add, command, dies, libvirtd, machines, dialect, rows, when, there
):
    server, volume = dialect.servers[0], dialect.volumes[0]
    add(volume)
    dies(when, "attach_device")
    assert api("POST", server, volume).failure == (503, "serviceUnavailable")
    libvirtd.start()
    assert rows(aged=True) == ["attaching"]
    assert bool(machines[0].disks()) == there
    assert command("reconcile", "-f", "value", "-c", "outcome") == ["repaired"]
    assert rows() == (["attached"] if there else [])
    assert list(machines[0].disks()) == list(machines[0].disks(inactive=True)) == [volume] * there


@in_one_dialect
@pytest.mark.parametrize(
    ("when", "method", "there"),
    [("before", "remove_from_config", True), ("after", "remove_from_config", True), ("after", "detach_device", False)],
)
def test_reconcile_repairs_a_detach_during_which_libvirtd_died(
    api, add, command, dies, libvirtd, machines, dialect, rows, when, method, there
):
    server, volume = dialect.servers[0], dialect.volumes[0]
    add(volume)
    api("POST", server, volume)
    dies(when, method)
    response = api("DELETE", server, volume)
    libvirtd.start()
    assert bool(machines[0].disks()) == there
    if there:
        assert response.failure == (503, "serviceUnavailable")
        assert rows(aged=True) == ["detaching"]
        assert command("reconcile", "-f", "value", "-c", "outcome") == ["repaired"]
    else:
        assert response.status == dialect.detached
    assert rows() == []
    assert machines[0].disks() == machines[0].disks(inactive=True) == {}


@in_one_dialect
def test_reconcile_repairs_a_detach_during_whose_wait_libvirtd_died(
    api, add, command, dies, libvirtd, machines, dialect, rows
):
    server, volume = dialect.servers[0], dialect.volumes[0]
    add(volume)
    api("POST", server, volume)
    libvirtd.virsh("suspend", machines[0].name)
    threading.Timer(2, libvirtd.kill).start()
    assert api("DELETE", server, volume).failure == (503, "serviceUnavailable")
    libvirtd.start()
    libvirtd.virsh("resume", machines[0].name)
    assert rows(aged=True) == ["detaching"]
    assert command("reconcile", "-f", "value", "-c", "outcome") == ["repaired"]
    assert (rows(), disks(machines)) == ([], [{}, {}])
