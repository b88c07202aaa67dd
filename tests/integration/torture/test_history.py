"""The search for an order of events: which histories it accepts, which it refuses, and the report of those."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.history import (
    BACKEND,
    BACKEND_UNKNOWN,
    INCOMPLETE,
    KINDS,
    NO_ROW,
    OVERLOADED,
    REGISTRY,
    Request,
    read,
    refusal,
)

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


def failed(start, end, operation, saw=REGISTRY, server="1"):
    return request(start, end, operation, 503, saw, server)


def limited(start, end, server="1"):
    return request(start, end, "attach", 400, "A server can have at most 2 attached volumes.", server)


def device_taken(start, end, server="1"):
    return request(
        start, end, "attach", 400, f"Device /dev/vdb of server {server} is in use by another volume.", server
    )


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
    "the server is full while the volume is elsewhere": [attach(0, 1), limited(2, 3, "2")],
    "the device has another volume": [device_taken(0, 1), attach(2, 3), device_taken(4, 5, "2")],
    "failed looks": [attach(0, 1), failed(2, 3, "show"), failed(4, 5, "list"), show(6, 7)],
    "a failed attach that changed nothing": [failed(0, 1, "attach"), attach(2, 3, "2")],
    "a failed attach that left its claim": [
        failed(0, 1, "attach"),
        missing(2, 3, "show"),
        conflict(4, 5, "attach", "being attached to server 1", "2"),
        conflict(6, 7, "detach", "being attached to server 1"),
    ],
    "a failed attach that attached": [failed(0, 1, "attach"), show(2, 3), detach(4, 5)],
    "a failed attach that was undone": [
        failed(0, 9, "attach"),
        conflict(1, 2, "attach", "being attached to server 1", "2"),
        attach(3, 4, "2"),
    ],
    "a failed attach that attaches later": [
        failed(0, 1, "attach"),
        conflict(2, 3, "attach", "being attached to server 1", "2"),
        show(4, 5),
        detach(6, 7),
    ],
    "a failed attach that is undone later": [
        failed(0, 1, "attach"),
        conflict(2, 3, "attach", "being attached to server 1", "2"),
        attach(4, 5, "2"),
    ],
    "a failed attach that reserves later": [
        failed(0, 1, "attach"),
        attach(2, 3, "2"),
        detach(4, 5, "2"),
        conflict(6, 7, "attach", "being attached to server 1", "2"),
    ],
    "a failed attach after another one that had claimed": [
        failed(0, 1, "attach"),
        failed(0, 1, "attach", server="2"),
        conflict(2, 3, "attach", "being attached to server 1", "2"),
        attach(4, 5, "2"),
    ],
    "a failed detach that changed nothing": [attach(0, 1), failed(2, 3, "detach"), show(4, 5), detach(6, 7)],
    "a failed detach that left its claim": [
        attach(0, 1),
        failed(2, 3, "detach"),
        conflict(4, 5, "detach", "being detached from server 1"),
        show(6, 7),
    ],
    "a failed detach that detached": [attach(0, 1), failed(2, 3, "detach"), attach(4, 5, "2")],
    "a failed detach that was undone": [
        attach(0, 1),
        failed(2, 9, "detach"),
        conflict(3, 4, "detach", "being detached from server 1"),
        detach(5, 6),
    ],
    "a failed detach that detaches later": [
        attach(0, 1),
        failed(2, 3, "detach"),
        conflict(4, 5, "detach", "being detached from server 1"),
        attach(6, 7, "2"),
    ],
    "a failed detach that is undone later": [
        attach(0, 1),
        failed(2, 3, "detach"),
        conflict(4, 5, "detach", "being detached from server 1"),
        detach(6, 7),
    ],
    "a failed detach that claims later": [
        attach(0, 1),
        failed(2, 3, "detach"),
        conflict(4, 5, "attach", "attached to server 1", "2"),
        conflict(6, 7, "detach", "being detached from server 1"),
    ],
    "a failed detach of what a failed attach attached": [
        failed(0, 5, "attach"),
        failed(3, 5, "detach"),
        show(6, 7),
        conflict(8, 9, "detach", "being detached from server 1"),
        attach(10, 11, "2"),
    ],
    "a backend that failed": [
        failed(0, 1, "attach", BACKEND),
        attach(2, 3),
        failed(4, 5, "detach", BACKEND),
        show(6, 7),
    ],
    "a process that was overloaded": [failed(0, 1, "attach", OVERLOADED), attach(2, 3)],
    "a backend that did not respond": [
        failed(0, 1, "attach", BACKEND_UNKNOWN),
        conflict(2, 3, "attach", "being attached to server 1", "2"),
    ],
    "a claim that expired": [
        attach(0, 1),
        failed(2, 3, "detach", INCOMPLETE),
        conflict(4, 5, "detach", "being detached from server 1"),
    ],
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
    "the server is full where the volume is": [attach(0, 1), limited(2, 3)],
    "the device has another volume where this one is": [attach(0, 1), device_taken(2, 3)],
    "an acknowledged attach is lost": [attach(0, 1), failed(2, 3, "attach", server="2"), missing(4, 5, "show")],
    "an acknowledged attach is lost after a detach elsewhere failed": [
        attach(0, 1),
        failed(2, 3, "detach", server="2"),
        missing(4, 5, "show"),
    ],
    "an acknowledged attach is lost after a detach that failed before": [
        failed(0, 1, "detach"),
        attach(2, 3),
        missing(4, 5, "show"),
    ],
    "an acknowledged detach is lost": [attach(0, 1), detach(2, 3), failed(4, 5, "detach"), show(6, 7)],
    "a stale read after a detach": [attach(0, 1), failed(2, 3, "detach"), detach(4, 5), listed(6, 7, "9")],
    "a failed attach makes a second owner": [attach(0, 1), failed(2, 3, "attach", server="2"), show(4, 5, "2")],
    "a failed attach counts twice": [failed(0, 1, "attach"), show(2, 3), detach(4, 5), show(6, 7)],
    "a failed detach counts twice": [attach(0, 1), failed(2, 3, "detach"), attach(4, 5), missing(6, 7, "show")],
    "a failed attach is undone and attaches": [
        failed(0, 1, "attach"),
        conflict(2, 3, "attach", "being attached to server 1", "2"),
        attach(4, 5, "2"),
        detach(6, 7, "2"),
        show(8, 9),
    ],
    "a failed attach reserves later and attaches": [
        failed(0, 1, "attach"),
        attach(2, 3, "2"),
        detach(4, 5, "2"),
        show(6, 7),
    ],
    "a failed attach reserves later and is undone": [
        failed(0, 1, "attach"),
        attach(2, 3, "2"),
        detach(4, 5, "2"),
        conflict(6, 7, "attach", "being attached to server 1", "2"),
        attach(8, 9, "2"),
    ],
    "a failed detach claims later and detaches": [
        attach(0, 1),
        failed(2, 3, "detach"),
        conflict(4, 5, "attach", "attached to server 1", "2"),
        missing(6, 7, "show"),
    ],
    "a failed detach claims another attachment later": [
        attach(0, 1),
        failed(2, 3, "detach"),
        detach(4, 5),
        attach(6, 7),
        conflict(8, 9, "detach", "being detached from server 1"),
    ],
    "a failed attach before it was requested": [
        conflict(0, 1, "attach", "being attached to server 1"),
        failed(2, 3, "attach"),
    ],
    "a backend that failed attaches": [failed(0, 1, "attach", BACKEND), show(2, 3)],
    "a backend failed where nothing could be reserved": [attach(0, 1), failed(2, 3, "attach", BACKEND, "2")],
    "a backend that did not respond leaves no claim": [failed(0, 1, "attach", BACKEND_UNKNOWN), attach(2, 3, "2")],
    "a claim that expired is removed": [attach(0, 1), failed(2, 3, "detach", INCOMPLETE), attach(4, 5, "2")],
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


def test_the_report_has_what_may_still_come_late():
    requests = [attach(0, 1), failed(2, 3, "attach"), failed(4, 5, "detach"), show(6, 7), detach(8, 9), show(10, 11)]
    assert refusal(requests, "9").splitlines() == [
        "There is no order of events in which all these responses about volume 9 are true.",
        "9.000 ms: the row is none",
        "it may still become attaching 1 where it is none",
        "10.000 ms to 11.000 ms: request 5: show, server 1: 200 <-- not this one",
    ]


def test_hundreds_of_unknown_outcomes_are_searched_in_no_time():
    unknown = [
        failed(at, at + 10, operation, server=server)
        for at in range(100)
        for operation, server in (("attach", "1"), ("detach", "2"), ("attach", "3"), ("detach", "1"))
    ]
    known = [missing(at, at + 2, "show", "2") for at in range(0, 200, 5)]
    assert refusal([*unknown, *known, attach(200, 201), show(202, 203)], "9") is None
    assert refusal([*unknown, *known, attach(200, 201), missing(202, 203, "show")], "9") is not None


@pytest.mark.parametrize(
    ("requests", "is_possible"),
    [
        ([request(0, 1, "attach", 202), request(2, 3, "show", 200), request(4, 5, "detach", 202)], True),
        ([request(0, 1, "attach", 202), request(2, 3, "attach", 400, "Volume 9 is attached to server 1.")], True),
        ([request(0, 9, "attach", 202), request(2, 3, "attach", 409, "Volume 9 is being attached to server 1.")], True),
        ([request(2, 3, "attach", 403, "A server can have at most 2 attached volumes.")], True),
        ([request(0, 1, "attach", 202), missing(2, 3, "show")], False),
        (
            [request(0, 1, "attach", 202), request(2, 3, "attach", 409, "Volume 9 is being attached to server 1.")],
            False,
        ),
    ],
    ids=str,
)
def test_the_statuses_of_openstack_mean_the_same(requests, is_possible):
    assert (refusal(requests, "9", "openstack") is None) == is_possible


@pytest.mark.parametrize(
    "request_",
    [
        attach(0, 1),
        detach(0, 1),
        conflict(0, 1, "attach", "being attached to server 1"),
        limited(0, 1),
        request(0, 1, "attach", 409, "Volume 9 is attached to server 1."),
    ],
    ids=str,
)
def test_a_status_of_the_other_dialect_is_an_error(request_):
    with pytest.raises(ValueError, match="can have this response"):
        refusal([request_], "9", "openstack")


@pytest.mark.parametrize(
    "request_",
    [
        request(0, 1, "attach", 500, "An internal error occurred."),
        request(0, 1, "attach", 503, "The compute API is not available."),
        request(0, 1, "attach", 503, "The volume catalog is not available."),
        request(0, 1, "show", 503, BACKEND),
        request(0, 1, "attach", 400, "Device /dev/vdb of server 2 is in use by another volume."),
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
    earlier = {
        number: {other for other, each in operations.items() if each.request.end < operation.request.start}
        for number, operation in operations.items()
    }

    @cache
    def go_on(row, live, late):
        """Say the same of what is left: how many steps the live have done, and what may come late."""
        return not live or any(go_on(*after) for after in [*steps(row, live, late), *late_changes(row, live, late)])

    def steps(row, live, late):
        numbers = {number for number, _ in live}
        for number, count in live:
            if not earlier[number] & numbers:
                yield from steps_of(operations[number], number, count, (row, live - {(number, count)}, late))

    return go_on(NO_ROW, frozenset((number, 0) for number in operations), frozenset())


def steps_of(operation, number, count, state):
    """Yield what an end of the operation, and its next step, may lead to."""
    row, others, late = state
    further = others | {(number, count + 1)}
    if count in operation.ends:
        yield row, others, late | {(number, each) for each in operation.late_changes(row, count)}
    if count < len(operation.looks) and operation.looks[count](row):
        yield row, further, late
    if count < len(operation.changes):
        for change in operation.changes[count]:
            yield from changed(change, row, further, late)


def late_changes(row, live, late):
    for number, change in late:
        yield from changed(change, row, live, frozenset(each for each in late if each[0] != number))


def changed(change, row, live, late):
    """Yield what a change leads to, unless the row is another one."""
    if change.before == row:
        yield change.after, live, frozenset(each for each in late if each[1].before != row or row == NO_ROW)


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
UNKNOWN = [
    ("attach", 503, REGISTRY),
    ("attach", 503, REGISTRY),
    ("detach", 503, REGISTRY),
    ("detach", 503, REGISTRY),
    ("attach", 503, BACKEND),
    ("detach", 503, BACKEND),
    ("attach", 503, INCOMPLETE),
    ("detach", 503, INCOMPLETE),
]
responses = st.sampled_from([(*kind, saw) for kind, sayings in SAID.items() for saw in sayings])
changes = st.sampled_from([("attach", 200, ""), ("detach", 200, "")])
unknown = st.sampled_from(UNKNOWN)


@st.composite
def histories(draw, *kinds):
    """Some requests at once; of two servers, but most of one."""
    found = []
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, 8))
        operation, status, saw = draw(st.one_of(*kinds))
        server = draw(st.sampled_from("112"))
        if isinstance(saw, str) and operation != "attach":
            saw = saw.replace("server 1", f"server {server}")
        found.append(request(start, start + draw(st.integers(1, 8)), operation, status, saw, server))
    return found


@settings(max_examples=1000)
@given(histories(changes, responses))
def test_the_search_finds_what_trying_every_order_finds(requests):
    assert (refusal(requests, "9") is None) == in_some_order(read(requests, "9"))


@settings(max_examples=2000)
@given(histories(changes, responses, unknown))
def test_the_search_finds_it_where_outcomes_are_unknown_too(requests):
    assert (refusal(requests, "9") is None) == in_some_order(read(requests, "9"))


def test_every_kind_of_response_is_tried():
    assert set(SAID) == KINDS["cyclades"]
