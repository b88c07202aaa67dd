"""A backup is made and restored, and what has changed since is repaired, by the commands of docs/operate.rst."""

import configparser
import datetime
import io
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import update
from sqlalchemy.engine import URL, make_url

from os_volume_ext.backends.base import Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.models import DETACHING
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments
from tests.support.databases import age_rows, direct_connection
from tests.support.paths import DOCS, ROOT
from tests.support.services import require_service
from tests.support.waiting import TIMEOUT

CAPTIONS = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}  # of the page, by the URL's backend
DIRECTORIES = {"/etc/compute": "etc", "/var/lib/compute": "lib", "/var/backups/compute": "backups"}
CALLER = {"X-Auth-Token": "demo-token", "OpenStack-API-Version": "compute 2.79"}

_SECTION = r"^{}\n=+\n(.*?)(?=^[^\n]+\n=+\n|\Z)"
_BLOCK = re.compile(r"^( *)\.\. code-block:: sh\n((?:\1    :.*\n)*)\n((?:(?:\1    .*)?\n)+)", re.MULTILINE)


def block(section: str, containing: str, caption: str = "") -> str:
    """Return the only block of a section of the page with this caption and this text."""
    [text] = re.findall(_SECTION.format(section), (DOCS / "operate.rst").read_text(), re.MULTILINE | re.DOTALL)
    blocks = [textwrap.dedent(body) for _, options, body in _BLOCK.findall(text) if not caption or caption in options]
    [found] = [each for each in blocks if containing in each]
    return found


def volume(number: int) -> str:
    """Return the id of a volume."""
    return f"00000000-0000-4000-8000-{number:012}"


def localize(text: str, directory: Path, url: URL) -> str:
    """Put the test's directories and database in the place of the page's."""
    for page, name in DIRECTORIES.items():
        text = text.replace(page, str(directory / name))
    server = f"{url.username}@{url.host}:{url.port}"
    text = text.replace("volumes@db/volumes", f"{server}/{url.database}").replace("postgres@db/", f"{server}/")
    text = text.replace("--owner=volumes", f"--owner={url.username}")
    return re.sub(r"(?<= )volumes(?= [<>]|;|'|$)", str(url.database), text, flags=re.MULTILINE)


def write_files(directory: Path, url: URL, port: int) -> None:
    """Write the page's /etc/compute, and the commands that its blocks use."""
    for name in (*DIRECTORIES.values(), "bin", "etc/policy.d"):
        (directory / name).mkdir()
    paste = configparser.RawConfigParser()
    paste.read(DOCS / "paste" / "api-paste.ini")
    paste["filter:volumes"] = {
        "use": "egg:os-volume-ext",
        "dialect": "openstack",
        "database.url": url.render_as_string(hide_password=False).replace("%", "%%"),
        "backend": "directory",
        "backend.root": paste["filter:volumes"]["backend.root"],
        "compute.url": f"http://127.0.0.1:{port}",
        "compute.token": "admin-token",
        "policy_file": "/etc/compute/policy.yaml",
    }
    paste["filter:authtoken"] = {"use": "egg:os-volume-ext#demo_tokens"}
    text = io.StringIO()
    paste.write(text)
    (directory / "etc" / "api-paste.ini").write_text(localize(text.getvalue(), directory, url))
    (directory / "etc" / "policy.yaml").touch()
    cnf = (DOCS / "operate" / "backup.cnf").read_text()
    cnf = cnf.replace("= db", f"= {url.host}\nport = {url.port}").replace("= volumes", f"= {url.username}")
    (directory / "etc" / "backup.cnf").write_text(cnf.replace("password = secret\n", ""))
    imports = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom os_volume_ext.cli.main import main"
    command = f"#!{sys.executable}\n{imports}\nsys.exit(main())\n"
    # The test starts and stops the API instead of systemd.
    for name, script in {"os-volume-ext": command, "systemctl": "#!/bin/sh\n"}.items():
        path = directory / "bin" / name
        path.write_text(script)
        path.chmod(0o755)


