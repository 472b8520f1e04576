"""The proof in the terminal, as a page and as JSON: all rows, and names as data."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from deepseek_prof.cli.optimize_table import show
from deepseek_prof.exporters.html_report.proof_page import render
from deepseek_prof.optimizer.candidate import Target
from deepseek_prof.optimizer.measure import Measurer, with_verdict
from deepseek_prof.optimizer.proof_text import verdict
from deepseek_prof.optimizer.results import CandidateResult
from deepseek_prof.optimizer.rounds import Taken
from deepseek_prof.optimizer.timing import Ratio, Samples
from tests.optimizer.test_candidates import target
from tests.support.proofs import proof

HOSTILE = "<script>alert(1)</script>\x1b[31m[bold]"


def shown(name: str, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show(proof(name), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_terminal_shows_winner_losers_and_what_changed() -> None:
    text = shown("Net")
    for expected in (
        "quantize is 2.00 × as fast as eager (95 % interval 1.90 to 2.10)",
        "layout: slower – slower than eager",
        "fold: failed – RuntimeError: Net",
        "kept in float: Net.head",
        "Net.norm",
        "aten::convolution",
        "deepseek-prof diff runs/eager runs/changed",
        "out.py: loaded in a new process 1.90 × (1.80 to 2.00), equal outputs",
        "No package compiled ahead of time: Net cannot be exported",
    ):
        assert expected in text


def test_names_are_data_in_the_terminal_and_on_the_page() -> None:
    text = shown(HOSTILE, 200)
    assert "\x1b" not in text
    assert "[bold]" in text
    page = render(proof(HOSTILE))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in page


def test_the_page_holds_every_candidate_and_both_comparisons() -> None:
    page = render(proof())
    for expected in (
        "quantize is 2.00 × as fast", "slower – slower than eager", "RuntimeError: Net", "kept in float: Net.head",
        "By layer", "By operator", "Net.conv", "mkldnn::fused", "removed", "out.py: loaded in a new process",
    ):  # fmt: skip
        assert expected in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_page_without_a_winner() -> None:
    page = render(proof(winner=None, candidates=(), handover=None))
    assert "No pass is proven" in page
    assert "Handed over" not in page


def test_json_is_strict() -> None:
    told = json.loads(json.dumps(proof().as_json(), allow_nan=False))
    assert told["winner"]["comparison"]["layers"][0]["name"] == "Net.conv"
    check = {"speedup": 1.9, "interval": [1.8, 2.0], "sqnr_db": None, "loss_difference": None}
    assert told["handover"]["check"] == check


def test_every_goal_has_a_figure_and_a_sentence() -> None:
    taken = Taken(Samples([[100, 100, 400], [200, 200, 200]]), [7, 9])
    assert list(taken.figure("latency")) == [100, 200]
    assert list(taken.figure("throughput")) == [200, 200]
    assert list(taken.figure("memory")) == [7, 9]
    assert "2.00 × as many calls a second" in verdict(proof(goal="throughput"))
    assert "quantize: eager's peak memory is 2.00 ×" in verdict(proof(goal="memory"))


def test_a_little_less_memory_is_no_win() -> None:
    row = CandidateResult(("layout",), ({},), "failed", None, 1.0)
    little, control = Ratio(1.03, 1.03, 1.03), Ratio(1.0, 1.0, 1.0)
    assert with_verdict(row, little, control, "memory").status == "inconclusive"
    assert with_verdict(row, little, control, "latency").status == "win"
    assert with_verdict(row, Ratio(1.2, 1.1, 1.3), control, "memory").status == "win"
    worse = with_verdict(row, Ratio(0.8, 0.7, 0.9), control, "memory")
    assert (worse.status, worse.reason) == ("slower", "more memory than eager")


@pytest.mark.parametrize("goal", ["latency", "memory"])
def test_recordings_of_both_name_layers_alike(goal: str, tmp_path: Path) -> None:
    subject: Target = target("Convolutions")
    measurer = Measurer(subject, 60.0, goal=goal, recordings=tmp_path)
    try:
        row = measurer.measure(CandidateResult(("layout",), ({},), "failed", None, 1.0), 5, 120.0, explain=True)
    finally:
        measurer.end_eager()
    found = row.comparison
    assert found is not None, row.reason
    layers = {each.name: each for each in found.layers}
    assert {"Convolutions", "conv", "norm"} <= layers.keys()
    assert all(each.verdict not in ("added", "removed") for each in layers.values())
    assert any("convolution" in each.name for each in found.operators)
    assert all(each.before_steps >= 10 for each in found.layers)
    assert (Path(found.before) / "run.json").exists()
    assert (Path(found.after) / "run.json").exists()


def test_layers_of_a_compiled_graph_are_not_removed(tmp_path: Path) -> None:
    measurer = Measurer(target("Convolutions"), 300.0, recordings=tmp_path)
    try:
        wanted = CandidateResult(("fuse",), ({"freezing": True},), "failed", None, 1.0)
        row = measurer.measure(wanted, 5, 300.0, explain=True)
    finally:
        measurer.end_eager()
    found = row.comparison
    assert found is not None, row.reason
    verdicts = {each.name: each.verdict for each in found.layers}
    assert (verdicts["conv"], verdicts["norm"]) == ("compiled", "compiled")
    assert verdicts["Convolutions"] not in ("added", "removed", "compiled")
    (note,) = (each for each in found.notes if each.startswith("Compiled in Convolutions, "))
    assert "conv" in note
    assert "norm" in note


def test_a_recording_that_fails_costs_no_row(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    measurer = Measurer(target("Convolutions"), 60.0, recordings=tmp_path / "file")
    try:
        row = measurer.measure(CandidateResult(("layout",), ({},), "failed", None, 1.0), 5, 120.0, explain=True)
    finally:
        measurer.end_eager()
    assert row.status in ("win", "inconclusive", "slower")
    assert row.comparison is None
    assert any("what changed is not known" in note for note in row.notes)
