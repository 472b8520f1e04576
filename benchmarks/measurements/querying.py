"""The documented queries over generated runs of 10 M and 100 M spans, and ``logs QUERY --limit 50``."""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs.query_run import documented_queries
from benchmarks.results import Row, Sample, present, row
from benchmarks.session import RESULT_VARIABLE, Session, deepseek_prof
from tests.support.synthetic import write_synthetic_run

SPANS_A_STEP = 1_426
PASSES = 5
LOG_QUERY = "type:matmul phase:backward dur>50us"


@dataclass(frozen=True)
class Querying:
    """A training of twelve blocks on one rank, once for all rounds; every figure is made in a process of its own."""

    spans_millions: int
    bars_s: tuple[float, float]
    """For the median and for the 99th percentile over all queries and passes."""
    memory_mib: float | None = None
    max_rounds: int | None = 3
    in_default_set: bool = True

    @property
    def name(self) -> str:
        """What ``--only`` takes."""
        return f"querying-{self.spans_millions}m"

    @property
    def title(self) -> str:
        """The table's heading."""
        return f"Queries over {self.spans_millions} M spans: the {len(documented_queries())} examples of docs/query.md"

    def measure_round(self, session: Session, index: int) -> Sample:
        """Write the run if it is not there; ask every query in one process, then ``logs`` in another."""
        run_dir = session.work_dir / self.name
        if not run_dir.exists():
            millions = 0.05 if session.quick else self.spans_millions
            write_synthetic_run(run_dir, steps=round(millions * 1e6 / SPANS_A_STEP) + 1)
        spans = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["spans"]["count"]
        result = session.work_dir / "queries.json"
        passes = 1 if session.quick else PASSES
        command = [sys.executable, "-m", "benchmarks.programs.query_run", str(run_dir), str(passes)]
        session.run_command(command, {RESULT_VARIABLE: str(result)})
        found = json.loads(result.read_text(encoding="utf-8"))
        result.unlink()
        times_s = sorted(seconds for times in found["times_s"] for seconds in times)
        by_query = [statistics.median(times) for times in zip(*found["times_s"], strict=True)]
        return {
            "spans": spans,
            "median_s": statistics.median(times_s),
            "p99_s": times_s[math.ceil(0.99 * len(times_s)) - 1],
            "slowest_s": max(by_query),
            "peak_rss_bytes": found["peak_rss_bytes"],
            "logs_s": self._logs_s(session, run_dir),
        }

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the quantiles over all queries, the slowest query, ``logs`` and memory."""
        median_bar, p99_bar = self.bars_s
        return present(
            row(samples, lambda sample: sample["spans"] / 1e6, "spans", "M"),
            row(
                samples,
                lambda sample: sample["median_s"] * 1e3,
                "filter and group by layer, median",
                "ms",
                bar=median_bar * 1e3,
            ),
            row(samples, lambda sample: sample["p99_s"] * 1e3, "99th percentile", "ms", bar=p99_bar * 1e3),
            row(samples, lambda sample: sample["slowest_s"] * 1e3, "slowest query", "ms"),
            row(
                samples,
                lambda sample: sample["logs_s"],
                f"logs '{LOG_QUERY}' --limit 50, whole process",
                "s",
                bar=0.8 if self.spans_millions == 10 else None,
            ),
            row(samples, lambda sample: sample["peak_rss_bytes"] / 2**20, "peak memory", "MiB", bar=self.memory_mib),
        )

    def _logs_s(self, session: Session, run_dir: Path) -> float:
        return session.run_command([*deepseek_prof(), "logs", str(run_dir), LOG_QUERY, "--limit", "50"]).wall_s


QUERYING_10M = Querying(10, (0.1, 0.15))
QUERYING_100M = Querying(100, (1.5, 1.5), memory_mib=2048)
