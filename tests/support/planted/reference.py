"""A backend without a fault, made to be changed in one point, and the contract's declarations for it.

Servers are directories. A disk is a file named after its device, and contains the volume's id; one that is no volume
is empty. Each method does one thing, so that a fault replaces one method.
"""

import fcntl
import itertools
import os
import string
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from os_volume_ext.backends.base import (
    PASSPHRASE,
    AttachRefused,
    Backend,
    BackendUnavailable,
    ConfigurationError,
    DeviceInUse,
    OutcomeUnknown,
    Server,
    ServerNotFound,
    TooManyAttachments,
    Volume,
)
from os_volume_ext.testing import BackendContract

SAFE = frozenset(string.ascii_letters + string.digits + "-")
LIMIT = 6
SIZE = 2**20
"""The bytes of each disk before it is resized."""
SERVER = "1c6a2b2e-61b9-4f0e-8a3e-5b0f2f0b9a01"
OTHER_SERVER = "7f1f8f37-0c55-4f0c-9a5d-2f4a3a1f6c02"
STUBBORN_SERVER = "b7e0c9d4-52aa-4f6b-8d1c-6e9f0a3b5d03"
FIRST_VOLUME = "e5d1b0a8-3c47-4b9e-a2f6-00000000d001"
HOLDS = ".holds"
"""The name of the file of a guest that never releases a disk."""


class Reference(Backend):
    """The backend that each fault changes."""

    refuses_second_server = True
    decrypts = True

    def __init__(self, options: Mapping[str, str]) -> None:
        self.read_options(options)

    def read_options(self, options: Mapping[str, str]) -> None:
        for name in options.keys() - {"root", "operation_timeout"}:
            raise ConfigurationError(f"backend.{name} is unknown")
        if not options.get("root", "").startswith("/"):
            raise ConfigurationError("backend.root must be an absolute path")
        self.root = Path(options["root"])
        self.timeout = int(options["operation_timeout"])

    def prepare(self) -> None:
        (self.root / "servers").mkdir(parents=True, exist_ok=True)

    def attach(self, server: Server, volume: Volume, device: str | None) -> str | None:
        with self.locked(server) as directory:
            if present := self.devices_of(directory, volume):
                return present[0]
            self.check_volume(volume)
            self.check_exclusive(server, volume)
            chosen = self.choose(self.disks(directory), device)
            self.add(directory, volume, chosen)
            return chosen

    def detach(self, server: Server, volume: Volume, device: str | None) -> None:
        if volume.id in self.attached(server):
            self.wait_for_guest(self.directory(server))
        with self.locked(server) as directory:
            for each in self.devices_of(directory, volume):
                self.remove(directory, each)

    def attached(self, server: Server) -> Mapping[str, str | None]:
        with self.locked(server) as directory:
            return {volume_id: device for device, volume_id in self.disks(directory).items() if volume_id}

    def disk_size(self, server: Server, volume: Volume) -> int | None:
        with self.locked(server) as directory:
            return self.size_of(directory, volume) if self.is_there(server, directory, volume) else None

    def resize(self, server: Server, volume: Volume) -> None:
        with self.locked(server) as directory:
            has_disk = self.is_there(server, directory, volume)
            if has_disk and self.is_larger(volume.size, self.size_of(directory, volume)):
                self.size_file(directory, volume).write_text(str(volume.size))

    def check(self) -> None:
        if not self.root.is_dir():
            raise BackendUnavailable(f"{self.root} is not mounted")

    # What faults replace.

    def directory(self, server: Server) -> Path:
        self.check()
        found = self.find(server)
        if found is None:
            raise ServerNotFound(f"there is no server {server.id!r}")
        return found

    def find(self, server: Server) -> Path | None:
        path = self.root / "servers" / (server.id if self.is_safe(server.id) else "-")
        return path if path.is_dir() else None

    def is_safe(self, name: str) -> bool:
        return 0 < len(name) <= 100 and set(name) <= SAFE

    @contextmanager
    def locked(self, server: Server) -> Iterator[Path]:
        """Lock all servers: an exclusive volume must have one only. A detach waits for the guest without the lock."""
        directory = self.directory(server)
        descriptor = os.open(self.root / "servers", os.O_RDONLY)
        try:
            self.wait_for_lock(descriptor)
            yield directory
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + self.timeout / 4
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise BackendUnavailable("the lock is held by another process") from error
                time.sleep(0.002)

    def disks(self, directory: Path) -> dict[str, str]:
        return {f"/dev/{each.name}": each.read_text() for each in sorted(directory.glob("vd[b-z]"))}

    def devices_of(self, directory: Path, volume: Volume) -> list[str]:
        return [device for device, volume_id in self.disks(directory).items() if volume_id == volume.id and volume_id]

    def check_volume(self, volume: Volume) -> None:
        if not self.is_safe(volume.id):
            raise AttachRefused("The volume's id can't be used.")
        self.check_source(volume)
        if volume.format not in (None, "raw"):
            raise AttachRefused("The volume's format must be raw.")
        self.check_passphrase(volume)

    def check_passphrase(self, volume: Volume) -> None:
        if (volume.connection or {}).get("encrypted") and not (volume.connection or {}).get(PASSPHRASE):
            raise AttachRefused("The volume is encrypted, and its passphrase is not known.")

    def check_source(self, volume: Volume) -> None:
        if volume.source is not None and not is_file(volume.source):
            raise AttachRefused("The volume's source does not exist.")

    def check_exclusive(self, server: Server, volume: Volume) -> None:
        others = [each for each in (self.root / "servers").iterdir() if each.name != server.id]
        if not volume.multiattach and any(volume.id in self.disks(each).values() for each in others):
            raise AttachRefused("Another server has the volume.")

    def choose(self, disks: Mapping[str, str], device: str | None) -> str:
        devices = [f"/dev/vd{letter}" for letter in string.ascii_lowercase[1:]]
        if device is not None and device not in devices:
            raise AttachRefused("The device can't be used: it must be one of /dev/vdb to /dev/vdz.")
        if device in disks:
            raise DeviceInUse(f"{device} is in use")
        self.check_limit(disks)
        return device or next(each for each in devices if each not in disks)

    def check_limit(self, disks: Mapping[str, str]) -> None:
        volumes = [each for each in disks.values() if each]
        if len(volumes) >= LIMIT:
            raise TooManyAttachments(len(volumes))

    def add(self, directory: Path, volume: Volume, device: str) -> None:
        new = directory / f".{device.removeprefix('/dev/')}"
        new.write_text(volume.id)
        new.rename(directory / device.removeprefix("/dev/"))

    def remove(self, directory: Path, device: str) -> None:
        (directory / device.removeprefix("/dev/")).unlink()

    def is_there(self, server: Server, directory: Path, volume: Volume) -> bool:
        return server.status != "SHUTOFF" and bool(self.devices_of(directory, volume))

    def is_larger(self, size: int | None, than: int) -> bool:
        return size is not None and size > than

    def size_of(self, directory: Path, volume: Volume) -> int:
        file = self.size_file(directory, volume)
        return int(file.read_text()) if file.exists() else SIZE

    def size_file(self, directory: Path, volume: Volume) -> Path:
        return directory / f".size-{volume.id}"

    def wait_for_guest(self, directory: Path) -> None:
        if (directory / HOLDS).exists():
            self.time_out()

    def time_out(self) -> None:
        time.sleep(self.timeout / 4)
        raise OutcomeUnknown("the guest did not release the disk")


