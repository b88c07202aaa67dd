"""The request context."""

import pytest

from os_volume_ext.context import ATTACHMENTS, RequestContext


def context(enforce=None, **credentials):
    return RequestContext("req-1", credentials, enforce or pytest.fail)


@pytest.mark.parametrize("verdict", [True, False])
def test_what_a_caller_can_do_is_decided_by_policy(verdict):
    checked = []

    def enforce(*arguments):
        checked.append(arguments)
        return verdict

    caller = context(enforce)
    assert caller.can("create", "other") is verdict
    assert caller.can("index", None) is verdict
    assert checked == [(f"{ATTACHMENTS}create", "other", None), (f"{ATTACHMENTS}index", None, None)]


@pytest.mark.parametrize("verdict", [True, False])
def test_what_depends_on_the_servers_user_is_decided_once_the_user_is_known(verdict):
    caller = context(lambda rule, project_id, user_id: verdict if user_id == "u1" else user_id and not verdict)
    assert caller.can("create", "demo", "u1") is verdict
    assert caller.can("create", "demo", "u2") is not verdict


def test_a_server_whose_user_is_not_shown_is_decided_without_one():
    checked = []
    caller = context(lambda rule, project_id, user_id: checked.append(user_id) if user_id is None else False)
    assert caller.can("create", "demo") is False
    assert checked == [None]


@pytest.mark.parametrize(("verdict", "expected"), [(True, True), (False, False), (None, True)])
def test_before_the_look_up_only_what_no_server_can_change_is_denied(verdict, expected):
    asked = []

    def enforce(*arguments):
        asked.append(arguments)
        return verdict

    assert context(enforce, project_id="demo").may_be_able("create") is expected
    assert asked == [(f"{ATTACHMENTS}create", "demo", None)]


def test_a_denied_action_is_logged_in_one_line_with_the_rule_and_the_caller(caplog):
    caplog.set_level("INFO", "os_volume_ext.context")
    context(user_id="u1", project_id="demo", roles=["reader"]).log_denied("create")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        "INFO",
        "req-1 policy denied os_compute_api:os-volumes-attachments:create to user 'u1', project 'demo', "
        "roles ['reader']",
    )


@pytest.mark.parametrize(
    ("credentials", "is_admin"),
    [({}, False), ({"is_admin": False}, False), ({"is_admin": True}, True), ({"roles": ["admin"]}, False)],
)
def test_an_administrator_is_whom_policy_calls_one_whatever_the_roles(credentials, is_admin):
    assert context(**credentials).is_admin is is_admin


def test_a_context_does_not_show_the_token_when_printed():
    caller = RequestContext("req-1", {"t": "hush1"}, pytest.fail, {"HTTP_X_AUTH_TOKEN": "hush2"})
    assert "req-1" in repr(caller)
    assert "hush" not in repr(caller)


def test_the_user_and_the_project_are_those_of_the_credentials():
    assert (context(user_id="u1", project_id="demo").user_id, context(project_id="demo").project_id) == ("u1", "demo")
    assert (context().user_id, context().project_id) == (None, None)


def test_a_context_takes_no_further_attributes():
    with pytest.raises(AttributeError):
        context().token = "x"


def test_the_rules_have_novas_names():
    assert ATTACHMENTS + "index" == "os_compute_api:os-volumes-attachments:index"
