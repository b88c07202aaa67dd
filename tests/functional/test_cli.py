"""The command, over paste files of its own: what it does, prints and exits with."""

import csv
import datetime
import io
import json
import logging
import os
import pty
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import update
from sqlalchemy.engine import make_url
from stevedore import ExtensionManager

from os_volume_ext.backends.base import Server, Volume
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.errors import VolumeAttached, VolumeExists
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, Attachment
from os_volume_ext.registry import schema
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database
from os_volume_ext.registry.tables import attachments as table
from tests.support.databases import direct_connection
from tests.support.paths import ROOT
from tests.support.waiting import TIMEOUT

PASTE = """\
[DEFAULT]
hosts_own = anything

[pipeline:main]
pipeline = volumes compute

[filter:volumes]
use = egg:os-volume-ext
dialect = cyclades
database.url = {url}
backend = directory
backend.root = %(here)s/backend

[filter:somebody_elses]
use = egg:os-volume-ext#demo_tokens

[filter:of_a_package_that_is_not_here]
use = egg:no-such-package#main

[app:compute]
use = egg:no-such-package#compute
"""
SAMPLE = """
[filter:volumes]
use = egg:os-volume-ext
dialect = cyclades
database.url = sqlite:///%(var)s/%(port)s.db
backend = directory
backend.root = %(var)s/backend
"""
SECOND = """
[filter:nova]
use = egg:os-volume-ext
dialect = openstack
database.url = sqlite:///%(here)s/nova.db
backend = directory
backend.root = %(here)s/nova
"""
FAILING_PLUGIN = """
from os_volume_ext.backends.directory import DirectoryBackend

class FailingBackend(DirectoryBackend):
    def __init__(self, options):
        options["colour"]
"""

UUID = "a26887c6-c47b-4654-abb5-dfadf7d3f803"


@pytest.fixture
def paste(tmp_path, url):
    path = tmp_path / "api-paste.ini"
    path.write_text(PASTE.replace("{url}", url.replace("%", "%%")))
    return path


@pytest.fixture
def two_sections(paste):
    paste.write_text(paste.read_text() + SECOND)
    return paste


@pytest.fixture
def option(paste):
    """Give ``option(line)``: add a line to our section."""

    def add(line):
        paste.write_text(paste.read_text().replace("dialect = cyclades", f"dialect = cyclades\n{line}"))

    return add


@pytest.fixture
def ok(run):
    """Give ``ok(*arguments)``: what a command printed that succeeded and had nothing to complain of."""

    def call(*arguments, **more):
        status, out, err = run(*arguments, **more)
        assert (status, err) == (0, "")
        return out

    return call


@pytest.fixture
def registry(database):
    return Registry(database)


@pytest.fixture
def backend(tmp_path):
    """Give the backend, with the servers 1134 and 1135."""
    backend = DirectoryBackend({"root": str(tmp_path / "backend")})
    backend.prepare()
    for server_id in ("1134", "1135"):
        (tmp_path / "backend" / "servers" / server_id).mkdir()
    return backend


@pytest.fixture
def put(database, registry, backend):
    """Give ``put(state, ...)``: add a row such as a worker leaves, and its volume where the catalog has none."""
    catalog = SQLCatalog({}, database)

    def add(state, volume_id="9", server_id="1134", disk=False, stale=False, device=None, **more):
        values = {
            "project_id": "demo",
            "exclusive": True,
            "root": False,
            "request_id": "req-of-the-dead",
            "host": None,
            "instance_name": None,
            "source": None,
            "format": None,
        } | more
        if disk:
            device = backend.attach(server(server_id), Volume(volume_id, "demo"), device)
        row = Attachment(volume_id=volume_id, server_id=server_id, state=state, device=device, **values)
        with suppress(VolumeExists, VolumeAttached):
            catalog.create(Volume(volume_id, values["project_id"]))
        registry.reserve(row)
        if stale:
            long_ago = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
            with database.transaction() as connection:
                connection.change(update(table).where(table.c.volume_id == volume_id).values(updated_at=long_ago))
        return row

    return add


def server(server_id):
    return Server(server_id, "demo", "ACTIVE")


@pytest.fixture
def compute(option):
    """Give the servers that the compute API at ``compute.url`` shows to who has the right token."""
    known = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            last = self.path.partition("?")[0].rpartition("/")[2]
            if self.headers["X-Auth-Token"] != "the operator's":
                self.response(401, {})
            elif last == "detail":
                self.response(200, {"servers": list(known.values())})
            elif last in known:
                self.response(200, {"server": known[last]})
            else:
                self.response(404, {"itemNotFound": {"code": 404, "message": "no such server"}})

        def response(self, status, document):
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    def add(server_id, project_id="demo", status="ACTIVE"):
        known[server_id] = {"id": server_id, "tenant_id": project_id, "status": status}

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    option(f"compute.url = http://127.0.0.1:{service.server_port}/v2.0\ncompute.token = the operator's")
    yield add
    service.shutdown()
    thread.join(10)
    service.server_close()


# -- volume ----------------------------------------------------------------------------------------


def test_a_volume_is_created_shown_listed_and_deleted(ok):
    created = ok("volume", "create", "9", "--project", "demo", "--source", "/a/file", "--format", "raw", "-f", "json")
    expected = {"id": "9", "project_id": "demo", "source": "/a/file", "format": "raw", "multiattach": False}
    assert json.loads(created) == expected
    assert json.loads(ok("volume", "show", "9", "-f", "json")) == expected | {"servers": ""}
    assert json.loads(ok("volume", "list", "-f", "json")) == [expected]
    assert ok("volume", "delete", "9") == ""
    assert json.loads(ok("volume", "list", "-f", "json")) == []


def test_a_multiattach_volume_is_shown_as_such(ok):
    ok("volume", "create", "9", "--project", "demo", "--multiattach")
    assert json.loads(ok("volume", "show", "9", "-f", "json"))["multiattach"] is True


