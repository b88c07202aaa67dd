"""The log line of an operation."""

import logging

import pytest

from os_volume_ext.backends.base import BackendUnavailable
from os_volume_ext.context import RequestContext
from os_volume_ext.errors import VolumeInUse
from os_volume_ext.observers.base import Operation
from os_volume_ext.observers.log import OperationLog


@pytest.fixture
def logged(caplog):
    """Give ``logged(error)``: the one record of an attach that ended in it."""

    def call(error):
        caplog.set_level(logging.INFO)
        context = RequestContext("req-1", {"user_id": "alice", "project_id": "demo"}, lambda *_: True)
        operation = Operation("attach", "req-1", "1134", "9", "demo", "/dev/vdb", context, True, error, 0.0129)
        OperationLog().finished(operation)
        (record,) = caplog.records
        beginning = "req-1 attach: volume 9, server 1134, project demo, device '/dev/vdb', 12 ms: "
        assert record.getMessage().startswith(beginning)
        return record, record.getMessage().removeprefix(beginning)

    return call


def test_a_success_is_one_line(logged):
    record, outcome = logged(None)
    assert (record.levelname, outcome) == ("INFO", "done")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (VolumeInUse("Volume 9 is attached."), "volume_in_use"),
        (BackendUnavailable("hypervisor-17 is down"), "unavailable"),
        (RuntimeError("a bug"), "internal"),
    ],
)
def test_a_failure_is_one_line_with_its_kind(logged, error, kind):
    record, outcome = logged(error)
    assert (record.levelname, outcome, record.exc_info) == ("INFO", kind, None)


def test_an_operation_without_a_caller_is_not_logged(caplog):
    caplog.set_level(logging.INFO)
    OperationLog().finished(Operation("detach", "req-1", "1134", "9"))
    assert caplog.records == []
