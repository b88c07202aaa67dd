"""Which actions policy allows to whom."""

import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest
from oslo_config import cfg

from os_volume_ext.backends.base import ConfigurationError
from os_volume_ext.context import ATTACHMENTS, UNKNOWN_USER
from os_volume_ext.policy import Policy

ACTIONS = ["index", "show", "create", "update", "delete"]
REMEDY = ": correct the option, or let the user of the compute API read it"
BASE_RULES = ["context_is_admin", "admin_or_owner", "admin_api", "service_api", "service_or_admin"] + [
    f"project_{role}_{end}" for role in ("manager", "member", "reader") for end in ("api", "or_admin")
]


def allowed(policy, roles, target="demo", project="demo", actions=ACTIONS, owner="u2", **more):
    """List what a caller of a project may do with a server of another and of a user."""
    _, enforce = policy.current().bind({"user_id": "u1", "project_id": project, "roles": roles, **more})
    return [action for action in actions if enforce(ATTACHMENTS + action, target, owner)]


def before_look_up(policy, roles):
    """Return what is known before the look-up of a server: whether the caller may attach to it."""
    _, enforce = policy.current().bind({"user_id": "u1", "project_id": "demo", "roles": roles})
    return enforce(f"{ATTACHMENTS}create", "demo", None)


@pytest.fixture(scope="module")
def defaults():
    return Policy()


@pytest.fixture
def write(tmp_path):
    path = tmp_path / "policy.yaml"

    def write(text):
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def serve_policy():
    """Give a service for ``http:`` rules: its rule, and the forms that it received. It allows for servers of u2."""
    found = SimpleNamespace(received=[])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            found.received.append(form)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(str(json.loads(form["target"][0]).get("user_id") == "u2").encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}/check"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture(params=["without a file", "with an empty file"])
def default(request, defaults, write):
    return defaults if request.param == "without a file" else Policy(write(""))


# By default.


@pytest.mark.parametrize(
    ("roles", "may"),
    [
        ([], []),
        (["nobody"], []),
        (["reader"], ["index", "show"]),
        (["member"], ["create", "update", "delete"]),
        (["member", "reader"], ACTIONS),
        (["manager", "member", "reader"], ACTIONS),
        (["admin"], ACTIONS),
        (["service"], []),
    ],
)
def test_in_their_project_readers_list_and_show_and_members_attach_and_detach(default, roles, may):
    assert allowed(default, roles) == may


@pytest.mark.parametrize("target", ["other", None, ""])
@pytest.mark.parametrize("roles", [["reader"], ["member", "reader"], ["manager"]])
def test_no_role_allows_anything_in_anothers_project(default, roles, target):
    assert allowed(default, roles, target) == []


@pytest.mark.parametrize("target", ["other", None])
def test_an_administrator_does_everything_everywhere(default, target):
    assert allowed(default, ["admin"], target) == ACTIONS


@pytest.mark.parametrize(
    ("roles", "may"), [(["manager", "member", "reader"], []), (["service"], ["swap"]), (["admin"], ["swap"])]
)
def test_only_services_and_administrators_swap(default, roles, may):
    assert allowed(default, roles, actions=["swap"]) == may


def test_a_caller_without_a_project_does_not_get_at_what_has_none(default):
    assert allowed(default, ["member", "reader"], None, project=None) == []


@pytest.mark.parametrize(
    ("roles", "is_admin"), [([], False), (["member"], False), (["admin"], True), (["ADMIN"], True)]
)
def test_is_admin_is_added_to_the_credentials(default, roles, is_admin):
    assert default.current().bind({"roles": roles})[0]["is_admin"] is is_admin


def test_credentials_are_not_changed(default):
    credentials = {"roles": ["admin"]}
    assert default.current().bind(credentials)[0] == {"roles": ["admin"], "is_admin": True}
    assert credentials == {"roles": ["admin"]}


def test_is_admin_is_not_taken_from_the_credentials(default):
    assert default.current().bind({"roles": [], "is_admin": True})[0]["is_admin"] is False


# By the operator's file.


