"""docs/grafana-dashboard.json can be imported, and shows what is exported; docs/metrics.md lists the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from deepseek_prof.exporters.metric_names import KNOWN, exported
from deepseek_prof.interfaces import CounterSample

DOCS = Path(__file__).parents[3] / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]
EXPORTED = {exported(CounterSample(1, 0, "cpu", name, 1.0, unit)).name for name, (unit, _) in KNOWN.items()}


def expressions() -> list[str]:
    return [str(target["expr"]) for panel in CHARTS for target in panel["targets"]]


def test_it_has_what_grafana_asks_of_a_dashboard() -> None:
    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([PANELS, DASHBOARD["templating"]]))) - {"__all"}
    assert used <= names, used - names
    for panel in CHARTS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert [target["refId"] for target in panel["targets"]] == sorted({t["refId"] for t in panel["targets"]})
        assert all(target["legendFormat"] for target in panel["targets"])


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & own, panel["title"]
        cells |= own


def test_it_names_every_metric_of_ours_and_no_other() -> None:
    named = {name for text in expressions() for name in re.findall(r"\bdeepseek_prof_\w+(?=\{)", text)}
    assert named == EXPORTED, named ^ EXPORTED
    asked = {name for each in DASHBOARD["templating"]["list"] for name in re.findall(r"deepseek_prof_\w+", str(each))}
    assert asked <= EXPORTED


def test_one_panel_shows_all_metrics_that_have_none() -> None:
    [rest] = [text for text in expressions() if text.startswith("{__name__")]
    wanted, left_out = re.findall(r'__name__[=!]~"(.+?)"', rest)
    assert all(re.fullmatch(wanted, name) and re.fullmatch(left_out, name) for name in EXPORTED)
    other = exported(CounterSample(1, 0, "cuda:0", "train/accuracy", 1.0, "percent")).name
    assert re.fullmatch(wanted, other)
    assert not re.fullmatch(left_out, other)


def test_the_page_lists_every_metric_of_ours() -> None:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    for name in KNOWN:
        short = name.removeprefix("step_latency").removeprefix("request_latency")
        assert f"`{name}`" in text or f"`{short}`" in text, name
