"""changes-since, limit and offset."""

import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from os_volume_ext.api import queries
from os_volume_ext.api.faults import BadRequest
from os_volume_ext.api.queries import COMMON_PARAMS, LIST_PARAMS, Page, changes_since, check_known, page
from os_volume_ext.errors import Kind

UTC = datetime.UTC
MALFORMED = "changes-since must be an ISO 8601 date and time, such as 2011-01-24T17:08Z."


def refused(query):
    with pytest.raises(BadRequest) as caught:
        page(query, 1000)
    assert caught.value.kind is Kind.BAD_REQUEST
    return caught.value.message


@pytest.mark.parametrize(
    ("known", "names"),
    [
        (COMMON_PARAMS, ["format", "json", "xml"]),
        (LIST_PARAMS, ["format", "json", "xml", "changes-since", "limit", "offset"]),
    ],
)
def test_known_parameters_are_not_refused(known, names):
    check_known([], known)
    query = [(name, "x") for name in names] * 2
    check_known(query, known)
    with pytest.raises(BadRequest) as caught:  # so it looks at each, and only the last is unknown
        check_known([*query, ("other", "x")], known)
    assert "'other'" in caught.value.message


def test_an_unknown_parameter_is_named():
    for name in ("limit", "Format", "", "marker"):
        with pytest.raises(BadRequest) as caught:
            check_known([("json", ""), (name, "1")], COMMON_PARAMS)
        assert caught.value.message == f"The query has the unknown parameter {name!r}."


def test_a_very_long_unknown_parameter_is_cut():
    with pytest.raises(BadRequest) as caught:
        check_known([("x" * 51, "1")], COMMON_PARAMS)
    assert caught.value.message == f"The query has the unknown parameter '{'x' * 50}'."


def test_without_a_query_a_list_begins_at_its_start_and_has_the_limit():
    assert page([], 1000) == Page(None, 1000, 0)
    assert page([("json", ""), ("marker", "9")], 17) == Page(None, 17, 0)


@pytest.mark.parametrize(
    ("requested", "limit"), [("0", 10), ("1", 1), ("10", 10), ("11", 10), ("007", 7), ("9" * 100, 10)]
)
def test_a_limit_is_at_most_the_maximum_and_zero_means_that(requested, limit):
    assert page([("limit", requested)], 10) == Page(None, limit, 0)


@pytest.mark.parametrize(("requested", "offset"), [("0", 0), ("5", 5), ("1000000", 1000000), ("9" * 100, 2**63 - 1)])
def test_an_offset_is_at_most_what_databases_can_count(requested, offset):
    assert page([("offset", requested)], 10) == Page(None, 10, offset)


def test_all_three_can_be_given_together():
    query = [("changes-since", "2011-01-24T17:08Z"), ("limit", "2"), ("offset", "3"), ("xml", "")]
    assert page(query, 10) == Page(datetime.datetime(2011, 1, 24, 17, 8, tzinfo=UTC), 2, 3)


@pytest.mark.parametrize("name", ["limit", "offset"])
@pytest.mark.parametrize(
    "value",
    ["", "-1", "+1", "1.0", "1e3", " 1", "1 ", "1_0", "\u0661", "\xb2", "x", "None", "9" * 101, "9" * 5000, "\n"],
)
def test_what_is_not_an_integer_from_zero_is_refused(name, value):
    assert refused([(name, value)]) == f"{name} must be an integer, 0 or more."


