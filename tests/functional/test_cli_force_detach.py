"""The command ``attachment force-detach``: what it shows, whom it asks, and what it does."""

import contextlib
import os
import pty
import sys

import pytest
from stevedore import ExtensionManager

from os_volume_ext.models import ATTACHED
from os_volume_ext.registry.attachments import Registry
from tests.support.rows import attachment

PASTE = """\
[filter:volumes]
use = egg:os-volume-ext
dialect = cyclades
database.url = {url}
backend = losing
backend.root = %(here)s/backend
"""
PLUGIN = """
from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.backends.directory import DirectoryBackend

class LosingBackend(DirectoryBackend):
    def __init__(self, options):
        super().__init__(options)
        self._root = options["root"]

    def attached(self, server):
        raise BackendUnavailable("node-1 does not respond")

    def find_clients(self, server, volume):
        return ["192.0.2.5:0/11"]

    def cut_off(self, server, volume, clients):
        with open(f"{self._root}/cut-off", "a") as file:
            print(server.id, volume.id, *clients, file=file)
"""
COMMAND = ("attachment", "force-detach", "01134", "9")
SHOWN = """\
Server 1134, host unknown: node-1 does not respond
Volume 9, attached: it will be free for other servers
Client 192.0.2.5:0/11: it will be cut off from the storage
What the server has not written yet is lost, and what it writes later fails.
"""


@pytest.fixture
def paste(tmp_path, url):
    path = tmp_path / "api-paste.ini"
    path.write_text(PASTE.replace("{url}", url.replace("%", "%%")))
    return path


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a backend, all hosts of which are lost."""
    sys.modules.pop("losing_plugin", None)  # of the test before
    (tmp_path / "losing_plugin.py").write_text(PLUGIN)
    information = tmp_path / "losing-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: losing\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[os_volume_ext.backends]\nlosing = losing_plugin:LosingBackend\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "backend").mkdir()


@pytest.fixture
def row(database, plugin):
    """Give ``row()``, the row of volume 9 at server 1134, which is attached."""
    registry = Registry(database)
    registry.reserve(attachment(device="/dev/vdb", state=ATTACHED))
    return lambda: registry.get("1134", "9")


@pytest.fixture
def cut_off(tmp_path):
    """Give ``cut_off()``: what was cut off, one line each."""
    path = tmp_path / "backend" / "cut-off"
    return lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def answer(monkeypatch):
    """Give ``answer(text)``: the command has a terminal, on which somebody types that."""
    with contextlib.ExitStack() as stack:

        def make(text):
            terminal, of_command = (stack.enter_context(os.fdopen(each, "r+b", 0)) for each in pty.openpty())
            terminal.write(f"{text}\n".encode())
            monkeypatch.setattr(sys, "stdin", stack.enter_context(os.fdopen(os.dup(of_command.fileno()))))

        yield make


def test_a_confirmed_force_detach_shows_what_it_does_and_does_it(run, row, cut_off, answer, caplog):
    answer("yes")
    status, out, _ = run(*COMMAND)
    assert (status, out) == (0, f"{SHOWN}Go on? Type yes or no: ")
    assert "volume 9 was detached from server 1134, which is lost (node-1 does not respond)" in caplog.text
    assert row() is None
    assert cut_off() == ["1134 9 192.0.2.5:0/11"]


@pytest.mark.parametrize("text", ["no", "", "y", "YES", "yes please"])
def test_any_other_answer_than_yes_changes_nothing(run, row, cut_off, answer, text):
    answer(text)
    status, _, err = run(*COMMAND)
    assert (status, err) == (1, "os-volume-ext: nothing was changed\n")
    assert row().state == ATTACHED
    assert cut_off() == []


def test_without_a_terminal_yes_is_required_and_nothing_is_changed(run, row, cut_off):
    status, out, err = run(*COMMAND)
    assert (status, out) == (1, SHOWN)
    assert err == "os-volume-ext: nothing was changed: to go on without a terminal, pass --yes\n"
    assert row().state == ATTACHED
    assert cut_off() == []


def test_yes_asks_nobody_and_other_clients_are_cut_off_too(run, row, cut_off):
    clients = ("--client", "192.0.2.9:0/0", "--client", "192.0.2.5:0/11")
    status, out, _ = run(*COMMAND, "--yes", *clients)
    assert status == 0
    assert "Client 192.0.2.9:0/0: it will be cut off from the storage\n" in out
    assert "Go on?" not in out
    assert row() is None
    assert cut_off() == ["1134 9 192.0.2.5:0/11 192.0.2.9:0/0"]


def test_a_dry_run_shows_the_same_and_changes_nothing(run, row, cut_off):
    before = row()
    assert run(*COMMAND, "--dry-run", "--yes") == (0, SHOWN, "")
    assert (row().state, row().claim_id) == (ATTACHED, before.claim_id)
    assert cut_off() == []


@pytest.mark.usefixtures("row")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("1134", "99"), "Volume 99 is not attached to server 1134."),
        (("1134", "x"), "'x' is not the id of a volume"),
        (("1134", "9", "--client", ""), "--client is ''"),
        (("1134", "9", "--client", "x" * 101), "--client is"),
    ],
)
def test_what_is_refused_is_reported_without_a_question(error_message, cut_off, arguments, reason):
    assert reason in error_message("attachment", "force-detach", *arguments, "--yes")
    assert cut_off() == []


def test_a_backend_that_can_not_cut_off_says_what_to_do(error_message, row, tmp_path):
    (tmp_path / "losing_plugin.py").write_text(PLUGIN.partition("    def find_clients")[0])
    message = error_message(*COMMAND, "--yes")
    assert "can't cut a lost server off from its volumes. If server 1134 runs on another host by now" in message
    assert row().state == ATTACHED