def test_the_file_changes_the_rules_it_names_and_no_others(write):
    policy = Policy(write('"os_compute_api:os-volumes-attachments:index": "role:auditor"'))
    assert allowed(policy, ["auditor"], "other") == ["index"]
    assert allowed(policy, ["member", "reader"]) == ["show", "create", "update", "delete"]


def test_the_file_defines_who_is_an_administrator(write):
    policy = Policy(write('"context_is_admin": "role:operator"'))
    assert allowed(policy, ["operator"], "other") == ACTIONS
    assert allowed(policy, ["admin"], "other") == []
    assert policy.current().bind({"roles": ["operator"]})[0]["is_admin"] is True


@pytest.mark.parametrize("rule", BASE_RULES)
def test_the_file_may_refer_to_each_of_novas_base_rules(write, rule):
    policy = Policy(write(f'"os_compute_api:os-volumes-attachments:index": "rule:{rule}"'))
    roles = ["admin", "manager", "member", "reader", "service"]
    assert allowed(policy, roles) == ACTIONS


@pytest.mark.parametrize(
    ("rule", "roles", "targets"),
    [
        ("admin_or_owner", ["admin"], {"demo", "other"}),
        ("admin_or_owner", ["nobody"], {"demo"}),
        ("admin_api", ["admin"], {"demo", "other"}),
        ("admin_api", ["manager", "member", "reader", "service"], set()),
        ("service_or_admin", ["service"], {"demo", "other"}),
        ("service_or_admin", ["admin"], {"demo", "other"}),
        ("service_or_admin", ["manager", "member", "reader"], set()),
        *(
            rule
            for role in ("manager", "member", "reader")
            for rule in (
                (f"project_{role}_api", [role], {"demo"}),
                (f"project_{role}_api", ["admin", "nobody"], set()),
                (f"project_{role}_or_admin", [role], {"demo"}),
                (f"project_{role}_or_admin", ["admin"], {"demo", "other"}),
                (f"project_{role}_or_admin", ["nobody"], set()),
            )
        ),
    ],
)
def test_each_of_novas_base_rules_is_true_for_whom_it_names(write, rule, roles, targets):
    policy = Policy(write(f'"os_compute_api:os-volumes-attachments:index": "rule:{rule}"'))
    found = {target for target in ("demo", "other") if allowed(policy, roles, target, actions=["index"])}
    assert found == targets


def test_a_rule_that_refers_to_an_undefined_one_is_logged(write, caplog):
    Policy(write('"os_compute_api:os-volumes-attachments:index": "rule:no_such_rule"'))
    assert f"{ATTACHMENTS}index" in caplog.text


@pytest.mark.parametrize("rule", ["rule:no_such_rule", "'x' in %(y)s or @", "nonsense", "(@"])
def test_an_undefined_or_invalid_rule_is_never_true(write, rule):
    policy = Policy(write(f'"os_compute_api:os-volumes-attachments:index": "{rule}"'))
    assert allowed(policy, ["admin"]) == ["show", "create", "update", "delete"]


@pytest.mark.parametrize(
    ("rule", "more"),
    [
        ("user_id:u1", {}),
        ("system_scope:all", {"system_scope": "all"}),
        ("domain_id:d1", {"domain_id": "d1"}),
        ("is_admin:False", {}),
        ("project_id:%(project_id)s", {}),
        ("is_admin_project:True", {"is_admin_project": True}),
        ("service_user_id:u3", {"service_user_id": "u3"}),
        ("service_project_id:p3", {"service_project_id": "p3"}),
        ("service_roles:service", {"service_roles": ["service"]}),
    ],
)
def test_the_file_may_ask_for_what_the_credentials_carry(write, rule, more):
    policy = Policy(write(f'"os_compute_api:os-volumes-attachments:show": "{rule}"'))
    assert "show" in allowed(policy, ["nobody"], **more)


