"""The examples of README.rst, docs/api.rst and docs/commands.rst print what is shown."""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from os_volume_ext.api.dialects import DIALECTS
from tests.support.paths import ROOT
from tests.support.services import require_service
from tests.support.transcripts import API, COMMANDS, DOCUMENTS, README, Example, examples, masked

CLI = (sys.executable, "-m", "os_volume_ext.cli.main")

ADDRESS = "127.0.0.1:8774"  # where the documents' sample is served
EXAMPLE_TIMEOUT = 60  # seconds


@pytest.fixture
def curl() -> str:
    found = shutil.which("curl")
    require_service(found, "curl is not installed: the examples need it")
    return found


@pytest.fixture
def shell(
    curl: str, start_server: Callable[..., subprocess.Popen[bytes]], free_port: int, tmp_path: Path
) -> Callable[[str], str]:
    """Give ``shell(command)``: what it printed, in a directory where the sample is served with its state in ``var``."""
    address = f"127.0.0.1:{free_port}"
    paste = tmp_path / "etc" / "api-paste.ini"
    paste.parent.mkdir()
    paste.write_text((ROOT / "etc" / "api-paste.ini").read_text().replace("%(port)s", str(free_port)))
    start_server(*CLI, "serve", "--paste", paste, "--port", str(free_port), port=free_port)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OS_VOLUME_EXT_"))
    }
    environment |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(Path(curl).parent), os.environ["PATH"]]),
        "OS_VOLUME_EXT_PASTE": "etc/api-paste.ini",
        "HOME": str(tmp_path),
        "CURL_HOME": str(tmp_path),
        "no_proxy": "127.0.0.1",
    }

    def run(command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command.replace(ADDRESS, address)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=EXAMPLE_TIMEOUT,
        )
        return done.stdout.replace(address, ADDRESS)

    return run


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_examples_print_what_is_shown_and_leave_the_sample_as_it_was(
    document: Path, shell: Callable[[str], str]
) -> None:
    look = [
        f"os-volume-ext {what} list --filter volumes_{dialect} -f csv"
        for what in ("volume", "attachment")
        for dialect in DIALECTS
    ]
    before = [shell(command) for command in look]
    for command, shown in examples(document):
        assert masked(shell(command)) == masked(shown), command
    assert [shell(command) for command in look] == before


def operation_shown(example: Example) -> tuple[str, str, str]:
    """Return which operation an example shows, in which dialect and which format."""
    command, printed = example
    dialect = "cyclades" if "/compute/v2.0/" in command else "openstack"
    format = "XML" if "<?xml" in printed else "JSON"
    if "-X DELETE" in command:
        return dialect, "detach", ""  # there is no body to have a format
    if "-d " in command:
        return dialect, "a fault" if "<message>" in printed or '"message"' in printed else "attach", format
    return dialect, "show" if "os-volume_attachments/" in command else "list", format


def operations_shown(document: Path) -> set[tuple[str, str, str]]:
    return {operation_shown(example) for example in examples(document) if "curl" in example.command}


def test_the_api_page_shows_every_operation_in_both_dialects_and_formats() -> None:
    operations = itertools.product(DIALECTS, ("attach", "list", "show", "a fault"), ("JSON", "XML"))
    detaches = ((dialect, "detach", "") for dialect in DIALECTS)
    assert {*operations, *detaches} - operations_shown(API) == set()


def test_the_readme_shows_an_attach_a_list_and_a_detach() -> None:
    assert [operation_shown(example)[1] for example in examples(README)] == ["attach", "list", "detach"]


@pytest.mark.parametrize(
    "command",
    [
        *("volume create", "volume list", "volume show", "volume delete"),
        *("attachment list", "attachment show", "attachment remove", "attachment adopt"),
        *("reconcile --all", "check"),
    ],
)
def test_the_page_of_commands_shows_the_command(command: str) -> None:
    assert [line for line, _ in examples(COMMANDS) if line.startswith(f"os-volume-ext {command} ")]
