"""README.rst is short, and renders; its lines for a paste file work. ``test_transcripts.py`` runs its examples."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import requests
from docutils import nodes

from tests.support.paths import DOCS, ROOT
from tests.support.transcripts import COMMANDS, README, block, document

CLI = (sys.executable, "-m", "os_volume_ext.cli.main")
RESPONSE_TIMEOUT = 60  # seconds
MAX_LINES = 200
STATE = "/var/lib/compute"  # where the compute API of its paste file keeps its state
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"

# What the reader has already.
REST_OF_PASTE_FILE = """
[filter:authtoken]
use = egg:os-volume-ext#demo_tokens

[app:compute]
use = egg:os-volume-ext#demo_compute
dialect = openstack
state = {directory}/servers.json
directories = {directory}/volumes/servers
"""


def test_docutils_renders_it_without_a_word() -> None:
    # What it has to say is an exception at once.
    assert document(README)["title"] == "os-volume-ext"


def test_it_has_at_most_200_lines() -> None:
    assert len(README.read_text().splitlines()) <= MAX_LINES


def test_it_has_no_path_of_a_developers_machine() -> None:
    assert re.findall(r"(?:/home|/root|/Users|/work)/\S*", README.read_text()) == []


def test_its_links_and_its_picture_lead_to_files_and_sections() -> None:
    links = [link["refuri"] for link in document(README).findall(nodes.reference) if "refuri" in link]
    pictures = [image["uri"] for image in document(README).findall(nodes.image)]
    assert len(links) > 0
    assert len(pictures) > 0
    for target in links + pictures:
        path, _, section = target.partition("#")
        assert (ROOT / path).is_file(), target
        titles = [title.lower() for title in re.findall(r"^(.+)\n==+$", (ROOT / path).read_text(), flags=re.MULTILINE)]
        assert not section or section in titles, target


def test_the_two_commands_come_first() -> None:
    first = next(iter(document(README).findall(nodes.literal_block))).astext()
    assert [line.partition("#")[0].strip() for line in first.splitlines()] == ["make serve", "make test"]


def test_the_environment_that_the_page_of_commands_sets_is_that_of_the_examples() -> None:
    text = block(COMMANDS, "sh", containing="OS_VOLUME_EXT_PASTE")
    assert text == 'export PATH="$PWD/.venv/bin:$PATH" OS_VOLUME_EXT_PASTE=etc/api-paste.ini'


def test_its_lines_for_a_paste_file_are_those_of_the_page_that_it_leads_to() -> None:
    ours = block(README, "ini", containing="[filter:volumes]").splitlines()
    theirs = (DOCS / "paste" / "api-paste.ini").read_text().splitlines()
    assert [line for line in ours if line not in theirs] == ["pipeline = authtoken volumes compute"]


def test_its_lines_for_a_paste_file_add_the_extension(
    run_command: Callable[..., str], start_server: Callable[..., object], free_port: int, tmp_path: Path
) -> None:
    text = block(README, "ini", containing="[filter:volumes]").replace(STATE, str(tmp_path))
    paste = tmp_path / "api-paste.ini"
    paste.write_text(text + "\n" + REST_OF_PASTE_FILE.format(directory=tmp_path))
    start_server(*CLI, "serve", "--paste", paste, "--port", str(free_port), port=free_port)

    def send_request(method: str, path: str, **body: dict[str, str]) -> requests.Response:
        url = f"http://127.0.0.1:{free_port}{path}"
        return requests.request(
            method, url, json=body or None, headers={"X-Auth-Token": "demo-token"}, timeout=RESPONSE_TIMEOUT
        )

    server = send_request("POST", "/servers", server={"name": "one"}).json()["server"]["id"]
    run_command(*CLI, "volume", "create", VOLUME, "--project", "demo", "--paste", paste, cwd=tmp_path)
    attachments = f"/servers/{server}/os-volume_attachments"
    assert send_request("POST", attachments, volumeAttachment={"volumeId": VOLUME}).status_code == 200
    listed = send_request("GET", attachments).json()["volumeAttachments"]
    assert [attachment["volumeId"] for attachment in listed] == [VOLUME]
