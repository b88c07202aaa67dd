"""The search for an order of events: which histories it accepts, which it refuses, and the report of those."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.history import KINDS, NO_ROW, Request, read, refusal

MS = 1_000_000
STATES = ("attached to", "being attached to", "being detached from")


def request(start, end, operation, status, saw="", server="1"):
    """Return a request that began and ended at some milliseconds."""
    volume = "" if operation == "list" else "9"
    return Request(start * MS, end * MS, operation, volume, server, status, saw)


def attach(start, end, server="1"):
    return request(start, end, "attach", 200, server=server)


def detach(start, end, server="1"):
    return request(start, end, "detach", 200, server=server)


def conflict(start, end, operation, where, server="1"):
    return request(start, end, operation, 400, f"Volume 9 is {where}.", server)


def gave_up(start, end, operation):
    return request(start, end, operation, 400, "Other operations on volume 9 are in progress. Retry later.")


def missing(start, end, operation, server="1"):
    return request(start, end, operation, 404, f"Volume 9 is not attached to server {server}.", server)


def show(start, end, server="1"):
    return request(start, end, "show", 200, server=server)


def listed(start, end, *volumes, server="1"):
    return request(start, end, "list", 200, frozenset(volumes), server)


TRUE = {
    "nothing": [],
    "attached, shown, detached": [
        attach(0, 1),
        show(2, 3),
        listed(4, 5, "9", "8"),
        detach(6, 7),
        missing(8, 9, "show"),
    ],
    "shown before its attach responded": [attach(0, 9), show(1, 2)],
    "not shown yet, then shown": [attach(0, 9), missing(1, 2, "show"), show(3, 4)],
    "being attached is not shown": [
        attach(0, 9),
        conflict(1, 2, "attach", "being attached to server 1", "2"),
        missing(3, 4, "show"),
        listed(5, 6, "8"),
    ],
    "being detached is still shown": [
        attach(0, 1),
        detach(2, 9),
        conflict(3, 4, "detach", "being detached from server 1"),
        show(5, 6),
        listed(7, 8, "9"),
    ],
    "two detaches and an attach between them": [attach(0, 1), detach(2, 9), detach(2, 9), attach(2, 9)],
    "the attach that responds last was the first": [
        attach(0, 9),
        attach(1, 8, "2"),
        detach(2, 7),
        detach(3, 9, "2"),
    ],
    "an attach meets the row elsewhere": [attach(0, 1), conflict(2, 3, "attach", "attached to server 1", "2")],
    "a detach elsewhere finds nothing": [attach(0, 1), missing(2, 3, "detach", "2")],
    "a row came and went three times": [
        gave_up(0, 20, "attach"),
        *[each for at in (1, 7, 13) for each in (attach(at, at + 1), detach(at + 3, at + 4))],
    ],
    "an attachment was another one three times": [
        attach(0, 1),
        gave_up(2, 20, "detach"),
        *[each for at in (3, 9, 15) for each in (detach(at, at + 1), attach(at + 2, at + 3))],
    ],
    "a moment is in both": [attach(0, 1), detach(1, 2)],
}

FALSE = {
    "attached to two servers": [attach(0, 1), attach(2, 3, "2")],
    "attached twice at once": [attach(0, 9), attach(0, 9, "2")],
    "detached twice": [attach(0, 1), detach(2, 9), detach(2, 9)],
    "detached from where it is not": [attach(0, 1), detach(2, 3, "2")],
    "responded before it was confirmed": [attach(0, 1), missing(2, 3, "show")],
    "responded before it was confirmed, by a list": [attach(0, 1), listed(2, 3, "8")],
    "responded before it was confirmed, by a conflict": [
        attach(0, 1),
        conflict(2, 3, "attach", "being attached to server 1"),
    ],
    "responded before the row was removed": [
        attach(0, 1),
        detach(2, 3),
        conflict(4, 5, "attach", "being detached from server 1"),
    ],
    "shown before it was requested": [show(0, 1)],
    "shown after it went": [attach(0, 1), detach(2, 3), show(4, 5)],
    "listed after it went": [attach(0, 1), detach(2, 3), listed(4, 5, "9")],
    "shown, then not yet": [attach(0, 9), show(1, 2), missing(3, 4, "show")],
    "gone, then shown": [attach(0, 1), detach(2, 9), missing(3, 4, "show"), show(5, 6)],
    "shown on another server": [attach(0, 1), show(2, 3, "2")],
    "a conflict with nothing": [conflict(0, 1, "attach", "attached to server 1")],
    "a conflict that names another server": [attach(0, 1), conflict(2, 3, "attach", "attached to server 2")],
    "a conflict of a detach with nobody": [attach(0, 1), conflict(2, 3, "detach", "being detached from server 1")],
    "a detach finds nothing where it is": [attach(0, 1), missing(2, 3, "detach")],
    "a detach finds nothing while it is being attached": [
        attach(0, 9),
        conflict(1, 2, "attach", "being attached to server 1"),
        missing(3, 4, "detach"),
    ],
    "a row came and went twice only": [
        *[each for at in (1, 7) for each in (attach(at, at + 1), detach(at + 3, at + 4))],
        gave_up(0, 20, "attach"),
    ],
    "an attachment was another one once only": [attach(0, 1), detach(3, 4), attach(5, 6), gave_up(2, 20, "detach")],
}


@pytest.mark.parametrize("requests", TRUE.values(), ids=TRUE)
def test_a_history_that_can_be_true_is_taken(requests):
    assert refusal(requests, "9") is None


@pytest.mark.parametrize("requests", FALSE.values(), ids=FALSE)
def test_a_history_that_can_not_be_true_is_refused(requests):
    assert refusal(requests, "9") is not None


def test_requests_about_other_volumes_do_not_matter():
    assert refusal([attach(0, 1), attach(2, 3)._replace(volume="8")], "9") is None


def test_the_stretch_that_can_not_be_true_is_short_and_in_words():
    many = [
        each for at in range(0, 100, 10) for each in (attach(at, at + 2), show(at + 1, at + 4), detach(at + 5, at + 6))
    ]
    late = [attach(100, 101), show(102, 103), listed(104, 108, "9"), detach(105, 106), show(107, 109)]
    assert refusal(many + late, "9").splitlines() == [
        "There is no order of events in which all these responses about volume 9 are true.",
        "106.000 ms: the row is none",
        "107.000 ms to 109.000 ms: request 34: show, server 1: 200 <-- not this one",
    ]


def test_the_stretch_begins_before_the_changes_that_were_under_way():
    requests = [attach(0, 1), detach(2, 9), listed(3, 4, "9"), missing(5, 6, "show"), listed(7, 8, "9")]
    assert refusal(requests, "9").splitlines() == [
        "There is no order of events in which all these responses about volume 9 are true.",
        "5.000 ms: the row is attached 1",
        "2.000 ms to 9.000 ms: request 1, begun by then: detach, server 1: 200",
        "5.000 ms to 6.000 ms: request 3, begun by then: show, server 1: 404 Volume 9 is not attached to server 1.",
        "7.000 ms to 8.000 ms: request 4: list, server 1: 200 volumes ['9'] <-- not this one",
    ]


@pytest.mark.parametrize(
    "request_",
    [
        request(0, 1, "attach", 503, "The volume backend is not available."),
        request(0, 1, "attach", 400, "Cannot attach a volume to server 1 while it is locked."),
        request(0, 1, "attach", 404, "Volume 9 could not be found."),
        request(0, 1, "detach", 404, "Server 1 could not be found."),
        request(0, 1, "show", 404, "Server 1 could not be found."),
        request(0, 1, "attach", 400, "Volume 8 is attached to server 1."),
        conflict(0, 1, "detach", "attached to server 1"),
        conflict(0, 1, "detach", "being detached from server 2"),
    ],
    ids=lambda request_: f"{request_.operation} {request_.status} {request_.saw}",
)
def test_an_impossible_response_is_an_error(request_):
    with pytest.raises(ValueError, match="can have this response"):
        refusal([request_], "9")


# -- against the plainest search there is ----------------------------------------------------------------


def in_some_order(operations):
    """Say whether there is an order, by trying all."""

    def is_due(number, done):
        earlier = (other for other, each in operations.items() if each.request.end < operations[number].request.start)
        return all(done[other] == len(operations[other].steps) for other in earlier)

    def go_on(row, done):
        left = [number for number, each in operations.items() if done[number] < len(each.steps)]
        rows = {number: operations[number].steps[done[number]](row) for number in left if is_due(number, done)}
        return not left or any(
            go_on(after, done | {number: done[number] + 1}) for number, after in rows.items() if after is not None
        )

    return go_on(NO_ROW, dict.fromkeys(operations, 0))


SAID = {
    ("attach", 200): [""],
    ("attach", 400): [f"Volume 9 is {where} server {server}." for server in "12" for where in STATES],
    ("detach", 200): [""],
    ("detach", 400): [f"Volume 9 is {where} server 1." for where in STATES[1:]],
    ("detach", 404): ["Volume 9 is not attached to server 1."],
    ("show", 200): [""],
    ("show", 404): ["Volume 9 is not attached to server 1."],
    ("list", 200): [frozenset(), frozenset("9")],
}
responses = st.sampled_from([(*kind, saw) for kind, sayings in SAID.items() for saw in sayings])
changes = st.sampled_from([("attach", 200, ""), ("detach", 200, "")])


@st.composite
def histories(draw):
    """Some requests at once; of two servers, but most of one."""
    found = []
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, 8))
        operation, status, saw = draw(st.one_of(changes, responses))
        server = draw(st.sampled_from("112"))
        if isinstance(saw, str) and operation != "attach":
            saw = saw.replace("server 1", f"server {server}")
        found.append(request(start, start + draw(st.integers(1, 8)), operation, status, saw, server))
    return found


@settings(max_examples=1000)
@given(histories())
def test_the_search_finds_what_trying_every_order_finds(requests):
    assert (refusal(requests, "9") is None) == in_some_order(read(requests, "9"))


def test_every_kind_of_response_is_tried():
    assert set(SAID) == KINDS
