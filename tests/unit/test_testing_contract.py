"""The backend contract: a good backend passes every test, and each planted fault fails the tests that catch it."""

import inspect
import re
from collections import Counter

import pytest

from os_volume_ext.testing import BackendContract
from os_volume_ext.testing.declarations import COMPLETE
from tests.support.planted import FAULTS
from tests.support.planted.reference import FIRST_VOLUME, OTHER_SERVER, SERVER

TEST_MODULE = """
import pytest

from os_volume_ext.backends.base import AttachRefused
from os_volume_ext.testing import Absent
from tests.support.planted import FAULTS
from tests.support.planted.reference import FIRST_VOLUME, OTHER_SERVER, SERVER
from tests.support.planted.reference import Reference, ReferenceContract

class Attributes:
{attributes}

class TestIt(Attributes, ReferenceContract):
    pass
"""


@pytest.fixture
def outcomes(pytester):
    """Run tests of the contract, and return which passed, failed and were skipped."""

    def run(attributes="    pass", tests=()):
        path = pytester.makepyfile(test_it=TEST_MODULE.format(attributes=attributes))
        selected = [f"{path}::TestIt::{test}" for test in sorted(tests)] or [path]
        result = pytester.inline_run("-p", "no:cacheprovider", "-p", "no:schemathesis", *selected)
        passed, skipped, failed = result.listoutcomes()
        return {
            "passed": {_test(report) for report in passed},
            "skipped": {_test(report) for report in skipped},
            "failed": {_test(report) for report in failed},
            "reasons": "".join(str(report.longrepr) for report in failed),
            "messages": [report.longrepr.reprcrash.message for report in failed],
            "skips": Counter(report.longrepr[2] for report in skipped),
        }

    return run


def _test(report):
    return report.nodeid.rpartition("::")[2].partition("[")[0]


def contract():
    return {name for name, _ in inspect.getmembers(BackendContract, inspect.isfunction) if name.startswith("test_")}


UNSUPPORTED = {
    "test_a_requested_device_is_refused_where_it_is_not_supported",
    "test_a_multiattach_volume_is_refused_where_it_is_not_supported",
}


def test_a_subclass_runs_every_test_of_the_contract(outcomes):
    result = outcomes()
    assert result["failed"] == set(), result["reasons"]
    assert result["skipped"] == UNSUPPORTED
    assert result["passed"] == contract() - UNSUPPORTED


MODEST = """
    class Modest(Reference):
        refuses_second_server = False

        def check_limit(self, disks):
            pass

        def attach(self, server, volume, device):
            if volume.multiattach or device is not None and volume.id not in self.attached(server):
                raise AttachRefused("It is not supported.")
            super().attach(server, volume, None)

        def attached(self, server):
            return dict.fromkeys(super().attached(server))

    backend_class = Modest
    limit = None
    requestable_device = None
    reports_devices = False
    multiattach = False
"""


def test_a_backend_with_fewer_capabilities_passes_where_it_refuses(outcomes):
    result = outcomes(MODEST + fixtures_that_return("Absent('nothing can go wrong')"))
    assert result["failed"] == set(), result["reasons"]
    assert result["passed"] >= UNSUPPORTED
    for name in BackendContract.absent_fixtures:
        assert result["skips"][f"Skipped: {name} is absent: nothing can go wrong"] > 0


def fixtures_that_return(value):
    return "\n".join(
        f"    @pytest.fixture\n    def {name}(self):\n        return {value}\n"
        for name in BackendContract.absent_fixtures
    )


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(outcomes, name):
    planted = FAULTS[name]
    # The shortest limit saves time; that calls may exceed it for lack of a CPU does no harm where tests have to fail.
    result = outcomes(declared(name, short_timeout=1), planted.caught_by)
    assert result["failed"] == planted.caught_by, f"{result['passed']} passed; {result['reasons']}"
    for message in result["messages"]:
        assert re.match(r"(AssertionError: |Failed: )(?!assert )", message), f"this is not a sentence: {message}"


def declared(name, **others):
    """Return the declarations for the backend that has a fault."""
    declarations = {**others, **FAULTS[name].declarations}
    lines = [f"    {attribute} = {value!r}" for attribute, value in declarations.items()]
    return "\n".join([f"    backend_class = FAULTS[{name!r}].backend", *lines])


def test_each_test_of_the_contract_catches_a_fault():
    assert contract() == {test for planted in FAULTS.values() for test in planted.caught_by}


