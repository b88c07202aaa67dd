"""Ceph or Cinder's volume service does not respond in the middle of a request: a 503 in time, and nothing is left."""

import contextlib
import time

import pytest

from tests.integration.cinder.served import OPERATION_TIMEOUT, fault
from tests.support.waiting import wait_until

AVAILABLE = ("available", [])
HOW = pytest.mark.parametrize("how", ["hangs", "is killed"])


@contextlib.contextmanager
def _without(service, how):
    """Let a daemon hang, or kill it and start it again afterwards."""
    if how == "hangs":
        with service.hanging():
            yield
        return
    service.kill()
    try:
        yield
    finally:
        service.start()


@pytest.fixture
def assert_unavailable():
    """Give ``assert_unavailable(send)``: the response is a 503 of the volume backend, and comes in time."""

    def check(send):
        started = time.monotonic()
        status, message = fault(send())
        assert status == 503, message
        assert message.startswith("The volume backend ")
        assert time.monotonic() - started < OPERATION_TIMEOUT + 5

    return check


@pytest.fixture
def assert_detached(shown, ceph):
    """Give ``assert_detached(served, machine, volume)``: nothing is left, once reconcile has run."""

    def check(served, machine, volume):
        def is_detached():
            return served.reconcile() and (shown(volume), served.rows(volume)) == (AVAILABLE, [])

        assert wait_until(is_detached), (shown(volume), served.rows(volume))
        assert machine.disks() == machine.disks(inactive=True) == {}
        assert (ceph.watchers(f"volume-{volume}"), ceph.holders(f"os-volume-ext.{volume}")) == ([], [])
        assert served.attach(machine.id, volume).status_code == 200
        assert served.detach(machine.id, volume).status_code == 202
        assert shown(volume) == AVAILABLE

    return check


@HOW
def test_an_attach_without_the_volume_service_leaves_nothing_reserved(
    served, ceph_volume_service, new_ceph_volume, two_servers, assert_unavailable, assert_detached, how
):
    volume, machine = new_ceph_volume(), two_servers[0]
    with _without(ceph_volume_service, how):
        assert_unavailable(lambda: served.attach(machine.id, volume))
    assert_detached(served, machine, volume)


@HOW
def test_a_detach_without_the_volume_service_is_completed_by_reconcile(
    served, ceph_volume_service, new_ceph_volume, two_servers, assert_unavailable, assert_detached, how
):
    volume, machine = new_ceph_volume(), two_servers[0]
    assert served.attach(machine.id, volume).status_code == 200
    with _without(ceph_volume_service, how):
        assert_unavailable(lambda: served.detach(machine.id, volume))
        assert served.rows(volume) == [(machine.id, "detaching")]
    assert_detached(served, machine, volume)


def test_an_attach_without_a_monitor_leaves_nothing_reserved(
    served, ceph, new_ceph_volume, two_servers, assert_unavailable, assert_detached
):
    volume, machine = new_ceph_volume(), two_servers[0]
    with ceph.monitor.hanging():
        assert_unavailable(lambda: served.attach(machine.id, volume))
    assert machine.console.run("echo alive") == "alive"
    assert_detached(served, machine, volume)


def test_an_attach_with_a_fence_changes_nothing_without_an_osd(
    fenced, ceph, new_ceph_volume, two_servers, shown, assert_unavailable, assert_detached
):
    volume, machine = new_ceph_volume(), two_servers[0]
    with ceph.osd.hanging():
        assert_unavailable(lambda: fenced.attach(machine.id, volume))
        assert machine.console.run("echo alive") == "alive"
        assert (shown(volume), fenced.rows(volume)) == (AVAILABLE, [])
    assert_detached(fenced, machine, volume)


@pytest.mark.long  # the hypervisor waits until operation_timeout
def test_an_attach_without_an_osd_is_completed_or_removed_by_reconcile(
    served, ceph, new_ceph_volume, two_servers, shown, assert_unavailable
):
    volume, machine = new_ceph_volume(), two_servers[0]
    with ceph.osd.hanging():
        assert_unavailable(lambda: served.attach(machine.id, volume))
    states = {
        (0, "available"): [],
        (1, "in-use"): [(machine.id, "attached")],
    }

    def agree():
        found = served.reconcile() and (len(machine.disks()), shown(volume)[0])
        return found in states and served.rows(volume) == states[found]

    assert wait_until(agree), (machine.disks(), shown(volume), served.rows(volume))
    if served.rows(volume):
        assert served.detach(machine.id, volume).status_code == 202
    assert shown(volume) == AVAILABLE
