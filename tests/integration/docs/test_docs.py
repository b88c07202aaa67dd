"""The pages in docs/ are true: tables are complete, and files do what the page describes.

``tests/integration/keystone/test_install.py`` has those files that need a Keystone.
"""

import configparser
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
import sqlalchemy
import webob
from docutils import nodes
from packaging.requirements import Requirement
from sphinx import addnodes

from benchmarks import scaling
from os_volume_ext import policy
from os_volume_ext.api.dialects import DIALECTS, LAST
from os_volume_ext.api.microversions import CHANGES
from os_volume_ext.backends.base import Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.context import ATTACHMENTS
from os_volume_ext.errors import ConfigurationError, Kind
from os_volume_ext.filter import make_filter
from os_volume_ext.observers import metrics, notifications
from os_volume_ext.observers.base import ATTACH, DETACH, Operation
from os_volume_ext.registry.database import Database
from os_volume_ext.settings import NAMES, PREFIXES, Settings
from tests.support import openapi, transcripts
from tests.support.pages import as_texts, literals, table, tables
from tests.support.paths import DOCS, ROOT
from tests.support.ports import free_port

OVERRIDES = ("attach_status", "detach_status", "server_states")
STATE = "/var/lib/compute"  # where the pages' compute API keeps its state

SERVER = "4335bab6-6086-4247-8274-8b8b048edaaa"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
IDENTITY = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "alice",
    "X-Project-Id": "demo",
    "X-Roles": "member,reader",
}


# -- the list of pages --------------------------------------------------------------------------------


def test_readme_lists_every_page_but_the_first(pages: Mapping[str, nodes.document]) -> None:
    rows = table(transcripts.document(transcripts.README), "Page")
    listed = [link["refuri"] for row in rows for link in row[0].findall(nodes.reference)]
    assert sorted(listed) == sorted(f"docs/{name}.rst" for name in pages.keys() - {"index"})


def test_the_first_page_leads_to_every_other(pages: Mapping[str, nodes.document]) -> None:
    shown = [link["reftarget"] for link in pages["index"].findall(addnodes.pending_xref) if link["reftype"] == "doc"]
    assert sorted(shown) == sorted(pages.keys() - {"index"})


def test_all_that_they_configure_is_in_files(pages: Mapping[str, nodes.document]) -> None:
    for page in pages.values():
        for block in page.findall(nodes.literal_block):
            assert block["language"] in ("console", "sh", "shell") or "source" in block, block.astext()


# -- API ----------------------------------------------------------------------------------------------


def reference(pages: Mapping[str, nodes.document], dialect: str, title: str) -> list[list[nodes.entry]]:
    """Return the rows of the dialect's table that has a column of this title."""
    return tables(pages["api"], title)[list(DIALECTS).index(dialect)]


def words(entry: nodes.entry) -> list[str]:
    return entry.astext().replace(",", "").split()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_reference_of_the_api_has_what_the_openapi_document_has(
    dialect: str, pages: Mapping[str, nodes.document]
) -> None:
    described = [each for each in openapi.Document().operations if each[2]["tags"] == [dialect]]
    operations, parameters, responses, faults = [
        reference(pages, dialect, column) for column in ("Request", "In", "Response", "Fault")
    ]
    shown = {(method, path) for row in operations for *methods, path in [words(row[0])] for method in methods}
    assert shown == {(method.upper(), path) for path, method, _ in described}
    assert {row[0].astext() for row in [*responses, *faults]} == {
        status for *_, operation in described for status in operation["responses"]
    }
    assert {"limit", "format", "server_id", "volume_id"} <= {row[0].astext() for row in parameters}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_reference_of_the_api_has_the_members_of_requests(
    dialect: str, pages: Mapping[str, nodes.document]
) -> None:
    schemas = openapi.Document().tree["components"]["schemas"]
    names = {
        "cyclades": {"POST": "CycladesWanted"},
        "openstack": {"POST": "OpenstackWanted", "PUT": "OpenstackChanged"},
    }
    shown = [row[0].astext() for row in reference(pages, dialect, "Value")]
    assert shown == [
        f"{method} {member}" for method, name in names[dialect].items() for member in schemas[name]["properties"]
    ]


# -- Commands -----------------------------------------------------------------------------------------


