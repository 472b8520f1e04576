"""Answers every example of docs/query.md over a run, several times, and writes the times and its own peak memory."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

from benchmarks.programs.measured import RESULT_VARIABLE, peak_rss_bytes
from deepseek_prof.analysis.top import top
from deepseek_prof.query import compile_query
from deepseek_prof.trace.run import Run

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "query.md"
HEADING = "## Examples"


def documented_queries() -> list[str]:
    """The queries of the table that every run can answer, without those for GPUs and for log records."""
    table = DOCUMENT.read_text(encoding="utf-8").split(HEADING, 1)[1].split("| --- | --- |\n", 1)[1]
    return re.findall(r"^\| `(.*?)` \| .* \|$", table.split("\n\n", 1)[0], re.MULTILINE)


def main(path: Path, passes: int) -> None:
    """Filter and group by layer, each query once a pass; a pass opens the run anew, so that no answer is kept."""
    times_s: list[list[float]] = []
    for _ in range(passes + 1):
        with Run.open(path) as run:
            top(run, "layer")  # what a session reads once, whatever is asked
            found = []
            for query in documented_queries():
                start_ns = time.perf_counter_ns()
                top(run, "layer", compile_query(query))
                found.append((time.perf_counter_ns() - start_ns) / 1e9)
            times_s.append(found)
    result = {"times_s": times_s[1:], "peak_rss_bytes": peak_rss_bytes()}  # the first pass warms the file cache
    Path(os.environ[RESULT_VARIABLE]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