class ReferenceContract(BackendContract):
    """The declarations of the reference."""

    backend_class = Reference
    limit = LIMIT
    requestable_device = "/dev/vdp"
    reports_devices = True
    multiattach = True

    @pytest.fixture
    def options(self, tmp_path):
        (tmp_path / "root").mkdir(exist_ok=True)
        return {"root": str(tmp_path / "root")}

    @pytest.fixture
    def server(self, tmp_path):
        return make_server(tmp_path, SERVER)

    @pytest.fixture
    def other_server(self, tmp_path):
        return make_server(tmp_path, OTHER_SERVER)

    @pytest.fixture
    def unknown_server(self):
        return Server("0a9b8c7d-6e5f-4a3b-8c1d-9e8f7a6b5c04", "demo", "ACTIVE")

    @pytest.fixture
    def new_volume(self, tmp_path):
        numbers = itertools.count(int(FIRST_VOLUME[-4:], 16))
        source = tmp_path / "disk.img"
        source.touch()
        return lambda: Volume(f"{FIRST_VOLUME[:-4]}{next(numbers):x}", "demo", str(source), "raw")

    @pytest.fixture
    def wrong_options(self):
        return [("root", None), ("root", "relative")]

    @pytest.fixture
    def unusable_volume(self):
        return Volume("unusable", "demo", "/nowhere/disk.img")

    @pytest.fixture
    def unreachable_backend(self, tmp_path):
        return self.make_backend({"root": str(tmp_path / "unmounted")}, self.short_timeout)

    @pytest.fixture
    def stubborn_server(self, tmp_path):
        server = make_server(tmp_path, STUBBORN_SERVER)
        (tmp_path / "root" / "servers" / server.id / HOLDS).touch()
        return server

    @pytest.fixture
    def stopped_server(self, tmp_path):
        return make_server(tmp_path, "d2c4e6f8-1a3b-4c5d-9e7f-8a6b4c2d0e05", status="SHUTOFF")

    @pytest.fixture
    def extend_volume(self):
        return lambda volume: replace(volume, size=2 * SIZE)

    @pytest.fixture
    def encrypted_volume(self, new_volume):
        return replace(new_volume(), connection={"encrypted": True, PASSPHRASE: "of the volume"})

    @pytest.fixture
    def attach_by_hand(self, tmp_path):
        def attach(server, volume):
            (tmp_path / "root" / "servers" / server.id / "vdk").write_text(volume.id)
            return "/dev/vdk"

        return attach

    @pytest.fixture
    def attach_other_disk(self, tmp_path):
        def attach(server):
            (tmp_path / "root" / "servers" / server.id / "vdc").touch()
            return "/dev/vdc"

        return attach


def is_file(path: str) -> bool:
    """Return whether a path is one and there is a file."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def make_server(directory: Path, server_id: str, status: str = "ACTIVE") -> Server:
    """Make the directory of a server, and return the server."""
    (directory / "root" / "servers" / server_id).mkdir(parents=True)
    return Server(server_id, "demo", status, host="node1", instance_name=f"instance-{server_id}")


@dataclass(frozen=True)
class Planted:
    """A backend with one fault."""

    backend: type[Backend]
    caught_by: frozenset[str]
    """All tests that the fault must fail."""
    declarations: Mapping[str, Any] = field(default_factory=dict)
    """What else the test class declares."""

    @property
    def name(self) -> str:
        return self.backend.__name__


def caught_by(*tests: str, **declarations: Any) -> Callable[[type[Backend]], Planted]:
    """Say which tests a backend fails; it becomes one of ``FAULTS``.

    :param declarations: attributes of the test class.
    """
    return lambda backend: Planted(backend, frozenset(tests), declarations)
