"""``os-volume-ext check``, over the sample's paste file and ones with something wrong in them."""

import configparser
import contextlib
import datetime
import json
import re
import shutil
import sqlite3
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from oslo_config import cfg
from sqlalchemy.engine import make_url

from os_volume_ext.assembly import assemble_current
from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.catalog.base import CatalogUnavailable
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.cli import check as check_command
from os_volume_ext.registry import schema
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database
from os_volume_ext.settings import Settings
from tests.support.databases import direct_connection
from tests.support.paths import PASTE
from tests.support.sample import load
from tests.support.waiting import TIMEOUT

SECTIONS = ("volumes_cyclades", "volumes_openstack")
CHECKS = ("options", "database", "catalog", "backend", "policy", "compute")

pytestmark = pytest.mark.only_on("sqlite")  # as in the sample's paste file


class PasteFile:
    """The sample's, without ``compute.*``: what is there would be a server that runs already."""

    def __init__(self, path):
        self.path = path
        self.parser = configparser.RawConfigParser()
        self.parser.optionxform = str
        self.parser.read(PASTE)
        for section in SECTIONS:
            self.parser.remove_option(f"filter:{section}", "compute.url")
            self.parser.remove_option(f"filter:{section}", "compute.token")
        self.write()

    def write(self):
        with self.path.open("w") as file:
            self.parser.write(file)

    def set(self, section, name, value):
        """Set an option, in a section that may be new."""
        if not self.parser.has_section(section):
            self.parser.add_section(section)
        self.parser.set(section, name, value)
        self.write()

    def set_ours(self, name, value):
        """Set an option of our filter in the cyclades pipeline."""
        self.set("filter:volumes_cyclades", name, value)

    def set_pipeline(self, text):
        """Set the cyclades pipeline."""
        self.set("pipeline:cyclades", "pipeline", text)


@pytest.fixture
def file(tmp_path):
    return PasteFile(tmp_path / "api-paste.ini")


@pytest.fixture
def paste(file):
    return file.path


@pytest.fixture
def check(run, var):
    """Give ``check(*arguments)``: the exit status, and (result, details) by filter and what.

    Of several rows of one filter about the same, the last.
    """

    def call(*arguments):
        status, out, _ = run("check", "--var", str(var), *arguments, "-f", "json")
        rows = json.loads(out)
        assert [list(row) for row in rows] == [["filter", "check", "result", "details"]] * len(rows)
        found = {(row["filter"], row["check"]): (row["result"], row["details"]) for row in rows}
        assert status == (1 if "wrong" in {result for result, _ in found.values()} else 0)
        return status, found

    return call


@pytest.fixture
def wrong(check):
    """Give ``wrong(*arguments)``: what and details of the one row that is wrong, which is our cyclades filter's."""

    def call(*arguments):
        status, found = check(*arguments)
        [((section, what), details)] = [(key, details) for key, (result, details) in found.items() if result != "ok"]
        assert (status, section) == (1, "volumes_cyclades")
        return what, details

    return call


# -- when all is well -----------------------------------------------------------------------------------


def test_where_all_checks_are_ok_it_exits_0(check):
    status, found = check()
    assert status == 0
    assert set(found) == {(section, what) for section in SECTIONS for what in ("position", *CHECKS)}
    details = {what: details for (section, what), (_, details) in found.items() if section == "volumes_cyclades"}
    assert details["position"] == "auth authenticates: request_id size_limit auth volumes_cyclades compute_cyclades"
    assert details["options"] == "the dialect is cyclades"
    assert details["database"].endswith(f"/cyclades.db is at revision {schema.HEAD}")
    assert re.fullmatch(r"sql of os-volume-ext [\d.]+\S*, can_delete is True", details["catalog"])
    assert re.match(r"directory of os-volume-ext [\d.]+\S*, needs_host is False\b", details["backend"])
    assert details["policy"] == "the default rules"
    assert details["compute"] == "compute.url is not set: reconcile relies on the backend alone"