# Declarations


@pytest.mark.parametrize(
    "name", [*BackendContract.attributes, *BackendContract.fixtures, *BackendContract.absent_fixtures]
)
def test_a_missing_declaration_is_named(outcomes, name, monkeypatch):
    monkeypatch.delattr(f"tests.support.planted.reference.ReferenceContract.{name}")
    what = name if name in BackendContract.attributes else f"the fixture {name}"
    result = outcomes(tests=[COMPLETE])
    assert f"TestIt must declare {what}: see BackendContract" in result["reasons"]


@pytest.mark.parametrize("name", ["backend_class", "options"])
def test_a_missing_declaration_is_one_failure(outcomes, name, monkeypatch):
    monkeypatch.delattr(f"tests.support.planted.reference.ReferenceContract.{name}")
    result = outcomes()
    assert (result["passed"], result["failed"]) == (set(), {COMPLETE})
    assert set(result["skips"]) == {f"Skipped: a declaration is missing: see {COMPLETE}"}


def test_a_fixture_that_is_none_without_a_reason_is_named(outcomes):
    unusable = "test_a_volume_that_can_not_be_used_is_refused_and_nothing_happens"
    result = outcomes(fixtures_that_return("None"), [unusable])
    assert result["failed"] == {unusable}
    assert 'unusable_volume returned None: return Absent("the reason")' in result["reasons"]


