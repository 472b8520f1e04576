"""What a pass changed in a training, by layer and operator, from recordings of two runs of the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepseek_prof.optimizer.results import CandidateResult, Comparison
from deepseek_prof.optimizer.training_measure import RECORDED_STEPS, Plan, TrainingMeasurer
from tests.optimizer.test_training import MEASURED, ROUNDS, target


def explained(name: str, folder: Path, options: dict[str, Any] | None = None) -> CandidateResult:
    row = CandidateResult((name,), (options or {},), "failed", None, 1.0)
    measurer = TrainingMeasurer(target("AdamW"), Plan(4 * ROUNDS, 2), prepare_s=120.0, recordings=folder)
    return measurer.measure(row, ROUNDS, 240.0, explain=True)


def compared(row: CandidateResult) -> Comparison:
    assert row.status in (*MEASURED, "inaccurate"), row.reason
    assert row.comparison is not None, row.notes
    assert (Path(row.comparison.before) / "run.json").exists()
    assert (Path(row.comparison.after) / "run.json").exists()
    return row.comparison


def test_a_fused_optimizer_changes_the_operators_of_the_optimizer(tmp_path: Path) -> None:
    found = compared(explained("optimizer", tmp_path))
    verdicts = {each.name: each.verdict for each in found.operators}
    assert verdicts["aten::_fused_adamw_"] == "added"
    layers = {each.name: each for each in found.layers}
    assert {"blocks.0.first", "norm", "out"} <= layers.keys()
    assert all(each.verdict not in ("added", "removed", "compiled") for each in layers.values())
    for each in found.layers:  # slow leading steps count as warm-up
        assert 0 < each.before_steps <= RECORDED_STEPS
        assert 0 < each.after_steps <= RECORDED_STEPS


def test_lower_precision_changes_the_type_of_matmuls(tmp_path: Path) -> None:
    found = compared(explained("amp", tmp_path, {"dtype": "bfloat16"}))
    operators = {each.name: each for each in found.operators}
    casts = operators["aten::_to_copy"]
    assert casts.verdict == "added" or (casts.after_calls or 0) > (casts.before_calls or 0)
    layers = {each.name: each for each in found.layers}
    assert {"blocks.0.first", "blocks.2.second", "out"} <= layers.keys()


def test_layers_of_a_compiled_graph_are_compiled(tmp_path: Path) -> None:
    found = compared(explained("fuse", tmp_path))
    verdicts = {each.name: each.verdict for each in found.layers}
    assert verdicts["blocks.0.first"] == "compiled"
    assert any(note.startswith("Compiled in Net, ") for note in found.notes)


def test_a_recording_that_fails_costs_no_row(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    row = explained("optimizer", tmp_path / "file")
    assert row.status in MEASURED, row.reason
    assert row.comparison is None
    assert any("what changed by layer is not known" in note for note in row.notes)