def test_it_is_a_table_by_default(run, var):
    status, out, err = run("check", "--var", str(var), "--name", "openstack")
    assert (status, err) == (0, "")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line[0] == "|"]
    assert rows[0] == ["filter", "check", "result", "details"]
    assert [row[:3] for row in rows[1:]] == [["volumes_openstack", what, "ok"] for what in ("position", *CHECKS)]


def test_another_application_is_chosen_by_its_name(check):
    assert {section for section, _ in check("--name", "cyclades")[1]} == {"volumes_cyclades"}


def test_before_the_first_start_it_reports_and_creates_nothing(check, tmp_path):
    new = tmp_path / "new"
    status, found = check("--var", str(new))
    assert status == 0
    assert found["volumes_cyclades", "database"][1] == (
        f"sqlite:///{new}/cyclades.db: the filter will upgrade it from revision none to {schema.HEAD} at start-up"
    )
    assert found["volumes_cyclades", "backend"][0] == "ok"
    assert not new.exists()


def test_a_directory_of_the_backend_that_is_missing_is_not_created(check, var):
    shutil.rmtree(var / "cyclades" / "volumes")
    before = sorted((var / "cyclades").rglob("*"))
    assert check()[0] == 0
    assert sorted((var / "cyclades").rglob("*")) == before


def test_an_sqlite_file_that_is_behind_is_the_filters_own_affair_and_left_as_it_is(check, tmp_path, var):
    (var / "cyclades.db").unlink()
    (var / "cyclades.db").touch()
    assert check()[0] == 0
    assert schema.current(Database({"url": f"sqlite:///{var}/cyclades.db"})) is None


# -- its position ---------------------------------------------------------------------------------------


def test_a_filter_before_the_auth_filter_is_wrong(file, wrong):
    file.set_pipeline("request_id volumes_cyclades auth compute_cyclades")
    assert wrong() == (
        "position",
        "the auth filter auth comes after volumes_cyclades: move volumes_cyclades right before compute_cyclades",
    )


def test_a_filter_without_an_auth_filter_is_wrong(file, wrong):
    file.set_pipeline("request_id size_limit volumes_cyclades compute_cyclades")
    what, details = wrong()
    assert what == "position"
    assert details.startswith("no auth filter comes before volumes_cyclades")


def test_an_auth_filter_before_a_composite_application_counts(file, check):
    file.set("pipeline:outer", "pipeline", "auth main")
    file.set_pipeline("volumes_cyclades compute_cyclades")
    status, found = check("--name", "outer")
    assert status == 0
    assert found["volumes_cyclades", "position"][1] == "auth authenticates: auth volumes_cyclades compute_cyclades"


def test_each_position_of_a_filter_is_reported(run, file, var):
    file.set("pipeline:openstack", "pipeline", "request_id volumes_cyclades compute_openstack")
    status, out, _ = run("check", "--var", str(var), "-f", "json")
    rows = [(row["filter"], row["check"], row["result"]) for row in json.loads(out)]
    assert status == 1
    assert rows == [
        ("volumes_cyclades", "position", "ok"),
        ("volumes_cyclades", "position", "wrong"),
        *(("volumes_cyclades", what, "ok") for what in CHECKS),
    ]


@pytest.fixture
def authtoken(file):
    """Give ``authtoken(**options)``: keystonemiddleware's auth_token is the cyclades pipeline's auth filter."""

    def put(**options):
        file.set("filter:authtoken", "paste.filter_factory", "keystonemiddleware.auth_token:filter_factory")
        for name, value in options.items():
            file.set("filter:authtoken", name, value)
        file.set_pipeline("authtoken volumes_cyclades compute_cyclades")

    return put


@pytest.mark.parametrize("delay", ["true", "false"])
def test_keystonemiddleware_is_recognized_by_its_behaviour(authtoken, check, delay):
    authtoken(delay_auth_decision=delay, www_authenticate_uri="http://127.0.0.1:9")
    status, found = check("--name", "cyclades")
    assert (status, found["volumes_cyclades", "position"]) == (
        0,
        ("ok", "authtoken authenticates: authtoken volumes_cyclades compute_cyclades"),
    )


