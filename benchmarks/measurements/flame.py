"""Flame graphs of a generated run of 10 M spans: every view in one file, the layers alone, and one step's timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Row, Sample, present, row
from benchmarks.session import Session, deepseek_prof
from tests.support.synthetic import write_synthetic_run

STEPS = 7_050
QUICK_STEPS = 20
ARMS = {"all": (), "layers": ("--view", "layers"), "timeline": ("--view", "timeline")}


@dataclass(frozen=True)
class Flame:
    """A training of twelve blocks on one rank, written once; every file by a process of its own."""

    name: str = "flame"
    title: str = "Flame graphs of a run of 10 M spans"
    max_rounds: int | None = None
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Write the run if it is not there, and its flame graphs to files."""
        run_dir = session.work_dir / "flame"
        if not run_dir.exists():
            write_synthetic_run(run_dir, steps=QUICK_STEPS if session.quick else STEPS)
        sample: dict[str, float] = {}
        for arm, options in ARMS.items():
            file = session.work_dir / f"{arm}.speedscope.json"
            command = [*deepseek_prof(), "flame", str(run_dir), *options, "--output", str(file)]
            sample[f"{arm}_s"] = session.run_command(command).wall_s
            sample[f"{arm}_bytes"] = float(file.stat().st_size)
            file.unlink()
        return sample

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return time and size of each file."""
        return present(
            row(samples, lambda sample: sample["all_s"], "all views that sum, whole process", "s", bar=1.0),
            row(samples, lambda sample: sample["all_bytes"] / 1e6, "their file", "MB", bar=5.0),
            row(samples, lambda sample: sample["layers_s"], "view layers, whole process", "s", bar=1.0),
            row(samples, lambda sample: sample["layers_bytes"] / 1e6, "its file", "MB", bar=5.0),
            row(samples, lambda sample: sample["timeline_s"], "timeline of a step, whole process", "s"),
            row(samples, lambda sample: sample["timeline_bytes"] / 1e6, "its file", "MB"),
        )