# Messages


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        (
            "TakesNoLock",
            "test_threads_that_attach_different_volumes_get_different_devices",
            "have the same device /dev/vdb after 6 attaches that came at once, in threads",
        ),
        (
            "LocksInOneProcessOnlyAndIsFast",
            "test_a_process_that_is_held_up_gets_a_device_of_its_own",
            "/dev/vdb after attaches in two processes, one of which was held up for a moment in the middle of a call",
        ),
        (
            "LocksInOneProcessOnlyAndIsFast",
            "test_a_process_that_is_held_up_does_not_share_an_exclusive_volume",
            f"the exclusive volume is at {SERVER} and {OTHER_SERVER}, after attaches in two processes",
        ),
        (
            "LocksInOneProcessOnlyAndChoosesAnyDevice",
            "test_a_process_that_is_held_up_makes_no_second_disk",
            "attach returned the devices ('/dev/vdb', '/dev/vdc') for one volume, after attaches in two processes",
        ),
        (
            "RefusesMultiattach",
            "test_a_multiattach_volume_can_be_attached_to_two_servers",
            f"attach of volume {FIRST_VOLUME!r} to server {SERVER!r}, with the requested device None, raised "
            "AttachRefused('Multiattach is not supported.'): it must succeed",
        ),
        (
            "IsTestedWithShortIds",
            "test_the_ids_are_as_long_as_real_ones",
            "which have fewer than 37 characters: provide ids as they are in use, such as UUIDs, or declare id_length",
        ),
        (
            "ComparesAllButTheLastCharacterOfVolumeIds",
            "test_attach_finds_a_volume_by_its_whole_id",
            "have the same device /dev/vdb although they are different volumes",
        ),
        (
            "IgnoresTheCaseOfServerIds",
            "test_a_server_is_found_by_its_whole_id",
            f"attach to {SERVER.upper()!r}, while there is a server {SERVER!r}, raised nothing: it must raise ServerNo",
        ),
        (
            "AttachesALittleLater",
            "test_attach_returns_the_device_that_attached_reports",
            f"the server does not have the volume {FIRST_VOLUME!r} after an attach; "
            "1 second later it is as it must be: a call returned too early",
        ),
        (
            "DetachesALittleLater",
            "test_detach_removes_the_volume",
            f"detach of volume {FIRST_VOLUME!r} from server {SERVER!r} returned too early: the server had it, and did "
            "not have it 1 second later",
        ),
        ("DetachesNothing", "test_detach_removes_the_volume", "returned, and the server still has it 1 second later"),
        (
            "RefusesARepeatedDetach",
            "test_a_repeated_detach_succeeds",
            f"detach of volume {FIRST_VOLUME!r} from server {SERVER!r} raised AttachRefused('It is not attached.'): "
            "it must succeed",
        ),
        (
            "StumblesOverDisksThatAreNoVolumes",
            "test_a_disk_that_is_no_volume_is_not_reported",
            f"attached of server {SERVER!r} raised ServerNotFound('this is no server of ours'): it must succeed",
        ),
        (
            "RaisesOtherExceptionsFromDetach",
            "test_a_hostile_volume_id_detaches_nothing_else",
            "detach of a volume '' raised KeyError(''): it must succeed, or raise BackendError",
        ),
        ("NeverPassesItsCheck", "test_a_healthy_backend_passes_its_check", "check of a backend that works raised"),
        (
            "AttachesAfterItGaveUp",
            "test_an_attach_that_gave_up_has_no_effect_later",
            "after the process that held it up had gone: nothing of a call may take effect after it has ended",
        ),
        (
            "TakesALockedServerForMissing",
            "test_a_process_that_stops_in_a_call_does_not_hold_up_others",
            "while a process is stopped in the middle of a call for the same server raised "
            "ServerNotFound('there is no such server'): it must succeed, or raise BackendUnavailable or OutcomeUnknown",
        ),
        (
            "KeepsTheDeviceOfAnUnusableVolume",
            "test_a_refused_attach_takes_no_requested_device",
            "the refused attach of a volume that can't be used, which requested it, keeps the device /dev/vdp: "
            "the next attach there raised DeviceInUse('it is in use')",
        ),
        (
            "KeepsTheDeviceThatItChoseForAnUnusableVolume",
            "test_a_refused_attach_takes_no_device_that_the_backend_chose",
            "the refused attach of a volume that can't be used, for which it was chosen, keeps the device /dev/vdb",
        ),
        (
            "KeepsThePlaceOfASecondServer",
            "test_a_refused_attach_takes_no_place",
            "after 30 refusals of an attach of an exclusive volume to a second server, the server took 0 volumes only: "
            "the refused attaches keep their places",
        ),
        (
            "LeaksWhenAServerIsFull",
            "test_a_refused_attach_leaves_no_descriptor_and_no_thread_behind",
            "after 15 rounds of an attach to a server that has 6 volumes, which was refused, there are 15 files or "
            "connections more than before",
        ),
        (
            "LeaksAThread",
            "test_calls_leave_no_descriptor_and_no_thread_behind",
            "there are 15 threads more than before",
        ),
        (
            "LocksOutThreadsOfOneProcessOnly",
            "test_processes_that_attach_different_volumes_get_different_devices",
            "after 4 attaches in 4 processes that came at once",
        ),
        (
            "ReportsNamesForDevices",
            "test_a_device_is_a_path_or_none_as_declared",
            "the device is 'vdb': it must begin with /dev/",
        ),
        (
            "CachesWhatItSaw",
            "test_attached_looks_again_after_another_object_changed_the_server",
            "the volume 'e5d1b0a8-3c47-4b9e-a2f6-00000000d002' after another object attached it",
        ),
        (
            "RefusesUnknownServers",
            "test_attach_to_an_unknown_server_raises_server_not_found",
            "attach to a server that the backend does not have raised AttachRefused('There is no such server.'): "
            "it must raise ServerNotFound",
        ),
        (
            "TakesLongForItsCheck",
            "test_a_healthy_backend_passes_its_check_in_time",
            "check did not end within 2 seconds",
        ),
        ("HasNoLimit", "test_one_volume_more_than_the_limit_is_refused_and_nothing_happens", "must raise TooMany"),
        (
            "GivesNoReason",
            "test_a_device_in_use_is_refused_and_nothing_happens",
            "raised DeviceInUse without a message",
        ),
    ],
)
def test_a_failure_reads_as_a_sentence(outcomes, fault, test, message):
    assert message in outcomes(declared(fault), [test])["reasons"]


def test_an_empty_string_for_an_unknown_device_is_caught_with_the_remedy(outcomes):
    empty = """
    class Bad(Reference):
        def attach(self, server, volume, device):
            super().attach(server, volume, device)
            return ""

        def attached(self, server):
            return dict.fromkeys(super().attached(server), "")

    backend_class = Bad
    reports_devices = False
"""
    tests = {"test_a_device_is_a_path_or_none_as_declared", "test_attached_maps_volume_ids_to_devices"}
    result = outcomes(empty, tests)
    assert result["failed"] == tests
    assert 'the device is "": a device that the backend does not know must be None' in result["reasons"]


def test_a_failing_assert_shows_the_compared_values(outcomes):
    result = outcomes(
        "    backend_class = FAULTS['IgnoresTheRequestedDevice'].backend", ["test_a_requested_device_is_used"]
    )
    assert "'/dev/vdb'" in result["reasons"]
    assert "'/dev/vdp'" in result["reasons"]
