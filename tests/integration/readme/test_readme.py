"""What README.rst says is so: its examples print what it shows, its snippets work, its tables are complete.

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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import webob
from docutils import nodes
from docutils.core import publish_doctree
from paste.deploy import loadapp

from os_volume_ext import assembly
from os_volume_ext.context import ATTACHMENTS
from os_volume_ext.dialects import DIALECTS
from os_volume_ext.filter import make_filter
from os_volume_ext.policy import Policy
from os_volume_ext.registry.database import Database
from os_volume_ext.settings import NAMES, PREFIXES, Settings

ROOT = Path(__file__).resolve().parents[3]
README = ROOT / "README.rst"
CLI = (sys.executable, "-m", "os_volume_ext.cli.main")

ADDRESS = "127.0.0.1:8774"  # where the README's sample is served
STATE = "/var/lib/compute"  # where the README's compute API keeps its state
MASKS = {
    "req-ID": re.compile(r"\breq-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),
    "Date: DATE": re.compile(r"^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$", re.MULTILINE),
}
EXAMPLE_TIMEOUT = 60  # seconds

SERVER = "4335bab6-6086-4247-8274-8b8b048edaaa"
IDENTITY = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "alice",
    "X-Project-Id": "demo",
    "X-Roles": "member,reader",
}


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


def table(title: str) -> list[list[nodes.entry]]:
    [section] = [each for each in document().findall(nodes.section) if each[0].astext() == title]
    [body] = section.findall(nodes.tbody)
    return [list(row.findall(nodes.entry)) for row in body.findall(nodes.row)]


def literals(entry: nodes.entry) -> list[str]:
    return [literal.astext() for literal in entry.findall(nodes.literal)]


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


def test_it_tells_no_path_of_somebodys_machine() -> None:
    assert re.findall(r"(?:/home|/root|/Users|/work)/\S*", README.read_text()) == []


# -- the examples -------------------------------------------------------------------------------------


@pytest.fixture
def curl() -> str:
    found = shutil.which("curl")
    if found:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail("curl is not installed, with which the README's examples ask the sample")
    pytest.skip("curl is not installed, with which the README's examples ask the sample")


@pytest.fixture
def shell(
    curl: str, start_server: Callable[..., subprocess.Popen[bytes]], free_port: int, tmp_path: Path
) -> Callable[[str], str]:
    """Give ``shell(command)``: what it printed, in a folder where the sample is served with its state in ``var``."""
    address = f"127.0.0.1:{free_port}"
    paste = tmp_path / "etc" / "api-paste.ini"
    paste.parent.mkdir()
    paste.write_text((ROOT / "etc" / "api-paste.ini").read_text().replace(ADDRESS, address))
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
    "command", ["volume create", "volume list", "volume delete", "attachment list", "reconcile --all"]
)
def test_its_examples_show_the_command(command: str) -> None:
    assert [line for line, _ in examples() if line.startswith(f"os-volume-ext {command} ")]


def test_the_two_commands_come_first() -> None:
    first = next(iter(document().findall(nodes.literal_block))).astext()
    assert [line.partition("#")[0].strip() for line in first.splitlines()] == ["make serve", "make test"]


def test_the_environment_it_asks_for_is_that_of_its_examples() -> None:
    text = block("sh", containing="OS_VOLUME_EXT_PASTE")
    assert text == 'export PATH="$PWD/.venv/bin:$PATH" OS_VOLUME_EXT_PASTE=etc/api-paste.ini'


# -- the snippets -------------------------------------------------------------------------------------


@pytest.fixture
def _databases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what filters have opened: the process that they are made for would end here."""
    opened: list[Database] = []

    def remember(options: Mapping[str, str]) -> Database:
        opened.append(Database(options))
        return opened[-1]

    monkeypatch.setattr(assembly, "Database", remember)
    yield
    for database in opened:
        database.dispose()


