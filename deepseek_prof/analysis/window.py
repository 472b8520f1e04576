"""Chooses the spans that a summary is taken over: the steady, fully recorded steps whose raw spans are all kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.analysis.results import Window
from deepseek_prof.analysis.steps import Step, by_process
from deepseek_prof.trace.run import Condition, Run

_STEP_CONTEXTS = "context_id IN (SELECT context_id FROM process_contexts WHERE kind = 'step')"


@dataclass(frozen=True)
class Selection:
    """A window, the SQL that selects its spans, and the time of its steps added over ranks (0: no steps)."""

    where: str
    params: tuple[Any, ...]
    window: Window
    wall_ns: int


def select(
    run: Run, steps: Sequence[Step], warmup: int, *, evicted: bool, condition: Condition | None = None
) -> Selection:
    """The spans that a summary is taken over; with ``condition``, those and only those that it selects."""
    if condition is not None:
        return _selected_by(run, condition)
    if not steps:
        return Selection("TRUE", (), Window(None, 0, False, 0), 0)
    evicted_before = _first_kept_step(run) if evicted else 0
    chosen = [
        step
        for process in by_process(steps).values()
        for step in process
        if step.step >= max(process[0].step + warmup, evicted_before)
    ] or list(steps)
    sampled = False
    where = _ranges(chosen)
    if _has_budget(run):
        full = _fully_recorded(run)
        kept = [step for step in chosen if (step.rank, step.pid, step.step) in full]
        if kept and len(kept) < len(chosen):
            sampled, chosen = True, kept
            run.connection.execute("CREATE OR REPLACE TEMP TABLE window_steps(rank INTEGER, pid BIGINT, step INTEGER)")
            run.connection.executemany(
                "INSERT INTO window_steps VALUES (?, ?, ?)", [(step.rank, step.pid, step.step) for step in chosen]
            )
            where = f"({_ranges(chosen)}) AND (rank, pid, step) IN (SELECT (rank, pid, step) FROM window_steps)"
    numbers = [step.step for step in chosen]
    window = Window((min(numbers), max(numbers)), len(chosen), sampled, evicted_before)
    return Selection(where, (), window, sum(step.dur_ns for step in chosen))


def _ranges(chosen: Sequence[Step]) -> str:
    """SQL for the steps of every process; one plain range where all processes have the same steps."""
    ranges = {process: (steps[0].step, steps[-1].step) for process, steps in by_process(chosen).items()}
    if len(set(ranges.values())) == 1:
        first, last = next(iter(ranges.values()))
        return f"step BETWEEN {first} AND {last}"
    return " OR ".join(
        f"(rank = {rank} AND pid = {pid} AND step BETWEEN {first} AND {last})"
        for (rank, pid), (first, last) in ranges.items()
    )


def _selected_by(run: Run, condition: Condition) -> Selection:
    params = tuple(condition.params)
    rows = run.rows(
        "SELECT count(DISTINCT (rank, pid, step)), min(step), max(step) FROM spans "
        f"WHERE step IS NOT NULL AND kind <> 'step' AND ({condition.sql})",
        params,
    )
    count, first, last = rows[0]
    window = Window((first, last) if count else None, count, False, 0)
    return Selection(condition.sql, params, window, 0)


def _first_kept_step(run: Run) -> int:
    """The first step none of whose spans ``--max-size`` removed: the one after the oldest that is left."""
    (oldest,) = run.rows(f"SELECT min(step) FROM raw_spans WHERE NOT ({_STEP_CONTEXTS})")[0]
    return 0 if oldest is None else int(oldest) + 1


def _has_budget(run: Run) -> bool:
    settings = run.info.get("settings")
    return isinstance(settings, dict) and settings.get("overhead_budget") is not None


def _fully_recorded(run: Run) -> set[tuple[int, int, int]]:
    """Steps that hold operators, where the overhead budget may have left out those of some."""
    rows = run.rows("SELECT DISTINCT rank, pid, step FROM spans WHERE kind = 'op' AND step IS NOT NULL")
    return {(rank, pid, step) for rank, pid, step in rows}
