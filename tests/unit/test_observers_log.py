"""How the log tells of operations that failed."""

import logging

import pytest

from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.context import RequestContext
from os_volume_ext.observers.base import Operation
from os_volume_ext.observers.log import OperationLog
from os_volume_ext.reservations import VolumeInUse


@pytest.fixture
def logged(caplog):
    """Give ``logged(error)``: the one record of an attach that ended in it."""

    def call(error):
        caplog.set_level(logging.INFO)
        context = RequestContext("req-1", "alice", "demo", {}, lambda *_: True)
        operation = Operation("attach", "req-1", "1134", "9", "demo", "/dev/vdb", context, True, error, 0.0129)
        OperationLog().ended(operation)
        assert context.logged
        (record,) = caplog.records
        beginning = "req-1 attach: volume 9, server 1134, project demo, device '/dev/vdb', 12 ms: "
        assert record.getMessage().startswith(beginning)
        return record, record.getMessage().removeprefix(beginning)

    return call


def test_what_is_done_is_information(logged):
    record, outcome = logged(None)
    assert (record.levelname, outcome) == ("INFO", "done")


def test_what_the_caller_is_told_is_information(logged):
    record, outcome = logged(VolumeInUse("Volume 9 is\nattached."))
    assert (record.levelname, outcome) == ("INFO", r"volume_in_use: 'Volume 9 is\nattached.'")


def test_what_is_unavailable_is_a_warning_that_says_what_the_caller_is_not_told(logged):
    record, outcome = logged(BackendUnavailable("hypervisor-17 is down"))
    assert (record.levelname, outcome) == ("WARNING", "unavailable: BackendUnavailable: hypervisor-17 is down")


def test_what_nobody_expected_is_an_error_with_its_traceback(logged):
    error = RuntimeError("a bug")
    record, outcome = logged(error)
    assert (record.levelname, outcome, record.exc_info[1]) == ("ERROR", "internal", error)


def test_what_nobody_asked_for_is_not_logged(caplog):
    caplog.set_level(logging.INFO)
    OperationLog().ended(Operation("detach", "req-1", "1134", "9"))
    assert caplog.records == []