def test_the_page_commands_describes_all_of_them(pages: Mapping[str, nodes.document]) -> None:
    commands = {entry_point.name.replace("_", " ") for entry_point in metadata.entry_points(group="os_volume_ext.cli")}
    titles = {section.next_node(nodes.title).astext() for section in pages["commands"].findall(nodes.section)}
    assert commands - titles == set()


# -- Options ------------------------------------------------------------------------------------------


@pytest.fixture
def options(pages: Mapping[str, nodes.document]) -> Mapping[str, Mapping[str, nodes.Node]]:
    """Give the fields of each option on the page, such as ``Default``."""
    found = {}
    for option in pages["options"].findall(addnodes.desc):
        [signature] = option.findall(addnodes.desc_name)
        assert signature.astext() not in found
        found[signature.astext()] = {name.astext(): value for name, value in option.findall(nodes.field)}
    return found


def test_the_page_options_has_all_of_them_and_no_other(options: Mapping[str, Any]) -> None:
    assert {name for name in options if name in NAMES or not name.startswith(PREFIXES)} == set(NAMES)
    assert {name for name in options if name.endswith("*")} == {f"{prefix}*" for prefix in PREFIXES}


def test_the_page_options_has_their_defaults(options: Mapping[str, Mapping[str, nodes.Node]]) -> None:
    settings = Settings.parse({"backend": "directory", "database.url": "sqlite:////volumes.db"})
    real = {name: getattr(settings, name.replace(".", "_")) for name in NAMES}
    real |= {"dialect": settings.dialect.name, "notifications.topics": ", ".join(settings.notifications_topics)}
    defaults = {name: fields["Default"] for name, fields in options.items()}
    documented = {name: literals(default) for name, default in defaults.items() if literals(default)}
    assert documented == {name: [str(real[name]).lower()] for name in documented}
    none = [name for name in NAMES if defaults[name].astext() == "none"]
    assert [real[name] for name in none] == [None] * len(none)
    others = {name: defaults[name].astext() for name in NAMES if name not in documented and name not in none}
    assert others == {
        "backend": "required",
        **dict.fromkeys(OVERRIDES, "the dialect's"),
        "notifications.publisher_id": "the host's name",
        "policy_dirs": "policy.d beside the policy file",
    }


def test_the_page_options_has_their_bounds(options: Mapping[str, Mapping[str, nodes.Node]]) -> None:
    values = {name: fields["Type"].astext() for name, fields in options.items() if "Type" in fields}
    assert values.keys() - NAMES == set()
    for name, text in values.items():
        if name == "dialect":
            assert text == " or ".join(DIALECTS)
            continue
        with pytest.raises(ConfigurationError, match=f"^{name} is .*: it (must|may) be {text}$"):
            Settings.parse({"backend": "directory", "database.url": "sqlite:////volumes.db", name: "-1"})


def test_the_page_options_has_the_real_server_states(pages: Mapping[str, nodes.document]) -> None:
    [states] = [
        literals(option.next_node(addnodes.desc_content))
        for option in pages["options"].findall(addnodes.desc)
        if option.next_node(addnodes.desc_name).astext() == "server_states"
    ]
    cyclades, openstack, added = [frozenset(each.split(", ")) for each in states]
    assert [cyclades, openstack] == [each.server_states for each in DIALECTS.values()]
    assert openstack | added == CHANGES[max(CHANGES)].dialect.server_states


# -- Scaling ------------------------------------------------------------------------------------------


def test_the_tables_of_the_page_scaling_are_those_of_the_benchmark(pages: Mapping[str, nodes.document]) -> None:
    heads = [
        tuple(entry.astext() for entry in each.next_node(nodes.row).findall(nodes.entry))
        for each in pages["scaling"].findall(nodes.table)
    ]
    assert [head for head in heads if head[0] == "Database"] == list(scaling.heads())


def test_a_process_opens_as_many_connections_as_the_page_scaling_says(tmp_path: Path) -> None:
    paste = configparser.ConfigParser(interpolation=None)
    paste.read(DOCS / "scaling" / "api-paste.ini")
    section = paste["filter:volumes"]
    given = {name.removeprefix("database."): section[name] for name in section if name.startswith("database.")}
    file = tmp_path / "volumes.db"
    file.touch()
    for options, bound in ({}, 5 + 10), (given, 16 + 1):
        engine = Database({**options, "url": f"sqlite:///{file}", "pool_timeout": "0"}).make_engine()
        with contextlib.ExitStack() as stack:
            for _ in range(bound):
                stack.enter_context(engine.connect())
            with pytest.raises(sqlalchemy.exc.TimeoutError):
                engine.connect()
        engine.dispose()
    Database(given)  # the URL is one


