"""The backend contract: a good backend passes every test, and each bad one fails the test that it should."""

import inspect

import pytest

from os_volume_ext.testing import BackendContract
from os_volume_ext.testing.contract import DECLARATIONS

GOOD = """
import threading
import uuid

import pytest

from os_volume_ext.backends.base import (
    AttachRefused, BackendUnavailable, DeviceInUse, OutcomeUnknown, Server, ServerNotFound, TooManyAttachments, Volume,
)
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.testing import BackendContract


class Good(DirectoryBackend):
    def detach(self, server, volume, device):
        if server.id == "stubborn":
            raise OutcomeUnknown("the server did not release the disk")
        super().detach(server, volume, device)

{backend}

class TestIt(BackendContract):
    backend_class = {name}
    limit = 25
    requestable_device = "/dev/vdf"
    reports_devices = True
    multiattach = True

    @pytest.fixture
    def options(self, tmp_path):
        return {{"root": str(tmp_path)}}

    @pytest.fixture
    def server(self, tmp_path):
        return self.made(tmp_path, "1134")

    @pytest.fixture
    def other_server(self, tmp_path):
        return self.made(tmp_path, "1135")

    @pytest.fixture
    def unknown_server(self):
        return Server("9999", "demo", "ACTIVE")

    @pytest.fixture
    def new_volume(self):
        return lambda: Volume(uuid.uuid4().hex, "demo")

    @pytest.fixture
    def unusable_volume(self):
        return Volume("unusable", "demo", "/nowhere/disk.img")

    @pytest.fixture
    def unreachable_backend(self, tmp_path):
        backend = self.backend_class({{"root": str(tmp_path / "unmounted"), "operation_timeout": "60"}})
        backend.prepare()
        (tmp_path / "unmounted").rename(tmp_path / "elsewhere")
        return backend

    @pytest.fixture
    def stubborn_server(self, tmp_path):
        return self.made(tmp_path, "stubborn")

    def made(self, root, server_id):
        (root / "servers" / server_id).mkdir(parents=True)
        return Server(server_id, "demo", "ACTIVE")

{attributes}
"""


