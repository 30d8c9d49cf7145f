"""The files of deploy/grafana, as far as that can be said without Grafana; test_prometheus.py runs the queries."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.deploy.dashboard import Dashboard
from tests.support.processes import CHECKOUT

GRAFANA = CHECKOUT / "deploy" / "grafana"
BOARD = Dashboard.read()
UNITS = {"short", "s", "ops", "percentunit"}


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    raw = BOARD.raw
    assert (raw["uid"], raw["title"]) == ("pgsched", "pgsched")
    assert 36 <= raw["schemaVersion"] <= 41, "of Grafana 9 to 12; a later one brings an older file up to date"
    assert raw.get("id") is None, "an id is given by the Grafana that imports it"
    assert [variable["name"] for variable in raw["templating"]["list"]] == ["datasource", "job", "queue", "task_type"]


def test_no_two_panels_have_an_id_or_a_place_in_common() -> None:
    everything = BOARD.raw["panels"]
    ids = [panel["id"] for panel in everything]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in BOARD.panels if panel["type"] != "stat"]
    assert len(set(titles)) == len(titles)
    for one, other in combinations(everything, 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    for panel in everything:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]


@pytest.mark.parametrize("panel", BOARD.panels, ids=lambda panel: f"{panel['id']} {panel['title']}")
def test_each_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert len(panel["description"]) > 30
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    references = [target["refId"] for target in panel["targets"]]
    assert references == sorted(set(references))
    for one in [panel, *panel["targets"]]:
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("query", BOARD.queries, ids=lambda query: f"{query.panel} {query.legend}")
def test_each_query_is_of_one_database_and_of_the_chosen_queues(query: Any) -> None:
    selectors = re.findall(r"\{(.*?)\}", query.expression)
    assert selectors
    for selector in selectors:
        assert 'job="$job"' in selector
    for metric in re.findall(r"(\w+)\{(?![^}]*\$queue)", query.expression):
        assert metric not in ("pgsched_tasks", "pgsched_queue_due", "pgsched_executions_total"), metric
    assert re.search(r"\[(?!\$__rate_interval\])", query.expression) is None, "the range follows the scrape interval"


def test_provisioning_names_what_is_there() -> None:
    (source,) = _yaml("datasources/prometheus.yml")["datasources"]
    assert (source["type"], source["uid"], source["url"]) == ("prometheus", "prometheus", "${PROMETHEUS_URL}")
    interval = yaml.safe_load((CHECKOUT / "deploy/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    (provider,) = _yaml("dashboards/pgsched.yml")["providers"]
    assert (provider["type"], provider["options"]["path"]) == ("file", "/var/lib/grafana/dashboards")


def _yaml(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((GRAFANA / "provisioning" / path).read_text())
    assert found["apiVersion"] == 1
    return found


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )
