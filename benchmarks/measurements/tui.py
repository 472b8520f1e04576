"""The TUI over a generated run of 10 M spans: its first screen, a change of the filter, scrolling the log."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.programs.tui_session import QUERIES
from benchmarks.results import Row, Sample, present, row
from benchmarks.session import RESULT_VARIABLE, Session
from tests.support.synthetic import write_synthetic_run

STEPS = 7_050
QUICK_STEPS = 20
REPEATS, QUICK_REPEATS = 2, 1
"""How often each query is asked in each pane."""
QUICK_QUERIES = 2


@dataclass(frozen=True)
class Tui:
    """A training of twelve blocks on one rank, written once; a session of the app in a new process each round."""

    name: str = "tui"
    title: str = "TUI over a run of 10 M spans, driven by Textual's pilot"
    max_rounds: int | None = 3
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Write the run if it is not there, and go through a session."""
        run_dir = session.work_dir / "tui"
        if not run_dir.exists():
            write_synthetic_run(run_dir, steps=QUICK_STEPS if session.quick else STEPS)
        result = session.work_dir / "tui.json"
        amount = (QUICK_REPEATS, QUICK_QUERIES) if session.quick else (REPEATS, len(QUERIES))
        command = [sys.executable, "-m", "benchmarks.programs.tui_session", str(run_dir), *map(str, amount)]
        session.run_command(command, {RESULT_VARIABLE: str(result)})
        found: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
        result.unlink()
        return found

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return what a user waits for, and memory."""
        return present(
            row(samples, lambda sample: sample["start_s"], "first screen, from the start of the process", "s", bar=1.5),
            row(
                samples,
                lambda sample: sample["filter_median_s"] * 1e3,
                "filter to redrawn, median over queries and panes",
                "ms",
                bar=150,
            ),
            row(samples, lambda sample: sample["filter_p95_s"] * 1e3, "95th percentile", "ms"),
            row(
                samples,
                lambda sample: sample["typed_median_s"] * 1e3,
                "last letter to redrawn, median",
                "ms",
                bar=150,
            ),
            row(samples, lambda sample: sample["rows"] / 1e6, "rows of the log", "M"),
            row(
                samples, lambda sample: sample["page_median_s"] * 1e3, "a page at a random place, median", "ms", bar=50
            ),
            row(samples, lambda sample: sample["page_p95_s"] * 1e3, "95th percentile", "ms"),
            row(samples, lambda sample: sample["peak_rss_bytes"] / 2**20, "peak memory", "MiB", bar=500),
        )