@pytest.fixture
def outcomes(pytester):
    """Run the contract on a backend, and return which tests passed, failed and were skipped."""

    def run(backend="", name="Good", attributes="", only=""):
        pytester.makepyfile(test_it=GOOD.format(backend=backend, name=name, attributes=attributes))
        result = pytester.inline_run("-p", "no:cacheprovider", "-p", "no:schemathesis", "-k", only)
        passed, skipped, failed = result.listoutcomes()
        return {
            "passed": {_test(report) for report in passed},
            "skipped": {_test(report) for report in skipped},
            "failed": {_test(report) for report in failed},
            "reasons": "".join(str(report.longrepr) for report in failed),
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
    assert result["failed"] == set()
    assert result["skipped"] == UNSUPPORTED
    assert result["passed"] == contract() - UNSUPPORTED


def test_a_backend_with_fewer_capabilities_passes_where_it_refuses(outcomes):
    result = outcomes(
        """
class Modest(Good):
    def attach(self, server, volume, device):
        if volume.multiattach or device and volume.id not in self.attached(server):
            raise AttachRefused("not supported")
        super().attach(server, volume, None)

    def attached(self, server):
        return dict.fromkeys(super().attached(server))
""",
        "Modest",
        "    requestable_device = None\n    reports_devices = False\n    multiattach = False",
    )
    assert result["failed"] == set()
    assert result["passed"] >= UNSUPPORTED


@pytest.mark.parametrize(
    ("attribute", "value", "test"),
    [
        ("requestable_device", None, "test_a_requested_device_is_refused_where_it_is_not_supported"),
        ("multiattach", False, "test_a_multiattach_volume_is_refused_where_it_is_not_supported"),
        ("reports_devices", False, "test_a_device_is_a_path_or_none_as_declared"),
        ("limit", 24, "test_one_volume_more_than_the_limit_is_refused_and_nothing_happens"),
    ],
)
def test_a_wrong_declaration_is_caught(outcomes, attribute, value, test):
    assert test in outcomes(attributes=f"    {attribute} = {value}", only=test)["failed"]


@pytest.mark.parametrize("attribute", DECLARATIONS)
def test_a_missing_declaration_is_named(outcomes, attribute):
    result = outcomes(attributes=f"    del {attribute}", only="healthy")
    assert result["passed"] == set()
    assert f"TestIt must declare {attribute}" in result["reasons"]


FAULTS = ("unusable_volume", "unreachable_backend", "stubborn_server")


@pytest.mark.parametrize("fixture", ["options", "server", "other_server", "unknown_server", "new_volume", *FAULTS])
def test_a_missing_fixture_is_named(outcomes, fixture):
    only = "separate_volumes or detach_from_an_unknown or can_not_be_used or its_check or not_released"
    result = outcomes(attributes=f"    del {fixture}", only=only)
    assert f"NotImplementedError: Override the fixture `{fixture}`" in result["reasons"]


def test_what_can_not_go_wrong_is_skipped(outcomes):
    nothing = "\n".join(f"    @pytest.fixture\n    def {name}(self):\n        return None\n" for name in FAULTS)
    result = outcomes(attributes=nothing, only="can_not_be_used or unreachable or not_released")
    assert (result["passed"], result["failed"], len(result["skipped"])) == (set(), set(), 4)


BAD = {
    "one that attaches what is not there": (
        """
    def attach(self, server, volume, device):
        return super().attach(server, Volume(volume.id, volume.project_id), device)
""",
        {"test_a_volume_that_can_not_be_used_is_refused_and_nothing_happens"},
    ),
    "one whose message shows a path": (
        """
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except AttachRefused:
            raise AttachRefused(f"there is no {volume.source}")
""",
        {"test_a_volume_that_can_not_be_used_is_refused_and_nothing_happens"},
    ),
    "one that reports unreachable servers as missing": (
        """
    def attached(self, server):
        try:
            return super().attached(server)
        except BackendUnavailable:
            raise ServerNotFound("it is not there")
""",
        {"test_an_unreachable_backend_does_not_raise_server_not_found"},
    ),
    "one whose check always passes": (
        """
    def check(self):
        pass
""",
        {"test_an_unreachable_backend_does_not_pass_its_check"},
    ),
    "one that reports a detach too early": (
        """
    def detach(self, server, volume, device):
        if server.id != "stubborn":
            super().detach(server, volume, device)
""",
        {"test_a_disk_that_is_not_released_is_an_unknown_outcome_in_time"},
    ),
    "one that detaches more than it should": (
        """
    def detach(self, server, volume, device):
        threading.Event().wait(0.2)  # until concurrent calls have attached theirs
        for volume_id in self.attached(server):
            super().detach(server, Volume(volume_id, "demo"), device)
""",
        {"test_volumes_attached_while_others_are_detached_stay_attached", "test_detach_leaves_the_other_volumes"},
    ),
    "one that is not idempotent": (
        """
    def attach(self, server, volume, device):
        if volume.id in self.attached(server):
            raise DeviceInUse("it is there already")
        return super().attach(server, volume, device)
""",
        {"test_a_repeated_attach_returns_the_same_device", "test_threads_that_attach_the_same_volume_make_one_disk"},
    ),
    "one that refuses a repeated detach": (
        """
    def detach(self, server, volume, device):
        if volume.id not in self.attached(server):
            raise AttachRefused("it is not attached")
        super().detach(server, volume, device)
""",
        {"test_a_repeated_detach_succeeds", "test_detaching_what_was_never_attached_succeeds"},
    ),
    "one that returns another device": (
        """
    def attach(self, server, volume, device):
        super().attach(server, volume, None)
        return device or "/dev/vdb"
""",
        {"test_a_requested_device_is_used", "test_each_volume_has_its_own_device"},
    ),
    "one that does not attach": (
        """
    def attach(self, server, volume, device):
        return device or "/dev/vdb"
""",
        {
            "test_attach_returns_the_device_that_attached_reports",
            "test_attach_to_an_unknown_server_raises_server_not_found",
        },
    ),
    "one that swallows ServerNotFound": (
        """
    def attached(self, server):
        try:
            return super().attached(server)
        except ServerNotFound:
            return {}

    def detach(self, server, volume, device):
        try:
            super().detach(server, volume, device)
        except ServerNotFound:
            pass
""",
        {
            "test_attached_of_an_unknown_server_raises_server_not_found",
            "test_detach_from_an_unknown_server_raises_server_not_found",
        },
    ),
    "one that creates an unknown server": (
        """
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except ServerNotFound:
            import os
            os.mkdir(os.path.join(self._servers, server.id))
            raise
""",
        {"test_attach_to_an_unknown_server_does_not_create_it"},
    ),
    "one that detaches by the device": (
        """
    def detach(self, server, volume, device):
        for volume_id, where in self.attached(server).items():
            if where == device:
                super().detach(server, Volume(volume_id, "demo"), device)
""",
        {"test_detach_goes_by_the_volume_not_by_the_device", "test_detach_needs_no_device"},
    ),
    "one that needs the catalog to detach": (
        """
    def attach(self, server, volume, device):
        self.seen = getattr(self, "seen", set()) | {volume.id}
        return super().attach(server, volume, device)

    def detach(self, server, volume, device):
        if volume.id in getattr(self, "seen", ()) and volume.format is None:
            raise AttachRefused("the format is missing")
        super().detach(server, volume, device)
""",
        {"test_detach_works_for_a_volume_gone_from_the_catalog"},
    ),
    "one that responds from memory": (
        """
    def attach(self, server, volume, device):
        device = super().attach(server, volume, device)
        self.memory = {**getattr(self, "memory", {}), volume.id: device}
        return device

    def attached(self, server):
        super().attached(server)
        return getattr(self, "memory", {})
""",
        {"test_a_new_backend_object_finds_what_an_earlier_one_attached", "test_detach_removes_the_volume"},
    ),
    "one with another limit than declared": (
        """
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except TooManyAttachments:
            raise TooManyAttachments(26)
""",
        {"test_one_volume_more_than_the_limit_is_refused_and_nothing_happens"},
    ),
    "one that attaches elsewhere and then refuses": (
        """
    def attach(self, server, volume, device):
        try:
            return super().attach(server, volume, device)
        except DeviceInUse:
            super().attach(server, volume, None)
            raise
""",
        {"test_a_device_in_use_is_refused_and_nothing_happens"},
    ),
    "one that raises other exceptions": (
        """
    def attach(self, server, volume, device):
        open(f"{self._volumes}/{volume.id}", "a").close()
        return super().attach(server, volume, device)
""",
        {"test_a_hostile_volume_id_is_attached_or_refused"},
    ),
    "one that accepts any option": (
        """
    def __init__(self, options):
        super().__init__({"root": options["root"]})
""",
        {"test_an_unknown_option_is_refused_by_its_name"},
    ),
    "one whose check always fails": (
        """
    def check(self):
        raise OutcomeUnknown("the outcome is not known")
""",
        {"test_a_healthy_backend_passes_its_check"},
    ),
    "one that starts a thread in __init__": (
        """
    def __init__(self, options):
        super().__init__(options)
        threading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()
""",
        {"test_making_a_backend_starts_no_thread"},
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_backend_is_caught(outcomes, what):
    body, caught_by = BAD[what]
    only = " or ".join(sorted(caught_by))
    assert outcomes(f"class Bad(DirectoryBackend):{body}", "Bad", only=only)["failed"] == caught_by


def test_a_backend_that_is_not_thread_safe_is_caught(outcomes):
    # Deterministic: the first two threads proceed only when both have seen the server empty.
    result = outcomes(
        """
class Bad(DirectoryBackend):
    both_have_read = threading.Barrier(2, timeout=60)

    def attach(self, server, volume, device):
        taken = self.attached(server).values()
        self.both_have_read.wait()
        free = next(device for device in ("/dev/vdb", "/dev/vdc", "/dev/vdd") if device not in taken)
        return super().attach(server, volume, free)
""",
        "Bad",
        only="threads_that_attach_different_volumes or backend_objects_that_attach_different_volumes",
    )
    assert result["passed"] == set()
    assert len(result["failed"]) == 2


def test_an_empty_string_for_an_unknown_device_is_caught_with_the_remedy(outcomes):
    result = outcomes(
        """
class Bad(DirectoryBackend):
    def attach(self, server, volume, device):
        super().attach(server, volume, device)
        return ""

    def attached(self, server):
        return dict.fromkeys(super().attached(server), "")
""",
        "Bad",
        "    reports_devices = False",
        only="a_device_is_a_path or attached_maps",
    )
    assert result["failed"] == {
        "test_a_device_is_a_path_or_none_as_declared",
        "test_attached_maps_volume_ids_to_devices",
    }
    assert 'the device is "": a device that the backend does not know must be None' in result["reasons"]


def test_a_failing_assert_shows_the_compared_values(outcomes):
    body, _ = BAD["one that returns another device"]
    result = outcomes(f"class Bad(DirectoryBackend):{body}", "Bad", only="a_requested_device_is_used")
    assert "'/dev/vdb'" in result["reasons"]
    assert "'/dev/vdf'" in result["reasons"]
