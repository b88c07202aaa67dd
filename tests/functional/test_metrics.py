"""Metrics of real operations, in the registry of this process; what leads to them is in ``test_observers``."""

import subprocess
import sys
import threading

import pytest
from prometheus_client import REGISTRY

from os_volume_ext.assembly import make_observers
from os_volume_ext.backends.base import BackendUnavailable, ConfigurationError, OutcomeUnknown
from os_volume_ext.errors import AttachmentMissing
from os_volume_ext.observers.base import Observers
from os_volume_ext.observers.metrics import Metrics
from os_volume_ext.settings import Settings
from tests.support.harness import SHORT_TIMEOUT, Harness
from tests.support.scripted import hang, refuse
from tests.support.waiting import wait_until

LEAST = {"backend": "directory", "database.url": "sqlite:////x"}


@pytest.fixture
def harness(database, monkeypatch):
    return Harness(database, monkeypatch, timeout=SHORT_TIMEOUT, max_concurrent=1, observers=(Metrics(),))


@pytest.fixture
def added():
    """Give ``added(name, **labels)``: how much more it is than when the test began."""
    before = {(sample.name, *sorted(sample.labels.items())): sample.value for sample in samples()}

    def difference(name, **labels):
        return REGISTRY.get_sample_value(name, labels) - before.get((name, *sorted(labels.items())), 0)

    return difference


def samples():
    return [sample for metric in REGISTRY.collect() for sample in metric.samples]


def test_operations_and_calls_that_are_done_are_counted_and_timed(harness, added):
    harness.attach()
    harness.detach()
    for action in ("attach", "detach"):
        assert added("os_volume_ext_operations_total", action=action, outcome="done") == 1
        assert added("os_volume_ext_operation_seconds_count", action=action) == 1
        assert 0 < added("os_volume_ext_operation_seconds_sum", action=action) < 60
        assert added("os_volume_ext_backend_call_seconds_count", method=action, outcome="done") == 1


def test_what_alerts_are_about_is_shown_from_the_start_on():
    code = """
import prometheus_client
from os_volume_ext.observers.metrics import Metrics
Metrics()
print(prometheus_client.generate_latest().decode())
"""
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    for action in ("attach", "detach"):
        for outcome in ("internal", "unavailable"):
            assert f'os_volume_ext_operations_total{{action="{action}",outcome="{outcome}"}} 0.0' in shown
    for method in ("attach", "detach", "attached"):
        assert f'os_volume_ext_backend_call_seconds_count{{method="{method}",outcome="unknown"}} 0.0' in shown


def test_a_refused_operation_is_counted_but_not_timed(harness, added):
    harness.attach()
    harness.detach()
    with pytest.raises(AttachmentMissing):
        harness.detach()
    assert added("os_volume_ext_operations_total", action="detach", outcome="not_found") == 1
    assert added("os_volume_ext_operation_seconds_count", action="detach") == 1


@pytest.mark.parametrize(
    ("error", "outcome"), [(BackendUnavailable("down"), "failed"), (OutcomeUnknown("?"), "unknown")]
)
def test_failed_calls_are_counted_apart_from_unknown_outcomes(harness, added, error, outcome):
    harness.backend.fail("attach", refuse(error))
    with pytest.raises(type(error)):
        harness.attach()
    assert added("os_volume_ext_backend_call_seconds_count", method="attach", outcome=outcome) == 1
    assert added("os_volume_ext_operations_total", action="attach", outcome="unavailable") == 1
    assert added("os_volume_ext_operation_seconds_count", action="attach") == 1


def test_overloads_are_counted(harness, added):
    harness.overload()
    assert added("os_volume_ext_overloads_total") == 1


def test_calls_that_timed_out_are_counted_and_shown_until_they_end(harness, added):
    resume = threading.Event()
    harness.backend.fail("attach", hang(threading.Event(), resume))
    with pytest.raises(OutcomeUnknown):
        harness.attach()
    assert added("os_volume_ext_timeouts_total") == 1
    assert added("os_volume_ext_calls_without_slot") == 1
    resume.set()
    assert wait_until(lambda: added("os_volume_ext_calls_without_slot") == 0)
    assert added("os_volume_ext_timeouts_total") == 1


def test_two_filters_of_a_process_count_in_one_registry(added):
    for _ in range(2):
        observers = make_observers(Settings.parse({**LEAST, "metrics": "true"}))
        assert isinstance(observers, Observers)
        observers.overloaded()
    assert added("os_volume_ext_overloads_total") == 2


# -- what is needed for it ----------------------------------------------------------------------------


def test_what_is_off_is_not_even_imported():
    code = """
import sys
from os_volume_ext.assembly import make_observers
from os_volume_ext.settings import Settings
make_observers(Settings.parse({"backend": "directory", "database.url": "sqlite:////x"}))
assert not {"prometheus_client", "oslo_messaging"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


EXTRAS = {
    "metrics": ("metrics", "true", "prometheus_client"),
    "notifications": ("notifications.transport_url", "rabbit://b/", "oslo_messaging"),
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_is_not_installed_is_named_with_its_extra(monkeypatch, extra):
    option, value, module = EXTRAS[extra]
    monkeypatch.delitem(sys.modules, f"os_volume_ext.observers.{extra}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as caught:
        make_observers(Settings.parse({**LEAST, option: value}))
    assert str(caught.value) == f"{option} needs {module}: install os-volume-ext[{extra}]"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("hush", "InvalidTransportURL"),
        ("rabbit://a:hu/sh@b/", "ValueError"),
        ("pigeon://a:hush@b/", 'Failed to load transport driver "pigeon"'),
        ("rabbit://a:hush@b/?coo=1", "no such option coo in group"),
    ],
)
def test_a_transport_url_that_oslo_messaging_rejects_is_refused_and_not_printed(url, reason):
    with pytest.raises(ConfigurationError) as caught:
        make_observers(Settings.parse({**LEAST, "notifications.transport_url": url}))
    message = str(caught.value)
    assert message.startswith("notifications.transport_url: oslo.messaging rejects it: ")
    assert reason in message
    assert "hu" not in message.replace("rabbit", "")
