"""The cinder backend passes the tests that every backend has to pass, around directory and with a real Cinder."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from os_volume_ext.backends.base import AttachRefused, Backend, ConfigurationError, Server, Volume
from os_volume_ext.backends.cinder import CinderBackend
from os_volume_ext.testing import Absent, BackendContract
from tests.integration.cinder.real_cinder import Cinder
from tests.support.real_keystone import People


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give the directory of the inner backend."""
    return tmp_path / "root"


@pytest.fixture
def new_server(root: Path, people: People) -> Callable[[], Server]:
    """Give ``new_server()``: a server of the project ``here`` that the inner backend has."""

    def make() -> Server:
        server_id = str(uuid.uuid4())
        (root / "servers" / server_id).mkdir(parents=True)
        return Server(server_id, people.projects["here"], "ACTIVE")

    return make


@pytest.fixture
def options(options: Mapping[str, str], cinder: Cinder, root: Path) -> Mapping[str, str]:
    """Give the options of the backend."""
    return {**options, "endpoint": f"{cinder.url}/v3", "inner": "directory", "inner.root": str(root)}


@pytest.fixture
def new_volume(volume_ids: Callable[[], str], people: People) -> Callable[[], Volume]:
    """Give ``new_volume()``: a volume of the project ``here``."""
    return lambda: Volume(volume_ids(), people.projects["here"])


class TestCinderBackend(BackendContract):
    """What CinderBackend can do around DirectoryBackend."""

    backend_class = CinderBackend
    limit = 25
    requestable_device = "/dev/vdf"
    reports_devices = True
    multiattach = False  # the volumes of these tests are not, whatever the backend is told
    short_timeout = 75

    def make_backend(self, options: Mapping[str, str], timeout: int = 80) -> Backend:
        return super().make_backend(options, timeout)

    def test_the_shortest_time_limit_is_an_option_like_any_other(self, options: Mapping[str, str]) -> None:
        self.make_backend(options, timeout=75)
        with pytest.raises(
            ConfigurationError, match=r"^operation_timeout is 74: .* 75 or more, .*rpc_response_timeout"
        ):
            self.make_backend(options, timeout=74)

    # pytest takes a class's own fixtures only.

    @pytest.fixture
    def options(self, options: Mapping[str, str]) -> Mapping[str, str]:
        return options

    @pytest.fixture
    def new_volume(self, new_volume: Callable[[], Volume]) -> Callable[[], Volume]:
        return new_volume

    @pytest.fixture
    def server(self, new_server: Callable[[], Server]) -> Server:
        return new_server()

    @pytest.fixture
    def other_server(self, new_server: Callable[[], Server]) -> Server:
        return new_server()

    @pytest.fixture
    def unknown_server(self, server: Server) -> Server:
        return replace(server, id=str(uuid.uuid4()))

    @pytest.fixture
    def wrong_options(self) -> Sequence[tuple[str, str | None]]:
        return [
            ("inner", None),
            ("inner", "cinder"),
            ("inner", "nothing"),
            ("inner.root", None),
            ("inner.root", "relative"),
            ("inner.nonsense", "1"),
            ("auth_type", None),
            ("auth_url", None),
            ("endpoint", "controller"),
        ]

    @pytest.fixture
    def unusable_volume(self, volume_in_error: str, people: People) -> Volume:
        return Volume(volume_in_error, people.projects["here"])

    @pytest.fixture
    def unreachable_backend(self, options: Mapping[str, str]) -> Backend:
        backend = self.make_backend({**options, "endpoint": "http://127.0.0.1:9/v3"}, self.short_timeout)
        backend.prepare()
        return backend

    @pytest.fixture
    def stubborn_server(self) -> Absent:
        return Absent("a directory releases each link")

    @pytest.fixture
    def stopped_server(self, server: Server) -> Server:
        return replace(server, status="SHUTOFF")

    @pytest.fixture
    def extend_volume(self) -> Absent:
        return Absent("the backend directory does not know the sizes of disks")

    @pytest.fixture
    def encrypted_volume(self) -> Absent:
        return Absent("the backend directory does not decrypt")

    @pytest.fixture
    def attach_by_hand(self, root: Path, attach_in_cinder: Callable[..., None]) -> Callable[[Server, Volume], str]:
        def attach(server: Server, volume: Volume) -> str:
            (root / "servers" / server.id / "vdk").symlink_to(f"../../volumes/{volume.id}")
            attach_in_cinder(server.id, volume.id, "/dev/vdk")
            return "/dev/vdk"

        return attach

    @pytest.fixture
    def attach_other_disk(self, root: Path) -> Callable[[Server], str]:
        def attach(server: Server) -> str:
            (root / "servers" / server.id / "vdc").symlink_to("/dev/null")
            return "/dev/vdc"

        return attach


