"""The trace of a pipeline: which filters stand before and behind ours, and which of them authenticate."""

import pytest
from webob import Request, Response
from webob.exc import HTTPForbidden, HTTPServiceUnavailable, HTTPUnauthorized

from os_volume_ext.backends.base import ConfigurationError
from os_volume_ext.cli.pipeline import Filter, Pipeline, Traced

# The sections that the pipelines of these tests are made of. Ours has options that are all wrong.
SECTIONS = """
[filter:first]
paste.filter_factory = tests.unit.test_pipeline:plain
[filter:second]
use = call:tests.unit.test_pipeline:plain
[filter:app_factory]
paste.filter_app_factory = tests.unit.test_pipeline:plain_app
[filter:volumes]
use = egg:os-volume-ext
colour = green
[filter:more_volumes]
use = volumes
size = large
[app:compute]
paste.app_factory = tests.unit.test_pipeline:application_that_needs_its_own_start
[app:other]
paste.app_factory = tests.unit.test_pipeline:application_that_needs_its_own_start
[filter:broken]
paste.filter_factory = tests.unit.test_pipeline:broken
[filter:broken_later]
paste.filter_factory = tests.unit.test_pipeline:broken_later
"""


class Plain:
    """A filter that does nothing."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        return self.app(environ, start_response)


def plain(global_conf, **local_conf):
    return Plain


def plain_app(app, global_conf, **local_conf):
    return Plain(app)


def broken(global_conf, **local_conf):
    raise KeyError("colour")


def broken_later(global_conf, **local_conf):
    return lambda app: 1 / 0


def application_that_needs_its_own_start(global_conf, **local_conf):
    pytest.fail("the application was made")


def by_configuration(loader, global_conf, **local_conf):
    """Make one of several pipelines, as Nova's ``pipeline_factory_v21`` does."""
    *filters, app = local_conf["keystone"].split()
    filters = [loader.get_filter(name) for name in filters]
    app = loader.get_app(app)
    for each in reversed(filters):
        app = each(app)
    return app


def several(loader, global_conf, apps):
    """Load several applications, in this order, and respond with one of them."""
    return [loader.get_app(name) for name in apps.split()][-1]


@pytest.fixture
def positions(tmp_path):
    """Give ``positions(text, name)``: where our filters stand in a file of this and the other sections.

    A position is the names of the filters before ours, ours, the names of those behind, and the application.
    """

    def find(text, name="main"):
        path = tmp_path / "paste.ini"
        path.write_text(text + SECTIONS)
        return [
            (
                [each.name for each in position.before],
                position.section.name,
                [each.name for each in position.after],
                position.app,
            )
            for position in Pipeline(path, {"var": "/var"}).positions(name)
        ]

    return find


# -- which filters stand where -------------------------------------------------------------------------


def test_a_pipeline(positions):
    assert positions("[pipeline:main]\npipeline = first app_factory volumes second compute") == [
        (["first", "app_factory"], "volumes", ["second"], "compute")
    ]


def test_a_pipeline_with_none_but_ours(positions):
    assert positions("[pipeline:main]\npipeline = volumes compute") == [([], "volumes", [], "compute")]


def test_another_name_than_main(positions):
    text = "[pipeline:main]\npipeline = first compute\n[pipeline:nova]\npipeline = second volumes compute"
    assert positions(text, "nova") == [(["second"], "volumes", [], "compute")]


def test_two_of_ours_in_one_pipeline_and_one_made_from_the_other(positions):
    assert positions("[pipeline:main]\npipeline = first volumes second more_volumes compute") == [
        (["first", "second"], "more_volumes", [], "compute"),
        (["first"], "volumes", ["second"], "compute"),
    ]


def test_filters_and_applications_without_a_section(positions):
    text = "[pipeline:main]\npipeline = egg:os-volume-ext#demo_tokens volumes egg:os-volume-ext#demo_versions"
    assert positions(text) == [(["egg:os-volume-ext#demo_tokens"], "volumes", [], "egg:os-volume-ext#demo_versions")]


def test_a_filter_app(positions):
    text = """
[filter-app:main]
paste.filter_factory = tests.unit.test_pipeline:plain
next = inner
[filter-app:inner]
use = egg:os-volume-ext
next = behind
[filter-app:behind]
paste.filter_app_factory = tests.unit.test_pipeline:plain_app
next = compute
"""
    assert positions(text) == [(["main"], "inner", ["behind"], "compute")]


def test_an_application_with_a_filter(positions):
    text = "[app:main]\nuse = compute\nfilter-with = ours\n[filter:ours]\nuse = volumes\nfilter-with = first"
    assert positions(text) == [(["first"], "ours", [], "main")]


def test_a_composite_application_with_filters_before_it_and_within(positions):
    text = """
[pipeline:main]
pipeline = first map
[composite:map]
use = egg:Paste#urlmap
/v2 = v2
/v2.1 = v21
/ = other
[pipeline:v2]
pipeline = second volumes compute
[pipeline:v21]
pipeline = volumes second compute
"""
    assert sorted(positions(text)) == [
        (["first"], "volumes", ["second"], "compute"),
        (["first", "second"], "volumes", [], "compute"),
    ]