def test_volumes_of_a_project_are_listed(ok):
    ok("volume", "create", "9", "--project", "demo")
    ok("volume", "create", "10", "--project", "other")
    assert ok("volume", "list", "--project", "other", "-f", "value", "-c", "id") == "10\n"


def test_lists_are_tables_by_default(ok):
    ok("volume", "create", "9", "--project", "demo")
    lines = ok("volume", "list").splitlines()
    assert [word.strip() for word in lines[1].strip("|").split("|")] == [
        "id",
        "project_id",
        "source",
        "format",
        "multiattach",
    ]
    assert [word.strip() for word in lines[3].strip("|").split("|")] == ["9", "demo", "None", "None", "False"]


def test_lists_are_to_be_had_as_csv_and_yaml(ok):
    ok("volume", "create", "9", "--project", "demo")
    (row,) = csv.DictReader(io.StringIO(ok("volume", "list", "-f", "csv")))
    assert (row["id"], row["project_id"]) == ("9", "demo")
    lines = {line.lstrip("- ") for line in ok("volume", "list", "-f", "yaml").splitlines()}
    assert lines == {"id: '9'", "project_id: demo", "source: null", "format: null", "multiattach: false"}


def test_an_id_is_made_canonical(ok):
    assert json.loads(ok("volume", "create", "009", "--project", "demo", "-f", "json"))["id"] == "9"
    assert json.loads(ok("volume", "show", "0009", "-f", "json"))["id"] == "9"


@pytest.mark.parametrize("volume_id", ["x", "9.5", UUID, "1" * 19, "", "٩"])
def test_a_malformed_id_is_reported(error_message, volume_id):
    sentence = error_message("volume", "create", volume_id, "--project", "demo")
    assert f"{volume_id!r} is not the id of a volume: it must be an integer of up to 18 digits" in sentence


def test_a_volume_is_created_once(ok, error_message):
    ok("volume", "create", "9", "--project", "demo")
    assert "Volume 9 exists already" in error_message("volume", "create", "09", "--project", "other")


@pytest.mark.parametrize("command", ["show", "delete"])
def test_a_volume_that_is_not_there_is_reported(error_message, command):
    assert "Volume 9 could not be found" in error_message("volume", command, "9")


def test_a_volume_needs_a_project(run):
    status, out, err = run("volume", "create", "9")
    assert (status, out) == (2, "")
    assert "--project" in err


@pytest.mark.parametrize("state", [ATTACHING, ATTACHED, DETACHING])
def test_a_volume_that_is_attached_is_not_deleted(ok, error_message, put, state):
    ok("volume", "create", "9", "--project", "demo")
    put(state)
    assert "Volume 9 is attached. Detach it first" in error_message("volume", "delete", "9")
    assert json.loads(ok("volume", "show", "9", "-f", "json"))["servers"] == "1134"


# -- db --------------------------------------------------------------------------------------------


@pytest.fixture
def new_database(paste, url, new_url):
    paste.write_text(paste.read_text().replace(make_url(url).database, make_url(new_url).database))
    return new_url


def test_the_revision_before_and_after_an_upgrade_is_shown(ok, new_database):
    before = json.loads(ok("db", "current", "-f", "json"))
    assert (before["current"], before["needed"]) == (None, schema.HEAD)
    assert before["database"] == new_database
    assert ok("db", "upgrade") == f"{new_database} is at revision {schema.HEAD}\n"
    assert json.loads(ok("db", "current", "-f", "json"))["current"] == schema.HEAD


def test_upgrading_twice_is_fine(ok):
    assert ok("db", "upgrade") == ok("db", "upgrade")


def test_a_database_of_a_later_version_is_reported(ok, error_message, new_database):
    ok("db", "upgrade")
    with direct_connection(Database({"url": new_database})) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for command in (["db", "upgrade"], ["volume", "list"], ["reconcile"]):
        assert "is at revision 9999, which this version of os-volume-ext does not know" in error_message(*command)


# -- attachment ------------------------------------------------------------------------------------


def test_attachments_in_whatever_state_are_listed(ok, put):
    put(ATTACHING, "9")
    put(ATTACHED, "10", device="/dev/vdb")
    put(DETACHING, "11", "1135")
    rows = json.loads(ok("attachment", "list", "-f", "json"))
    shown = json.loads(ok("attachment", "list", "--state", "detaching", "-f", "json"))
    assert [row["volume_id"] for row in shown] == ["11"]
    assert [(row["server_id"], row["volume_id"], row["state"], row["device"]) for row in rows] == [
        ("1134", "9", "attaching", None),
        ("1134", "10", "attached", "/dev/vdb"),
        ("1135", "11", "detaching", None),
    ]
    datetime.datetime.fromisoformat(rows[0]["created_at"])


@pytest.mark.parametrize(
    ("choice", "found"),
    [(["--server", "1135"], ["10"]), (["--volume", "9"], ["9"]), (["--project", "other"], ["11"]), ([], 3)],
)
def test_attachments_are_chosen_by_server_volume_and_project(ok, put, choice, found):
    put(ATTACHED, "9")
    put(ATTACHED, "10", "1135")
    put(ATTACHED, "11", project_id="other")
    listed = ok("attachment", "list", *choice, "-f", "value", "-c", "volume_id").split()
    assert listed == found or len(listed) == found


def test_attachments_are_chosen_by_ids_in_any_spelling(ok, put):
    put(ATTACHED)
    assert ok("attachment", "list", "--server", "01134", "-f", "value", "-c", "volume_id").split() == ["9"]
    assert ok("attachment", "list", "--volume", "009", "-f", "value", "-c", "volume_id").split() == ["9"]


def test_attachments_are_not_selected_by_malformed_ids(error_message):
    assert "'x' is not the id of a server" in error_message("attachment", "list", "--server", "x")
    assert "'x' is not the id of a volume" in error_message("attachment", "list", "--volume", "x")