@pytest.fixture
def backend(options: Mapping[str, str]) -> CinderBackend:
    """Give a backend that is prepared."""
    backend = CinderBackend({**options, "operation_timeout": "80"})
    backend.prepare()
    return backend


def test_a_multiattach_volume_goes_to_two_servers(
    backend: CinderBackend, new_server: Callable[[], Server], shared_volume: str, attachments_of: Callable[..., Any]
) -> None:
    first, second = new_server(), new_server()
    volume = Volume(shared_volume, first.project_id, multiattach=True)
    for server in (first, second):
        backend.attach(server, volume, None)
    assert {each["instance"] for each in attachments_of(volume.id)} == {first.id, second.id}
    backend.detach(first, volume, None)
    assert [each["instance"] for each in attachments_of(volume.id)] == [second.id]
    assert backend.attached(second) == {volume.id: "/dev/vdb"}


def test_the_file_of_the_volume_is_what_the_server_gets(
    backend: CinderBackend,
    new_server: Callable[[], Server],
    new_volume: Callable[[], Volume],
    cinder: Cinder,
    root: Path,
) -> None:
    server, volume = new_server(), new_volume()
    backend.attach(server, volume, None)
    assert (root / "servers" / server.id / "vdb").resolve() == cinder.files / volume.id


def test_a_volume_that_is_reserved_for_another_server_is_refused_with_the_reason(
    backend: CinderBackend,
    new_server: Callable[[], Server],
    new_volume: Callable[[], Volume],
    reserve: Callable[..., str],
    attachments_of: Callable[..., Any],
) -> None:
    server, other, volume = new_server(), new_server(), new_volume()
    reserve(other.id, volume.id)
    with pytest.raises(AttachRefused, match="is reserved for another server"):
        backend.attach(server, volume, None)
    assert [each["instance"] for each in attachments_of(volume.id)] == [other.id]


def test_a_refusal_of_the_other_backend_leaves_nothing_reserved(
    backend: CinderBackend, new_server: Callable[[], Server], new_volume: Callable[[], Volume], attachments_of: Any
) -> None:
    server, volume = new_server(), new_volume()
    with pytest.raises(AttachRefused):
        backend.attach(server, replace(volume, format="qcow2"), None)
    assert attachments_of(volume.id) == []


def test_a_volume_of_two_reservations_for_the_server_is_attached_once(
    backend: CinderBackend,
    new_server: Callable[[], Server],
    new_volume: Callable[[], Volume],
    reserve: Callable[..., str],
    connect: Callable[..., None],
    attachments_of: Callable[..., Any],
) -> None:
    server, volume = new_server(), new_volume()
    first, _ = reserve(server.id, volume.id), reserve(server.id, volume.id)
    connect(first)
    assert backend.attach(server, volume, None) == "/dev/vdb"
    assert [each["status"] for each in attachments_of(volume.id)] == ["attached"]


def test_an_attachment_that_vanished_from_cinder_is_named_and_made_again(
    backend: CinderBackend,
    new_server: Callable[[], Server],
    new_volume: Callable[[], Volume],
    delete_attachments: Callable[[str], None],
) -> None:
    server, volume = new_server(), new_volume()
    device = backend.attach(server, volume, None)
    delete_attachments(volume.id)
    assert backend.attached(server) == {}
    assert backend.incomplete(server) == {volume.id: "the server has the disk, and Cinder's attachment is missing"}
    assert backend.attach(server, volume, None) == device
    assert backend.attached(server) == {volume.id: device}
    assert backend.incomplete(server) == {}


def test_a_reservation_without_a_disk_is_named_and_detached(
    backend: CinderBackend,
    new_server: Callable[[], Server],
    new_volume: Callable[[], Volume],
    reserve: Callable[..., str],
    attachments_of: Callable[..., Any],
) -> None:
    server, volume = new_server(), new_volume()
    reserve(server.id, volume.id)
    assert backend.attached(server) == {}
    expected = "Cinder has an attachment in status reserved, and the server has no disk"
    assert backend.incomplete(server) == {volume.id: expected}
    backend.detach(server, volume, None)
    assert attachments_of(volume.id) == []


def test_the_attachment_of_a_server_that_is_gone_is_forgotten(
    backend: CinderBackend,
    new_server: Callable[[], Server],
    new_volume: Callable[[], Volume],
    attachments_of: Callable[..., Any],
) -> None:
    server, volume = new_server(), new_volume()
    backend.attach(server, volume, None)
    backend.forget(server, volume)
    assert attachments_of(volume.id) == []