# -- Dialects -----------------------------------------------------------------------------------------


def test_the_page_dialects_has_their_faults_statuses_and_states(pages: Mapping[str, nodes.document]) -> None:
    rows = {
        row[0].astext().replace("\n", " "): [entry.astext().replace("\n", " ") for entry in row[1:]]
        for row in table(pages["dialects"], "cyclades")
    }
    by_kind = {
        "a volume that is attached to another server": "VOLUME_IN_USE",
        "a server in another status, an operation in progress, a device in use": "CONFLICT",
        "more volumes than max_attachments": "TOO_MANY_ATTACHMENTS",
        "a method that is not allowed": "BAD_METHOD",
        "an internal error": "INTERNAL",
    }
    both = [DIALECTS["cyclades"], DIALECTS["openstack"]]
    for what, kind in by_kind.items():
        faults = [{key.name: fault for key, fault in dialect.faults.items()}[kind] for dialect in both]
        assert rows[what] == [f"{code} {name}" for name, code in faults], what
    assert rows["status of an attach"] == [str(dialect.attach_status) for dialect in both]
    assert rows["status of a detach"] == [str(dialect.detach_status) for dialect in both]
    assert rows["details in a fault"] == ["yes" if dialect.fault_details else "no" for dialect in both]
    states = [frozenset(each.split(", ")) for each in rows["server statuses that allow attach and detach"]]
    assert states == [dialect.server_states for dialect in both]


def test_the_page_dialects_has_the_microversions_that_change_something(pages: Mapping[str, nodes.document]) -> None:
    rows = as_texts(table(pages["dialects"], "Version"))
    assert list(rows) == [f"2.{minor}" for minor in CHANGES if minor > 1]
    [parameters] = [literals(row[1]) for row in table(pages["dialects"], "Version") if row[0].astext() == "2.75"]
    assert set(parameters) == CHANGES[75].endpoints["collection"]["GET"].params
    for page in ("dialects", "options"):
        assert f"2.{LAST}" in pages[page].astext()


# -- Install ------------------------------------------------------------------------------------------


def test_the_table_of_extras_has_what_each_of_them_installs(pages: Mapping[str, nodes.document]) -> None:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    real = {
        extra: sorted(Requirement(line).name for line in text.splitlines() if line)
        for extra, text in setup["options.extras_require"].items()
    }
    rows = table(pages["paste"], "Extra")
    assert sorted(extra for row in rows for extra in literals(row[0])) == sorted(real)
    for row in rows:
        match literals(row[0]):
            case [extra]:
                assert sorted(literals(row[1])) == real[extra]
            case _:
                assert row[1].astext() == "what make installs"