@pytest.mark.parametrize(
    ("rule", "may"),
    [
        ("user_id:%(user_id)s", {"u1"}),
        ("user_id:%(user_id)s and role:nobody", {"u1"}),
        ("user_id:%(user_id)s and role:reader", set()),
        ("role:nobody or user_id:%(user_id)s", {"u1", "u2", UNKNOWN_USER}),
        ("user_id:%(user_id)s or role:nobody", {"u1", "u2", UNKNOWN_USER}),
        ("not user_id:%(user_id)s", {"u2", UNKNOWN_USER}),
        ("u2:%(user_id)s", set()),
        ("'u2':%(user_id)s", {"u2"}),
    ],
)
def test_the_user_in_the_target_is_the_servers_own(write, rule, may):
    policy = Policy(write(f'"os_compute_api:os-volumes-attachments:show": "{rule}"'))
    owners = ("u1", "u2", UNKNOWN_USER)
    assert {owner for owner in owners if "show" in allowed(policy, ["nobody"], owner=owner)} == may


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("user_id:%(user_id)s", None),
        ("rule:admin_or_user", None),
        ("not user_id:%(user_id)s", None),
        ("role:reader and user_id:%(user_id)s", None),
        ("role:member and user_id:%(user_id)s", False),
        ("role:reader or user_id:%(user_id)s", True),
        ("role:member or user_id:%(user_id)s", None),
        ("role:member", False),
        ("role:reader", True),
        ("user_id:u1", True),
        ("user_id:u2", False),
        ("project_id:%(project_id)s", True),
        ("tenant_id:%(tenant_id)s", False),
    ],
)
def test_before_the_look_up_a_rule_about_the_servers_user_decides_nothing(write, rule, expected):
    rules = f'"os_compute_api:os-volumes-attachments:create": "{rule}"\n"admin_or_user": "user_id:%(user_id)s"\n'
    assert before_look_up(Policy(write(rules)), ["reader"]) is expected


def test_before_the_look_up_a_rule_that_calls_another_service_decides_nothing(write, serve_policy):
    policy = Policy(write(f'"os_compute_api:os-volumes-attachments:create": "{serve_policy.url}"'))
    assert before_look_up(policy, ["reader"]) is None
    assert allowed(policy, ["reader"], owner="u2", actions=["create"]) == ["create"]
    assert allowed(policy, ["reader"], owner="u3", actions=["create"]) == []
    targets = [json.loads(form["target"][0]) for form in serve_policy.received]
    assert targets == [{"project_id": "demo"}, *({"project_id": "demo", "user_id": user} for user in ("u2", "u3"))]


def test_during_a_request_another_service_is_asked_once_for_each_server(write, serve_policy):
    policy = Policy(write(f'"os_compute_api:os-volumes-attachments:create": "{serve_policy.url}"'))
    for asked in (2, 4):
        _, enforce = policy.current().bind({"user_id": "u1", "project_id": "demo", "roles": ["reader"]})
        for project in ("demo", "other", "demo", "other"):
            enforce(f"{ATTACHMENTS}create", project, "u2")
        assert len(serve_policy.received) == asked


def test_the_administrators_rule_may_need_the_admin_project(write):
    policy = Policy(write('"context_is_admin": "role:admin and is_admin_project:True"'))
    assert allowed(policy, ["admin"], "other", is_admin_project=True) == ACTIONS
    assert allowed(policy, ["admin"], "other", is_admin_project=False) == []


@pytest.mark.parametrize("rule", ["user_id:%(user_id)s", "not user_id:u1 and user_id:%(user_id)s"])
def test_the_administrators_rule_has_no_server_to_compare_with(write, rule):
    policy = Policy(write(f'"context_is_admin": "{rule}"'))
    assert policy.current().bind({"user_id": "u1", "roles": []})[0]["is_admin"] is False


def test_the_rules_of_other_parts_of_nova_do_no_harm(write):
    policy = Policy(write('"os_compute_api:os-volumes-attachments:swap": "!"\n"os_compute_api:servers:index": "@"\n'))
    assert allowed(policy, ["member", "reader"]) == ACTIONS


@pytest.mark.parametrize("policy_dirs", [None, []])
def test_a_change_of_the_file_holds_at_once(write, policy_dirs):
    path = write('"os_compute_api:os-volumes-attachments:index": "!"')
    policy = Policy(path, policy_dirs)
    assert "index" not in allowed(policy, ["admin"])
    write('"os_compute_api:os-volumes-attachments:index": "@"')
    os.utime(path, (2**31, 2**31))
    assert "index" in allowed(policy, [])


