"""A real Prometheus scrapes real metrics: alerts and dashboard use names and labels that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import requests
import yaml

from os_volume_ext.backends.base import Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.filter import make_filter
from os_volume_ext.registry.database import Database
from tests.support.inprocess import collection, compute_api, send_request
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.services import require_service
from tests.support.waiting import TIMEOUT, wait_until

ETC = ROOT / "etc"
DASHBOARD = json.loads((ETC / "grafana" / "os-volume-ext.json").read_text())
[GROUP] = yaml.safe_load((ETC / "prometheus" / "os-volume-ext.yaml").read_text())["groups"]
PANELS = {
    f"{panel['title']}, {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*"}

CONFIG = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: compute
    static_configs: [targets: ["127.0.0.1:{port}"]]
"""


def expression(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    return " ".join(text.split())


EXPRESSIONS = {name: expression(text) for name, text in PANELS.items()} | {
    rule["alert"]: expression(rule["expr"]) for rule in GROUP["rules"]
}


def attach_and_detach(directory: Path) -> None:
    """Do it in a filter with metrics."""
    url = f"sqlite:///{directory}/volumes.db"
    (directory / "servers" / "1134").mkdir(parents=True)
    options = {"backend": "directory", "backend.root": str(directory), "database.url": url, "metrics": "true"}
    app = make_filter(compute_api(["1134"]), **options)
    database = Database({"url": url})
    SQLCatalog({}, database).create(Volume("9", "demo"))
    database.dispose()
    path = collection("1134")
    for _ in range(3):
        assert send_request(app, "POST", path, {"volumeAttachment": {"volumeId": 9}})[0] == 200
        assert send_request(app, "DELETE", f"{path}/9")[0] == 200
    app.close()


@pytest.fixture(scope="module")
def query(
    tmp_path_factory: pytest.TempPathFactory, start_lasting_server: Callable[..., subprocess.Popen[bytes]]
) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Give ``query(expression)``: the series that Prometheus returns."""
    require_service(shutil.which("prometheus"), "no prometheus to test with")
    directory = tmp_path_factory.mktemp("prometheus")
    exporter, thread = prometheus_client.start_http_server(0, "127.0.0.1")
    config = directory / "prometheus.yml"
    config.write_text(CONFIG.format(rules=ETC / "prometheus" / "os-volume-ext.yaml", port=exporter.server_port))
    port = free_port()
    start_lasting_server(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        port=port,
    )

    def call(path: str, **parameters: str) -> Any:
        response = requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=parameters, timeout=TIMEOUT)
        document = response.json()
        assert document["status"] == "success", document
        return document["data"]

    def ask(text: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = call("query", query=text)["result"]
        return result

    (directory / "first").mkdir()
    attach_and_detach(directory / "first")  # so that there are series, of which rates are seen from the second on
    assert wait_until(lambda: ask("os_volume_ext_operations_total"))
    attach_and_detach(directory / "second")
    assert wait_until(
        lambda: any(
            float(each["value"][1]) > 0 for each in ask('rate(os_volume_ext_operations_total{outcome="done"}[1m])')
        )
    )
    yield ask
    exporter.shutdown()
    exporter.server_close()
    thread.join()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_each_name_and_each_value_of_a_label_is_scraped(name: str, query: Callable[..., Any]) -> None:
    selectors = re.findall(r"os_volume_ext_\w+(?:\{[^}]*\})?", EXPRESSIONS[name])
    assert selectors
    assert [selector for selector in selectors if not query(selector)] == []


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_each_label_that_is_grouped_by_is_there(name: str, query: Callable[..., Any]) -> None:
    groups = re.findall(r"by \(([^)]*)\) \((?:\w+\()?(os_volume_ext_\w+)", EXPRESSIONS[name])
    assert len(groups) == EXPRESSIONS[name].count(" by (")
    for labels, selector in groups:
        found = set.intersection(*[set(each["metric"]) for each in query(selector)])
        assert set(labels.split(", ")) <= found


@pytest.mark.parametrize("name", PANELS)
def test_each_panel_shows_something(name: str, query: Callable[..., Any]) -> None:
    assert query(EXPRESSIONS[name])


def test_no_alert_is_pending_while_all_is_well(query: Callable[..., Any]) -> None:
    assert query("ALERTS") == []
    assert query("count(up)")[0]["value"][1] == "1"


# -- the dashboard ------------------------------------------------------------------------------------


def test_panels_of_the_dashboard_have_a_title_a_description_and_a_place_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"].endswith(".") for panel in panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_dashboard_uses_the_variables_that_it_defines() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval", "__all"}
    assert used == defined


def test_each_metric_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"os_volume_ext_[a-z]+(?:_[a-z]+)*", " ".join(PANELS.values())))
    metrics = {
        "operations_total",
        "operation_seconds",
        "backend_call_seconds",
        "overloads_total",
        "timeouts_total",
        "calls_without_slot",
    }
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in shown} == {f"os_volume_ext_{name}" for name in metrics}