def test_an_auth_filter_that_fails_is_named_with_the_reason(authtoken, wrong):
    authtoken()
    what, details = wrong()
    assert what == "position"
    assert details.startswith(
        "cannot tell whether an auth filter comes before volumes_cyclades: authtoken: MissingAuth"
    )
    assert details.endswith("pass its --config-file")


RESUME = threading.Event()


def hanging(global_conf):
    """Make a filter that does not respond before ``RESUME`` is set."""
    return lambda app: lambda environ, start_response: RESUME.wait(TIMEOUT) and app(environ, start_response)


def test_an_auth_filter_that_hangs_is_reported_with_the_advice(monkeypatch, file, wrong):
    monkeypatch.setattr(check_command, "POSITION_TIMEOUT", 0.1)
    file.set("filter:hanging", "paste.filter_factory", f"{__name__}:hanging")
    file.set_pipeline("hanging volumes_cyclades compute_cyclades")
    try:
        assert wrong() == (
            "position",
            "no response within 0.1 seconds: "
            "check that the services respond which the other filters of the pipeline call",
        )
    finally:
        RESUME.set()


def test_a_config_file_is_what_the_filters_of_others_read(authtoken, check, tmp_path):
    authtoken()
    path = tmp_path / "nova.conf"
    path.write_text("[keystone_authtoken]\nwww_authenticate_uri = http://127.0.0.1:9\n")
    try:
        assert check("--config-file", str(path))[0] == 0
    finally:
        cfg.CONF.reset()


@pytest.mark.parametrize("text", [None, "not a configuration\n"])
def test_a_config_file_that_can_not_be_read_is_reported(error_message, tmp_path, text):
    path = tmp_path / "nova.conf"
    if text:
        path.write_text(text)
    try:
        sentence = error_message("check", "--config-file", str(path))
    finally:
        cfg.CONF.reset()
    assert sentence.startswith("os-volume-ext: --config-file: ")
    assert str(path) in sentence


# -- options, database, catalog, backend, policy ------------------------------------------------------------


def test_a_wrong_option_does_not_stop_the_checks_of_other_filters(file, check):
    file.set_ours("max_atachments", "3")
    status, found = check()
    assert status == 1
    assert found["volumes_cyclades", "options"] == (
        "wrong",
        "max_atachments is not an option of os-volume-ext: did you mean max_attachments?",
    )
    assert found["volumes_cyclades", "position"][0] == "ok"
    assert {found["volumes_openstack", what][0] for what in CHECKS} == {"ok"}


def test_all_that_is_wrong_is_reported_at_once(file, check, tmp_path):
    (tmp_path / "file").touch()
    file.set_pipeline("volumes_cyclades compute_cyclades")
    file.set_ours("database.url", f"sqlite:///{tmp_path}/file/registry.db")
    file.set_ours("catalog", "cindr")
    file.set_ours("backend.root", f"{tmp_path}/file")
    file.set_ours("policy_file", f"{tmp_path}/missing.yaml")
    file.set_ours("compute.url", "http://127.0.0.1:9")
    file.set_ours("compute.token", "x")
    status, found = check("--name", "cyclades")
    assert status == 1
    assert {what for (_, what), (result, _) in found.items() if result == "ok"} == {"options"}


def test_an_option_that_default_hides_is_reported(file, run, var, caplog):
    file.parser["DEFAULT"]["policy_file"] = "/etc/nova/policy.yaml"
    file.write()
    assert run("check", "--var", str(var), "--name", "cyclades")[0] == 0
    assert "[DEFAULT] of the paste file has 'policy_file'" in caplog.text