def test_an_attachment_is_shown_with_all_its_fields(ok, put):
    put(ATTACHED, host="node-1", source="/a/file", device="/dev/vdb")
    shown = json.loads(ok("attachment", "show", "01134", "009", "-f", "json"))
    assert (shown["server_id"], shown["volume_id"], shown["device"]) == ("1134", "9", "/dev/vdb")
    assert (shown["host"], shown["source"], shown["request_id"]) == ("node-1", "/a/file", "req-of-the-dead")
    assert shown["root"] is False


def test_an_attachment_that_is_not_there_is_reported(error_message, database):
    assert "Volume 9 is not attached to server 1134" in error_message("attachment", "show", "1134", "9")


@pytest.mark.parametrize(("arguments", "what"), [(("x", "9"), "server"), (("1134", "x"), "volume")])
@pytest.mark.parametrize("command", ["show", "adopt", "remove"])
def test_malformed_ids_of_attachments_are_reported(error_message, command, arguments, what):
    assert f"'x' is not the id of a {what}" in error_message("attachment", command, *arguments)


# -- attachment remove -------------------------------------------------------------------------------


def test_an_attachment_without_a_disk_is_removed(ok, put, registry):
    put(ATTACHED)
    assert ok("attachment", "remove", "01134", "009") == ""
    assert registry.count() == 0


def test_an_attachment_with_a_disk_is_not_removed(error_message, put, registry):
    put(ATTACHED, disk=True)
    assert "server 1134 has the disk 9; detach the volume instead" in error_message("attachment", "remove", "1134", "9")
    assert registry.get("1134", "9").state == ATTACHED


def test_an_attachment_that_does_not_exist_is_not_removed(error_message, backend):
    assert "Volume 9 is not attached to server 1134" in error_message("attachment", "remove", "1134", "9")


# -- attachment adopt --------------------------------------------------------------------------------


def test_a_disk_that_is_there_is_adopted(ok, backend, registry):
    backend.attach(server("1134"), Volume("9", "demo"), "/dev/vdc")
    adopted = json.loads(ok("attachment", "adopt", "1134", "9", "--project", "demo", "-f", "json"))
    assert (adopted["state"], adopted["device"], adopted["root"]) == ("attached", "/dev/vdc", False)
    assert adopted["project_id"] == "demo"
    assert registry.get("1134", "9").state == ATTACHED


def test_a_root_disk_is_adopted_as_one(ok, backend, registry):
    backend.attach(server("1134"), Volume("9", "demo"), "/dev/vda")
    ok("attachment", "adopt", "1134", "9", "--project", "demo", "--root")
    assert registry.get("1134", "9").root


def test_a_device_given_by_the_operator_is_kept(ok, backend, registry):
    backend.attach(server("1134"), Volume("9", "demo"), None)
    ok("attachment", "adopt", "1134", "9", "--project", "demo", "--device", "/dev/sda")
    assert registry.get("1134", "9").device == "/dev/sda"


def test_a_disk_that_is_not_there_is_not_adopted(error_message, backend, registry):
    sentence = error_message("attachment", "adopt", "1134", "9", "--project", "demo")
    assert sentence == "os-volume-ext: server 1134 has no disk 9\n"
    assert registry.count() == 0


def test_a_disk_of_a_server_that_is_not_there_is_not_adopted(error_message, backend, registry):
    assert "there is no server '1136'" in error_message("attachment", "adopt", "1136", "9", "--project", "demo")
    assert registry.count() == 0


def test_a_disk_with_a_row_is_not_adopted_again(ok, error_message, backend, registry):
    backend.attach(server("1134"), Volume("9", "demo"), None)
    ok("attachment", "adopt", "1134", "9", "--project", "demo")
    sentence = error_message("attachment", "adopt", "1134", "9", "--project", "demo")
    assert sentence == "os-volume-ext: volume 9 or the device /dev/vdb has a row already\n"
    assert registry.count() == 1


def test_a_disk_of_an_unknown_project_is_not_adopted(error_message, backend, registry):
    backend.attach(server("1134"), Volume("9", "demo"), None)
    expected = "os-volume-ext: neither the compute API nor the catalog knows its project; give --project\n"
    assert error_message("attachment", "adopt", "1134", "9") == expected
    assert registry.count() == 0


def test_the_catalog_tells_the_project_the_source_and_whether_it_is_multiattach(ok, backend, registry):
    ok("volume", "create", "9", "--project", "theirs", "--multiattach")
    for server_id in ("1134", "1135"):
        backend.attach(server(server_id), Volume("9", "demo"), None)
        ok("attachment", "adopt", server_id, "9")
    assert {row.project_id for row in registry.of_volume("9")} == {"theirs"}


def test_the_compute_api_tells_the_project(ok, backend, registry, compute):
    compute("1134", project_id="servers own")
    backend.attach(server("1134"), Volume("9", "demo"), None)
    ok("attachment", "adopt", "1134", "9")
    assert registry.get("1134", "9").project_id == "servers own"


def test_a_server_that_the_compute_api_does_not_have_is_not_adopted_from(error_message, backend, registry, compute):
    backend.attach(server("1134"), Volume("9", "demo"), None)
    assert "Server 1134 could not be found" in error_message("attachment", "adopt", "1134", "9", "--project", "demo")
    assert registry.count() == 0


# -- reconcile ---------------------------------------------------------------------------------------


def test_reconcile_with_nothing_to_do_exits_0(run, database):
    assert run("reconcile", "-f", "json") == (0, "[]\n", "0 consistent, 0 repaired, 0 unresolved\n")