class Cloud:
    """The page's compute API, with a database of the test's, and the commands of the page."""

    def __init__(self, directory: Path, url: str, port: int, start: Callable[..., subprocess.Popen[bytes]]) -> None:
        self.url = make_url(url)
        self._directory = directory
        self._port = port
        self._start = start
        self._servers: list[str] = []
        write_files(directory, self.url, port)

    # -- commands and requests ------------------------------------------------------------------------

    def run(self, commands: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run commands of the page."""
        script = localize(commands, self._directory, self.url)
        environment = os.environ | {
            "PATH": f"{self._directory}/bin:{os.environ['PATH']}",
            "OS_VOLUME_EXT_PASTE": f"{self._directory}/etc/api-paste.ini",
        }
        done = subprocess.run(
            ["bash", "-euc", script], env=environment, capture_output=True, text=True, timeout=TIMEOUT
        )
        assert done.returncode == status, f"{script}\n{done.stdout}\n{done.stderr}"
        return done

    def run_json(self, command: str, status: int = 0) -> Any:
        return json.loads(self.run(f"{command.strip()} -f json", status).stdout)

    def differences(self) -> set[tuple[str, str, str]]:
        """Return what the dry run of the page prints: server, volume and detail."""
        command = block("Restore", "os-volume-ext reconcile --all --dry-run")
        findings = self.run_json(command, status=1)
        return {(each["server_id"], each["volume_id"], each["detail"]) for each in findings}

    def serve(self) -> None:
        paste = self._directory / "etc" / "api-paste.ini"
        command = (self._directory / "bin" / "os-volume-ext", "serve", "--paste", paste, "--port", str(self._port))
        self._process = self._start(*command, "--var", self._directory / "lib", port=self._port)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def send(self, method: str, path: str, status: int, document: Any = None) -> Any:
        url = f"http://127.0.0.1:{self._port}/servers{path}"
        response = requests.request(method, url, json=document, headers=CALLER, timeout=TIMEOUT)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    def make_server(self, name: str) -> str:
        self._servers.append(self.send("POST", "", 202, {"server": {"name": name}})["server"]["id"])
        return self._servers[-1]

    def delete_server(self, server: str) -> None:
        self.send("DELETE", f"/{server}", 204)
        self._servers.remove(server)

    def attach(self, server: str, number: int, status: int = 200, **more: Any) -> None:
        document = {"volumeAttachment": {"volumeId": volume(number), **more}}
        self.send("POST", f"/{server}/os-volume_attachments", status, document)

    def detach(self, server: str, number: int) -> None:
        self.send("DELETE", f"/{server}/os-volume_attachments/{volume(number)}", 202)

    def create_volumes(self, *numbers: int) -> None:
        database = self._database()
        for number in numbers:
            SQLCatalog({}, database).create(Volume(volume(number), "demo"))
        database.dispose()

    def leave_pending(self, number: int) -> None:
        """Make a row what a worker leaves that died during a detach, long ago."""
        with direct_connection(self._database()) as connection:
            here = attachments.c.volume_id == volume(number)
            connection.execute(update(attachments).where(here).values(state=DETACHING))
            age_rows(connection, datetime.timedelta(days=1))

    def _database(self) -> Database:
        return Database({"url": self.url.render_as_string(hide_password=False)})

    # -- what is attached -----------------------------------------------------------------------------

    def listed(self) -> dict[str, dict[str, str]]:
        """Return the device of each volume of each server, as the API shows them."""
        found = {server: self.send("GET", f"/{server}/os-volume_attachments", 200) for server in self._servers}
        return {
            server: {each["volumeId"]: each["device"] for each in document["volumeAttachments"]}
            for server, document in found.items()
        }

    def disks(self) -> dict[str, dict[str, str]]:
        """Return the same as the backend has it: links that have the names of devices."""
        links = self._directory / "lib" / "volumes" / "servers"
        return {
            server: {link.readlink().name: f"/dev/{link.name}" for link in (links / server).iterdir()}
            for server in self._servers
        }


@pytest.fixture
def cloud(
    database_kind: Any, tmp_path: Path, free_port: int, start_server: Callable[..., subprocess.Popen[bytes]]
) -> Iterator[Cloud]:
    """Give a cloud that serves, with an empty database."""
    require_service(shutil.which("sqlite3"), "no sqlite3 to test with")
    with database_kind.new(tmp_path / "lib" / "volumes.db") as url:
        cloud = Cloud(tmp_path, url, free_port, start_server)
        cloud.run("os-volume-ext db upgrade")
        cloud.serve()
        yield cloud
        cloud.stop()


def back_up(cloud: Cloud) -> None:
    caption = CAPTIONS[cloud.url.get_backend_name()]
    cloud.run(block("Back up", "umask", caption))


def restore(cloud: Cloud) -> None:
    """Do the first three steps of the page."""
    caption = CAPTIONS[cloud.url.get_backend_name()]
    cloud.run(block("Restore", "systemctl stop"))
    cloud.stop()
    cloud.run(block("Restore", "os-volume-ext db upgrade", caption))
    cloud.run(f"cp {DOCS}/operate/maintenance.yaml /etc/compute/policy.d/maintenance.yaml")
    cloud.serve()


def test_after_a_restore_the_steps_of_the_page_make_all_consistent(cloud: Cloud) -> None:
    one, two, three = map(cloud.make_server, ("one", "two", "three"))
    stays, detached, moved, attached, created, deleted, elsewhere, pending = range(8)
    with_server, detached_before, deleted_with_it = range(8, 11)
    cloud.create_volumes(*{*range(11)} - {created})
    for number in (stays, detached, moved, pending):
        cloud.attach(one, number)
    cloud.attach(one, elsewhere, device="/dev/vdx")
    cloud.attach(three, with_server)
    cloud.attach(three, detached_before, delete_on_termination=True)
    cloud.attach(three, deleted_with_it, delete_on_termination=True)
    cloud.leave_pending(pending)
    back_up(cloud)

    cloud.run("os-volume-ext reconcile")  # completes the detach
    cloud.attach(one, pending)
    for number in (detached, moved, elsewhere):
        cloud.detach(one, number)
    cloud.attach(two, moved)
    cloud.attach(one, elsewhere, device="/dev/vdy")
    cloud.attach(two, attached)
    cloud.create_volumes(created)
    cloud.attach(one, created)
    cloud.run(f"os-volume-ext volume delete {volume(deleted)}")
    cloud.detach(three, detached_before)
    cloud.delete_server(three)
    disks = cloud.disks()

    restore(cloud)
    cloud.attach(two, detached, status=403)
    repaired_by_reconcile = {
        (three, volume(with_server), "the server is deleted"),
        (three, volume(deleted_with_it), "the server is deleted; the volume is to be deleted"),
        (one, volume(elsewhere), "the disk is at /dev/vdy, the row had /dev/vdx"),
        (one, volume(pending), "an operation did not complete"),
    }
    assert cloud.differences() == repaired_by_reconcile | {
        (one, volume(detached), "the disk is missing"),
        (one, volume(moved), "the disk is missing"),
        (two, volume(moved), f"unmanaged disk at {disks[two][volume(moved)]}: see attachment adopt"),
        (two, volume(attached), f"unmanaged disk at {disks[two][volume(attached)]}: see attachment adopt"),
        (one, volume(created), f"unmanaged disk at {disks[one][volume(created)]}: see attachment adopt"),
        (three, volume(detached_before), "the server is deleted; the volume is to be deleted"),
    }

    for server, number in ((one, detached), (one, moved), (three, detached_before)):
        cloud.run(f"os-volume-ext attachment remove {server} {volume(number)}")
    cloud.run(f"os-volume-ext volume create {volume(created)} --project demo")
    cloud.run(f"os-volume-ext volume delete {volume(deleted)}")
    for server, number in ((two, moved), (two, attached), (one, created)):
        cloud.run(f"os-volume-ext attachment adopt {server} {volume(number)}")
    assert cloud.differences() == repaired_by_reconcile

    done = cloud.run(block("Restore", "os-volume-ext reconcile --all\n"))
    assert done.stderr.splitlines()[-1].endswith("4 repaired, 0 unresolved")
    del disks[one][volume(pending)]
    assert cloud.listed() == cloud.disks() == disks
    volumes = {each["id"] for each in cloud.run_json("os-volume-ext volume list")}
    assert volumes == {volume(number) for number in range(11) if number not in (deleted, deleted_with_it)}

    cloud.run(block("Restore", "rm /etc/compute/policy.d/maintenance.yaml"))
    cloud.attach(two, detached)
    cloud.attach(one, pending)
    assert cloud.listed() == cloud.disks()


@pytest.mark.only_on("sqlite")
def test_without_these_steps_reconcile_would_attach_a_moved_volume_twice(cloud: Cloud) -> None:
    one, two = map(cloud.make_server, ("one", "two"))
    cloud.create_volumes(0)
    cloud.attach(one, 0)
    back_up(cloud)
    cloud.detach(one, 0)
    cloud.attach(two, 0)
    restore(cloud)
    cloud.run(block("Restore", "os-volume-ext reconcile --all\n"), status=1)
    assert [list(disks) for disks in cloud.disks().values()] == [[volume(0)], [volume(0)]]


@pytest.mark.only_on("sqlite")
def test_the_copy_of_a_file_is_for_its_user_only(cloud: Cloud, tmp_path: Path) -> None:
    back_up(cloud)
    back_up(cloud)  # replaces the former one
    [copy] = (tmp_path / "backups").iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600
