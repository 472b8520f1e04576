"""Exporting a generated run of 10 M spans in every format that shows single spans, and in pprof: time, memory, size."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.results import Row, Sample, present, row
from benchmarks.session import RESULT_VARIABLE, Session
from tests.support.synthetic import write_synthetic_run

STEPS = 7_050
QUICK_STEPS = 40
FORMATS = {
    "chrome": ".json",
    "chrome, gzip": ".json.gz",
    "perfetto": ".pftrace",
    "pprof": ".pb.gz",
    "parquet": ".parquet",
    "jsonl": ".jsonl",
}
"""Endings by what the table calls each format; the exporter's name is the first word."""


@dataclass(frozen=True)
class Exporting:
    """A training of twelve blocks on one rank, once for all rounds; every export is a whole process."""

    name: str = "exporting"
    title: str = "Exporting 10 M spans"
    max_rounds: int | None = 3
    in_default_set: bool = False
    """A round takes two minutes."""

    def measure_round(self, session: Session, index: int) -> Sample:
        """Write the run if it is not there, and export it in each format."""
        run_dir = session.work_dir / self.name
        if not run_dir.exists():
            write_synthetic_run(run_dir, steps=QUICK_STEPS if session.quick else STEPS)
        spans = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["spans"]["count"]
        sample: dict[str, float] = {"spans": spans}
        result = session.work_dir / "export-result.json"
        for shown, ending in FORMATS.items():
            file = session.work_dir / f"exported{ending}"
            program = [sys.executable, "-m", "benchmarks.programs.import_trace"]  # any command, and its peak memory
            options = ["export", shown.partition(",")[0], str(run_dir), "--quiet", "--output", str(file)]
            finished = session.run_command([*program, *options], {RESULT_VARIABLE: str(result)})
            sample[f"{shown} s"] = finished.wall_s
            sample[f"{shown} peak"] = json.loads(result.read_text(encoding="utf-8"))["peak_rss_bytes"]
            sample[f"{shown} size"] = file.stat().st_size
            file.unlink()
            result.unlink()
        return sample

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return time, peak memory and size of each format."""
        found = [row(samples, lambda sample: sample["spans"] / 1e6, "spans", "M")]
        for shown in FORMATS:
            found += [
                row(samples, _figure(f"{shown} s"), f"{shown}, whole process", "s"),
                row(samples, _figure(f"{shown} peak", 2**20), f"{shown}, peak memory", "MiB", bar=1024),
                row(samples, _figure(f"{shown} size", 2**20), f"{shown}, size", "MiB"),
            ]
        return present(*found)


def _figure(name: str, unit: float = 1.0) -> Callable[[Sample], float]:
    return lambda sample: sample[name] / unit