def test_reconcile_repairs_stale_rows_and_prints_a_table(run, put, registry):
    put(ATTACHING, "9", disk=True, stale=True)
    put(DETACHING, "10", disk=True, stale=True)
    put(ATTACHING, "11", "1135")
    status, out, err = run("reconcile")
    assert (status, err) == (0, "1 consistent, 2 repaired, 0 unresolved\n")
    assert out.splitlines()[1].replace("|", " ").split() == ["server_id", "volume_id", "state", "outcome", "detail"]
    assert "the disk is there: marked attached" in out
    assert "detached, row removed" in out
    assert "11" not in [line.split("|")[2].strip() for line in out.splitlines() if line.startswith("|")]
    assert [(row.volume_id, row.state) for row in registry.walk()] == [("9", ATTACHED), ("11", ATTACHING)]


def test_reconciles_output_can_be_parsed_and_its_summary_is_apart(run, put):
    put(DETACHING, disk=True, stale=True)
    status, out, err = run("reconcile", "-f", "json")
    (finding,) = json.loads(out)
    assert finding == {
        "server_id": "1134",
        "volume_id": "9",
        "state": "detaching",
        "outcome": "repaired",
        "detail": "detached, row removed",
    }
    assert (status, err) == (0, "0 consistent, 1 repaired, 0 unresolved\n")


def test_reconcile_leaves_attached_rows_alone_without_all(run, put):
    put(ATTACHED)
    assert run("reconcile", "-f", "json")[:2] == (0, "[]\n")
    status, out, err = run("reconcile", "--all", "-f", "json")
    assert (status, err) == (1, "0 consistent, 0 repaired, 1 unresolved\n")
    assert json.loads(out)[0]["outcome"] == "unresolved"


def test_reconcile_of_all_omits_consistent_rows(run, put):
    put(ATTACHED, disk=True)
    assert run("reconcile", "--all", "-f", "json") == (0, "[]\n", "1 consistent, 0 repaired, 0 unresolved\n")


def test_reconcile_of_all_names_unmanaged_disks(run, put, backend, compute):
    for server_id in ("1134", "1135"):
        compute(server_id)
    put(ATTACHED, disk=True)
    backend.attach(server("1135"), Volume("4711", "demo"), None)
    status, out, err = run("reconcile", "--all", "-f", "json")
    assert (status, err) == (1, "1 consistent, 0 repaired, 1 unresolved\n")
    (finding,) = json.loads(out)
    assert (finding["server_id"], finding["volume_id"]) == ("1135", "4711")
    assert "attachment adopt" in finding["detail"]


def test_reconcile_of_all_attaches_again_and_removes_what_deleted_servers_left(run, put, registry, backend, compute):
    compute("1134")
    put(ATTACHED, "9")
    put(ATTACHED, "10", "1136")
    assert run("reconcile", "--all")[0] == 0
    assert backend.attached(server("1134")) == {"9": "/dev/vdb"}
    assert [(row.volume_id, row.state) for row in registry.walk()] == [("9", ATTACHED)]
    assert run("reconcile", "--all", "-f", "json") == (0, "[]\n", "1 consistent, 0 repaired, 0 unresolved\n")


def test_a_dry_run_of_reconcile_shows_what_it_would_do_and_does_nothing(run, put, registry, backend, compute):
    compute("1134")
    put(ATTACHING, "8", disk=True, stale=True)
    put(ATTACHED, "9")
    put(ATTACHED, "10", "1136")
    put(ATTACHED, "11", device="/dev/vdz")
    backend.attach(server("1134"), Volume("11", "demo"), None)
    before = list(registry.walk())
    status, out, err = run("reconcile", "--all", "--dry-run", "-f", "json")
    assert (status, err) == (1, "0 consistent, 4 needs repair, 0 unresolved\n")
    assert {finding["volume_id"]: finding["detail"] for finding in json.loads(out)} == {
        "8": "an operation did not complete",
        "9": "the disk is missing",
        "10": "the server is deleted",
        "11": "the disk is at /dev/vdc, the row had /dev/vdz",
    }
    assert [(row.volume_id, row.state, row.device, row.request_id) for row in registry.walk()] == [
        (row.volume_id, row.state, row.device, row.request_id) for row in before
    ]
    assert backend.attached(server("1134")) == {"8": "/dev/vdb", "11": "/dev/vdc"}


def test_a_dry_run_of_what_agrees_exits_0(run, put):
    put(ATTACHED, disk=True)
    assert run("reconcile", "--all", "--dry-run", "-f", "json") == (
        0,
        "[]\n",
        "1 consistent, 0 needs repair, 0 unresolved\n",
    )


def test_reconcile_of_one_server_leaves_the_others_alone(run, put, registry, backend, compute):
    for server_id in ("1134", "1135"):
        compute(server_id)
        backend.attach(server(server_id), Volume(f"{server_id}9", "demo"), None)
    put(ATTACHING, "8", stale=True)
    put(ATTACHED, "9")
    put(ATTACHING, "18", "1135", stale=True)
    put(ATTACHED, "19", "1135")
    status, out, err = run("reconcile", "--all", "--server", "1135", "-f", "json")
    assert (status, err) == (1, "0 consistent, 2 repaired, 1 unresolved\n")
    assert {(finding["server_id"], finding["volume_id"]) for finding in json.loads(out)} == {
        ("1135", "18"),
        ("1135", "19"),
        ("1135", "11359"),
    }
    assert [(row.volume_id, row.state) for row in registry.walk()] == [
        ("8", ATTACHING),
        ("9", ATTACHED),
        ("19", ATTACHED),
    ]


def test_reconcile_of_one_server_without_all_looks_at_its_unfinished_rows(run, put, registry):
    put(ATTACHED, "9")
    put(DETACHING, "8", stale=True)
    put(DETACHING, "18", "1135", stale=True)
    assert run("reconcile", "--server", "1134")[::2] == (0, "0 consistent, 1 repaired, 0 unresolved\n")
    assert [row.volume_id for row in registry.walk()] == ["9", "18"]


def command_of_process(paste, *arguments):
    return [sys.executable, "-m", "os_volume_ext.cli.main", *arguments, "--paste", paste]


