"""The application that workers serve: the filter in front of a small compute API, with few servers; and a witness.

The directory backend's directories say where each disk is, but not whether it was in two servers for a moment. So
in the processes that attach, the witness puts a mark beside each volume before it goes into a server, and takes
it away after it has come out; a mark that is there already, of another server, is what must never be.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from os_volume_ext.backends.base import BackendError, OutcomeUnknown, Server, Volume
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.filter import Filter, make_filter
from os_volume_ext.registry import schema
from os_volume_ext.registry.database import Database
from tests.support.inprocess import compute_api

SERVERS = ("1134", "1135", "1136")
VOLUMES = tuple(str(number) for number in range(1, 9))


def options(directory: Path, url: str, dialect: str = "cyclades") -> dict[str, str]:
    """Return the filter's options for a database and a backend below a directory."""
    return {
        "dialect": dialect,
        "database.url": url,
        "backend": "directory",
        "backend.root": str(directory / "backend"),
    }


def prepare(directory: Path, url: str, servers: Iterable[str] = SERVERS, volumes: Iterable[str] = VOLUMES) -> None:
    """Make the tables, the volumes and the servers' directories."""
    database = Database({"url": url})
    schema.upgrade(database)
    for volume_id in volumes:
        SQLCatalog({}, database).create(Volume(volume_id, "demo"))
    database.dispose()
    (directory / "backend" / "volumes").mkdir(parents=True)
    (directory / "witness").mkdir()
    (directory / "lost").mkdir()
    for server_id in servers:
        (directory / "backend" / "servers" / server_id).mkdir(parents=True)


def make_app(options: Mapping[str, str], servers: Collection[str] = SERVERS) -> Filter:
    """Return the application; it trusts the identity that ``inprocess.send_request`` sends."""
    return make_filter(compute_api(servers), **options)


def disks(directory: Path) -> set[tuple[str, str]]:
    """Return ``(volume, server)`` of each disk that is in a server."""
    links = (directory / "backend" / "servers").glob("*/vd*")
    return {(link.readlink().name, link.parent.name) for link in links}


class Witness:
    """Records in which server each disk is, over all processes that ``watch`` in the same directory."""

    def __init__(self, directory: Path) -> None:
        """:param directory: the one that was prepared."""
        self._directory = directory / "witness"
        self._servers = directory / "backend" / "servers"

    @property
    def seen(self) -> list[str]:
        """What must never be, and was."""
        log = self._directory / "seen"
        return log.read_text().splitlines() if log.exists() else []

    def watch(self, max_attachments: int | None = None) -> None:
        """Watch all that the directory backend does in this process, and in those forked from it.

        :param max_attachments: how many disks a server may have at any moment; None: any number.
        """
        attach, detach = DirectoryBackend.attach, DirectoryBackend.detach

        def attach_seen(backend: DirectoryBackend, server: Server, volume: Volume, device: str | None) -> str:
            self._mark(volume.id, server.id)
            try:
                chosen = attach(backend, server, volume, device)
            except OutcomeUnknown:
                raise
            except BackendError:
                self._unmark(volume.id, server.id)
                raise
            self._count(server.id, max_attachments)
            return chosen

        def detach_seen(backend: DirectoryBackend, server: Server, volume: Volume, device: str) -> None:
            detach(backend, server, volume, device)
            self._unmark(volume.id, server.id)

        DirectoryBackend.attach = attach_seen  # type: ignore[method-assign]
        DirectoryBackend.detach = detach_seen  # type: ignore[method-assign]

    def _count(self, server_id: str, max_attachments: int | None) -> None:
        count = len(list((self._servers / server_id).glob("vd*")))
        if max_attachments is not None and count > max_attachments:
            self._report(f"server {server_id} has {count} disks, and may have {max_attachments}")

    def _mark(self, volume_id: str, server_id: str) -> None:
        try:
            (self._directory / volume_id).symlink_to(server_id)
        except FileExistsError:
            elsewhere = self._marked(volume_id)
            if elsewhere not in (server_id, None):
                self._report(f"volume {volume_id} goes into server {server_id} while it is in {elsewhere}")

    def _unmark(self, volume_id: str, server_id: str) -> None:
        if self._marked(volume_id) == server_id:
            (self._directory / volume_id).unlink(missing_ok=True)

    def _marked(self, volume_id: str) -> str | None:
        try:
            return str((self._directory / volume_id).readlink())
        except FileNotFoundError:
            return None

    def _report(self, what: str) -> None:
        with (self._directory / "seen").open("a") as log:
            log.write(f"{what}\n")
