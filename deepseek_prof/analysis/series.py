"""What changes over a run: the time of steps, counters such as memory, and numbers that the program told."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.analysis.metrics import PROGRAM_DEVICE
from deepseek_prof.trace.run import Condition, Run

_OUR_EVENTS = (
    "run_start", "run_end", "process_start", "process_end", "worker_start", "worker_end", "step_summary", "slow_step",
    "nan_loss", "dataloader_stall", "graph_break", "recompile", "oom", "collector_failed", "spans_dropped", "log",
    "warning", "alert_fired", "alert_cleared",
)  # fmt: skip
_MAX_POINTS = 2_000
_MAX_METRICS = 12


@dataclass(frozen=True)
class Series:
    """Values in order of time: ``name`` is data."""

    name: str
    unit: str
    """``ns``, ``bytes``, ``percent``, or empty for a plain number."""
    values: tuple[float, ...]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.values[-1]


def step_times(run: Run, condition: Condition | None = None) -> Series:
    """The length of every step, in ns, warm-up included; with ``condition``, the selected self time in it instead.

    Where several ranks ran a step, the longest counts. Without steps there are no values.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    steps = "context_id IN (SELECT context_id FROM process_contexts WHERE kind = 'step')"
    if condition is None:
        rows = run.kept_rows(
            f"SELECT step, max(dur_ns) FROM raw_spans WHERE step IS NOT NULL AND {steps} GROUP BY step ORDER BY step"
        )
        return Series("step", "ns", tuple(float(ns) for _, ns in rows))
    rows = run.rows(
        "WITH chosen AS (SELECT rank, pid, step, sum(self_ns) AS ns FROM spans "
        f"WHERE step IS NOT NULL AND kind <> 'step' AND ({condition.sql}) GROUP BY ALL) "
        "SELECT step, max(ns)::BIGINT FROM chosen GROUP BY step ORDER BY step",
        list(condition.params),
    )
    return Series("selected in a step", "ns", tuple(float(ns) for _, ns in rows))


def counters(run: Run) -> tuple[Series, ...]:
    """The counters that were sampled beside the program, by name, device and rank; each thinned out evenly.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    rows = run.rows(
        "SELECT name, coalesce(device, ''), rank, any_value(unit), list(value ORDER BY ts_ns) "
        "FROM counters WHERE isfinite(value) AND device IS DISTINCT FROM ? GROUP BY ALL ORDER BY 1, 2, 3",
        [PROGRAM_DEVICE],
    )
    ranks = len({rank for _, _, rank, _, _ in rows})
    return tuple(
        Series(" ".join((name, device, *([f"rank {rank}"] if ranks > 1 else []))).strip(), unit or "", _thinned(values))
        for name, device, rank, unit, values in rows
    )


def metrics(run: Run) -> tuple[Series, ...]:
    """Losses and metrics that the program told, and the numbers in its own events (``deepseek_prof.log``, structlog) by
    event and key; ``loss`` first.

    Only what changes over the run is a metric: at least two values.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    places = ", ".join("?" for _ in _OUR_EVENTS)
    rows = run.rows(
        f"SELECT event, fields FROM logs WHERE event NOT IN ({places}) AND fields IS NOT NULL ORDER BY ts_ns",
        _OUR_EVENTS,
    )
    counted = run.rows(
        "SELECT name, rank, list(value ORDER BY ts_ns) FROM counters WHERE isfinite(value) AND device = ? "
        "GROUP BY ALL ORDER BY 1, 2",
        [PROGRAM_DEVICE],
    )
    ranks = len({rank for _, rank, _ in counted})
    found: dict[str, list[float]] = {f"{name} rank {rank}" if ranks > 1 else name: told for name, rank, told in counted}
    for event, text in rows:
        for key, value in _fields(text).items():
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                found.setdefault(f"{event} {key}", []).append(float(value))
    ordered = sorted(found, key=lambda name: ("loss" not in name.lower(), name))
    several = [name for name in ordered if len(found[name]) > 1]
    return tuple(Series(name, "", _thinned(found[name])) for name in several[:_MAX_METRICS])


def _fields(text: Any) -> dict[str, Any]:
    found = json.loads(text) if isinstance(text, str) else text
    return found if isinstance(found, dict) else {}


def _thinned(values: Sequence[float]) -> tuple[float, ...]:
    stride = max(1, math.ceil(len(values) / _MAX_POINTS))
    kept = [float(value) for value in values[::stride]]
    return tuple(kept if not values or (len(values) - 1) % stride == 0 else [*kept, float(values[-1])])