@pytest.mark.only_on("sqlite")
def test_reconcile_ends_with_its_summary(paste, put):
    put(DETACHING, disk=True, stale=True)
    command = command_of_process(paste, "reconcile")
    made = subprocess.run(  # with one pipe for both, as on a terminal
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=True
    )
    lines = made.stdout.splitlines()
    assert lines[0].startswith("+--")
    assert lines[-1] == "0 consistent, 1 repaired, 0 unresolved"


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_and_colours_are_for_terminals_only(paste, put, is_terminal):
    put(DETACHING, disk=True, stale=True)
    reader, writer = pty.openpty() if is_terminal else os.pipe()
    environment = {**os.environ, "TERM": "xterm-256color"}
    with os.fdopen(reader, "rb", buffering=0) as errors:
        made = subprocess.run(
            command_of_process(paste, "reconcile", "-f", "json"),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=writer,
            timeout=TIMEOUT,
            check=True,
        )
        err = errors.read(65536)
        os.close(writer)
    assert len(json.loads(made.stdout)) == 1
    assert (b"Reconciling" in err, b"\x1b[" in err) == (is_terminal, is_terminal)
    assert b"0 consistent, 1 repaired, 0 unresolved" in err


def test_a_server_to_reconcile_that_is_none_is_reported(error_message):
    assert "is not the id of a server" in error_message("reconcile", "--server", "x")


def test_reconcile_without_the_right_token_is_undecided(run, put, compute, paste):
    paste.write_text(paste.read_text().replace("the operator's", "somebody's"))
    put(DETACHING, stale=True)
    status, out, _ = run("reconcile", "-f", "json")
    assert status == 1
    assert "responded with 401" in json.loads(out)[0]["detail"]


# -- which paste file, which section -------------------------------------------------------------------


def test_the_paste_file_may_be_in_the_environment(ok, paste, monkeypatch):
    monkeypatch.setenv("OS_VOLUME_EXT_PASTE", str(paste))
    assert ok("volume", "list", "-f", "json", paste=None) == "[]\n"


def test_the_variables_of_the_paste_file_may_be_in_the_environment(ok, paste, tmp_path, monkeypatch):
    paste.write_text(SAMPLE)
    monkeypatch.setenv("OS_VOLUME_EXT_VAR", str(tmp_path))
    monkeypatch.setenv("OS_VOLUME_EXT_PORT", "18774")
    ok("volume", "create", "7", "--project", "demo")
    assert (tmp_path / "18774.db").exists()
    assert ok("volume", "list", "-f", "value", "-c", "id").split() == ["7"]


def test_arguments_override_the_variables_of_the_environment(ok, paste, tmp_path, monkeypatch):
    paste.write_text(SAMPLE)
    monkeypatch.setenv("OS_VOLUME_EXT_VAR", "/no/such/directory")
    monkeypatch.setenv("OS_VOLUME_EXT_PORT", "18774")
    ok("volume", "create", "7", "--project", "demo", "--var", str(tmp_path), "--set", "port=18775")
    assert (tmp_path / "18775.db").exists()


@pytest.mark.parametrize("port", ["", "0", "65536", "http", "-1", "٨", "9" * 5000])
@pytest.mark.parametrize("command", [("volume", "list"), ("serve",)], ids=" ".join)
def test_a_port_in_the_environment_that_does_not_exist_is_reported(error_message, monkeypatch, command, port):
    monkeypatch.setenv("OS_VOLUME_EXT_PORT", port)
    expected = f"os-volume-ext: OS_VOLUME_EXT_PORT is {port[:50]!r}: it must be an integer, 1 to 65535\n"
    assert error_message(*command) == expected


def test_the_paste_file_may_be_a_relative_path(ok, paste, monkeypatch):
    monkeypatch.chdir(paste.parent)
    assert ok("volume", "list", "-f", "json", paste=paste.name) == "[]\n"


def test_without_a_paste_file_the_error_names_the_option(error_message):
    sentence = error_message("volume", "list", paste=None)
    assert "--paste FILE" in sentence
    assert "OS_VOLUME_EXT_PASTE" in sentence


def test_a_paste_file_that_is_not_there_is_reported(error_message, tmp_path):
    assert f"--paste: {tmp_path}/missing.ini can't be read" in error_message(
        "volume", "list", paste=tmp_path / "missing.ini"
    )


def test_a_directory_is_no_paste_file(error_message, tmp_path):
    assert "can't be read" in error_message("volume", "list", paste=tmp_path)


def test_a_file_that_is_no_paste_file_is_reported(error_message, paste):
    paste.write_text("anything but that\n")
    assert f"--paste: {paste} is not a paste file" in error_message("volume", "list")


def test_a_paste_file_without_a_section_of_ours_is_reported(error_message, paste):
    paste.write_text("[filter:other]\nuse = egg:os-volume-ext#demo_tokens\n")
    assert error_message("volume", "list") == (
        f"os-volume-ext: --paste: {paste} has no os-volume-ext filter: add a section with use = egg:os-volume-ext, "
        "or name another file\n"
    )


