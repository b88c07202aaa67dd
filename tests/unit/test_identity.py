"""The caller's credentials, from what the auth filter stored in the environ."""

import json

import pytest
from oslo_context.context import RequestContext

from os_volume_ext.api.faults import Fault
from os_volume_ext.api.identity import Callers
from os_volume_ext.context import ATTACHMENTS
from os_volume_ext.errors import Kind
from os_volume_ext.policy import Policy

CONFIRMED = {
    "keystone.token_info": {"token": {}},
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
    "HTTP_X_USER_ID": "u1",
    "HTTP_X_PROJECT_ID": "demo",
    "HTTP_X_ROLES": "member,reader",
}


def credentials(environ):
    """Return a caller's credentials without those that policy adds."""
    found = dict(Callers(Policy()).of(environ).credentials)
    del found["is_admin"]
    return found


def test_a_confirmed_caller_has_the_credentials_that_policies_use():
    environ = CONFIRMED | {
        "HTTP_X_DOMAIN_ID": "d1",
        "HTTP_X_USER_DOMAIN_ID": "d2",
        "HTTP_X_PROJECT_DOMAIN_ID": "d3",
        "HTTP_X_IS_ADMIN_PROJECT": "False",
        "HTTP_X_SERVICE_USER_ID": "u2",
        "HTTP_X_SERVICE_PROJECT_ID": "service",
        "HTTP_X_SERVICE_USER_DOMAIN_ID": "d4",
        "HTTP_X_SERVICE_PROJECT_DOMAIN_ID": "d5",
        "HTTP_X_SERVICE_ROLES": "service",
    }
    assert credentials(environ) == {
        "user_id": "u1",
        "project_id": "demo",
        "roles": ["member", "reader"],
        "domain_id": "d1",
        "user_domain_id": "d2",
        "project_domain_id": "d3",
        "is_admin_project": False,
        "system_scope": None,
        "service_user_id": "u2",
        "service_project_id": "service",
        "service_user_domain_id": "d4",
        "service_project_domain_id": "d5",
        "service_roles": ["service"],
    }


def test_the_credentials_have_the_names_and_the_values_that_oslo_context_gives_them():
    environ = CONFIRMED | {
        f"HTTP_X{service}_{name}": f"{service}{name}".lower()
        for service in ("", "_SERVICE")
        for name in ("USER_ID", "PROJECT_ID", "USER_DOMAIN_ID", "PROJECT_DOMAIN_ID", "DOMAIN_ID", "ROLES")
    }
    assert credentials(environ) == dict(RequestContext.from_environ(environ).to_policy_values())


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, True), ("", True), ("True", True), ("true", True), ("False", False), ("no", False)],
)
def test_the_project_is_the_admin_project_unless_the_auth_filter_denies_it(header, expected):
    assert credentials(CONFIRMED | {"HTTP_X_IS_ADMIN_PROJECT": header})["is_admin_project"] is expected


@pytest.mark.parametrize(
    ("token_info", "expected"),
    [
        ({"token": {"system": {"all": True}}}, "all"),
        ({"token": {"system": {"all": False}}}, None),
        ({"token": {"system": None}}, None),
        ({"token": {"project": {"id": "demo"}}}, None),
        ({"token": []}, None),
        ({"token": {"system": "all"}}, None),
        ({}, None),
        ("not a document", None),
    ],
)
@pytest.mark.parametrize("header", ["all", None])
def test_the_system_scope_is_that_of_the_callers_own_token(token_info, expected, header):
    environ = CONFIRMED | {"keystone.token_info": token_info, "HTTP_OPENSTACK_SYSTEM_SCOPE": header}
    assert credentials(environ)["system_scope"] == expected


def test_without_a_policy_file_a_caller_is_remembered():
    callers = Callers(Policy())
    assert callers.of(CONFIRMED) is callers.of(dict(CONFIRMED))