def compute(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    """Be a compute API with one server."""
    server = {"id": SERVER, "tenant_id": "demo", "status": "ACTIVE"}
    return webob.Response(json_body={"server": server})(environ, start_response)


def send_request(
    application: Any, method: str, volume: str = "", document: Any = None, **headers: str
) -> webob.Response:
    path = f"/servers/{SERVER}/os-volume_attachments{volume and f'/{volume}'}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = webob.Request.blank(path, method=method, headers=IDENTITY | named, environ={"keystone.token_info": {}})
    if document is not None:
        request.json_body, request.content_type = document, "application/json"
    return request.get_response(application)


def test_in_python_an_application_is_wrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("compute_api")
    module.application = compute
    monkeypatch.setitem(sys.modules, "compute_api", module)
    names: dict[str, Any] = {}
    exec((DOCS / "django" / "in_python.py").read_text().replace(STATE, str(tmp_path)), names)
    with contextlib.closing(names["application"]) as application:
        response = send_request(application, "GET")
    assert (response.status_code, response.json_body) == (200, {"volumeAttachments": []})


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


def test_the_table_of_the_environ_has_what_is_read_and_no_more(
    pages: Mapping[str, nodes.document], tmp_path: Path
) -> None:
    options = {"backend": "directory", "backend.root": str(tmp_path), "database.url": f"sqlite:///{tmp_path}/db"}
    application = make_filter(compute, dialect="openstack", **options)
    request = webob.Request.blank(f"/servers/{SERVER}/os-volume_attachments", method="POST", headers=IDENTITY)
    request.json_body = {"volumeAttachment": {"volumeId": SERVER}}
    request.headers.update({"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    request.environ |= {"CONTENT_LENGTH": "", "wsgi.input_terminated": True, "keystone.token_info": {}}
    environ = Recorder(request.environ)
    statuses = []
    b"".join(application(environ, lambda status, headers: statuses.append(status)))
    application.close()
    assert statuses == ["404 Not Found"]  # the volume: everything before that went well
    assert environ.read == {key for row in table(pages["paste"], "Key of the environ") for key in literals(row[0])}


# -- Metrics and notifications ------------------------------------------------------------------------


def test_the_tables_of_metrics_have_their_names_and_labels(pages: Mapping[str, nodes.document]) -> None:
    real = {}
    for metric in (
        metrics.OPERATIONS,
        metrics.OPERATION_SECONDS,
        metrics.BACKEND_CALL_SECONDS,
        metrics.OVERLOADS,
        metrics.TIMEOUTS,
        metrics.CALLS_WITHOUT_SLOT,
    ):
        (described,) = metric.describe()
        real[described.name + ("_total" if described.type == "counter" else "")] = list(metric._labelnames)
    rows = table(pages["metrics"], "Metric")
    assert {row[0].astext(): literals(row[1]) for row in rows} == real


def test_the_table_of_alerts_has_each_of_them(pages: Mapping[str, nodes.document]) -> None:
    rules = (ROOT / "etc" / "prometheus" / "os-volume-ext.yaml").read_text()
    named = [name for row in table(pages["metrics"], "Alert") for name in literals(row[0])]
    assert sorted(named) == sorted(re.findall(r"- alert: (\w+)", rules))


def test_the_table_of_labels_has_the_faults_of_operations(pages: Mapping[str, nodes.document]) -> None:
    values = {row[0].astext(): literals(row[1]) for row in table(pages["metrics"], "Label")}
    # A version, a method and a body are looked at before there is an operation.
    before = (Kind.NOT_ACCEPTABLE, Kind.BAD_METHOD, Kind.OVER_LIMIT, Kind.UNSUPPORTED_MEDIA_TYPE)
    faults = {kind.value for kind in Kind if kind not in before}
    assert values["outcome of an operation"][0] == "done"
    assert set(values["outcome of an operation"][1:]) == faults
    assert values["action"] == [ATTACH, DETACH]


@pytest.mark.parametrize("processes", [1, 2])
def test_prometheus_reads_the_metrics_of_all_processes_beside_the_api(
    processes: int, tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    for file in (*(DOCS / "metrics").iterdir(), DOCS / "paste" / "api-paste.ini", DOCS / "paste" / "wsgi.py"):
        text = (
            file.read_text().replace(STATE, str(tmp_path)).replace("/etc/compute/api-paste", f"{tmp_path}/api-metrics")
        )
        (tmp_path / file.name).write_text(text)
    # Without a Keystone, and with the option.
    paste = re.sub(r"\[filter:authtoken\]\n.*?\n\n", "", (tmp_path / "api-paste.ini").read_text(), flags=re.DOTALL)
    paste = paste.replace("[filter:volumes]\n", "[filter:volumes]\nmetrics = true\n")
    (tmp_path / "api-paste.ini").write_text(f"{paste}\n[filter:authtoken]\nuse = egg:os-volume-ext#demo_tokens\n")

    (tmp_path / "metrics").mkdir()
    environment = [f"PROMETHEUS_MULTIPROC_DIR={tmp_path}/metrics"] if processes > 1 else []
    waitress = Path(sys.executable).with_name("waitress-serve")
    roots = []
    for _ in range(processes):
        port = free_port()
        start_server(*environment, waitress, f"--listen=127.0.0.1:{port}", "wsgi:application", port=port)
        roots.append(f"http://127.0.0.1:{port}")
    database = Database({"url": f"sqlite:///{tmp_path}/volumes.db"})
    SQLCatalog({}, database).create(Volume(VOLUME, "demo"))
    database.dispose()

    def send_request(method: str, url: str, document: Any = None) -> requests.Response:
        return requests.request(method, url, json=document, headers={"X-Auth-Token": "demo-token"}, timeout=60)

    for root in roots:
        server = send_request("POST", f"{root}/servers", {"server": {"name": "one"}}).json()["server"]["id"]
        attachments = f"{root}/servers/{server}/os-volume_attachments"
        assert send_request("POST", attachments, {"volumeAttachment": {"volumeId": VOLUME}}).status_code == 200
        assert send_request("DELETE", f"{attachments}/{VOLUME}").status_code == 202
        assert send_request("DELETE", f"{attachments}/{VOLUME}").status_code == 404
    for root in roots:
        lines = requests.get(f"{root}/metrics", timeout=60).text.splitlines()
        assert f'os_volume_ext_operations_total{{action="attach",outcome="done"}} {processes}.0' in lines
        assert f'os_volume_ext_operations_total{{action="detach",outcome="not_found"}} {processes}.0' in lines
        assert f'os_volume_ext_operation_seconds_count{{action="detach"}} {processes}.0' in lines
        assert f'os_volume_ext_backend_call_seconds_count{{method="attach",outcome="done"}} {processes}.0' in lines


def test_calls_without_a_slot_are_shown_for_each_process_until_gunicorn_ends_it(tmp_path: Path) -> None:
    program = """if True:
        import os, runpy, sys
        from types import SimpleNamespace
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector
        from os_volume_ext.observers.metrics import Metrics

        def shown():
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
            return {
                int(sample.labels["pid"]): sample.value
                for metric in registry.collect()
                for sample in metric.samples
                if sample.name == "os_volume_ext_calls_without_slot"
            }

        Metrics().without_slot(1)
        child = os.fork()
        if child == 0:
            for change in (1, 1, 1, -1):
                Metrics().without_slot(change)
            os._exit(0)
        os.waitpid(child, 0)
        assert shown() == {os.getpid(): 1, child: 2}, shown()
        runpy.run_path(sys.argv[1])["child_exit"](None, SimpleNamespace(pid=child))
        assert shown() == {os.getpid(): 1}, shown()
    """
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program, DOCS / "metrics" / "gunicorn.conf.py"], env=environment, check=True)


def test_the_table_of_the_payload_has_its_keys(pages: Mapping[str, nodes.document]) -> None:
    rows = table(pages["notifications"], "Key of the payload")
    operation = Operation(ATTACH, "req-1", SERVER, VOLUME)
    assert [key for row in rows for key in literals(row[0])] == [*notifications.payload(operation), "fault"]


# -- Keystone and policy ------------------------------------------------------------------------------


def test_the_tables_of_rules_have_their_names_and_defaults(pages: Mapping[str, nodes.document]) -> None:
    ours, base = tables(pages["keystone"], "Rule")
    assert as_texts(ours) == {ATTACHMENTS + action: rule for action, rule in policy.RULES.items()}
    assert as_texts(base) == policy.BASE_RULES


def test_the_policy_file_lets_managers_detach_and_support_look(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/volumes.db"
    (tmp_path / "servers" / SERVER).mkdir(parents=True)
    options = {"backend": "directory", "backend.root": str(tmp_path), "database.url": url}
    application = make_filter(compute, dialect="openstack", policy_file=str(DOCS / "keystone/policy.yaml"), **options)
    database = Database({"url": url})
    SQLCatalog({}, database).create(Volume(VOLUME, "demo"))
    database.dispose()

    support = {"X_Roles": "support", "X_Project_Id": "other"}
    assert send_request(application, "POST", document={"volumeAttachment": {"volumeId": VOLUME}}).status_code == 200
    assert send_request(application, "DELETE", VOLUME).status_code == 403
    assert send_request(application, "GET", VOLUME, **support).status_code == 200
    assert send_request(application, "GET", **support).status_code == 200
    assert send_request(application, "DELETE", VOLUME, **support).status_code == 403
    assert send_request(application, "GET", X_Project_Id="other").status_code == 404
    assert send_request(application, "DELETE", VOLUME, X_Roles="manager,member,reader").status_code == 202
    application.close()