def test_a_database_of_a_later_version_is_reported_and_left(wrong, var):
    database = Database({"url": f"sqlite:///{var}/cyclades.db"})
    with direct_connection(database) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    what, details = wrong()
    assert what == "database"
    assert "is at revision 9999, which this version of os-volume-ext does not know: install the version that" in details
    assert schema.current(database) == "9999"


@pytest.mark.only_on("postgresql", "mariadb")
def test_an_outdated_database_server_is_reported_with_the_command_to_run(wrong, file, database_kind):
    with database_kind.new() as url:
        file.set_ours("database.url", url.replace("%", "%%"))
        what, details = wrong()
    assert what == "database"
    assert details.endswith(f"is at revision none but must be at {schema.HEAD}: run os-volume-ext db upgrade")


@pytest.mark.only_on("postgresql", "mariadb")
@pytest.mark.parametrize(("seconds", "shown"), [(11, "ahead of"), (-86400, "behind")])
def test_a_clock_of_the_database_that_differs_is_reported(monkeypatch, wrong, file, url, seconds, shown):
    file.set_ours("database.url", url.replace("%", "%%"))
    now = Registry.now
    monkeypatch.setattr(Registry, "now", lambda registry: now(registry) + datetime.timedelta(seconds=seconds))
    what, details = wrong()
    assert what == "database"
    assert re.search(rf"the clock of \S+ is [\d.]+ seconds {shown} this machine's: synchronize both", details)


@pytest.mark.only_on("postgresql", "mariadb")
@pytest.mark.parametrize(("seconds", "warnings"), [(11, 1), (0, 0)])
def test_a_start_warns_of_a_clock_that_differs(monkeypatch, caplog, url, tmp_path, seconds, warnings):
    now = Registry.now
    monkeypatch.setattr(Registry, "now", lambda registry: now(registry) + datetime.timedelta(seconds=seconds))
    options = {"backend": "directory", "backend.root": str(tmp_path), "database.url": url}
    assemble_current(Settings.parse(options)).close()
    found = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert [
        bool(re.search("is 11.0 seconds ahead of this machine's: .* by more than 60 seconds", each)) for each in found
    ] == [True] * warnings


@pytest.mark.only_on("postgresql")
def test_the_less_time_a_claim_has_the_less_may_the_clocks_differ(monkeypatch, wrong, file, url):
    file.set_ours("database.url", url.replace("%", "%%"))
    file.set_ours("stale_after", "124")  # twice operation_timeout, and 4
    now = Registry.now
    monkeypatch.setattr(Registry, "now", lambda registry: now(registry) + datetime.timedelta(seconds=3))
    assert "is 3.0 seconds ahead of" in wrong()[1]


@pytest.mark.only_on("postgresql")
def test_a_database_that_may_only_be_read_is_reported(wrong, file, url):
    only_read = make_url(url).update_query_dict({"options": "-cdefault_transaction_read_only=on"})
    file.set_ours("database.url", only_read.render_as_string(hide_password=False).replace("%", "%%"))
    assert "may only be read, as a standby may, so each attach and detach gets 503" in wrong()[1]


@pytest.mark.only_on("postgresql", "mariadb")
def test_a_clock_of_the_database_that_is_right_is_ok(check, file, url):
    file.set_ours("database.url", url.replace("%", "%%"))
    assert check()[1]["volumes_cyclades", "database"][0] == "ok"


def test_a_database_that_is_none_is_reported(check, var):
    (var / "cyclades.db").write_text("a text that is long enough not to be taken for an empty one" * 100)
    _, found = check()
    for what in ("database", "catalog"):
        result, details = found["volumes_cyclades", what]
        assert result == "wrong"
        assert details.endswith("can't be used: file is not a database: name another file, or restore it")


def test_a_database_that_can_not_be_made_is_reported(file, wrong, tmp_path):
    (tmp_path / "file").touch()
    file.set_ours("database.url", f"sqlite:///{tmp_path}/file/registry.db")
    path = tmp_path / "file"
    assert wrong() == (
        "database",
        f"database.url: {path}/registry.db can't be created: {path} is not a writable directory: "
        "correct database.url, or let the user of the compute API write there",
    )


