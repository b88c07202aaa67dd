"""The alerts of etc/prometheus fire when they should, and not while all is well, as promtool evaluates them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.services import require_service

RULES = ROOT / "etc" / "prometheus" / "os-volume-ext.yaml"
PREFIX, TARGET = "os_volume_ext_", 'job="compute",instance="one:8774"'
HEALTHY = {
    'operations_total{action="attach",outcome="done"}': "0+60x120",
    'operations_total{action="attach",outcome="unavailable"}': "0x120",
    'operations_total{action="attach",outcome="internal"}': "0x120",
    'operations_total{action="detach",outcome="internal"}': "0x120",
    'backend_call_seconds_count{method="attach",outcome="unknown"}': "0x120",
    'backend_call_seconds_bucket{method="attach",outcome="done",le="10"}': "0+60x120",
    'backend_call_seconds_bucket{method="attach",outcome="done",le="60"}': "0+60x120",
    'backend_call_seconds_bucket{method="attach",outcome="done",le="+Inf"}': "0+60x120",
    "overloads_total{}": "0x120",
    "timeouts_total{}": "0x120",
    "calls_without_slot{}": "0x120",
}
SCENARIOS = {
    "all is well": ({}, {5: set(), 60: set(), 115: set()}),
    "an internal error": (
        {'operations_total{action="detach",outcome="internal"}': "0x30 1x90"},
        {29: set(), 32: {"InternalError"}, 50: set()},
    ),
    "a tenth is unavailable": (
        {'operations_total{action="attach",outcome="unavailable"}': "0x30 0+7x90"},
        {35: set(), 50: {"Unavailable"}},
    ),
    "one unavailable": (
        {'operations_total{action="attach",outcome="unavailable"}': "0x30 60x90"},
        {33: set(), 45: set()},
    ),
    "nearly all is unavailable": (
        {'operations_total{action="attach",outcome="unavailable"}': "0x30 0+600x90"},
        {33: set(), 40: {"MostlyUnavailable"}, 50: {"MostlyUnavailable", "Unavailable"}},
    ),
    "an outcome is unknown": (
        {'backend_call_seconds_count{method="attach",outcome="unknown"}': "0x30 1x90"},
        {29: set(), 32: {"OutcomeUnknown"}, 50: set()},
    ),
    "a call hangs for a while": ({"calls_without_slot{}": "0x30 3x10 0x80"}, {35: set(), 42: set(), 50: set()}),
    "calls hang": ({"calls_without_slot{}": "0x30 3x90"}, {35: set(), 50: {"CallsHang"}}),
    "calls hang everywhere": (
        {"calls_without_slot{}": "0x30 48x90"},
        {31: set(), 35: {"BackendHangs"}, 50: {"BackendHangs", "CallsHang"}},
    ),
    "calls time out now and then": ({"timeouts_total{}": "0x30 4x90"}, {35: set(), 90: set()}),
    "calls time out": ({"timeouts_total{}": "0x30 1+1x90"}, {32: set(), 60: {"Timeouts"}}),
    "calls are slow": (
        {'backend_call_seconds_bucket{method="attach",outcome="done",le="10"}': "0x120"},
        {10: set(), 40: {"SlowBackend"}},
    ),
    "slots are missing": ({"overloads_total{}": "0x30 1+1x90"}, {35: set(), 50: {"Overloaded"}}),
    "slots were missing once": ({"overloads_total{}": "0x30 1x90"}, {35: set(), 50: set()}),
    "nothing is scraped": (
        dict.fromkeys([name for name in HEALTHY if name.startswith("operations")], "_x120"),
        {5: set(), 15: {"NoMetrics"}},
    ),
}


def selector(name: str) -> str:
    """Return the name of a series, with the labels of its target."""
    return PREFIX + name.replace("{", f"{{{TARGET},")


def firing(names: set[str]) -> list[dict[str, object]]:
    return [{"labels": f'{{alertname="OsVolumeExt{name}"}}', "value": 1} for name in sorted(names)]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_alerts_fire_that_should(scenario: str, tmp_path: Path) -> None:
    require_service(shutil.which("promtool"), "no promtool to test with: install prometheus")
    changes, expected = SCENARIOS[scenario]
    series = [{"series": selector(name), "values": values} for name, values in (HEALTHY | changes).items()]
    times = [
        {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{minute}m",
            "exp_samples": firing(names),
        }
        for minute, names in expected.items()
    ]
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": times}],
    }
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps(document))  # which is YAML too
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_in_a_scenario() -> None:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    fired = {name for _, times in SCENARIOS.values() for names in times.values() for name in names}
    assert {rule["alert"] for rule in group["rules"]} == {f"OsVolumeExt{name}" for name in fired}


def test_each_alert_has_a_severity_and_says_what_to_do() -> None:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