@pytest.mark.parametrize("name", ["limit", "offset", "changes-since"])
@pytest.mark.parametrize("values", [("1", "1"), ("1", "2"), ("", "1")])
def test_what_is_given_twice_is_refused(name, values):
    assert refused([(name, value) for value in values]) == f"{name} must not be given twice."


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2011-01-24T17:08Z", "2011-01-24T17:08:00"),
        ("2011-01-24T17:08", "2011-01-24T17:08:00"),
        ("2011-01-24 17:08", "2011-01-24T17:08:00"),
        ("2011-01-24T17:08:09", "2011-01-24T17:08:09"),
        ("2011-01-24T17:08:09.25Z", "2011-01-24T17:08:09.250000"),
        ("2011-01-24T17:08:09.123456Z", "2011-01-24T17:08:09.123456"),
        ("20110124T170809Z", "2011-01-24T17:08:09"),
        ("2011-W04-1T17:08Z", "2011-01-24T17:08:00"),
        ("2011-01-24T17:08+02:00", "2011-01-24T15:08:00"),
        ("2011-01-24T17:08-0230", "2011-01-24T19:38:00"),
        ("2011-01-24T17:08 02:00", "2011-01-24T15:08:00"),
        ("2011-01-24T17:08 0200", "2011-01-24T15:08:00"),
        ("2011-01-24 17:08 02:00", "2011-01-24T15:08:00"),
        ("2011-01-24T00:30+01:00", "2011-01-23T23:30:00"),
    ],
)
def test_a_time_is_iso_8601_with_utc_by_default_and_a_space_for_a_lost_plus(text, utc):
    moment = changes_since(text)
    assert moment == datetime.datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert moment.utcoffset() == datetime.timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "1295888880",
        "17:08",
        "2011-01",
        "2011-13-01T00:00",
        "2011-02-29T00:00",
        "2011-01-24T25:00",
        "2011-01-24T17:08\n",
        " 2011-01-24T17:08",
        "2011-01-24T17:08 ",
        "2011-01-24T17:08  02:00",
        "2011-01-24T",
        "2011-01-24Tnoon",
        "2011-01-24T17:08+25:00",
        "0001-01-01T00:00+10:00",
        "2011-01-24x17:08",
        "2011-01-24\x0017:08",
        "2011-01-24\ud80017:08",
        "2011-01-24+17:08",
        "\u0662011-01-24T17:08",
        "2011-01-24T17:08Z, 2012-01-24T17:08Z",
    ],
)
def test_a_malformed_time_is_refused(text):
    assert refused([("changes-since", text)]) == MALFORMED


@pytest.mark.parametrize("text", ["T" * 200_000 + " ", "2" + " " * 200_000, "1 T" * 70_000 + " 02:00"])
def test_a_long_time_is_refused_in_linear_time(text):
    assert refused([("changes-since", text)]) == MALFORMED


@pytest.mark.parametrize("text", ["2011-01-24", "20110124", "2011-W04-1"])
def test_a_date_without_a_time_is_refused_for_that(text):
    assert refused([("changes-since", text)]) == "changes-since must have a date and a time, such as 2011-01-24T17:08Z."


NOW = datetime.datetime(2024, 2, 29, 12, tzinfo=UTC)


class Noon(datetime.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return NOW.astimezone(tz)


@pytest.mark.parametrize("text", ["2024-02-29T12:00:00.000001Z", "2024-02-29T13:00", "2024-02-29T12:30+00:15"])
def test_a_time_in_the_future_is_refused(text, monkeypatch):
    monkeypatch.setattr(queries.datetime, "datetime", Noon)
    assert refused([("changes-since", text)]) == "changes-since must not be in the future."


@pytest.mark.parametrize("text", ["2024-02-29T12:00Z", "2024-02-29T11:59:59", "2024-02-29T13:00+01:00"])
def test_this_very_moment_is_not_the_future(text, monkeypatch):
    monkeypatch.setattr(queries.datetime, "datetime", Noon)
    assert page([("changes-since", text)], 10).since <= NOW


NEARLY_TIMES = st.lists(
    st.sampled_from(["2011-01-24", "20110124", "0001-01-01", "9999-12-31", "T", " ", "17:08", "23:59:60", ".5"])
    | st.sampled_from(["Z", "+", "-", "02:00", "2400", "W", "\x00", "\ud800", "\u0662"]),
    max_size=7,
).map("".join)


@given(st.text() | NEARLY_TIMES)
@example("2011-01-24\ud80017:08")
@example("9999-12-31T23:59-10:00")
def test_any_text_is_a_time_in_utc_or_a_bad_request(text):
    try:
        moment = changes_since(text)
    except BadRequest:
        return
    assert moment.tzinfo is UTC
    assert moment.year >= 1


NAMES = st.sampled_from(["limit", "offset", "changes-since", "json"])


@given(st.lists(st.tuples(NAMES, NEARLY_TIMES | st.text() | st.integers().map(str)), max_size=4), st.integers(1, 10**6))
def test_any_query_is_a_page_or_a_bad_request(query, most):
    try:
        found = page(query, most)
    except BadRequest:
        return
    assert 1 <= found.limit <= most
    assert 0 <= found.offset < 2**63
