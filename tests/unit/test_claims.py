"""What one may do to a row and to the backend; the rules by which nothing is lost, with a scripted registry."""

import dataclasses
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from os_volume_ext.attachments import claims as module
from os_volume_ext.attachments.claims import Claims
from os_volume_ext.backends.base import (
    AttachRefused,
    BackendUnavailable,
    DeviceInUse,
    OutcomeUnknown,
    Server,
    ServerNotFound,
    TooManyAttachments,
    Volume,
)
from os_volume_ext.errors import AlreadyReserved, AttachmentLimitReached, OperationIncomplete
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, Attachment

SERVER = Server("1134", "demo", "ACTIVE")
VOLUME = Volume("9", "demo", "/a/file", "raw")
CERTAIN = [
    BackendUnavailable("down"),
    ServerNotFound("none"),
    DeviceInUse("taken"),
    TooManyAttachments(3),
    AttachRefused("no"),
]


def attachment(state=ATTACHING, request_id="req-1", age=0.0, **more):
    row = Attachment("9", "1134", "demo", True, None, False, state, request_id, None, None, "/a/file", "raw", age=age)
    return dataclasses.replace(row, **more)


class ScriptedRegistry:
    """Records its calls and returns or raises what is scripted."""

    def __init__(self):
        self.calls = []
        self.responses = {}

    def __getattr__(self, name):
        def method(*arguments, **named):
            self.calls.append((name, *arguments, *named.values()))
            responses = self.responses.get(name, True)
            response = responses.pop(0) if isinstance(responses, list) else responses
            if isinstance(response, Exception):
                raise response
            return response

        return method


class ScriptedBackend:
    """A slot: records its calls and raises what is scripted."""

    def __init__(self):
        self.calls = []
        self.error = None
        self.device = "/dev/vdb"

    def _call(self, *call):
        self.calls.append(call)
        if self.error:
            raise self.error

    def attach(self, server, volume, device):
        self._call("attach", server, volume, device)
        return self.device

    def detach(self, server, volume, device):
        self._call("detach", server, volume, device)

    def forget(self, server, volume):
        self.calls.append(("forget", server, volume))


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.fixture
def registry():
    return ScriptedRegistry()


@pytest.fixture
def backend():
    return ScriptedBackend()


@pytest.fixture
def claims(registry, clock):
    return Claims(registry=registry, executor=None, operation_timeout=60, stale_after=180)


@pytest.fixture
def reserved(claims, registry):
    claim = claims.reserve(attachment(), None)
    registry.calls.clear()
    return claim


def taken(claims, registry, state, before=ATTACHED, age=0.0):
    claim = claims.acquire(attachment(before, "req-0", age), state, "req-1")
    registry.calls.clear()
    return claim


def not_gone():
    return False


def gone():
    return True


def must_not_be_called():
    pytest.fail("the compute API must not be called")


# -- when a row may be taken over ------------------------------------------------------------------


@pytest.mark.parametrize("state", [ATTACHING, DETACHING])
@pytest.mark.parametrize(("age", "stale"), [(0, False), (179.9, False), (180, False), (180.1, True)])
def test_a_row_under_way_is_stale_when_it_is_older_than_stale_after(claims, state, age, stale):
    assert claims.is_stale(attachment(state, age=age)) is stale


def test_an_attached_row_is_never_stale(claims):
    assert not claims.is_stale(attachment(ATTACHED, age=10**9))


# -- making a claim --------------------------------------------------------------------------------


def test_a_reserved_row_goes_back_to_nothing(claims, registry):
    row = attachment()
    claim = claims.reserve(row, 7)
    assert registry.calls == [("reserve", row, 7)]
    assert (claim.row, claim.prior) == (row, None)


def test_a_claims_deadline_counts_from_before_it_was_sent(claims, registry, clock):
    started = clock.now

    def slow(*arguments, **named):
        clock.now += 25
        return True

    registry.reserve = registry.claim = slow
    assert claims.reserve(attachment(), None).deadline == started + 60
    started = clock.now
    assert claims.acquire(attachment(ATTACHED), DETACHING, "req-2").deadline == started + 60


@pytest.mark.parametrize("error", [AlreadyReserved(), AttachmentLimitReached(1)])
def test_what_stands_in_the_way_of_a_reservation_is_reported(claims, registry, error):
    registry.responses["reserve"] = error
    with pytest.raises(type(error)):
        claims.reserve(attachment(), 1)


def test_a_claim_on_an_attached_row_goes_back_to_attached(claims, registry):
    seen = attachment(ATTACHED, "req-0")
    claim = claims.acquire(seen, DETACHING, "req-1")
    assert registry.calls == [("claim", seen, claim.row)]
    assert (claim.row.state, claim.row.request_id, claim.prior) == (DETACHING, "req-1", seen)


