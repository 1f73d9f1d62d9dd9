"""The alert rules and the dashboard that ship: they parse, and speak of metrics that a node really has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
RULES = yaml.safe_load((FOLDER / "kvnode.rules.yml").read_text(encoding="utf-8"))
BOARD = json.loads((FOLDER / "kvnode.dashboard.json").read_text(encoding="utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
TARGETS = [target for panel in BOARD["panels"] for target in panel["targets"]]


def documented() -> dict[str, set[str]]:
    """The metrics with their labels; tests/unit/node/test_metrics.py holds that page against the code."""
    rows = re.findall(r"^\| `(kvnode_\w+)` \| \w+ \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def selectors(expr: str) -> Iterator[Any]:
    """All vector selectors of an expression. Raises ValueError if it is no PromQL."""
    # Grafana's own variables stand for a duration and for a label's value.
    todo = [promql_parser.parse(expr.replace("$__rate_interval", "5m"))]
    while todo:
        node = todo.pop()
        if isinstance(node, promql_parser.VectorSelector):
            yield node
        for part in ("expr", "lhs", "rhs", "vector_selector", "args"):
            inner = getattr(node, part, None)
            if part == "vector_selector" and inner is not None:
                yield inner
            elif isinstance(inner, list):
                todo += inner
            elif inner is not None and part != "vector_selector":
                todo.append(inner)


EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [target["expr"] for target in TARGETS]


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_counters_are_counted_and_gauges_are_measured(expr: str) -> None:
    for function, metric in re.findall(r"(\w+)\((kvnode_\w+)", expr):
        if function in ("rate", "irate", "increase"):
            assert metric.endswith("_total"), f"{function} is for counters"
        elif function in ("delta", "deriv", "idelta"):
            assert not metric.endswith("_total"), f"{function} is for gauges"


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_expressions_speak_of_metrics_that_there_are(expr: str) -> None:
    metrics = documented()
    found = list(selectors(expr))
    assert found
    for selector in found:
        if selector.name == "up":
            continue
        assert selector.name in metrics
        used = {matcher.name for matcher in selector.matchers.matchers}
        assert used <= metrics[selector.name] | {"instance", "job"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Kvnode[A-Z]\w+", rule["alert"])
    assert re.fullmatch(r"\d+[mhd]", rule.get("for", "1m"))
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "action"}
    metrics = documented()
    labels = {name for s in selectors(rule["expr"]) for name in metrics.get(s.name, set())} | {"instance"}
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= labels


def test_alerts_have_names_of_their_own() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)


def test_the_dashboard_is_whole() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert {t["refId"] for t in panel["targets"]} == set("ABCDEF"[: len(panel["targets"])])
    variables = {variable["name"] for variable in BOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) - {"__rate_interval"} == variables
