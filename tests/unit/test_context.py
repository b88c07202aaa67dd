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
    assert checked == [("create", "other"), ("index", None)]


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


def test_policy_is_checked_once_for_each_action_and_project():
    checked = []
    caller = context(lambda *arguments: checked.append(arguments) or False)
    for _ in range(2):
        assert caller.can("create", "demo") is caller.can("create", "other") is False
    assert checked == [("create", "demo"), ("create", "other")]


def test_a_context_takes_no_further_attributes():
    with pytest.raises(AttributeError):
        context().token = "x"


def test_the_rules_have_novas_names():
    assert ATTACHMENTS + "index" == "os_compute_api:os-volumes-attachments:index"
