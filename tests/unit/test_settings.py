"""The options of a filter's section."""

import contextlib
import dataclasses
import logging
from decimal import Decimal
from pathlib import Path

import pytest

from os_volume_ext import settings
from os_volume_ext.api.dialects import CYCLADES, DIALECTS, OPENSTACK
from os_volume_ext.errors import ConfigurationError
from os_volume_ext.settings import Settings, warn_of_hidden
from os_volume_ext.settings.options import Group
from os_volume_ext.settings.types import Integer

LEAST = {"backend": "directory", "database.url": "sqlite:////x"}


def parse(**options):
    """Read options given with ``__`` for ``.``."""
    return Settings.parse(LEAST | {name.replace("__", "."): value for name, value in options.items()})


def complaint(**options):
    with pytest.raises(ConfigurationError) as caught:
        parse(**options)
    return str(caught.value)


def test_an_option_that_is_not_given_has_its_default():
    assert parse() == Settings(
        dialect=CYCLADES,
        max_microversion=None,
        backend="directory",
        catalog="sql",
        database_options={"url": "sqlite:////x"},
        backend_options={"operation_timeout": "60"},
        catalog_options={},
        compute_options={},
        compute_cafile=None,
        compute_insecure=False,
        compute_proxies_from_environment=False,
        policy_file=None,
        policy_dirs=None,
        attach_status=None,
        detach_status=None,
        server_states=None,
        server_read_path=None,
        max_body=65536,
        max_limit=1000,
        max_attachments=None,
        operation_timeout=60,
        stale_after=180,
        max_operations=8,
        reconcile_interval=0,
        metrics=False,
        notifications_transport_url=None,
        notifications_topics=("notifications",),
        notifications_publisher_id=None,
    )


@pytest.mark.parametrize("name", DIALECTS)
def test_statuses_and_states_are_the_dialects_unless_given(name):
    dialect = DIALECTS[name]
    parsed = parse(dialect=name)
    assert parsed.dialect is dialect
    assert (parsed.attach_status, parsed.detach_status, parsed.server_states) == (None, None, None)
    assert parsed.overrides == {}


def test_what_is_chosen_stands_in_the_dialects_place():
    assert parse(attach_status="202").overrides == {"attach_status": 202}
    chosen = {"detach_status": 200, "server_states": {"ACTIVE"}}
    assert parse(dialect="openstack", detach_status="200", server_states="ACTIVE").overrides == chosen


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse().max_body = 1


def test_every_field_has_the_name_of_its_option_or_group():
    for name, each in settings.DECLARATIONS.items():
        if isinstance(each, Group):
            assert name == f"{each.prefix.rstrip('.')}_options"
        else:
            assert name == each.name.replace(".", "_")


@pytest.mark.parametrize("prefix", ["database", "backend", "catalog"])
def test_a_plugins_options_come_without_their_prefix(prefix):
    parsed = parse(**{f"{prefix}__a.b": "1"})
    assert getattr(parsed, f"{prefix}_options")["a.b"] == "1"


def test_the_backend_gets_the_effective_operation_timeout():
    parsed = parse(operation_timeout="7", stale_after="15", backend__operation_timeout="999")
    assert parsed.backend_options["operation_timeout"] == "7"
    assert parsed.operation_timeout == 7


def test_the_settings_do_not_show_the_compute_token_when_printed():
    parsed = parse(compute__url="http://c", compute__token="hush")
    assert parsed.compute_options == {"url": "http://c", "token": "hush"}
    assert "hush" not in repr(parsed)


def test_the_settings_do_not_show_the_options_of_groups_when_printed():
    parsed = parse(
        database__url="postgresql://u:hush@db/x", backend__password="hush", catalog__password="hush", compute__url=None
    )
    assert parsed.database_options["url"] == "postgresql://u:hush@db/x"
    assert "hush" not in repr(parsed)


# Python values.


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("dialect", OPENSTACK, OPENSTACK),
        ("max_limit", 5, 5),
        ("reconcile_interval", 0, 0),
        ("metrics", True, True),
        ("metrics", False, False),
        ("attach_status", 202, 202),
        ("server_states", ["active", "STOPPED"], {"ACTIVE", "STOPPED"}),
        ("server_states", frozenset({"ACTIVE"}), {"ACTIVE"}),
        ("notifications.topics", ("a", " b"), ("a", "b")),
        ("policy_file", Path("/etc/p.yaml"), "/etc/p.yaml"),
        ("policy_dirs", [], ()),
        ("policy_dirs", "", ()),
    ],
)
def test_an_option_may_be_a_python_value(name, value, parsed):
    options = LEAST | {"notifications.transport_url": "rabbit://b/", name: value}
    assert getattr(Settings.parse(options), name.replace(".", "_")) == parsed


