"""Steps: which are warm-up, the statistics of the others, and the window that the report's tables are taken over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.results import StepStats
from deepseek_prof.trace.run import Run

_WARMUP_FACTOR = 1.5
_MAX_WARMUP = 10
_MAX_WARMUP_SHARE = 0.25
_MIN_STEPS = 4


@dataclass(frozen=True)
class Step:
    """One finished step of one process."""

    rank: int
    pid: int
    step: int
    dur_ns: int


def read_steps(run: Run) -> list[Step]:
    """The finished steps of all processes, by process and number.

    With ``run --steps`` these steps only: of the others no operator was recorded, so that they would count as time in
    which nothing runs. All steps where none of these came.
    """
    rows = run.kept_rows(
        "SELECT s.rank, s.pid, s.step, s.dur_ns FROM raw_spans s WHERE s.step IS NOT NULL AND s.context_id IN "
        "(SELECT context_id FROM process_contexts WHERE kind = 'step') ORDER BY 1, 2, 3"
    )
    steps = [Step(*row) for row in rows]
    first, last = _asked_for(run)
    return [each for each in steps if first <= each.step <= last] or steps


def _asked_for(run: Run) -> tuple[float, float]:
    """First and last step of ``run --steps``, both included."""
    settings = run.info.get("settings")
    asked = settings.get("steps") if isinstance(settings, dict) else None
    if isinstance(asked, list) and len(asked) == 2 and all(type(each) is int for each in asked):
        return asked[0], asked[1]
    return 0, math.inf


def warmup_steps(durations_ns: Sequence[int]) -> int:
    """How many leading steps are warm-up.

    Those longer than 1.5 times the median of the second half, at most ten and a quarter of all; none of fewer than
    four steps, where there is nothing to compare with.
    """
    count = len(durations_ns)
    if count < _MIN_STEPS:
        return 0
    limit = _WARMUP_FACTOR * percentile(sorted(durations_ns[count // 2 :]), 0.5)
    most = min(_MAX_WARMUP, max(1, int(count * _MAX_WARMUP_SHARE)))
    found = 0
    while found < most and durations_ns[found] > limit:
        found += 1
    return found


def common_warmup(steps: Sequence[Step]) -> int:
    """How many leading steps of every process are left out: the longest warm-up of all."""
    return max((warmup_steps([each.dur_ns for each in process]) for process in by_process(steps).values()), default=0)


def percentile(ordered: Sequence[int], fraction: float) -> int:
    """The nearest-rank percentile of ascending values: always a value that occurred; the median of two is the lower."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def by_process(steps: Sequence[Step]) -> dict[tuple[int, int], list[Step]]:
    """Steps by (rank, pid), in order."""
    found: dict[tuple[int, int], list[Step]] = {}
    for step in steps:
        found.setdefault((step.rank, step.pid), []).append(step)
    return found


def step_stats(steps: Sequence[Step], warmup: int) -> StepStats | None:
    """Statistics over the steps after the first ``warmup`` of every process; None without steps."""
    processes = by_process(steps)
    steady = [step for each in processes.values() for step in each if step.step >= each[0].step + warmup]
    if not steady:
        return None
    ordered = sorted(step.dur_ns for step in steady)
    total_ns = sum(ordered)
    slowest = max(steady, key=lambda step: step.dur_ns)
    return StepStats(
        recorded=len(steps),
        warmup=warmup,
        warmup_ns=max(sum(step.dur_ns for step in each[:warmup]) for each in processes.values()),
        count=len(steady),
        first=min(step.step for step in steady),
        last=max(step.step for step in steady),
        median_ns=percentile(ordered, 0.5),
        mean_ns=total_ns // len(ordered),
        p90_ns=percentile(ordered, 0.9),
        p99_ns=percentile(ordered, 0.99),
        min_ns=ordered[0],
        max_ns=ordered[-1],
        slowest=slowest.step,
        per_second=len(ordered) * 1e9 / total_ns if total_ns else 0.0,
    )