def test_a_catalog_that_is_not_installed_is_reported(file, wrong):
    file.set_ours("catalog", "cindr")
    assert wrong() == ("catalog", "catalog is 'cindr': installed are cinder, sql: choose one, or install its package")


def test_a_catalog_that_can_not_be_reached_is_reported_with_the_advice(monkeypatch, wrong, file):
    file.set("pipeline:openstack", "pipeline", "auth compute_openstack")

    def check(self):
        raise CatalogUnavailable("the inventory does not respond")

    monkeypatch.setattr(SQLCatalog, "check", check)
    assert wrong() == (
        "catalog",
        "the inventory does not respond: correct the catalog.* options, or start what the catalog works with",
    )


def test_a_catalog_that_does_not_respond_is_reported_with_the_advice(monkeypatch, wrong, file):
    file.set("pipeline:openstack", "pipeline", "auth compute_openstack")
    resume = threading.Event()
    monkeypatch.setattr(check_command, "TIME_LIMIT", 0.1)
    monkeypatch.setattr(SQLCatalog, "check", lambda self: resume.wait(TIMEOUT))
    try:
        assert wrong() == (
            "catalog",
            "no response within 0.1 seconds: "
            "check that the service or the storage responds which the catalog.* options name",
        )
    finally:
        resume.set()


def test_a_table_of_volumes_that_is_missing_is_reported(wrong, var):
    with contextlib.closing(sqlite3.connect(var / "cyclades.db")) as connection:
        connection.execute("DROP TABLE volumes")
    what, details = wrong()
    assert what == "catalog"
    assert details.endswith(": see the database server's log")


def test_a_backend_that_can_not_be_made_is_reported(file, wrong, tmp_path):
    (tmp_path / "file").touch()
    file.set_ours("backend.root", f"{tmp_path}/file")
    what, details = wrong()
    assert what == "backend"
    assert details.startswith("backend.root must be a writable directory: ")


@pytest.fixture
def failing_check(monkeypatch):
    """Give ``failing_check(check)``: the check of the cyclades filter's backend is this function."""

    def put(check):
        init = DirectoryBackend.__init__

        def make(backend, options):
            init(backend, options)
            if options["root"].endswith("/cyclades"):
                backend.check = check

        monkeypatch.setattr(DirectoryBackend, "__init__", make)

    return put


@pytest.mark.parametrize(
    ("error", "details"),
    [
        (
            BackendUnavailable("the hypervisor is gone"),
            "the hypervisor is gone: correct the backend.* options, or start what the backend works with",
        ),
        (KeyError("hypervisor"), "KeyError: 'hypervisor': run os-volume-ext -vv check to see the traceback"),
    ],
)
def test_the_error_of_a_backend_that_can_not_work_is_reported(failing_check, wrong, error, details):
    def fail():
        raise error

    failing_check(fail)
    assert wrong() == ("backend", details)


def test_a_backend_is_not_waited_for_longer_than_operation_timeout(file, failing_check, wrong):
    resume = threading.Event()
    failing_check(lambda: resume.wait(TIMEOUT))
    file.set_ours("operation_timeout", "1")
    try:
        assert wrong() == (
            "backend",
            "no response within 1 seconds: check that the services in its options respond, or raise operation_timeout",
        )
    finally:
        resume.set()