def test_a_filter_of_another_package_is_not_imported(ok, paste, tmp_path, monkeypatch):
    (tmp_path / "somebody_elses.py").write_text("def factory(global_conf): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    paste.write_text(paste.read_text() + "[filter:theirs]\npaste.filter_factory = somebody_elses:factory\n")
    ok("volume", "list")
    assert "somebody_elses" not in sys.modules


def test_of_several_sections_one_must_be_chosen_and_the_sentence_names_them(error_message, two_sections):
    assert "several filters found; choose one with --filter: volumes, nova" in error_message("volume", "list")


def test_a_section_of_another_filter_is_reported_with_ours(error_message, two_sections):
    sentence = error_message("volume", "list", "--filter", "somebody_elses")
    assert "somebody_elses is not an os-volume-ext filter; choose one of: volumes, nova" in sentence


def test_each_section_has_a_database_and_a_dialect_of_its_own(ok, error_message, two_sections):
    ok("volume", "create", "9", "--project", "demo", "--filter", "volumes")
    ok("volume", "create", UUID.upper(), "--project", "demo", "--filter", "nova")
    assert ok("volume", "list", "--filter", "volumes", "-f", "value", "-c", "id") == "9\n"
    assert ok("volume", "list", "--filter", "nova", "-f", "value", "-c", "id") == f"{UUID}\n"
    assert "must be a UUID" in error_message("volume", "create", "9", "--project", "demo", "--filter", "nova")


@pytest.mark.only_on("sqlite")
def test_var_is_what_the_paste_file_may_refer_to(ok, paste, url, tmp_path):
    paste.write_text(paste.read_text().replace(url, "sqlite:///%(var)s/registry.db"))
    ok("volume", "create", "9", "--project", "demo", "--var", str(tmp_path / "state"))
    assert (tmp_path / "state" / "registry.db").exists()


# -- options that are wrong ------------------------------------------------------------------------------


def test_a_misspelled_option_is_reported_with_the_similar_one(error_message, option):
    option("max_atachments = 3")
    assert "max_atachments is not an option of os-volume-ext: did you mean max_attachments?" in error_message(
        "volume", "list"
    )


def test_an_option_of_the_backend_that_is_wrong_is_reported_by_its_name(error_message, option):
    option("backend.rot = x")
    assert "backend.rot is unknown" in error_message("reconcile")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("catalog = cindr", "catalog is 'cindr': installed are"),
        ("operation_timeout = soon", "operation_timeout is 'soon': it must be an integer, 1 or more"),
        ("stale_after = 60", "stale_after is 60: it must be more than twice operation_timeout"),
        ("compute.url = http://x", "compute.url needs either compute.token or compute.auth_type"),
        ("catalog.url = http://x", "catalog.url is not an option"),
        ("database.pool_size = many", "database.*: "),
    ],
)
def test_an_option_that_is_wrong_is_reported_by_its_name(error_message, option, paste, line, sentence):
    option(line)
    assert error_message("volume", "list").startswith(f"os-volume-ext: {paste}: [filter:volumes]: {sentence}")


@pytest.mark.parametrize(
    "command", [("volume", "list"), ("attachment", "list"), ("reconcile",), ("db", "upgrade"), ("db", "current")]
)
def test_an_option_that_is_missing_is_reported_with_its_section(error_message, paste, command):
    paste.write_text(paste.read_text().replace("backend = directory", ""))
    assert error_message(*command).startswith(f"os-volume-ext: {paste}: [filter:volumes]: backend is missing: ")


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("command", [("reconcile",), ("serve",), ("check",)])
def test_a_plugin_that_fails_is_reported_with_the_way_to_its_traceback(run, paste, tmp_path, monkeypatch, command):
    (tmp_path / "failing_plugin.py").write_text(FAILING_PLUGIN)
    information = tmp_path / "failing-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: failing\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[os_volume_ext.backends]\nfailing = failing_plugin:FailingBackend\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sections = paste.read_text().replace("backend = directory", "backend = failing")
    paste.write_text(sections.replace("egg:no-such-package#compute", "egg:os-volume-ext#demo_versions"))
    status, out, err = run(*command)
    assert status == 1
    assert "KeyError: 'colour': run os-volume-ext" in out + err
    assert "Traceback" not in err
    assert command == ("check",) or f"{paste}: [filter:volumes] can't be loaded: KeyError" in err


@pytest.mark.only_on("sqlite")
def test_a_database_that_is_none_is_reported(error_message, paste, tmp_path):
    (tmp_path / "registry.db").write_text("a text that is long enough not to be taken for an empty one" * 100)
    for command in (["volume", "list"], ["db", "current"], ["db", "upgrade"], ["attachment", "list"]):
        assert "database.url: " in error_message(*command)


# -- the command itself ------------------------------------------------------------------------------------


def test_without_arguments_it_prints_help(ok):
    out = ok(paste=None)
    for command in ("volume create", "attachment adopt", "reconcile", "check", "db upgrade", "serve"):
        assert command in out


def test_a_command_that_is_not_there_exits_2(run):
    status, out, err = run("volume", "destroy", "9")
    assert status == 2
    assert "volume destroy" in out + err


def test_an_option_that_is_not_there_exits_2(run):
    status, out, err = run("volume", "list", "--colour")
    assert (status, out) == (2, "")
    assert "--colour" in err


@pytest.mark.parametrize("arguments", [(), ("-v",)])
def test_without_a_command_it_lists_the_commands(run, arguments):
    status, out, err = run(*arguments, paste=None)
    assert (status, err) == (0, "")
    assert "volume create" in out
    assert "reconcile" in out


def test_what_is_done_can_be_logged_to_a_file(run, tmp_path):
    logging.getLogger().handlers = []  # as in a process of its own
    log = tmp_path / "commands.log"
    status, _, err = run("-vv", "--log-file", str(log), "volume", "list")
    logging.getLogger().handlers[0].close()
    assert (status, err) == (0, "")
    assert "DEBUG" in log.read_text()


READS = [
    ["volume", "list"],
    ["volume", "show", "9"],
    ["volume", "delete", "9"],
    ["attachment", "list"],
    ["attachment", "show", "1134", "9"],
    ["reconcile"],
    ["reconcile", "--dry-run"],
]


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("command", READS, ids=" ".join)
def test_a_command_that_reads_creates_nothing_and_names_the_missing_file(error_message, paste, url, tmp_path, command):
    text = paste.read_text().replace("%(here)s/backend", "%(var)s/backend")
    paste.write_text(text.replace(url, "sqlite:///%(var)s/registry.db"))
    sentence = error_message(*command, "--var", str(tmp_path / "typo"))
    assert f"database.url: {tmp_path}/typo/registry.db does not exist: correct the paste file or --var" in sentence
    assert not (tmp_path / "typo").exists()


