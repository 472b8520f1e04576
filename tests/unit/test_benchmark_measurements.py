"""What single measurements make of the figures that programs write."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measurements.metrics import Stretch, scraped_to_left_alone
from benchmarks.measurements.tiny_transformer import TINY_TRANSFORMER
from benchmarks.session import Arm, Finished, ProgramRun, Session


def test_steps_are_compared_with_those_of_the_stretch_beside_them() -> None:
    steps = [(at, 10) for at in range(0, 100, 10)] + [(at, 12) for at in range(100, 220, 12)] + [(220, 900)]
    left, scraped = Stretch(0, 100, False), Stretch(100, 220, True)
    assert scraped_to_left_alone(steps, [(left, scraped)]) == [1.2]
    assert scraped_to_left_alone(steps, [(scraped, left)]) == [1.2]


def test_a_step_across_the_end_of_a_stretch_counts_for_none() -> None:
    steps = [(0, 10), (10, 95), (110, 10)]
    assert scraped_to_left_alone(steps, [(Stretch(0, 100, True), Stretch(100, 200, False))]) == [1.0]


def test_pairs_with_a_stretch_without_steps_are_left_out() -> None:
    steps = [(0, 10), (110, 10), (210, 10)]
    assert scraped_to_left_alone(steps, [(Stretch(0, 100, True), Stretch(300, 400, False))]) == []


class _Machine(Session):
    """A step takes 1.2 µs a record at batch 8 and a fourth of a microsecond less for each of the batch below."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path, quick=False)
        self.batches: list[int] = []

    def run_program(self, program: str, options: object, arm: Arm, *, keep: bool = False) -> ProgramRun:
        words = [*options, *arm.program_options]  # type: ignore[misc]  # a sequence of words, as the session's
        batch = int(words[words.index("--batch") + 1]) if "--batch" in words else 0
        self.batches.append(batch)
        figures = {"step_s": 1000 * (1.2 + 0.25 * (batch - 8)) * 1e-6, "steps": 7, "end_monotonic_ns": 0}
        return ProgramRun(figures, Finished(1.0, 0), None, {"spans": {"count": 7000}})


def test_the_batch_is_the_one_nearest_to_the_time_a_record_of_the_bars(tmp_path: Path) -> None:
    session = _Machine(tmp_path)
    first = TINY_TRANSFORMER.measure_round(session, 0)
    assert first["batch"] == 8
    assert first["bare: step_s"] == pytest.approx(1.2e-3)
    session.batches.clear()
    assert TINY_TRANSFORMER.measure_round(session, 1)["batch"] == 8
    assert set(session.batches) == {8}
