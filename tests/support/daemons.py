"""Servers that tests run as processes of their own, in directories of their own, as users without privileges."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest


def is_root() -> bool:
    """Return whether this process is root, as which database servers refuse to run."""
    return os.geteuid() == 0


def as_user(user: str, *command: str | Path) -> list[str | Path]:
    """Return a command that runs as a user if this process is root; else as the user that it is."""
    drop = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--init-groups"] if is_root() else []
    return [*drop, *command]


def on_small_disk(user: str, size: str, directory: Path, *command: str | Path) -> list[str | Path]:
    """Return a command that runs as ``as_user`` has it, and for which a directory is a disk of its own.

    Nobody else sees that disk, and it is gone when the command has ended.

    :param size: such as ``32m``.
    """
    mount = 'mount -t tmpfs -o "size=$0" none "$1" && chown "$2" "$1" && shift 2 && exec "$@"'
    if is_root():
        return ["unshare", "--mount", "sh", "-c", mount, size, directory, user, *as_user(user, *command)]
    back = ["unshare", "--user", f"--map-user={os.getuid()}", f"--map-group={os.getgid()}"]
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, size, directory, "0", *back, *command]


def has_small_disks() -> bool:
    """Return whether ``on_small_disk`` works here: containers can forbid it."""
    with directory_of("root") as directory:
        command = on_small_disk("root", "1m", directory, "true")
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


@contextlib.contextmanager
def directory_of(user: str) -> Iterator[Path]:
    """Give a directory of a user; pytest's own can be entered only by the user that runs the tests."""
    directory = Path(tempfile.mkdtemp(prefix="os-volume-ext-"))
    try:
        give(user, directory)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def give(user: str, path: Path) -> None:
    """Make a user the owner of a file or directory that this process has made."""
    if is_root():
        shutil.chown(path, user)


def run(user: str, *command: str | Path, timeout: float = 60) -> str:
    """Run a command as a user; return what it printed. The test fails if it does."""
    done = subprocess.run(
        as_user(user, *command), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Daemon:
    """A server process and its children."""

    def __init__(
        self, user: str, command: Sequence[str | Path], log: Path, small_disk: tuple[str, Path] | None = None
    ) -> None:
        """Start nothing yet.

        :param user: as whom it runs if this process is root.
        :param command: what runs in the foreground.
        :param log: a file for what it prints.
        :param small_disk: the size and the directory of a disk, as for ``on_small_disk``; None for none.
        """
        self._command = on_small_disk(user, *small_disk, *command) if small_disk else as_user(user, *command)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start it; it may not serve yet when this returns."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def assert_running(self) -> None:
        """Fail the test, with the log, if it has exited."""
        if self._process is None or self._process.poll() is not None:
            pytest.fail(f"{self._command} is not running\n{self.log}")

    def stop(self, number: signal.Signals) -> None:
        """Send a signal on which it ends, and wait."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)

    def kill(self) -> None:
        """End it and its children at once, as when the machine loses power."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._signal_all(signal.SIGSTOP)  # else it could start others, or end them in its own way
            self._signal_all(signal.SIGKILL)
        self._process.wait(60)
        self._process = None

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop the execution of it and its children meanwhile, or until ``kill``; its sockets stay open."""
        self._signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        for pid in [self._process.pid, *_children(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