def test_a_backend_that_needs_the_host_needs_compute_url(monkeypatch, wrong, file):
    monkeypatch.setattr(DirectoryBackend, "needs_host", True)
    file.set("pipeline:openstack", "pipeline", "auth compute_openstack")
    what, details = wrong()
    assert what == "backend"
    assert details.startswith("compute.url is missing")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "can't be read: "),
        ("{", "is not oslo.policy's YAML: "),
        ('"os_compute_api:os-volumes-attachments:show": "role:admin and"', "Failed to understand rule role:admin and"),
        ('"os_compute_api:os-volumes-attachments:show": "colour:green or x"', "Failed to understand rule x"),
    ],
)
def test_a_policy_file_that_can_not_be_read_or_understood_is_reported(file, wrong, tmp_path, caplog, text, reason):
    path = tmp_path / "policy.yaml"
    if text:
        path.write_text(text)
    file.set_ours("policy_file", str(path))
    what, details = wrong()
    assert what == "policy"
    assert details.startswith(f"policy_file: {path}")
    assert reason in details
    assert re.search(": correct the (file|option|rules)[^:]*$", details)
    assert "Traceback" not in caplog.text


def test_a_transport_url_that_oslo_messaging_does_not_take_is_a_wrong_option(file, wrong):
    file.set_ours("notifications.transport_url", "pigeon://broker/")
    what, details = wrong()
    assert what == "options"
    assert "pigeon" in details


