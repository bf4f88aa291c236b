"""The dashboard, the alerts and the documentation name only metrics that exist."""

import json
import re

import pytest
import yaml

from benchmarks.prometheus import ALERTS, DASHBOARD, dashboard_panels
from configs.metrics import EXPORT_PREFIX, METRICS, Metric
from configs.settings import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
OURS = re.compile(rf"{EXPORT_PREFIX}acestep_\w+")
SERIES = {
    metric.exported + suffix
    for metric in METRICS
    for suffix in (("_bucket", "_count") if metric.kind == "histogram" else ("",))
}
ALERT_RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_no_two_metrics_have_one_name() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_described_and_its_label_values_belong_to_a_label(metric: Metric) -> None:
    assert metric.description.endswith(".")
    assert metric.label or not metric.values
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(metric.buckets)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_documentation_says_of_each_metric_what_its_definition_says(metric: Metric) -> None:
    label = f"`{metric.label}`" if metric.label else ""
    row = f"| `{metric.exported}` | {metric.kind} | {label} | {metric.description} |"
    assert row.replace("|  |", "| |") in (DOCS / "monitoring.md").read_text()


@pytest.mark.parametrize(
    "expression",
    [
        *(query.expression for panel in dashboard_panels("1m") for query in panel.queries),
        *(rule["expr"] for rule in ALERT_RULES),
    ],
)
def test_queries_name_only_metrics_that_there_are(expression: str) -> None:
    assert set(OURS.findall(expression)) <= SERIES


def test_the_dashboard_can_be_imported_and_asks_the_data_source_that_is_chosen() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert [variable["type"] for variable in dashboard["templating"]["list"]] == ["datasource"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {"${datasource}"}


def test_no_panel_of_the_dashboard_covers_another() -> None:
    covered: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert grid["x"] + grid["w"] <= 24
        assert not cells & covered
        covered |= cells