@pytest.mark.only_on("sqlite")
def test_the_revision_of_a_missing_file_is_shown_and_the_file_not_created(ok, paste, url, tmp_path):
    paste.write_text(paste.read_text().replace(url, "sqlite:///%(var)s/registry.db"))
    shown = json.loads(ok("db", "current", "--var", str(tmp_path / "typo"), "-f", "json"))
    assert shown["current"] is None
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("command", READS[:5], ids=" ".join)
def test_commands_about_rows_and_volumes_do_not_make_the_backend(run, tmp_path, command):
    run(*command)
    assert not (tmp_path / "backend").exists()


CREATE = ("volume", "create", "9", "--project", "demo")
TEXTS = [
    (("volume", "create", "9"), "--project", 255),
    (CREATE, "--source", 1024),
    (CREATE, "--format", 32),
    (("volume", "list"), "--project", 255),
    (("volume", "list"), "--var", 4096),
    (("volume", "list"), "--filter", 255),
    (("attachment", "list"), "--project", 255),
    (("attachment", "adopt", "1134", "9"), "--project", 255),
    (("check",), "--name", 255),
    (("check",), "--config-file", 4096),
    (("serve",), "--name", 255),
    (("serve",), "--host", 255),
]


@pytest.mark.parametrize(("command", "name", "maximum"), TEXTS, ids=lambda value: " ".join(map(str, [value])))
def test_an_empty_or_too_long_or_unprintable_value_is_refused(error_message, command, name, maximum):
    for value in ("", "x" * (maximum + 1), "a\0b", "a\nb", "a\udcff"):
        sentence = error_message(*command, f"{name}={value}")
        shown = repr(value[:50])
        assert sentence == (f"os-volume-ext: {name} is {shown}: it must have 1 to {maximum} printable characters\n")


def test_the_longest_values_are_stored_as_they_are(ok):
    project, source, format_ = "p" * 255, "/" + "s" * 1023, "f" * 32
    ok("volume", "create", "9", "--project", project, "--source", source, "--format", format_)
    shown = json.loads(ok("volume", "show", "9", "-f", "json"))
    assert (shown["project_id"], shown["source"], shown["format"]) == (project, source, format_)


@pytest.mark.parametrize("value", ["a\0b", "x" * 4097])
def test_the_value_of_a_variable_is_refused_too(error_message, value):
    assert "--set where is " in error_message("volume", "list", "--set", f"where={value}")


@pytest.mark.parametrize("command", [("attachment", "list"), ("reconcile",), ("reconcile", "--all")], ids=" ".join)
@pytest.mark.parametrize("value", ["", "1" * 1000, "1134\0"])
def test_an_empty_id_does_not_select_everything(error_message, command, value):
    assert f"{value[:50]!r} is not the id of a server" in error_message(*command, "--server", value)


def test_an_empty_volume_does_not_select_everything(error_message):
    assert "'' is not the id of a volume" in error_message("attachment", "list", "--volume", "")


@pytest.mark.parametrize("device", ["", "vdb", "/dev/vdb\0", f"/dev/{'v' * 300}"])
def test_a_malformed_device_is_not_adopted(error_message, device):
    sentence = error_message("attachment", "adopt", "1134", "9", "--device", device)
    assert f"--device is {device[:50]!r}: device must match" in sentence


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999999", "http", "", "8774.0", "٩", "1" * 5000])
def test_serve_refuses_a_port_that_does_not_exist(error_message, port):
    expected = f"os-volume-ext: --port is {port[:50]!r}: it must be an integer, 1 to 65535\n"
    assert error_message("serve", f"--port={port}") == expected


@pytest.fixture
def served(paste):
    """Let ``serve`` load the paste file: its application is a small one."""
    paste.write_text("[app:main]\nuse = egg:os-volume-ext#demo_versions\n")
    return paste


def error_of_process(*arguments):
    """Run a command that fails in a process of its own: waitress leaves sockets open when it can't listen."""
    command = [sys.executable, "-m", "os_volume_ext.cli.main", *arguments]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (made.returncode, made.stdout) == (1, "")
    return made.stderr


@pytest.mark.only_on("sqlite")
def test_serve_names_a_port_that_is_taken_and_the_remedy(served):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert error_of_process("serve", "--paste", served, "--port", str(port)) == (
            f"os-volume-ext: cannot listen on 127.0.0.1:{port}: Address already in use: "
            "end the process that does, or pass another --port\n"
        )


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("host", ["no-such-host.invalid", "a b", "x" * 70 + ".example"])
def test_serve_names_a_host_that_can_not_be_resolved(error_message, host):
    sentence = error_message("serve", "--host", host)
    assert sentence.startswith(f"os-volume-ext: --host is {host[:50]!r}: it can't be resolved: ")
    assert sentence.endswith(": pass an address of this machine, such as 127.0.0.1\n")


@pytest.mark.only_on("sqlite")
def test_serve_names_an_address_of_another_machine(served):
    assert error_of_process("serve", "--paste", served, "--host", "192.0.2.1") == (
        "os-volume-ext: cannot listen on 192.0.2.1:8774: Cannot assign requested address: "
        "pass an address of this machine as --host, such as 127.0.0.1\n"
    )


