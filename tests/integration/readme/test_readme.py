"""README.rst is true: its examples print what it shows.

A block of the kind ``console`` is run: lines that begin with ``$`` are commands, what follows is what they print.
A block of the kind ``sh`` is not run. Only dates and request ids may differ, and the newlines at the end.
"""

import functools
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from os_volume_ext.api.dialects import DIALECTS
from tests.support.paths import ROOT
from tests.support.services import require_service

README = ROOT / "README.rst"
CLI = (sys.executable, "-m", "os_volume_ext.cli.main")

ADDRESS = "127.0.0.1:8774"  # where the README's sample is served
MASKS = {
    "req-ID": re.compile(r"\breq-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),
    "Date: DATE": re.compile(r"^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$", re.MULTILINE),
}
EXAMPLE_TIMEOUT = 60  # seconds


# -- the README, taken apart --------------------------------------------------------------------------


@functools.cache
def document() -> nodes.document:
    # As package indexes render it; anything that docutils has to say is an exception.
    return publish_doctree(
        README.read_text(),
        source_path=str(README),
        settings_overrides={
            "_disable_config": True,
            "file_insertion_enabled": False,
            "raw_enabled": False,
            "report_level": 1,
            "halt_level": 1,
        },
    )


def blocks(kind: str) -> list[str]:
    found = [block.astext() for block in document().findall(nodes.literal_block) if kind in block["classes"]]
    assert found, f"README.rst has no block of the kind {kind}"
    return found


def block(kind: str, containing: str) -> str:
    [found] = [text for text in blocks(kind) if containing in text]
    return found


def examples() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for text in blocks("console"):
        assert text.startswith("$ "), text
        for example in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, printed = re.fullmatch(r"((?:.*\\\n)*.*)\n?((?s:.*))", example).groups()
            found.append((command, printed))
    return found


def masked(text: str) -> str:
    for name, pattern in MASKS.items():
        text = pattern.sub(name, text)
    return text.rstrip("\n")


def test_docutils_renders_it_without_a_word() -> None:
    # What it has to say is an exception at once.
    assert document()["title"] == "os-volume-ext"


def test_it_has_no_path_of_a_developers_machine() -> None:
    assert re.findall(r"(?:/home|/root|/Users|/work)/\S*", README.read_text()) == []


# -- the examples -------------------------------------------------------------------------------------


@pytest.fixture
def curl() -> str:
    found = shutil.which("curl")
    require_service(found, "curl is not installed: the README's examples need it")
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
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(Path(curl).parent), os.environ["PATH"]]),
        "OS_VOLUME_EXT_PASTE": "etc/api-paste.ini",
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


def test_its_examples_print_what_it_shows_and_leave_the_sample_as_it_was(shell: Callable[[str], str]) -> None:
    look = [
        f"os-volume-ext {what} list --filter volumes_{dialect} -f csv"
        for what in ("volume", "attachment")
        for dialect in DIALECTS
    ]
    before = [shell(command) for command in look]
    for command, shown in examples():
        assert masked(shell(command)) == masked(shown), command
    assert [shell(command) for command in look] == before


def operation_shown(command: str, shown: str) -> tuple[str, str, str]:
    """Say which operation an example shows, in which dialect and which format."""
    dialect = "cyclades" if "/compute/v2.0/" in command else "openstack"
    format = "XML" if "<?xml" in shown else "JSON"
    if "-X DELETE" in command:
        return dialect, "detach", ""  # there is no body to have a format
    if "-d " in command:
        return dialect, "a fault" if "<message>" in shown or '"message"' in shown else "attach", format
    return dialect, "show" if "os-volume_attachments/" in command else "list", format


def test_its_examples_show_every_operation_in_both_dialects_and_formats() -> None:
    shown = {operation_shown(*example) for example in examples() if "curl" in example[0]}
    operations = itertools.product(DIALECTS, ("attach", "list", "show", "a fault"), ("JSON", "XML"))
    assert {*operations, *((dialect, "detach", "") for dialect in DIALECTS)} - shown == set()


@pytest.mark.parametrize(
    "command", ["volume create", "volume list", "volume delete", "attachment list", "reconcile --all", "check"]
)
def test_its_examples_show_the_command(command: str) -> None:
    assert [line for line, _ in examples() if line.startswith(f"os-volume-ext {command} ")]


def test_the_two_commands_come_first() -> None:
    first = next(iter(document().findall(nodes.literal_block))).astext()
    assert [line.partition("#")[0].strip() for line in first.splitlines()] == ["make serve", "make test"]


def test_the_environment_it_sets_is_that_of_its_examples() -> None:
    text = block("sh", containing="OS_VOLUME_EXT_PASTE")
    assert text == 'export PATH="$PWD/.venv/bin:$PATH" OS_VOLUME_EXT_PASTE=etc/api-paste.ini'