def test_two_claims_of_one_request_differ(claims):
    first, second = (claims.acquire(attachment(ATTACHED), DETACHING, "req-1") for _ in range(2))
    assert len({first.row.claim_id, first.prior.claim_id, second.row.claim_id}) == 3


def test_a_row_that_has_changed_is_not_taken(claims, registry):
    registry.responses["claim"] = False
    assert claims.acquire(attachment(ATTACHED), DETACHING, "req-1") is None


# -- attaching -------------------------------------------------------------------------------------


def test_attaching_calls_the_backend_and_confirms_the_row(claims, reserved, registry, backend):
    assert claims.attach(reserved, backend, SERVER, VOLUME, None) == "/dev/vdb"
    assert backend.calls == [("attach", SERVER, VOLUME, None)]
    assert registry.calls == [("confirm", reserved.row, "/dev/vdb")]


def test_a_backend_that_reports_no_device_leaves_it_unknown(claims, reserved, registry, backend):
    backend.device = None
    assert claims.attach(reserved, backend, SERVER, VOLUME, None) is None
    assert registry.calls == [("confirm", reserved.row, None)]


@pytest.mark.parametrize("error", CERTAIN, ids=lambda error: type(error).__name__)
def test_an_attach_that_failed_for_certain_removes_a_first_hand_row(claims, reserved, registry, backend, error):
    backend.error = error
    with pytest.raises(type(error)):
        claims.attach(reserved, backend, SERVER, VOLUME, None)
    assert registry.calls == [("remove", reserved.row)]


def test_an_attach_that_failed_for_certain_puts_an_attached_row_back(claims, registry, backend):
    claim = taken(claims, registry, ATTACHING)
    backend.error = AttachRefused("no")
    with pytest.raises(AttachRefused):
        claims.attach(claim, backend, SERVER, VOLUME, None)
    assert registry.calls == [("restore", claim.row, claim.prior)]


@pytest.mark.parametrize("error", CERTAIN, ids=lambda error: type(error).__name__)
def test_a_certain_failure_after_a_take_over_leaves_the_row(claims, registry, backend, error):
    claim = taken(claims, registry, ATTACHING, ATTACHING, 200)
    backend.error = error
    with pytest.raises(OperationIncomplete) as raised:
        claims.attach(claim, backend, SERVER, VOLUME, None)
    earlier = "an earlier operation that did not complete may have taken effect"
    assert str(raised.value) == f"nothing was changed ({error}), but {earlier}"
    assert raised.value.__cause__ is error
    assert registry.calls == []


def test_an_unknown_outcome_leaves_the_row(claims, reserved, registry, backend):
    backend.error = OutcomeUnknown("no word")
    with pytest.raises(OutcomeUnknown):
        claims.attach(reserved, backend, SERVER, VOLUME, None)
    assert registry.calls == []


def test_a_row_that_changed_before_it_was_confirmed_is_left_alone(claims, reserved, registry, backend):
    registry.responses["confirm"] = False
    with pytest.raises(OperationIncomplete):
        claims.attach(reserved, backend, SERVER, VOLUME, None)
    assert [call[0] for call in backend.calls] == ["attach"]
    assert [call[0] for call in registry.calls] == ["confirm"]


def test_a_row_that_changed_before_it_could_be_removed_is_left_alone(claims, reserved, registry, backend):
    backend.error = BackendUnavailable("down")
    registry.responses["remove"] = False
    with pytest.raises(OperationIncomplete):
        claims.attach(reserved, backend, SERVER, VOLUME, None)
    assert len(backend.calls) == 1


# -- the deadline ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "called"), [(59.9, True), (60, False), (1000, False)])
def test_no_attach_starts_after_the_deadline(claims, reserved, registry, backend, clock, seconds, called):
    clock.now += seconds
    if called:
        claims.attach(reserved, backend, SERVER, VOLUME, None)
    else:
        with pytest.raises(OperationIncomplete, match=r"^the claim's deadline passed before the backend call$"):
            claims.attach(reserved, backend, SERVER, VOLUME, None)
        assert registry.calls == []
    assert bool(backend.calls) is called