@pytest.mark.parametrize("command", ["serve", "check"])
def test_an_application_that_does_not_exist_is_reported_with_the_others(error_message, paste, command):
    assert error_message(command, "--name", "nova") == (
        f"os-volume-ext: --name is 'nova': {paste} has no such application: choose one of: main, compute\n"
    )


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_paste_file_without_an_application_is_reported_with_the_remedy(error_message, paste, command):
    paste.write_text("[filter:volumes]\nuse = egg:os-volume-ext\n")
    assert error_message(command) == (
        f"os-volume-ext: --paste: {paste} has no pipeline and no application: add a section [pipeline:main] that names "
        "an auth filter, the os-volume-ext filter and the compute API's application, "
        "and the sections that are missing\n"
    )


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("dialect = openstack", "state is missing; the options are: dialect, state, directories, seed"),
        ("colour = red", "colour is not an option here; the options are: dialect, state, directories, seed"),
        ("seed = volumes", "dialect is missing; the options are: dialect, state, directories, seed"),
    ],
)
def test_serve_names_the_section_of_an_application_that_lacks_an_option(error_message, paste, line, sentence):
    paste.write_text(
        f"[pipeline:main]\npipeline = compute\n[app:compute]\nuse = egg:os-volume-ext#demo_compute\n{line}\n"
    )
    assert error_message("serve") == f"os-volume-ext: {paste}: [app:compute]: {sentence}\n"


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("egg:no-such-package#compute", ("no-such-package", ": install its package here, or correct the section\n")),
        ("egg:os-volume-ext#demo_nosuch", ("demo_nosuch", ": correct the name\n")),
        ("nosuch", (": there is no section [app:nosuch]: add it, or correct the name where it is used\n",)),
    ],
)
def test_what_can_not_be_loaded_is_reported_with_the_remedy(error_message, paste, command, use, words):
    paste.write_text(f"[app:main]\nuse = {use}\n")
    sentence = error_message(command)
    assert sentence.startswith(f"os-volume-ext: {paste}: [app:main]")
    assert all(word in sentence for word in words)


@pytest.mark.parametrize("command", [("volume", "list"), ("check",), ("serve",), ("reconcile",), ("db", "upgrade")])
def test_a_malformed_paste_file_is_reported_by_its_line_which_is_not_shown(error_message, paste, command):
    paste.write_text("[app:main]\nuse = x\n\n[broken with a hush\n")
    assert error_message(*command) == (
        f"os-volume-ext: --paste: {paste} is not a paste file: line 4 is neither a section nor an option: "
        "correct it, or name another file\n"
    )
    paste.write_bytes(b"\xff\xfe")
    assert f"{paste} can't be read: it is not a text in UTF-8: name" in error_message(*command)


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("command", [("volume", "list"), ("check",), ("serve",), ("reconcile",), ("db", "upgrade")])
def test_a_var_that_is_no_directory_is_reported(error_message, paste, url, tmp_path, command):
    paste.write_text(paste.read_text().replace(url, "sqlite:///%(var)s/registry.db"))
    assert error_message(*command, "--var", str(paste)) == (
        f"os-volume-ext: --var: {paste} is not a directory: name the one that the paste file's files are in\n"
    )


@pytest.mark.only_on("sqlite")
def test_a_database_that_can_not_be_created_is_reported_with_the_remedy(error_message, paste, url, tmp_path):
    paste.write_text(paste.read_text().replace(url, f"sqlite:///{paste}/registry.db"))
    sentence = error_message("db", "upgrade")
    assert f"database.url: {paste}/registry.db can't be written: " in sentence
    assert sentence.endswith(": correct database.url, or --var of a command\n")


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("foo://h/d", "database.url is of foo: it may be of sqlite, postgresql, mysql, mariadb"),
        ("postgresql+nosuch://h/d", "database.url is of postgresql+nosuch: write postgresql+psycopg://..."),
        ("postgresql+psycopg://u:hush@no-such-host.invalid/d", "resolve host 'no-such-host.invalid'"),
        ("postgresql+psycopg://u:hush@127.0.0.1:9/d", "Connection refused: check that the server runs, and that"),
        ("mysql+pymysql://u:hush@no-such-host.invalid/d", "can't be used: Can't connect to MySQL server on 'no-such"),
        ("mysql+pymysql://u:hush@127.0.0.1:9/d", "check that the server runs, and that database.url has its host"),
    ],
)
def test_a_server_of_databases_that_is_not_there_is_reported(error_message, paste, url, new, words):
    paste.write_text(paste.read_text().replace(url, new))
    sentence = error_message("volume", "list")
    assert words in sentence
    assert "hush" not in sentence


def test_serve_names_an_undefined_variable(error_message, paste):
    paste.write_text(paste.read_text().replace("egg:no-such-package#compute", "egg:os-volume-ext#demo_%(kind)s"))
    assert "uses the undefined variable kind: define it with --set kind=VALUE" in error_message("serve", "--port", "1")


def test_set_defines_a_variable_of_the_paste_file(ok, paste, tmp_path):
    paste.write_text(paste.read_text().replace("%(here)s", "%(where)s"))
    assert "%(where)s" in paste.read_text()
    ok("volume", "create", "7", "--project", "demo", "--set", f"where={tmp_path}")
    assert ok("volume", "list", "--set", f"where={tmp_path}", "-f", "value", "-c", "id").split() == ["7"]


def test_a_name_in_the_paste_file_that_nothing_gives_is_reported(error_message, option, paste):
    option("policy_file = %(where)s/policy.yaml")
    sentence = error_message("volume", "list")
    assert sentence == (
        f"os-volume-ext: {paste}: [filter:volumes] uses the undefined variable where: "
        "define it with --set where=VALUE\n"
    )


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://u:hush%(where)s@h/d", "uses the undefined variable where"),
        ("postgresql://u:%hush@h/d", "has a % in database.pool_name that must be written %%"),
        ("postgresql://u:hush%(database.pool_name)s", "has variables in database.pool_name that refer to each other"),
    ],
)
def test_a_value_that_can_not_be_interpolated_is_not_shown(error_message, option, url, reason):
    option(f"database.pool_name = {url}")
    sentence = error_message("volume", "list")
    assert reason in sentence
    assert "hush" not in sentence
    assert "hush" not in error_message("check", "--name", "main")


@pytest.mark.parametrize("text", ["where", "=x", ""])
def test_set_takes_nothing_but_a_name_and_a_value(run, text):
    status, _, complaint = run("volume", "list", "--set", text)
    assert status == 2
    assert "is not NAME=VALUE" in complaint