def test_a_caller_is_remembered_until_the_policy_file_changes(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("{}")
    callers = Callers(Policy(str(path)))
    first = callers.of(CONFIRMED)
    assert callers.of(dict(CONFIRMED)) is first
    path.write_text(f"context_is_admin: role:{CONFIRMED['HTTP_X_ROLES'].split(',')[0]}")
    changed = callers.of(CONFIRMED)
    assert (first.credentials["is_admin"], changed.credentials["is_admin"]) == (False, True)
    assert callers.of(CONFIRMED) is changed


SHOW = f"{ATTACHMENTS}show"


@pytest.mark.parametrize(
    "rules",
    [
        {SHOW: "http://127.0.0.1:1/"},
        {SHOW: "role:a and not http://127.0.0.1:1/"},
        {SHOW: "role:a or (role:b and http://127.0.0.1:1/)"},
        {SHOW: "rule:other", "other": "role:a or rule:loop", "loop": "rule:other or http://127.0.0.1:1/"},
        {SHOW: "rule:nowhere", "default": "http://127.0.0.1:1/"},
        {"context_is_admin": "role:a and http://127.0.0.1:1/"},
    ],
)
def test_a_caller_is_not_remembered_if_a_rule_calls_another_service(tmp_path, rules):
    assert not is_remembered(tmp_path, rules)


@pytest.mark.parametrize(
    "rules",
    [
        {"os_compute_api:servers:show": "http://127.0.0.1:1/"},  # which only Nova asks for
        {SHOW: "rule:nowhere", "other": "http://127.0.0.1:1/"},
    ],
)
def test_rules_that_nobody_asks_for_do_not_keep_a_caller_from_being_remembered(tmp_path, rules):
    assert is_remembered(tmp_path, rules)


def test_a_rule_that_refers_to_itself_does_not_keep_a_caller_from_being_remembered(tmp_path):
    assert is_remembered(tmp_path, {SHOW: "role:a or rule:loop", "loop": "role:a or rule:loop"})


def is_remembered(directory, rules):
    path = directory / "policy.yaml"
    path.write_text(json.dumps(rules))
    callers = Callers(Policy(str(path)))
    return callers.of(CONFIRMED) is callers.of(CONFIRMED)


@pytest.mark.parametrize("name", ["USER_ID", "PROJECT_ID", "USER_DOMAIN_ID", "PROJECT_DOMAIN_ID", "DOMAIN_ID", "ROLES"])
def test_callers_that_differ_in_one_header_are_not_mixed_up(name):
    callers = Callers(Policy())
    first = callers.of(CONFIRMED)
    for header in (f"HTTP_X_{name}", f"HTTP_X_SERVICE_{name}", "HTTP_X_IS_ADMIN_PROJECT"):
        if header != "HTTP_X_SERVICE_DOMAIN_ID":  # no policy uses it
            assert callers.of(CONFIRMED | {header: "admin"}).credentials != first.credentials
    assert callers.of(CONFIRMED) is first


def test_callers_whose_tokens_differ_in_their_scope_are_not_mixed_up():
    callers = Callers(Policy())
    system = callers.of(CONFIRMED | {"keystone.token_info": {"token": {"system": {"all": True}}}})
    assert (system.credentials["system_scope"], callers.of(CONFIRMED).credentials["system_scope"]) == ("all", None)


def test_what_is_remembered_of_a_caller_can_not_be_changed():
    caller = Callers(Policy()).of(CONFIRMED)
    with pytest.raises(TypeError):
        caller.credentials["user_id"] = "u2"
    caller.credentials["roles"].append("admin")
    assert not caller.enforce("context_is_admin", None, "")


def test_the_environ_is_left_as_it_is():
    environ = dict(CONFIRMED)
    credentials(environ)
    assert environ == CONFIRMED


@pytest.mark.parametrize("missing", [{}, dict.fromkeys(["HTTP_X_USER_ID", "HTTP_X_PROJECT_ID", "HTTP_X_ROLES"])])
def test_what_authtoken_leaves_out_or_none_is_none(missing):
    environ = {name: CONFIRMED[name] for name in ("keystone.token_info", "HTTP_X_IDENTITY_STATUS")} | missing
    found = credentials(environ)
    assert (found["user_id"], found["project_id"], found["system_scope"]) == (None, None, None)
    assert (found["roles"], found["service_roles"]) == ([], [])


@pytest.mark.parametrize(
    ("header", "roles"),
    [("", []), (",", []), ("member", ["member"]), (" member , reader ,", ["member", "reader"]), ("a b", ["a b"])],
)
@pytest.mark.parametrize(("name", "key"), [("HTTP_X_ROLES", "roles"), ("HTTP_X_SERVICE_ROLES", "service_roles")])
def test_roles_are_a_list_with_commas(header, roles, name, key):
    assert credentials(CONFIRMED | {name: header})[key] == roles


@pytest.mark.parametrize(
    "change",
    [
        {"keystone.token_info": None},
        {"HTTP_X_IDENTITY_STATUS": None},
        {"HTTP_X_IDENTITY_STATUS": "Invalid"},
        {"HTTP_X_IDENTITY_STATUS": "confirmed"},
        {"HTTP_X_IDENTITY_STATUS": ""},
        # What a client can send in the place of the one key that it can't.
        {"keystone.token_info": None, "HTTP_KEYSTONE_TOKEN_INFO": "x", "HTTP_KEYSTONE.TOKEN_INFO": "x"},
    ],
)
@pytest.mark.parametrize("how", ["absent", "none"])
def test_headers_that_no_auth_filter_confirmed_are_ignored(change, how):
    environ = CONFIRMED | change
    if how == "absent":
        environ = {name: value for name, value in environ.items() if value is not None}
    with pytest.raises(Fault) as caught:
        credentials(environ)
    assert caught.value.kind is Kind.UNAUTHORIZED
    assert caught.value.headers == {"WWW-Authenticate": "Keystone"}
    assert caught.value.message == "This server needs a valid token in X-Auth-Token."


def test_an_empty_environ_has_no_caller():
    with pytest.raises(Fault):
        credentials({})