@pytest.mark.parametrize("name", settings.NAMES)
def test_none_is_the_same_as_not_given(name):
    if name in LEAST:
        with pytest.raises(ConfigurationError, match=rf"^{name} is missing: "):
            Settings.parse(LEAST | {name: None})
    else:
        assert Settings.parse(LEAST | {name: None}) == parse()


@pytest.mark.parametrize(("value", "string"), [("1", "1"), (5, "5"), (1.5, "1.5"), (True, "true"), (Path("/a"), "/a")])
def test_a_plugin_gets_a_python_value_as_a_string(value, string):
    assert parse(backend__x=value).backend_options["x"] == string


@pytest.mark.parametrize("name", ["database.url", "backend.x", "compute.token", "notifications.transport_url"])
@pytest.mark.parametrize("value", [b"hush", ["hush"], {"hush": 1}])
def test_a_value_without_a_string_form_is_refused_and_not_shown(name, value):
    with pytest.raises(ConfigurationError) as caught:
        Settings.parse(LEAST | {name: value})
    assert str(caught.value).startswith(f"{name} is of the type {type(value).__name__}: it must be ")


BAD_VALUES = {
    "dialect": (["openstack"], CYCLADES.name.encode()),
    "backend": (5, object),
    "catalog": (5, []),
    "max_limit": (True, 0, -1, 5.0, [5], 10**18),
    "metrics": (1, 0, "yes", [True]),
    "attach_status": (201, 200.0, True),
    "server_states": (5, [], [5], [""], {"ACTIVE": 1}.values),
    "server_read_path": (Path("/servers/{server_id}"),),
    "policy_file": (5, Path("policy.yaml"), b"/etc/p.yaml"),
    "policy_dirs": (5, ["policy.d"], [5], b"/etc/policy.d", Path("/etc/policy.d")),
    "max_microversion": (2.79,),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values])
def test_a_python_value_of_another_type_is_refused_with_the_same_sentence(name, value):
    with pytest.raises(ConfigurationError) as caught:
        Settings.parse(LEAST | {"dialect": "openstack", name: value})
    option = settings.DECLARATIONS[name]
    assert str(caught.value) == f"{name} is {value!r}: {option.type.expected}"


class Name(str):
    """A string of a class of its own."""


VALUES = (5, -1, 2**70, True, 5.0, float("nan"), "", "5", Name("5"), "\0", "\ud800", b"5", [], [5], ["5"], [["5"]], {})
VALUES += ({5}, ("5",), range(5), bytearray(b"5"), memoryview(b"5"), Decimal(5), Path("5"), Path("/5"), object(), int)


@pytest.mark.parametrize("name", [*settings.NAMES, *(f"{prefix}x" for prefix in settings.PREFIXES), "unknown"])
def test_any_python_value_of_any_option_is_taken_or_a_configuration_error(name):
    options = LEAST | {"dialect": "openstack", "compute.url": "http://h", "compute.token": "x"}
    for value in VALUES:
        with contextlib.suppress(ConfigurationError):
            Settings.parse(options | {name: value})


@pytest.mark.parametrize("name", ["backend", "catalog"])
def test_a_ready_object_has_neither_a_name_nor_options(name):
    given = {key: value for key, value in LEAST.items() if key != name}
    parsed = Settings.parse(given, objects=[name])
    assert getattr(parsed, name) is None
    with pytest.raises(ConfigurationError) as caught:
        Settings.parse(given | {f"{name}.root": "/a"}, objects=[name])
    assert str(caught.value) == (f"{name}.root is not an option beside a {name} object: give it to the object itself")


# What stops start-up.


@pytest.mark.parametrize(
    ("name", "hint"),
    [("dialekt", "did you mean dialect?"), ("max_bodies", "did you mean max_body?"), ("backends.", "backend.")],
)
def test_an_unknown_option_is_named_with_the_similar_one(name, hint):
    message = complaint(**{name: "x"})
    assert message.startswith(f"{name} is not an option")
    assert hint in message


