"""The registry, the documentation, and silence about a well-tuned program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.analysis.findings import RULES, find, gather
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.optimizer_on_cpu import SAVED
from deepseek_prof.analysis.findings.wording import duration, listing, number, percent
from deepseek_prof.analysis.summary import summarize
from deepseek_prof.trace.run import Run
from tests.support.synthetic import write_synthetic_run

ROOT = Path(__file__).parents[3]


def _find(path: Path) -> tuple[Finding, ...]:
    with Run.open(path) as run:
        return find(run, summarize(run))


@pytest.mark.parametrize(
    "changes", [{}, {"ranks": 2}, {"with_layers": False}, {"with_counters": False}, {"evicted_steps": 10}]
)
def test_a_balanced_run_only_gets_information(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_synthetic_run(tmp_path, steps=40, **changes)
    assert [each.rule for each in _find(tmp_path) if each.gain_high > 0] == []


@pytest.mark.parametrize(
    "info",
    [
        {"process": {"recorder": "kineto"}},
        {"dropped": [{"pid": 4200, "reason": "the recorder could not write them", "spans": 9}]},
        {"processes": []},
        {"processes": None, "host": None, "settings": None, "dropped": None},
    ],
    ids=["kineto", "dropped spans", "no processes", "nothing known"],
)
def test_a_run_that_says_little_of_itself_gets_none(tmp_path: Path, info: dict[str, Any]) -> None:
    write_synthetic_run(tmp_path, steps=40, info=info)
    assert [each.rule for each in _find(tmp_path) if each.gain_high > 0] == []


@pytest.mark.parametrize("changes", [{"with_steps": False}, {"steps": 1}, {"steps": 2}])
def test_a_run_of_few_or_no_steps_gets_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_synthetic_run(tmp_path, **{"steps": 6, **changes})
    assert [each.rule for each in _find(tmp_path) if each.gain_high > 0] == []


def test_every_figure_of_a_finding_is_possible(tmp_path: Path) -> None:
    write_synthetic_run(tmp_path, steps=40, data_us=20_000, slow={20: 5.0})
    found = _find(tmp_path)
    assert [each.rule for each in found] == ["data-stall", "slow-steps", "warmup"]
    for each in found:
        assert each.rule in RULES
        assert all((each.title, each.advice, each.evidence))
        assert 0 <= each.gain_low <= each.gain_high <= 1


def test_findings_come_in_order_of_their_gain(tmp_path: Path) -> None:
    write_synthetic_run(tmp_path, steps=40, data_us=20_000, slow={20: 5.0})
    gains = [each.gain_high for each in _find(tmp_path)]
    assert gains == sorted(gains, reverse=True)


def test_evidence_sums_what_the_summary_sums(tmp_path: Path) -> None:
    write_synthetic_run(tmp_path, steps=30, ranks=2)
    with Run.open(tmp_path) as run:
        summary = summarize(run)
        evidence = gather(run, summary)
    assert sum(each.count for each in evidence.calls) == summary.span_count
    assert sum(each.self_ns for each in evidence.calls) == summary.self_ns
    assert len(evidence.processes) == 2
    assert not evidence.compiled
    assert not evidence.uses_cuda


def test_every_rule_is_documented_and_registered_under_its_name() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "findings.md").read_text(), flags=re.MULTILINE)
    assert rows == list(RULES)
    assert [rule.__name__.replace("_", "-") for rule in RULES.values()] == list(RULES)


def test_every_rule_has_a_section_that_says_all_about_it() -> None:
    text = (ROOT / "docs" / "findings.md").read_text()
    sections = dict(re.findall(r"^## ([a-z-]+)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))
    assert list(sections) == list(RULES)
    for name, section in sections.items():
        marks = re.findall(r"^- \*\*(\w+)\*\*", section, flags=re.MULTILINE)
        assert marks == ["Sees", "Evidence", "Gain", "Do", "Silent"], name


def test_the_document_gives_the_measured_savings_of_the_optimizers() -> None:
    text = " ".join((ROOT / "docs" / "findings.md").read_text().split())
    for names, (low, high) in (
        ("Adam and AdamW", SAVED["AdamW"]),
        ("Adagrad", SAVED["Adagrad"]),
        ("SGD", SAVED["SGD"]),
    ):
        assert f"{names} {low * 100:.0f} to {high * 100:.0f} %" in text
    assert SAVED["Adam"] == SAVED["AdamW"]


def test_every_file_of_the_folder_is_a_rule_or_shared() -> None:
    folder = ROOT / "deepseek_prof" / "analysis" / "findings"
    shared = {"__init__", "concurrency", "evidence", "model", "operator_chains", "typical_step", "wording"}
    files = {path.stem for path in folder.glob("*.py")} - shared
    assert files == {name.replace("-", "_") for name in RULES}


def test_wording() -> None:
    assert [duration(each) for each in (7, 1_500, 12_345_678, 999_700_000, 2e9)] == [
        "7 ns",
        "1.50 µs",
        "12.3 ms",
        "1000 ms",
        "2.00 s",
    ]
    assert [percent(each) for each in (0.034, 0.1, 1.0)] == ["3.4 %", "10 %", "100 %"]
    assert [number(each) for each in (12345.6, 3.0, 2.5)] == ["12,346", "3", "2.5"]
    assert listing(["a", "b", "c", "d"]) == "a, b, c and 1 more"
    assert [severity_of(each) for each in (0.3, 0.1, 0.01)] == ["high", "medium", "low"]