def test_what_stands_beside_a_filter_of_ours_is_not_before_it(positions):
    text = """
[composite:main]
use = call:tests.unit.test_pipeline:several
apps = alone beside other
[pipeline:alone]
pipeline = volumes compute
[pipeline:beside]
pipeline = first several
[composite:several]
use = call:tests.unit.test_pipeline:several
apps = more other
[pipeline:more]
pipeline = second more_volumes compute
"""
    assert positions(text) == [([], "volumes", [], "compute"), (["first", "second"], "more_volumes", [], "compute")]


def test_ours_before_a_composite_application(positions):
    text = "[pipeline:main]\npipeline = first volumes map\n[composite:map]\nuse = egg:Paste#urlmap\n/ = compute"
    assert positions(text) == [(["first"], "volumes", [], "map")]


def test_a_pipeline_that_a_factory_of_others_makes(positions):
    text = """
[composite:main]
use = egg:Paste#urlmap
/v2.1 = v21
[composite:v21]
use = call:tests.unit.test_pipeline:by_configuration
keystone = first volumes compute
"""
    assert positions(text) == [(["first"], "volumes", [], "compute")]


def test_ours_are_given_with_their_options(tmp_path):
    path = tmp_path / "paste.ini"
    path.write_text(f"[DEFAULT]\nhost = h\n[pipeline:main]\npipeline = more_volumes compute\n{SECTIONS}")
    [position] = Pipeline(path, {"var": "/var"}).positions("main")
    assert position.section.options == {"colour": "green", "size": "large"}
    assert position.section.global_conf["host"] == "h"
    assert position.section.global_conf["var"] == "/var"


# -- what can't be loaded -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pipeline", "sentence"),
    [
        ("first compute", r"^--name: main of FILE has no os-volume-ext filter: "),
        ("volumes missing", r"^FILE: \[pipeline:main\]: there is no section \[app:missing\]: add it"),
        ("egg:no-such-package volumes compute", r"^FILE: \[pipeline:main\] can't be loaded: PackageNotFoundError: "),
        (
            "broken volumes compute",
            r"^FILE: \[filter:broken\] can't be loaded: KeyError: 'colour': run os-volume-ext --debug",
        ),
        (
            "broken_later volumes compute",
            r"^FILE: \[filter:broken_later\] can't be loaded: ZeroDivisionError: division by zero: run os-vol",
        ),
    ],
)
def test_what_can_not_be_loaded_is_named(positions, tmp_path, pipeline, sentence):
    with pytest.raises(ConfigurationError, match=sentence.replace("FILE", str(tmp_path / "paste.ini"))):
        positions(f"[pipeline:main]\npipeline = {pipeline}")


def test_within_a_composite_application_too(positions):
    text = "[composite:main]\nuse = call:tests.unit.test_pipeline:by_configuration\nkeystone = broken volumes compute"
    with pytest.raises(
        ConfigurationError,
        match=r"paste.ini: \[filter:broken\] can't be loaded: KeyError: 'colour': run os-volume-ext --debug",
    ):
        positions(text)


def test_a_composite_application_that_fails(positions):
    with pytest.raises(
        ConfigurationError,
        match=r"paste.ini: \[composite:main\] can't be loaded: KeyError: 'keystone': run os-volume-ext --debug",
    ):
        positions("[composite:main]\nuse = call:tests.unit.test_pipeline:by_configuration")


# -- which filter authenticates ---------------------------------------------------------------------------


def application(environ, start_response):
    pytest.fail("the application was called")


def judged(make):
    """Say what a filter is taken for that ``make`` makes of an application."""
    behind = Traced("compute", application)
    try:
        return Filter("auth", make(behind), behind).authenticates()
    finally:
        assert behind.app is application


def changing(**changes):
    """Make a filter that changes the environ; None takes a key away."""

    def make(app):
        def change(environ, start_response):
            kept = {name: value for name, value in (environ | changes).items() if value is not None}
            return app(kept, start_response)

        return change

    return make


def responding(response):
    return lambda app: response


def test_a_filter_that_lets_everything_pass_does_not_authenticate():
    assert not judged(Plain)
    assert not judged(lambda app: app)
    assert not judged(changing(HTTP_X_USER_ID="another"))


def test_a_filter_that_lets_pass_twice_does_not_authenticate():
    def make(app):
        return lambda environ, start_response: [*app(environ, start_response), *app(environ, start_response)]

    assert not judged(make)


@pytest.mark.parametrize("status", ["Invalid", None])
def test_a_filter_that_takes_the_forged_status_away_authenticates(status):
    assert judged(changing(HTTP_X_IDENTITY_STATUS=status))


@pytest.mark.parametrize("refusal", [HTTPUnauthorized(), HTTPForbidden()])
def test_a_filter_that_refuses_a_client_without_a_token_authenticates(refusal):
    assert judged(responding(refusal))


@pytest.mark.parametrize("response", [HTTPServiceUnavailable(), Response("healthy")])
def test_a_filter_that_responds_itself_leaves_it_open(response):
    with pytest.raises(ValueError, match=f"it responds with {response.status_int} to a client without a token"):
        judged(responding(response))


def test_a_filter_that_fails_leaves_it_open():
    def fail(environ, start_response):
        raise OSError("no connection")

    with pytest.raises(OSError, match="no connection"):
        judged(responding(fail))


def test_what_is_traced_is_the_application_still():
    traced = Traced("compute", Response("healthy"))
    assert Request.blank("/").get_response(traced).text == "healthy"