def test_a_change_that_is_not_yaml_is_an_error_once_and_then_the_former_rules_hold(write):
    path = write('"os_compute_api:os-volumes-attachments:index": "!"')
    policy = Policy(path)
    write("[")
    os.utime(path, (2**31, 2**31))
    with pytest.raises(ValueError, match="expected the node content"):
        allowed(policy, ["reader"])
    assert allowed(policy, ["reader"]) == ["show"]


def test_when_the_file_is_removed_the_defaults_hold(write):
    path = write('"os_compute_api:os-volumes-attachments:index": "!"')
    policy = Policy(path)
    assert allowed(policy, ["reader"]) == ["show"]
    Path(path).unlink()
    assert allowed(policy, ["reader"]) == ["index", "show"]


# Files that stop start-up.


@pytest.mark.parametrize(
    "text",
    ["[", "just words", "- a\n- b", "\t", '"os_compute_api:os-volumes-attachments:index": 5'],
)
def test_a_file_that_is_not_oslo_policys_yaml_stops_start_up(write, text):
    path = write(text)
    with pytest.raises(ConfigurationError) as caught:
        Policy(path)
    message = str(caught.value)
    assert message.startswith(f"policy_file: {path} is not oslo.policy's YAML: ")
    assert message.endswith(f"{caught.value.__cause__}".split()[-1] + ": correct the file")


def test_a_missing_file_stops_start_up(tmp_path):
    path = str(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError) as caught:
        Policy(path)
    assert (
        str(caught.value) == f"policy_file: {path} can't be read: [Errno 2] No such file or directory: '{path}'{REMEDY}"
    )


def test_a_directory_stops_start_up(tmp_path):
    with pytest.raises(ConfigurationError, match="can't be read"):
        Policy(str(tmp_path))