def test_a_policy_file_that_is_right_is_named(file, check, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text('"os_compute_api:os-volumes-attachments:show": "!"')
    file.set_ours("policy_file", str(path))
    status, found = check()
    assert (status, found["volumes_cyclades", "policy"]) == (0, ("ok", str(path)))


def test_the_files_of_a_policy_directory_are_named(file, check, tmp_path):
    (tmp_path / "policy.d").mkdir()
    paths = [tmp_path / "policy.yaml", tmp_path / "policy.d" / "1.yaml"]
    for path in paths:
        path.write_text('"os_compute_api:os-volumes-attachments:show": "!"')
    file.set_ours("policy_file", str(paths[0]))
    status, found = check()
    assert (status, found["volumes_cyclades", "policy"]) == (0, ("ok", f"{paths[0]}, {paths[1]}"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", " is not oslo.policy's YAML: "), ('"a": "role:admin and"', ": Failed to understand rule ")],
)
def test_a_wrong_file_of_a_policy_directory_is_named(file, wrong, tmp_path, text, reason):
    (tmp_path / "rules").mkdir()
    (tmp_path / "policy.yaml").touch()
    (tmp_path / "rules" / "1.yaml").write_text(text)
    file.set_ours("policy_file", f"{tmp_path}/policy.yaml")
    file.set_ours("policy_dirs", f"{tmp_path}/rules")
    what, details = wrong()
    assert what == "policy"
    assert details.startswith(f"policy_dirs: {tmp_path}/rules/1.yaml{reason}")


# -- compute.* ------------------------------------------------------------------------------------------


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def compute(file, var):
    """Give ``compute(token)``: the sample, served over HTTP, is called with this token. Return its URL."""
    app = load(PASTE, var).app
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/compute/v2.0"

        def put(token):
            file.set_ours("compute.url", url)
            file.set_ours("compute.token", token)
            return url

        yield put
        server.shutdown()
        thread.join(TIMEOUT)


def test_a_compute_api_that_shows_the_servers_of_all_projects_is_well(compute, check):
    url = compute("admin-token")
    status, found = check()
    assert (status, found["volumes_cyclades", "compute"]) == (0, ("ok", f"{url} shows the servers of all projects"))


@pytest.mark.parametrize(
    ("token", "status", "advice"),
    [
        (
            "demo-token",
            403,
            "give the user of compute.* a role that may list the servers of all projects, such as admin",
        ),
        ("nobodys-token", 401, "correct compute.token, or the compute.* options of the user, such as compute.password"),
    ],
)
def test_credentials_that_do_not_see_all_servers_are_reported(compute, wrong, token, status, advice):
    url = compute(token)
    assert wrong() == ("compute", f"{url}/servers/detail?all_tenants=1&limit=1 responded with {status}: {advice}")


def test_a_compute_url_that_is_no_version_of_the_api_is_reported(compute, file, wrong):
    file.set_ours("compute.url", compute("admin-token").replace("/compute/v2.0", "/v2.9"))
    what, details = wrong()
    assert what == "compute"
    assert " responded with 404: correct compute.url: it must be the root of a version of the compute API" in details


def test_a_compute_api_that_does_not_respond_is_reported(file, wrong):
    file.set_ours("compute.url", "http://127.0.0.1:9")
    file.set_ours("compute.token", "admin-token")
    what, details = wrong()
    assert what == "compute"
    assert details.endswith(
        "can't be reached: Connection refused: correct the compute.* options, or start the compute API"
    )


def test_a_password_in_compute_url_is_not_shown(compute, file, check):
    url = compute("admin-token").replace("//", "//u:hush@")
    file.set_ours("compute.url", url)
    details = f"{url.replace('hush', '***')} shows the servers of all projects"
    assert check()[1]["volumes_cyclades", "compute"] == ("ok", details)


def test_a_token_with_a_line_break_is_not_shown(compute, check, caplog):
    compute("hush\n  x")
    status, found = check()
    result, details = found["volumes_cyclades", "compute"]
    assert (status, result) == (1, "wrong")
    assert details.startswith("X-Auth-Token can't be sent: it has a line break or another invalid character: correct")
    assert "hush" not in caplog.text


def test_a_plugin_of_keystoneauth_that_is_not_there_is_reported(file, wrong):
    file.set_ours("compute.url", "http://127.0.0.1:9")
    file.set_ours("compute.auth_type", "v9password")
    what, details = wrong()
    assert what == "compute"
    assert details.startswith("compute.auth_type: v9password: ")
    assert details.endswith(": correct it or its options")


# -- what can't be loaded -------------------------------------------------------------------------------


def test_an_application_that_the_paste_file_does_not_have_is_reported(error_message, var):
    sentence = error_message("check", "--var", str(var), "--name", "nova")
    assert "--name is 'nova': " in sentence


def test_a_pipeline_without_our_filter_is_reported_with_the_remedy(error_message, file, var, paste):
    file.set_pipeline("request_id auth compute_cyclades")
    sentence = error_message("check", "--var", str(var), "--name", "cyclades")
    assert f"--name: cyclades of {paste} has no os-volume-ext filter: add the name of a section" in sentence


def test_a_package_that_is_not_installed_is_reported(error_message, file, var, paste):
    file.set("app:compute_cyclades", "use", "egg:no-such-package#compute")
    sentence = error_message("check", "--var", str(var))
    assert f"{paste}: [app:compute_cyclades] can't be loaded: PackageNotFoundError: " in sentence
    assert "found for no-such-package: install its package here, or correct the section\n" in sentence


def test_a_name_that_nothing_gives_is_reported(error_message, file, var, paste):
    file.set_ours("policy_file", "%(etc)s/policy.yaml")
    sentence = error_message("check", "--var", str(var))
    assert sentence == (
        f"os-volume-ext: {paste}: [filter:volumes_cyclades] uses the undefined variable etc: "
        "define it with --set etc=VALUE\n"
    )


def test_the_libvirt_sample_without_set_names_the_variable(error_message, tmp_path):
    paste = PASTE.with_name("api-paste-libvirt.ini")
    sentence = error_message("check", "--var", str(tmp_path), paste=paste)
    assert "uses the undefined variable libvirt: define it with --set libvirt=VALUE" in sentence


def test_set_gives_a_name(file, check, tmp_path):
    file.set_ours("policy_file", "%(etc)s/policy.yaml")
    (tmp_path / "policy.yaml").touch()
    assert check("--set", f"etc={tmp_path}")[1]["volumes_cyclades", "policy"] == ("ok", f"{tmp_path}/policy.yaml")


def test_a_file_that_is_no_paste_file_is_reported(error_message, paste):
    paste.write_text("anything but that\n")
    assert f"--paste: {paste} is not a paste file" in error_message("check")


def test_a_paste_file_that_is_not_there_is_reported(error_message, tmp_path):
    assert f"{tmp_path}/missing.ini can't be read" in error_message("check", paste=tmp_path / "missing.ini")
