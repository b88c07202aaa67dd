"""The commands that only read: they leave every file and directory as it is, and create none."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import distribution
from pathlib import Path

import pytest

from os_volume_ext.backends.base import Server, Volume
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.models import ATTACHED, Attachment
from os_volume_ext.registry import schema
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database
from tests.support.migrations import upgrade_to
from tests.support.paths import ROOT

pytestmark = pytest.mark.only_on("sqlite")  # the others are no files

PASTE = """\
[pipeline:main]
pipeline = auth volumes compute

[filter:auth]
use = egg:os-volume-ext#demo_tokens

[filter:volumes]
use = egg:os-volume-ext
dialect = cyclades
database.url = sqlite:///%(var)s/registry.db
backend = directory
backend.root = %(var)s/backend

[app:compute]
use = egg:os-volume-ext#demo_versions
"""
WRITING = {
    "attachment adopt",
    "attachment force-detach",  # without --dry-run
    "attachment remove",
    "db upgrade",
    "plugin new",
    "reconcile",  # without --dry-run
    "serve",
    "volume create",
    "volume delete",
}
READING = {
    "attachment list": ["attachment", "list", "--server", "1134"],
    "attachment show": ["attachment", "show", "1134", "9"],
    "check": ["check"],
    "db current": ["db", "current"],
    "reconcile --dry-run": ["reconcile", "--dry-run"],
    "reconcile --all --dry-run": ["reconcile", "--all", "--dry-run"],
    "volume list": ["volume", "list"],
    "volume show": ["volume", "show", "9"],
}
READY = [name for name in READING if name not in ("check", "db current")]
"""Those that need tables of the current revision."""

each_command = pytest.mark.parametrize("command", READING.values(), ids=READING)


@pytest.fixture
def paste(tmp_path, monkeypatch):
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")  # where var is by default
    path = tmp_path / "api-paste.ini"
    path.write_text(PASTE)
    return path


@pytest.fixture
def var(tmp_path):
    path = tmp_path / "var"
    path.mkdir()
    return path


@pytest.fixture
def file_database(var):
    """Give the database of the paste file; its file is not there yet."""
    database = Database({"url": f"sqlite:///{var}/registry.db"})
    yield database
    database.dispose()


@pytest.fixture
def without_lock(file_database):
    """Give ``without_lock()``: remove the lock file, and leave the file as other programs do that have closed it."""

    def remove():
        file_database.dispose()
        Path(f"{file_database.url.database}.lock").unlink(missing_ok=True)

    return remove


@pytest.fixture
def filled(var, file_database, without_lock):
    """Fill the database and the backend: a volume that is attached, and one whose disk is missing."""
    schema.upgrade(file_database)
    backend = DirectoryBackend({"root": str(var / "backend")})
    backend.prepare()
    (var / "backend" / "servers" / "1134").mkdir()
    backend.attach(Server("1134", "demo", "ACTIVE"), Volume("9", "demo"), "/dev/vdb")
    for volume_id, device in (("9", "/dev/vdb"), ("10", "/dev/vdc")):
        SQLCatalog({}, file_database).create(Volume(volume_id, "demo"))
        Registry(file_database).reserve(
            Attachment(
                volume_id=volume_id,
                server_id="1134",
                project_id="demo",
                exclusive=True,
                root=False,
                state=ATTACHED,
                device=device,
                request_id="req-1",
                host=None,
                instance_name=None,
                source=None,
                format=None,
            )
        )
    without_lock()


def snapshot(directory):
    """Return what is below a directory: modes, times of change, and the contents of files and links."""
    return {str(path.relative_to(directory)): _state(path) for path in sorted(directory.rglob("*"))}


def _state(path):
    found = path.lstat()
    if path.is_symlink():
        return path.readlink()
    return found.st_mode, found.st_mtime_ns if path.is_dir() else path.read_bytes()


@pytest.fixture
def unchanged(run, tmp_path, var):
    """Give ``unchanged(command)``: run a command that leaves all files as they are; return status, stdout, stderr."""

    def call(command):
        before = snapshot(tmp_path)
        result = run(*command, "--var", str(var))
        after = snapshot(tmp_path)
        # SQLite has its files -wal and -shm there while it reads, so its time of change may differ.
        for each in (before, after):
            if var.name in each:
                each[var.name] = None
        assert after == before
        return result

    return call


def test_every_command_is_known_to_read_or_to_write():
    points = distribution("os-volume-ext").entry_points.select(group="os_volume_ext.cli")
    names = {point.name.replace("_", " ") for point in points}
    assert names == WRITING | {name for name in READING if "--" not in name}


@pytest.mark.usefixtures("filled")
@each_command
def test_a_command_that_reads_changes_nothing(unchanged, command):
    status, out, err = unchanged(command)
    # The disk of volume 10 is missing.
    assert (status, "Traceback" in err) == (int("--all" in command), False)
    assert out


@each_command
def test_a_command_that_reads_creates_nothing_before_the_first_start(unchanged, var, command):
    var.rmdir()
    status, _, err = unchanged(command)
    assert (status, "db upgrade" in err) == ((0, False) if command[0] in ("check", "db") else (1, True))
    assert not var.exists()


@each_command
def test_a_command_that_reads_leaves_an_empty_file_empty(unchanged, var, command):
    (var / "registry.db").touch()
    unchanged(command)
    assert (var / "registry.db").stat().st_size == 0


@each_command
def test_a_command_that_reads_creates_no_directory_of_a_new_backend(
    unchanged, file_database, without_lock, var, command
):
    schema.upgrade(file_database)
    without_lock()
    unchanged(command)
    assert not (var / "backend").exists()


@pytest.mark.parametrize("command", [READING[name] for name in READY], ids=READY)
def test_an_old_file_is_not_upgraded_by_a_command_that_reads(unchanged, file_database, without_lock, command, paste):
    upgrade_to(file_database, "0001")
    without_lock()
    status, out, err = unchanged(command)
    assert (status, out) == (1, "")
    assert err == (
        f"os-volume-ext: {paste}: [filter:volumes]: database.url: {file_database} is at revision 0001 "
        f"but must be at {schema.HEAD}: run os-volume-ext db upgrade\n"
    )


@pytest.mark.parametrize("name", ["check", "db current"])
def test_the_revision_of_an_old_file_is_shown(unchanged, file_database, without_lock, name):
    upgrade_to(file_database, "0001")
    without_lock()
    status, out, _ = unchanged(READING[name])
    assert (status, "0001" in out) == (0, True)


def test_a_command_that_writes_upgrades_an_old_file(run, file_database, var):
    upgrade_to(file_database, "0001")
    assert run("volume", "create", "9", "--project", "demo", "--var", str(var))[0] == 0
    assert schema.current(file_database) == schema.HEAD


def test_a_file_that_is_read_keeps_its_journal_mode(unchanged, file_database, without_lock, var):
    schema.upgrade(file_database)
    without_lock()
    with closing(sqlite3.connect(var / "registry.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    assert unchanged(READING["volume list"])[0] == 0


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("command", [READING["check"], READING["reconcile --dry-run"]], ids=" ".join)
def test_a_command_that_reads_leaves_no_metrics(paste, var, tmp_path, command):
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    paste.write_text(PASTE.replace("dialect =", "metrics = true\ndialect ="))
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics), "PYTHONPATH": str(ROOT)}
    module = [sys.executable, "-m", "os_volume_ext.cli.main"]
    subprocess.run([*module, *command, "--paste", paste, "--var", var], env=environment, check=True, timeout=60)
    assert list(metrics.iterdir()) == []
