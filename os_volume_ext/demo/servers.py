"""The servers of the demo compute API: a state file, and a directory for each server where backends need them."""

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from .data import SERVERS, Server

_FIRST_NUMBER = max(int(server.id) for server in SERVERS["cyclades"]) + 1

# By dialect: the id of the next server, given the number of servers made before. So no number is used twice.
_NEW_ID: Mapping[str, Callable[[int], str]] = {
    "cyclades": lambda made: str(_FIRST_NUMBER + made),
    "openstack": lambda made: str(uuid.uuid4()),
}


@dataclass(frozen=True)
class _State:
    servers: tuple[Server, ...]
    made: int = 0


class ServerStore:
    """The servers of one dialect; any number of threads and processes may use the same files."""

    def __init__(self, dialect: str, state: Path, directories: Path | None) -> None:
        """Make the directories of the existing servers.

        :param dialect: ``cyclades`` or ``openstack``.
        :param state: the state file; without one, the servers are the fixed ones.
        :param directories: the parent of the servers' directories, which have the servers' ids as names; None if the
            servers have no directories.
        :raises OSError: if a directory can't be made.
        :raises ValueError, LookupError, TypeError: if the state file is invalid.
        """
        self._dialect = dialect
        self._path = state
        self._directories = directories
        # As the backend creates its own: only this user can lock what is in them.
        for directory in (state.parent, *((directories.parent, directories) if directories else ())):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            for server in self.servers():
                self._make_directory(server.id)

    def is_new(self) -> bool:
        """Return whether there is no state file yet."""
        return not self._path.exists()

    def keep(self) -> None:
        """Write the state file with the current servers."""
        with self._locked():
            self._write(self._read())

    def servers(self) -> tuple[Server, ...]:
        """Return all servers, oldest first."""
        return self._read().servers

    def create(self, name: str, project_id: str, user_id: str) -> Server:
        """Make a server and its directory."""
        with self._locked():
            state = self._read()
            created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            server = Server(_NEW_ID[self._dialect](state.made), name, project_id, user_id, created=created)
            self._make_directory(server.id)
            self._write(_State((*state.servers, server), state.made + 1))
        return server

    def delete(self, server_id: str) -> None:
        """Remove a server and its directory, if they exist."""
        with self._locked():
            state = self._read()
            # The directory first: if this fails halfway, the server can be deleted again.
            if self._directories and any(server.id == server_id for server in state.servers):
                _remove(self._directories / server_id)
            left = tuple(server for server in state.servers if server.id != server_id)
            self._write(_State(left, state.made))

    def _make_directory(self, server_id: str) -> None:
        if self._directories:
            (self._directories / server_id).mkdir(mode=0o700, exist_ok=True)

    def _read(self) -> _State:
        try:
            document = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return _State(SERVERS[self._dialect])
        return _State(tuple(Server(**server) for server in document["servers"]), document["made"])

    def _write(self, state: _State) -> None:
        new = self._path.with_name(f"{self._path.name}.new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(asdict(state), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with _flocked(lock):
                yield
        finally:
            os.close(lock)


@contextmanager
def _flocked(descriptor: int) -> Iterator[None]:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        # Closing alone would not unlock: a forked process may have the descriptor too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _remove(directory: Path) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        # The directory backend holds this lock while it makes a link in the directory.
        with _flocked(descriptor):
            shutil.rmtree(directory)
    finally:
        os.close(descriptor)