def test_a_file_that_is_not_utf_8_stops_start_up(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_bytes(b'"a": "\xff"')
    with pytest.raises(ConfigurationError, match="can't be read"):
        Policy(str(path))


# Directories with more files.


def rule(action, check):
    return f'"os_compute_api:os-volumes-attachments:{action}": "{check}"\n'


@pytest.fixture
def beside(tmp_path):
    """Give ``beside(name, text)``: write a file into the directory ``policy.d`` beside the policy file."""

    def write(name, text):
        (tmp_path / "policy.d").mkdir(exist_ok=True)
        path = tmp_path / "policy.d" / name
        path.write_text(text)
        return path

    return write


def test_the_files_in_policy_d_override_the_policy_file_in_the_order_of_their_names(write, beside):
    beside("20.yaml", rule("show", "@"))
    beside("10.yaml", rule("show", "!") + rule("create", "@"))
    policy = Policy(write(rule("create", "!") + rule("index", "@")))
    assert allowed(policy, [], "other") == ["index", "show", "create"]


def test_without_a_policy_file_no_directory_is_read(beside, tmp_path, monkeypatch):
    beside("10.yaml", rule("show", "@"))
    monkeypatch.chdir(tmp_path)
    assert allowed(Policy(None, [str(tmp_path / "policy.d")]), []) == []


def test_the_option_replaces_policy_d_by_directories_in_its_order(write, beside, tmp_path):
    beside("10.yaml", rule("index", "@"))
    for name, check in (("a", "!"), ("b", "@")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yaml").write_text(rule("show", check))
    a, b, missing = (str(tmp_path / name) for name in ("a", "b", "missing"))
    path = write("")
    assert allowed(Policy(path, [a, missing, b]), []) == ["show"]
    assert allowed(Policy(path, [b, a]), []) == []
    assert allowed(Policy(path, []), []) == []


def test_hidden_files_and_subdirectories_are_not_read(write, beside, tmp_path):
    beside(".10.yaml.swp", "[")
    (tmp_path / "policy.d" / "more.yaml").mkdir()
    assert allowed(Policy(write("")), ["reader"]) == ["index", "show"]


def test_a_change_in_a_directory_holds_at_once(write, beside, tmp_path):
    policy = Policy(write(rule("index", "@")))
    assert allowed(policy, []) == ["index"]
    path = beside("10.yaml", rule("show", "@"))
    assert allowed(policy, []) == ["index", "show"]
    path.write_text(rule("show", "!") + rule("create", "@"))
    assert allowed(policy, []) == ["index", "create"]
    path.rename(path.with_name("20.yaml"))
    beside("30.yaml", rule("create", "!"))
    assert allowed(policy, []) == ["index"]
    path.with_name("30.yaml").unlink()
    assert allowed(policy, []) == ["index", "create"]
    path.with_name("20.yaml").unlink()
    (tmp_path / "policy.d").rmdir()
    assert allowed(policy, []) == ["index"]


def test_a_change_of_the_policy_file_leaves_the_rules_of_the_directory(write, beside):
    beside("10.yaml", rule("show", "@"))
    policy = Policy(write(rule("index", "@")))
    write(rule("create", "@"))
    assert allowed(policy, []) == ["show", "create"]


@pytest.mark.parametrize("content", [b"[", b"- a", b'"a": "\xff"'])
def test_a_file_in_a_directory_that_can_not_be_used_is_named_and_stops_start_up(write, beside, content):
    path = beside("10.yaml", "")
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        Policy(write(""))
    assert str(caught.value).startswith(f"policy_dirs: {path} ")


def test_a_link_to_nothing_that_is_added_to_a_directory_is_an_error_and_the_former_rules_hold(write, beside):
    path = beside("10.yaml", rule("show", "!"))
    policy = Policy(write(rule("index", "@")))
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(ConfigurationError) as caught:
        allowed(policy, ["reader"])
    assert str(caught.value).startswith(f"policy_dirs: {path} can't be read: ")
    assert allowed(policy, ["reader"]) == ["index"]


def test_a_directory_that_is_a_file_stops_start_up(write, tmp_path):
    path = write("")
    with pytest.raises(ConfigurationError) as caught:
        Policy(path, [path])
    assert str(caught.value) == f"policy_dirs: {path} can't be read: [Errno 20] Not a directory: '{path}'{REMEDY}"


def test_a_broken_file_in_a_directory_is_an_error_once_and_all_former_rules_hold(write, beside):
    beside("10.yaml", rule("index", "@"))
    path = beside("20.yaml", rule("show", "!"))
    policy = Policy(write(""))
    assert allowed(policy, ["reader"], "other") == ["index"]
    path.write_text("[ broken")
    with pytest.raises(ConfigurationError, match=re.escape(f"policy_dirs: {path} is not oslo.policy's YAML")):
        allowed(policy, ["reader"])
    assert allowed(policy, ["reader"]) == ["index"]
    path.write_text(rule("show", "@"))
    assert allowed(policy, [], "other") == ["index", "show"]


# The host's settings are the host's.


def test_the_hosts_configuration_is_neither_read_nor_changed(tmp_path, monkeypatch):
    (tmp_path / "policy.yaml").write_text('"os_compute_api:os-volumes-attachments:index": "@"')
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d" / "all.yaml").write_text('"os_compute_api:os-volumes-attachments:show": "@"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OS_OSLO_POLICY__POLICY_FILE", str(tmp_path / "policy.yaml"))
    monkeypatch.setattr(sys, "argv", ["nova-api", "--config-file", "/nonexistent"])
    before = dict(cfg.CONF)
    assert allowed(Policy(), []) == []
    assert dict(cfg.CONF) == before
    assert "oslo_policy" not in cfg.CONF


def test_the_hosts_environment_does_not_change_what_an_http_rule_sends(write, serve_policy, monkeypatch):
    monkeypatch.setenv("OS_OSLO_POLICY__REMOTE_CONTENT_TYPE", "application/json")
    policy = Policy(write(f'"os_compute_api:os-volumes-attachments:create": "{serve_policy.url}"'))
    assert allowed(policy, [], owner="u2", actions=["create"]) == ["create"]
    assert [json.loads(form["rule"][0]) for form in serve_policy.received] == [f"{ATTACHMENTS}create"]