def test_no_detach_starts_after_the_deadline(claims, registry, backend, clock):
    claim = taken(claims, registry, DETACHING)
    clock.now += 60
    with pytest.raises(OperationIncomplete, match=r"^the claim's deadline passed before the backend call$"):
        claims.detach(claim, backend, SERVER, must_not_be_called)
    assert backend.calls == registry.calls == []


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux only")
def test_the_deadline_is_of_the_clock_that_counts_during_suspension(registry, monkeypatch):
    now = {time.CLOCK_BOOTTIME: 5000.0}
    clock = SimpleNamespace(CLOCK_BOOTTIME=time.CLOCK_BOOTTIME, clock_gettime=now.get, monotonic=lambda: 10.0)
    monkeypatch.setattr(module, "time", clock)
    claims = Claims(registry=registry, executor=None, operation_timeout=60, stale_after=180)
    assert claims.reserve(attachment(), None).deadline == 5060


def test_a_moved_claim_keeps_its_deadline(claims, registry, clock):
    claim = taken(claims, registry, DETACHING)
    clock.now += 30
    assert claims.transfer(claim, attachment(server_id="1135"), None).deadline == claim.deadline


# -- detaching -------------------------------------------------------------------------------------


def test_detaching_calls_the_backend_and_removes_the_row(claims, registry, backend):
    claim = claims.acquire(attachment(ATTACHED, "req-0", device="/dev/vdb"), DETACHING, "req-1")
    registry.calls.clear()
    claims.detach(claim, backend, SERVER, must_not_be_called)
    assert backend.calls == [("detach", SERVER, VOLUME, "/dev/vdb")]
    assert registry.calls == [("remove", claim.row)]


def test_detaching_gives_the_backend_no_device_where_it_is_not_known(claims, registry, backend):
    claims.detach(taken(claims, registry, DETACHING), backend, SERVER, must_not_be_called)
    assert backend.calls[0][3] is None


@pytest.mark.parametrize("error", [BackendUnavailable("down"), AttachRefused("no")], ids=lambda e: type(e).__name__)
def test_a_detach_that_failed_for_certain_puts_the_row_back(claims, registry, backend, error):
    claim = claims.acquire(attachment(ATTACHED, "req-0", device="/dev/vdb"), DETACHING, "req-1")
    registry.calls.clear()
    backend.error = error
    with pytest.raises(type(error)):
        claims.detach(claim, backend, SERVER, must_not_be_called)
    assert registry.calls == [("restore", claim.row, claim.prior)]


def test_a_detach_that_failed_for_certain_after_a_take_over_leaves_the_row(claims, registry, backend):
    claim = taken(claims, registry, DETACHING, DETACHING, 200)
    backend.error = BackendUnavailable("down")
    with pytest.raises(OperationIncomplete):
        claims.detach(claim, backend, SERVER, must_not_be_called)
    assert registry.calls == []


def test_a_detach_of_unknown_outcome_leaves_the_row(claims, registry, backend):
    claim = taken(claims, registry, DETACHING)
    backend.error = OutcomeUnknown("no word")
    with pytest.raises(OutcomeUnknown):
        claims.detach(claim, backend, SERVER, must_not_be_called)
    assert registry.calls == []


def test_a_detach_that_finds_its_row_gone_is_done(claims, registry, backend):
    claim = taken(claims, registry, DETACHING)
    registry.responses.update(remove=False, get=None)
    claims.detach(claim, backend, SERVER, must_not_be_called)
    assert [name for name, *_ in registry.calls] == ["remove", "get"]
    assert registry.calls[0] == ("remove", claim.row)


def test_a_detach_that_finds_its_row_changed_is_incomplete(claims, registry, backend):
    claim = taken(claims, registry, DETACHING)
    registry.responses.update(remove=False, get=attachment(DETACHING, "req-2"))
    with pytest.raises(OperationIncomplete):
        claims.detach(claim, backend, SERVER, must_not_be_called)


def test_a_server_that_neither_backend_nor_compute_api_has_counts_as_detached(claims, registry, backend):
    claim = taken(claims, registry, DETACHING)
    backend.error = ServerNotFound("none")
    claims.detach(claim, backend, SERVER, gone)
    assert registry.calls == [("remove", claim.row)]
    assert backend.calls[-1] == ("forget", SERVER, claim.row.volume)


def test_a_volume_is_not_freed_after_the_deadline(claims, registry, backend, clock):
    claim = taken(claims, registry, DETACHING)
    backend.error = ServerNotFound("none")

    def gone_slowly():
        clock.now += 1000
        return True

    with pytest.raises(OperationIncomplete, match="deadline"):
        claims.detach(claim, backend, SERVER, gone_slowly)
    assert [call[0] for call in backend.calls] == ["detach"]