def test_an_unknown_option_like_no_other_is_named_with_all_options():
    message = complaint(qqqqqqqq="x")
    assert "qqqqqqqq is not an option" in message
    assert all(name in message for name in settings.NAMES)
    assert "database.*, catalog.*, backend.*, compute.*" in message


@pytest.mark.parametrize("options", [{}, {"backend": ""}])
def test_a_missing_backend_is_named(options):
    with pytest.raises(ConfigurationError, match=r"^backend is missing: it must be the name of a backend"):
        Settings.parse({"database.url": "sqlite:////x", **options})


@pytest.mark.parametrize("value", ["", "nova", "CYCLADES"])
def test_an_unknown_dialect_is_refused_with_the_existing_ones(value):
    assert complaint(dialect=value) == f"dialect is {value!r}: it may be cyclades or openstack"


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("True", True), ("false", False), ("FALSE", False)])
def test_metrics_are_on_or_off(text, meant):
    assert parse(metrics=text).metrics is meant


@pytest.mark.parametrize("value", ["", "yes", "1", "tru"])
def test_metrics_that_are_neither_on_nor_off_are_refused(value):
    assert complaint(metrics=value) == f"metrics is {value!r}: it may be true or false"


def test_notifications_go_to_the_configured_topics():
    parsed = parse(
        notifications__transport_url="rabbit://a:hush@b/", notifications__topics="x,y", notifications__publisher_id="p"
    )
    assert parsed.notifications_transport_url == "rabbit://a:hush@b/"
    assert (parsed.notifications_topics, parsed.notifications_publisher_id) == (("x", "y"), "p")
    assert "hush" not in repr(parsed)


@pytest.mark.parametrize(
    "url",
    [
        "controller:8774/v2.1",
        "ftp://controller/v2.1",
        "http://:8774/v2.1",
        "http://controller:99999/v2.1",
        "http://controller:0/v2.1",
        "http://controller:port/v2.1",
        "http://[::1/v2.1",
        "http://controller/v2.1?x=y",
        "http://controller/v2.1#x",
        "http://contr oller/v2.1",
        "http://contr\nller/v2.1",
        "http://contr\u00f6ller/v2.1",
        "http://u:hu/sh@controller",
        "u:hush@controller",
        "http://u:hu?sh#@[::1",
    ],
)
def test_a_compute_url_that_cannot_be_requested_is_refused(url):
    message = complaint(compute__url=url, compute__token="t")
    expected = "it must be the compute API's URL, such as http://controller:8774/v2.1"
    assert message == f"compute.url is not a URL that can be requested: {expected}"


@pytest.mark.parametrize("url", ["http://c", "https://u:hush@c.example:443/v2.1/", "http://[::1]:8774/v2.1"])
def test_a_compute_url_is_taken_as_it_is(url):
    assert parse(compute__url=url, compute__token="t").compute_options["url"] == url


@pytest.mark.parametrize("options", [{"notifications__topics": "x"}, {"notifications__transport_url": ""}])
def test_notifications_without_a_broker_are_refused(options):
    assert complaint(**options).startswith("notifications.transport_url is missing: it must be oslo.messaging's URL")


@pytest.mark.parametrize("topics", ["", "a,", " ,b"])
def test_a_topic_without_a_name_is_refused(topics):
    message = complaint(notifications__transport_url="rabbit://b/", notifications__topics=topics)
    assert message == f"notifications.topics is {topics!r}: it must name topics, separated by commas"


def test_an_option_of_notifications_that_there_is_not_is_refused():
    assert complaint(notifications__topic="x").endswith("did you mean notifications.topics?")


INTEGERS = {
    "max_body": 1,
    "max_limit": 1,
    "max_attachments": 1,
    "operation_timeout": 1,
    "stale_after": 1,
    "max_operations": 1,
    "reconcile_interval": 0,
}


def test_integers_have_these_bounds():
    declared = [each for each in settings.OPTIONS if isinstance(each.type, Integer)]
    assert {each.name: each.type.minimum for each in declared} == INTEGERS


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", ["", "x", "-1", "+1", "1.5", " 1", "1_0", "\u0661", "1e3", "9" * 5000])
def test_what_is_not_an_integer_is_named_with_what_it_may_be(name, value):
    message = complaint(**{name: value})
    assert message.startswith(f"{name} is ")
    assert message.endswith(f": it must be an integer, {INTEGERS[name]} or more")


