"""Which actions policy allows to whom."""

import os
import sys
from pathlib import Path

import pytest
from oslo_config import cfg

from os_volume_ext.backends.base import ConfigurationError
from os_volume_ext.policy import Policy

ACTIONS = ["index", "show", "create", "update", "delete"]
BASE_RULES = ["context_is_admin", "admin_or_owner", "admin_api", "service_api", "service_or_admin"] + [
    f"project_{role}_{end}" for role in ("manager", "member", "reader") for end in ("api", "or_admin")
]


def allowed(policy, roles, target="demo", project="demo", actions=ACTIONS, **more):
    """List what a caller of a project may do in another."""
    credentials = policy.with_is_admin({"user_id": "u1", "project_id": project, "roles": roles, **more})
    return [action for action in actions if policy.allows(credentials, action, target)]


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
    assert default.with_is_admin({"roles": roles})["is_admin"] is is_admin


def test_credentials_are_not_changed(default):
    credentials = {"roles": ["admin"]}
    assert default.with_is_admin(credentials) == {"roles": ["admin"], "is_admin": True}
    assert credentials == {"roles": ["admin"]}


def test_is_admin_is_not_taken_from_the_credentials(default):
    assert default.with_is_admin({"roles": [], "is_admin": True})["is_admin"] is False


# By the operator's file.


def test_the_file_changes_the_rules_it_names_and_no_others(write):
    policy = Policy(write('"os_compute_api:os-volumes-attachments:index": "role:auditor"'))
    assert allowed(policy, ["auditor"], "other") == ["index"]
    assert allowed(policy, ["member", "reader"]) == ["show", "create", "update", "delete"]


def test_the_file_defines_who_is_an_administrator(write):
    policy = Policy(write('"context_is_admin": "role:operator"'))
    assert allowed(policy, ["operator"], "other") == ACTIONS
    assert allowed(policy, ["admin"], "other") == []
    assert policy.with_is_admin({"roles": ["operator"]})["is_admin"] is True


@pytest.mark.parametrize("rule", BASE_RULES)
def test_the_file_may_refer_to_each_of_novas_base_rules(write, rule):
    policy = Policy(write(f'"os_compute_api:os-volumes-attachments:index": "rule:{rule}"'))
    roles = ["admin", "manager", "member", "reader", "service"]
    assert allowed(policy, roles) == ACTIONS


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
        ("user_id:%(user_id)s", {}),
    ],
)
def test_the_file_may_ask_for_what_the_credentials_carry(write, rule, more):
    policy = Policy(write(f'"os_compute_api:os-volumes-attachments:show": "{rule}"'))
    assert "show" in allowed(policy, ["nobody"], **more)


def test_the_rules_of_other_parts_of_nova_do_no_harm(write):
    policy = Policy(write('"os_compute_api:os-volumes-attachments:swap": "!"\n"os_compute_api:servers:index": "@"\n'))
    assert allowed(policy, ["member", "reader"]) == ACTIONS


def test_a_change_of_the_file_holds_at_once(write):
    path = write('"os_compute_api:os-volumes-attachments:index": "!"')
    policy = Policy(path)
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
    assert str(caught.value).startswith(f"policy_file: {path} is not oslo.policy's YAML: ")


def test_a_missing_file_stops_start_up(tmp_path):
    path = str(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="can't be read") as caught:
        Policy(path)
    assert path in str(caught.value)


def test_a_directory_stops_start_up(tmp_path):
    with pytest.raises(ConfigurationError, match="can't be read"):
        Policy(str(tmp_path))


def test_a_file_that_is_not_utf_8_stops_start_up(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_bytes(b'"a": "\xff"')
    with pytest.raises(ConfigurationError, match="can't be read"):
        Policy(str(path))


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
