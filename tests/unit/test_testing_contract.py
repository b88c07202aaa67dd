"""The backend contract: a good backend passes every test, and each planted fault fails the tests that catch it."""

import inspect
from collections import Counter

import pytest

from os_volume_ext.testing import BackendContract
from os_volume_ext.testing.declarations import COMPLETE
from tests.support.planted import FAULTS

TEST_MODULE = """
import pytest

from os_volume_ext.backends.base import AttachRefused
from os_volume_ext.testing import Absent
from tests.support.planted import FAULTS
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
    declarations = {"short_timeout": 1, **planted.declarations}
    declared = [f"    {attribute} = {value!r}" for attribute, value in declarations.items()]
    result = outcomes("\n".join([f"    backend_class = FAULTS[{name!r}].backend", *declared]), planted.caught_by)
    assert result["failed"] == planted.caught_by, f"{result['passed']} passed; {result['reasons']}"


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
            "the server does not have the volume 'volume-1002' after another object attached it",
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
    assert message in outcomes(f"    backend_class = FAULTS[{fault!r}].backend", [test])["reasons"]


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
    assert "'/dev/vdf'" in result["reasons"]