@pytest.mark.parametrize("name", [name for name, least in INTEGERS.items() if least == 1])
def test_a_nought_where_there_must_be_something_is_refused(name):
    assert complaint(**{name: "0"}) == f"{name} is '0': it must be an integer, 1 or more"


@pytest.mark.parametrize("name", ["max_body", "max_limit", "max_attachments", "max_operations", "reconcile_interval"])
def test_an_integer_is_taken(name):
    assert getattr(parse(**{name: "17"}), name) == 17


def test_the_reconcile_interval_may_be_nought_which_is_off():
    assert parse(reconcile_interval="0").reconcile_interval == 0


@pytest.mark.parametrize("name", ["attach_status", "detach_status"])
@pytest.mark.parametrize("value", ["200", "202"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_status_may_be_200_or_202(name, value, dialect):
    assert getattr(parse(dialect=dialect, **{name: value}), name) == int(value)


@pytest.mark.parametrize("name", ["attach_status", "detach_status"])
@pytest.mark.parametrize("value", ["", "201", "204", "0200", " 200"])
def test_another_status_is_refused(name, value):
    assert complaint(**{name: value}) == f"{name} is {value!r}: it may be 200 or 202"


@pytest.mark.parametrize("version", ["2.1", "2.30", "2.104"])
def test_the_newest_microversion_may_be_any_that_is_spoken(version):
    assert parse(dialect="openstack", max_microversion=version).max_microversion == version


@pytest.mark.parametrize("version", ["", "2", "2.0", "2.01", "2.105", "3.1", "latest", " 2.1"])
def test_the_newest_microversion_can_be_no_other(version):
    expected = f"max_microversion is {version!r}: it may be 2.1 to 2.104"
    assert complaint(dialect="openstack", max_microversion=version) == expected


def test_cyclades_has_no_microversions():
    expected = "max_microversion is not an option of the dialect cyclades: it has one version"
    assert complaint(max_microversion="2.1") == expected


def test_server_states_are_a_list_with_commas_in_any_case():
    assert parse(server_states=" active,Paused , ,").server_states == {"ACTIVE", "PAUSED"}


@pytest.mark.parametrize("value", ["", " ", ",", " , "])
def test_server_states_that_name_none_are_refused(value):
    message = complaint(server_states=value)
    assert message == f"server_states is {value!r}: it must name server statuses, such as ACTIVE, STOPPED"


def test_a_server_read_path_is_a_path_with_the_servers_id():
    assert parse(server_read_path="/servers/{server_id}/ips").server_read_path == "/servers/{server_id}/ips"


@pytest.mark.parametrize("value", ["", "/servers/metadata", "servers/{server_id}", "http://x/{server_id}"])
def test_another_server_read_path_is_refused(value):
    message = complaint(server_read_path=value)
    assert message == f"server_read_path is {value!r}: it must be a path such as /servers/{{server_id}}/ips"


@pytest.mark.parametrize(
    "value", ["/etc/a,/etc/b", " /etc/a , /etc/b ", ["/etc/a", "/etc/b"], [Path("/etc/a"), "/etc/b"]]
)
def test_policy_dirs_are_absolute_paths(value):
    assert parse(policy_file="/etc/p.yaml", policy_dirs=value).policy_dirs == ("/etc/a", "/etc/b")


@pytest.mark.parametrize("value", ["policy.d", "/etc/a,", ",", "/etc/a,b", " "])
def test_relative_policy_dirs_are_refused_with_the_way_to_write_them(value):
    message = complaint(policy_file="/etc/p.yaml", policy_dirs=value)
    assert message == (
        f"policy_dirs is {value!r}: it must be absolute paths, such as %(here)s/policy.d, separated by commas"
    )


def test_policy_dirs_need_a_policy_file():
    assert complaint(policy_dirs="/etc/a") == "policy_file is missing: without it, policy_dirs are not read"


def test_an_absolute_policy_file_is_taken():
    assert parse(policy_file="/etc/p.yaml").policy_file == "/etc/p.yaml"


@pytest.mark.parametrize("value", ["", "policy.yaml", "./policy.yaml", "~/policy.yaml"])
def test_a_relative_policy_file_is_refused_with_the_way_to_write_it(value):
    message = complaint(policy_file=value)
    assert message == f"policy_file is {value!r}: it must be an absolute path, such as %(here)s/policy.yaml"


@pytest.mark.parametrize(("timeout", "stale"), [("60", "120"), ("90", None), ("10", "1")])
def test_stale_after_leaves_room_for_a_call_that_started_late(timeout, stale):
    message = complaint(operation_timeout=timeout, **({"stale_after": stale} if stale else {}))
    assert message == (
        f"stale_after is {stale or 180}: it must be more than twice operation_timeout, which is {timeout}"
    )


def test_stale_after_may_be_just_over_twice_the_timeout():
    assert parse(operation_timeout="60", stale_after="121").stale_after == 121


# compute.*


@pytest.mark.parametrize(
    "options",
    [
        {"compute__url": "http://c", "compute__token": "t"},
        {"compute__url": "http://c", "compute__auth_type": "v3password", "compute__username": "u"},
    ],
)
def test_compute_options_are_a_url_with_a_token_or_a_plugin(options):
    assert parse(**options).compute_options == {
        name.removeprefix("compute__"): value for name, value in options.items()
    }


@pytest.mark.parametrize("options", [{"compute__token": "t"}, {"compute__url": "", "compute__token": "t"}])
def test_compute_options_without_a_url_are_refused(options):
    assert complaint(**options).startswith("compute.url is missing: it must be the compute API's URL")


@pytest.mark.parametrize("option", [{"cafile": "/ca.pem"}, {"insecure": "true"}, {"proxies_from_environment": "True"}])
def test_options_of_requests_are_not_those_of_the_keystone_plugin(option):
    [(name, value)] = option.items()
    plugin = {"url": "http://c", "auth_type": "v3password", "username": "u"}
    parsed = parse(**{f"compute__{each}": text for each, text in (plugin | option).items()})
    assert parsed.compute_options == plugin
    assert getattr(parsed, f"compute_{name}") == (value if name == "cafile" else True)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("cafile", "ca.pem", "compute.cafile is 'ca.pem': it must be an absolute path, such as /etc/ssl/certs/"),
        ("cafile", "", "compute.cafile is '': it must be an absolute path"),
        ("insecure", "yes", "compute.insecure is 'yes': it may be true or false"),
        ("proxies_from_environment", "1", "compute.proxies_from_environment is '1': it may be true or false"),
    ],
)
def test_options_of_requests_are_checked(name, value, sentence):
    options = {"compute__url": "http://c", "compute__token": "t", f"compute__{name}": value}
    assert complaint(**options).startswith(sentence)