def compute(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    """Be a compute API with one server."""
    server = {"id": SERVER, "tenant_id": "demo", "status": "ACTIVE"}
    return webob.Response(json_body={"server": server})(environ, start_response)


def attachments_of_server(application: Any, headers: Mapping[str, str], **environ: Any) -> webob.Response:
    request = webob.Request.blank(f"/servers/{SERVER}/os-volume_attachments", headers=headers, environ=environ)
    return request.get_response(application)


# What stands around the README's filter in a paste file: the names that its pipeline has.
STANDINS = """
[filter:request_id]
use = egg:oslo.middleware#request_id

[filter:authtoken]
use = egg:os-volume-ext#demo_tokens

[app:compute]
use = egg:os-volume-ext#demo_compute
dialect = openstack
state = %(here)s/servers.json
folders = %(here)s/servers
"""


@pytest.mark.usefixtures("_databases")
def test_its_paste_snippet_serves_the_extension(tmp_path: Path) -> None:
    [snippet] = blocks("ini")
    assert STATE in snippet
    paste = tmp_path / "api-paste.ini"
    paste.write_text(snippet.replace(STATE, str(tmp_path)) + "\n" + STANDINS)
    answer = attachments_of_server(loadapp(f"config:{paste}"), {"X-Auth-Token": "demo-token"})
    assert (answer.status_code, answer.json_body) == (200, {"volumeAttachments": []})


@pytest.mark.usefixtures("_databases")
def test_its_python_snippet_wraps_an_application(tmp_path: Path) -> None:
    names: dict[str, Any] = {"application": compute}
    exec(block("python", containing="make_filter").replace(STATE, str(tmp_path)), names)
    assert names["application"] is not compute
    answer = attachments_of_server(names["application"], IDENTITY, **{"keystone.token_info": {}})
    assert (answer.status_code, answer.json_body) == (200, {"volumeAttachments": []})


def test_its_policy_snippet_lets_managers_detach_and_members_no_more(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(block("yaml", containing="os_compute_api"))
    policy = Policy(str(path))
    assert not may(policy, "delete", "member", "reader")
    assert may(policy, "delete", "manager", "member", "reader")
    assert may(policy, "create", "member", "reader")


def may(policy: Policy, action: str, *roles: str, project: str = "demo") -> bool:
    credentials = policy.complete({"user_id": "alice", "project_id": project, "roles": list(roles)})
    return policy.allows(SimpleNamespace(user_id="alice", credentials=credentials), action, "demo")


# -- the tables ---------------------------------------------------------------------------------------


def documented_options() -> list[str]:
    return [name for row in table("Options") for name in literals(row[0])]


def test_its_table_of_options_names_them_all_and_no_other() -> None:
    documented = documented_options()
    plain = [name for name in documented if not name.startswith(PREFIXES)]
    assert sorted(plain) == sorted(NAMES)
    assert {name for name in documented if name.endswith("*")} == {f"{prefix}*" for prefix in PREFIXES}


def test_it_has_each_option_once() -> None:
    assert sorted(documented_options()) == sorted(set(documented_options()))


def test_the_defaults_in_its_table_of_options_are_the_real_ones() -> None:
    settings = Settings.parse({"backend": "directory", "database.url": "sqlite:////volumes.db"})
    documented = {literals(row[0])[0]: literals(row[1])[0] for row in table("Options") if literals(row[1])}
    real = {name: getattr(settings, name) for name in documented} | {"dialect": settings.dialect.name}
    assert documented == {name: str(value) for name, value in real.items()}
    none = [literals(row[0])[0] for row in table("Options") if row[1].astext() == "none"]
    plain = [name for name in none if name in NAMES]
    assert plain
    assert [getattr(settings, name) for name in plain] == [None] * len(plain)


def test_the_server_states_in_its_table_of_options_are_the_real_ones() -> None:
    [row] = [row for row in table("Options") if literals(row[0]) == ["server_states"]]
    documented = [frozenset(states.replace("\n", " ").split(", ")) for states in literals(row[2])]
    assert documented == [DIALECTS["cyclades"].server_states, DIALECTS["openstack"].server_states]


def test_its_table_of_dialects_has_their_faults_and_statuses() -> None:
    rows = {row[0].astext().replace("\n", " "): [entry.astext() for entry in row[1:]] for row in table("Dialects")}
    by_kind = {
        "a volume that is attached elsewhere": "VOLUME_IN_USE",
        "a server in a state that forbids it, an operation under way, a device in use": "CONFLICT",
        "one volume more than max_attachments": "TOO_MANY_ATTACHMENTS",
        "a method that is not allowed": "BAD_METHOD",
    }
    spoken = [DIALECTS["cyclades"], DIALECTS["openstack"]]
    for what, kind in by_kind.items():
        faults = [{key.name: fault for key, fault in dialect.faults.items()}[kind] for dialect in spoken]
        assert rows[what] == [f"{code} {name}" for name, code in faults], what
    assert rows["detach answers"] == [str(dialect.detach_status) for dialect in spoken]
    assert rows["details in a fault"] == ["yes" if dialect.fault_details else "no" for dialect in spoken]


class Recorder(dict[str, Any]):
    """An environ that notes which of its keys are read."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        super().__init__(environ)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


@pytest.mark.usefixtures("_databases")
def test_its_table_of_the_environ_has_what_is_read_and_no_more(tmp_path: Path) -> None:
    options = {"backend": "directory", "backend.root": str(tmp_path), "database.url": f"sqlite:///{tmp_path}/db"}
    application = make_filter(compute, dialect="openstack", **options)
    request = webob.Request.blank(f"/servers/{SERVER}/os-volume_attachments", method="POST", headers=IDENTITY)
    request.json_body = {"volumeAttachment": {"volumeId": SERVER}}
    request.headers.update({"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    request.environ |= {"CONTENT_LENGTH": "", "wsgi.input_terminated": True, "keystone.token_info": {}}
    environ = Recorder(request.environ)
    statuses = []
    b"".join(application(environ, lambda status, headers: statuses.append(status)))
    assert statuses == ["404 Not Found"]  # the volume: everything before that went well
    assert environ.read == {key for row in table("What it reads") for key in literals(row[0])}


def test_its_table_of_rules_has_their_names_and_defaults() -> None:
    policy = Policy()
    rules = {literals(row[0])[0]: row[1].astext() for row in table("Who may do what")}
    assert rules.keys() == {ATTACHMENTS + action for action in ("index", "show", "create", "delete")}
    for rule, default in rules.items():
        action = rule.removeprefix(ATTACHMENTS)
        least = "reader" if may(policy, action, "reader") else "member"
        assert may(policy, action, "member", "reader")
        assert not may(policy, action, "member", "reader", project="other")
        assert may(policy, action, "admin", project="other")
        assert default == f"a {least} of the project, admin"