@pytest.mark.parametrize(("error", "has_server"), [(None, True), (ServerNotFound("none"), False)])
def test_a_detach_that_keeps_the_row_returns_whether_the_backend_has_the_server(
    claims, registry, backend, error, has_server
):
    claim = taken(claims, registry, DETACHING)
    backend.error = error
    assert claims.detach_or_restore(claim, backend, SERVER, gone) is has_server
    assert registry.calls == []


def test_a_server_that_only_the_backend_does_not_have_restores_the_row(claims, registry, backend):
    claim = taken(claims, registry, DETACHING)
    backend.error = ServerNotFound("none")
    with pytest.raises(
        ServerNotFound, match=r"^the compute API has server 1134, but the backend does not: see attachment remove$"
    ):
        claims.detach(claim, backend, SERVER, not_gone)
    assert registry.calls == [("restore", claim.row, claim.prior)]


def test_a_row_whose_device_another_has_meanwhile_is_not_restored(claims, registry, backend):
    claim = taken(claims, registry, DETACHING)
    backend.error = AttachRefused("no")
    registry.responses["restore"] = AlreadyReserved()
    with pytest.raises(OperationIncomplete, match=r"^the attachment was modified concurrently$"):
        claims.detach(claim, backend, SERVER, not_gone)


# -- moving a claim from a deleted server to another -------------------------------------------------


def test_a_moved_claim_is_first_hand(claims, registry):
    claim = taken(claims, registry, DETACHING, ATTACHING, 200)
    row = attachment(server_id="1135")
    moved = claims.transfer(claim, row, 5)
    assert registry.calls == [("transfer", claim.row, row, 5)]
    assert (moved.row, moved.prior) == (row, None)


def test_a_claim_that_is_gone_is_not_moved(claims, registry):
    claim = taken(claims, registry, DETACHING)
    registry.responses["transfer"] = False
    with pytest.raises(OperationIncomplete):
        claims.transfer(claim, attachment(server_id="1135"), None)
    assert [call[0] for call in registry.calls] == ["transfer"]


@pytest.mark.parametrize(
    "error", [AlreadyReserved(), AttachmentLimitReached(1)], ids=lambda error: type(error).__name__
)
def test_a_claim_that_can_not_be_moved_is_removed_all_the_same(claims, registry, error):
    claim = taken(claims, registry, DETACHING)
    registry.responses["transfer"] = error
    with pytest.raises(type(error)):
        claims.transfer(claim, attachment(server_id="1135"), None)
    assert registry.calls[-1] == ("remove", claim.row)


def test_a_detach_for_a_caller_unsets_delete_on_termination_in_its_claim(claims, registry):
    seen = replace(attachment(ATTACHED, "req-0"), delete_on_termination=True)
    claim = claims.acquire_for_caller(seen, "req-1")
    assert registry.calls == [("claim", seen, claim.row)]
    assert (claim.row.state, claim.row.delete_on_termination, claim.prior) == (DETACHING, False, seen)


def test_a_detach_that_definitely_failed_restores_delete_on_termination(claims, registry, backend):
    seen = replace(attachment(ATTACHED, "req-0"), delete_on_termination=True)
    claim = claims.acquire_for_caller(seen, "req-1")
    registry.calls.clear()
    backend.error = AttachRefused("no")
    with pytest.raises(AttachRefused):
        claims.detach(claim, backend, SERVER, must_not_be_called)
    assert registry.calls == [("restore", claim.row, seen)]


def test_a_takeover_of_an_attach_claims_with_what_it_requests(claims, registry):
    seen = attachment(ATTACHING, "req-0", 200, device="/dev/vdb", tag="old")
    new = attachment(ATTACHING, "req-1", device="/dev/vdc", tag="new", delete_on_termination=True)
    claim = claims.acquire_for_attach(seen, new)
    assert registry.calls == [("claim", seen, claim.row)]
    assert claim.row == replace(new, id=seen.id)


# -- releasing a claim -----------------------------------------------------------------------------


def test_releasing_a_new_row_removes_it(claims, reserved, registry):
    claims.release(reserved)
    assert registry.calls == [("remove", reserved.row)]


@pytest.mark.parametrize("state", [ATTACHING, ATTACHED, DETACHING])
def test_releasing_a_claim_restores_the_row_as_it_was(claims, registry, state):
    seen = attachment(state, "req-0", 200)
    claim = claims.acquire(seen, DETACHING, "req-1")
    registry.calls.clear()
    claims.release(claim)
    assert registry.calls == [("restore", claim.row, seen)]


def test_releasing_a_claim_that_is_lost_is_incomplete(claims, reserved, registry):
    registry.responses["remove"] = False
    with pytest.raises(OperationIncomplete, match=r"^the attachment was modified concurrently$"):
        claims.release(reserved)
