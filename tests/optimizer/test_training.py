"""Passes on real training programs: what is measured, what is refused, and what a candidate's end leaves."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from deepseek_prof.optimizer.candidate import CandidateError, Target
from deepseek_prof.optimizer.results import CandidateResult
from deepseek_prof.optimizer.training_measure import Plan, TrainingMeasurer, TrainingProcess

PROGRAM = Path(__file__).parent / "programs" / "trainings.py"
EXAMPLES = Path(__file__).parents[2] / "examples"
MEASURED = ("win", "inconclusive", "slower")
ROUNDS = 6


def target(name: str, *words: str, program: Path = PROGRAM, root: str = "Net") -> Target:
    return Target(
        (sys.executable, str(program), *([name] if name else []), *words), root, 0, True,
        environment=(("OMP_NUM_THREADS", "1"),),
    )  # fmt: skip


def measured(
    subject: Target, name: str, options: dict[str, Any] | None = None, prepare_s: float = 60.0, repeats: int = 2
) -> CandidateResult:
    row = CandidateResult((name,), (options or {},), "failed", None, 1.0)
    return TrainingMeasurer(subject, Plan(4 * ROUNDS, repeats), prepare_s=prepare_s).measure(row, ROUNDS, 120.0)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what the kernel does in its own time."""
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        os.sched_yield()


@pytest.mark.parametrize(("name", "kind"), [("AdamW", "AdamW"), ("SGD", "SGD")])
def test_a_fused_optimizer_learns_as_eager_does(name: str, kind: str) -> None:
    row = measured(target(name), "optimizer")
    assert row.status in MEASURED, row.reason
    assert row.fired == (f"fused: {kind}",)
    assert not row.lossy
    assert row.numerics is not None
    assert row.numerics["steps"] == 3 + 2 * ROUNDS
    assert row.numerics["losses"] != row.numerics["losses"][:1] * row.numerics["steps"]
    assert row.figures is not None
    assert row.figures.calls == 2 * ROUNDS
    assert row.interval is not None
    assert row.speedup is not None
    assert row.interval[0] <= row.speedup <= row.interval[1]


def test_the_example_learns_alike_with_a_fused_optimizer() -> None:
    words = ("--batch", "2", "--length", "16", "--width", "32", "--depth", "2")
    row = measured(target("", *words, program=EXAMPLES / "char_transformer.py", root="CharTransformer"), "optimizer")
    assert row.status in MEASURED, row.reason
    assert not row.lossy


@pytest.mark.parametrize("name", ["StopsLearning", "SlightlyOff"])
def test_a_pass_that_changes_what_is_learnt_is_no_win_at_any_speed(name: str) -> None:
    row = measured(target(name), "optimizer")
    assert row.status == "inaccurate"
    assert "loss of step" in str(row.reason)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Raises", "RuntimeError: no [bold]fused[/bold] weights here"),
        ("Killed", "SIGKILL"),
        ("Hangs", "took more than"),
        ("TooLarge", "memory"),
        ("EndsEarly", "ended before the steps"),
    ],
)
def test_a_candidate_that_ends_otherwise_than_eager_is_a_row(name: str, reason: str) -> None:
    row = measured(target(name), "optimizer", prepare_s=12.0)
    assert row.status == "failed"
    assert reason in str(row.reason)
    assert row.speedup is None


@pytest.mark.parametrize(
    ("program", "name", "options", "reason"),
    [
        ("RMSprop", "optimizer", {}, "RMSprop has no fused form"),
        ("Chosen", "optimizer", {}, "chooses foreach for AdamW itself"),
        ("Tensors", "dataloader", {}, "the program makes no DataLoader"),
        ("Stream", "dataloader", {}, "IterableDataset"),
        ("AdamW", "dataloader", {"num_workers": 0}, "has 0 workers itself"),
        ("AdamW", "threads", {"intra_op": 1}, "has 1 already"),
        ("AdamW", "threads", {"intra_op": 4096}, "this process may use"),
        ("AdamW", "threads", {"intra_op": 0, "inter_op": 4096}, "this process may use"),
        ("AdamW", "layout", {}, "no Conv2d"),
        ("AdamW", "fuse", {"freezing": True}, "in training"),
    ],
)
def test_a_pass_that_does_not_apply_is_refused(program: str, name: str, options: dict[str, Any], reason: str) -> None:
    row = measured(target(program), name, options)
    assert row.status == "refused", row.reason
    assert reason in str(row.reason)


def test_nothing_to_checkpoint_is_refused() -> None:
    row = measured(target("", "--steps", "40", program=EXAMPLES / "data_bound.py", root="Sequential"), "checkpoint")
    assert (row.status, row.reason) == ("refused", "checkpoint: no block of layers is repeated")


def test_checkpoints_save_memory_and_change_nothing() -> None:
    row = measured(target("Wide"), "checkpoint", repeats=1)
    assert row.status in MEASURED, row.reason
    assert "8 blocks" in row.fired[0]
    assert not row.lossy
    assert row.figures is not None
    assert row.baseline is not None
    assert row.figures.peak_bytes < row.baseline.peak_bytes


def test_a_compiled_training_learns_as_eager_does() -> None:
    row = measured(target("Tensors"), "fuse")
    assert row.status in MEASURED, row.reason
    assert "1 graph," in row.fired[0]
    assert row.compile_ns
    assert not row.lossy


def test_compiled_dropout_is_held_against_the_mean_loss() -> None:
    row = measured(target("AdamW"), "fuse")
    assert row.status in MEASURED, row.reason
    assert row.lossy
    assert "other random numbers" in row.notes[0]


def test_workers_bring_the_samples_of_eager() -> None:
    row = measured(target("AdamW"), "dataloader", {"num_workers": 2})
    assert row.status in MEASURED, row.reason
    assert "with 2 workers" in row.fired[0]
    assert row.figures is not None
    assert row.figures.calls == 4 * ROUNDS
    assert not row.lossy


def test_workers_win_where_the_steps_wait_for_a_slow_dataset() -> None:
    row = measured(target("Slow"), "dataloader", {"num_workers": 2})
    assert row.status == "win", row.reason
    assert not row.lossy
    assert row.interval is not None
    assert row.control is not None
    assert row.interval[0] > row.control[1]


def test_augmentation_in_workers_is_held_against_the_mean_loss() -> None:
    subject = target("", "--batch", "8", "--enlarge", "1", program=EXAMPLES / "data_bound.py", root="Sequential")
    row = measured(subject, "dataloader", {"num_workers": 2})
    assert row.status in MEASURED, row.reason
    assert row.lossy


def test_a_process_stands_still_with_its_workers_and_leaves_none() -> None:
    with TrainingProcess(target("AdamW"), [("dataloader", {"num_workers": 2})]) as process:
        assert process.prepare(60.0)["status"] == "ready"
        main = psutil.Process(process._process.pid)
        family = [main, *main.children(recursive=True)]
        assert len(family) == 3
        until(lambda: all(each.status() == psutil.STATUS_STOPPED for each in family))
        told = process.ask({"do": "round", "repeats": 4}, 60.0)
        assert len(told["calls_ns"]) == len(told["losses"]) == 4
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family))


def test_an_unseeded_program_is_told_of_its_noise() -> None:
    row = measured(target("Unseeded"), "optimizer")
    assert any("seed all that is random" in note for note in row.notes)


def test_a_program_that_trains_something_else_says_so() -> None:
    with (
        TrainingProcess(target("AdamW", root="Other"), ()) as process,
        pytest.raises(CandidateError, match="trained without Other"),
    ):
        process.prepare(60.0)