@pytest.mark.parametrize("name", ["cafile", "insecure", "proxies_from_environment"])
def test_options_of_requests_need_a_url(name):
    value = "/ca.pem" if name == "cafile" else "true"
    assert complaint(**{f"compute__{name}": value}).startswith("compute.url is missing")


def test_a_ca_is_refused_where_any_certificate_is_accepted():
    message = complaint(
        compute__url="http://c", compute__token="t", compute__cafile="/ca.pem", compute__insecure="true"
    )
    assert message == "compute.cafile is not an option beside compute.insecure: remove one of them"


@pytest.mark.parametrize("options", [{}, {"compute__token": "t", "compute__auth_type": "v3password"}])
def test_a_compute_url_needs_exactly_one_way_to_get_a_token(options):
    message = complaint(compute__url="http://c", **options)
    assert "either compute.token or compute.auth_type" in message


def test_a_plugins_option_beside_a_fixed_token_is_named():
    message = complaint(compute__url="http://c", compute__token="t", compute__username="u", compute__zone="z")
    assert message == "compute.username is not an option beside compute.token"


# [DEFAULT]


@pytest.mark.parametrize("name", ["max_body", "database.url", "backend.root"])
def test_an_option_of_ours_in_default_is_warned_of(name, caplog):
    warn_of_hidden({"here": "/etc", "debug": "true", name: "hush"})
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "os_volume_ext.settings"
    assert repr(name) in record.getMessage()
    assert "hush" not in record.getMessage()


def test_what_the_host_has_in_default_is_ignored_in_silence(caplog):
    warn_of_hidden({"here": "/etc", "__file__": "/etc/p.ini", "debug": "true", "dialects": "x"})
    assert caplog.records == []


def test_openstack_can_be_configured_to_respond_as_the_specification():
    parsed = parse(dialect="openstack", detach_status="200", server_states="ACTIVE")
    assert (parsed.dialect, parsed.detach_status, parsed.server_states) == (OPENSTACK, 200, {"ACTIVE"})
