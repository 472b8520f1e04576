"""Importing a Chrome trace of 1 GB: the time of the whole command and its memory."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs.large_trace import write_large_trace
from benchmarks.results import Row, Sample, present, row
from benchmarks.session import RESULT_VARIABLE, Session

SIZE_BYTES = 1_000_000_000
QUICK_SIZE_BYTES = 4_000_000
EVENTS_PER_SECOND = 150_000


@dataclass(frozen=True)
class Importing:
    """The command on a plain file; in the first round on the same file compressed too."""

    name: str = "importing"
    title: str = "Importing a trace of 1 GB"
    max_rounds: int | None = 3
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Write the trace if it is not there, and import it."""
        size_bytes = QUICK_SIZE_BYTES if session.quick else SIZE_BYTES
        trace = session.work_dir / "trace.json"
        counted = session.work_dir / "trace-events"
        if not counted.exists():
            counted.write_text(str(write_large_trace(trace, size_bytes)), encoding="utf-8")
        events = float(counted.read_text(encoding="utf-8"))
        seconds, peak_bytes = _import(session, trace)
        sample = {"events": events, "import_s": seconds, "peak_rss_bytes": peak_bytes}
        if index == 0:
            packed = session.work_dir / "trace.json.gz"
            with trace.open("rb") as plain, gzip.open(packed, "wb", compresslevel=1) as target:
                shutil.copyfileobj(plain, target)
            sample["packed_s"], sample["packed_peak_rss_bytes"] = _import(session, packed)
            packed.unlink()
        return sample

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return time and memory with their bars."""
        return present(
            row(samples, lambda sample: sample["events"] / 1e6, "events in the file", "M"),
            row(
                samples,
                lambda sample: sample["import_s"] / sample["events"] * 1e6,
                "import, a million events",
                "s",
                bar=1e6 / EVENTS_PER_SECOND,
                reference=f"the bar is {EVENTS_PER_SECOND:,} events a second",
            ),
            row(
                samples,
                lambda sample: sample["packed_s"] / sample["events"] * 1e6,
                "import from gzip, a million events",
                "s",
                bar=1e6 / EVENTS_PER_SECOND,
            ),
            row(samples, lambda sample: sample["peak_rss_bytes"] / 2**20, "peak memory", "MiB", bar=1024),
            row(samples, lambda sample: sample["packed_peak_rss_bytes"] / 2**20, "peak memory, gzip", "MiB", bar=1024),
        )


def _import(session: Session, trace: Path) -> tuple[float, float]:
    """Wall time in seconds and peak resident size in bytes of one import; the run is removed."""
    run_dir, result = session.work_dir / "imported", session.work_dir / "import-result.json"
    command = [sys.executable, "-m", "benchmarks.programs.import_trace", "import", "--quiet", str(trace)]
    finished = session.run_command([*command, "--output", str(run_dir)], {RESULT_VARIABLE: str(result)})
    peak_bytes = float(json.loads(result.read_text(encoding="utf-8"))["peak_rss_bytes"])
    result.unlink()
    shutil.rmtree(run_dir)
    return finished.wall_s, peak_bytes
