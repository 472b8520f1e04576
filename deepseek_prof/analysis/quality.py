"""How losses and the program's other metrics went: their range, drift, spikes, and values that are no number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from deepseek_prof.analysis.metrics import PROGRAM_DEVICE
from deepseek_prof.trace.run import Run

WINDOWS = 10
MIN_PER_WINDOW = 5
SPIKE_WINDOW = 50
"""A value is held against so many before it."""
MIN_BEFORE = 10
SPIKE_SIGMAS = 8.0
"""A spike is so many standard deviations off, taken from the median deviation of the values before."""
SPIKE_SHARE = 0.25
"""And by this share of their median at least: a curve that has become flat has no spread to speak of."""
MAX_SPIKES = 20
_SIGMA_OF_DEVIATION = 1.4826
_TREND_ORDER = 0.5
_MAX_SERIES = 200
_BLOCK = 1 << 16

Trend = Literal["falling", "rising", "steady", "unknown"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spike:
    """A value far off those just before it; ``step`` is None between steps."""

    step: int | None
    value: float
    usual: float
    """Median of up to ``SPIKE_WINDOW`` values before."""


@dataclass(frozen=True)
class MetricWindow:
    """One of up to ``WINDOWS`` equal parts of a series, of its finite values."""

    first_step: int | None
    last_step: int | None
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class QualityStat:
    """One metric of one rank. Figures are of finite values; all are None where there is none."""

    name: str
    unit: str
    rank: int
    count: int
    """Values, those that are not finite included."""
    not_finite: int
    """NaN or infinite values."""
    first_not_finite_step: int | None
    first: float | None
    last: float | None
    low: float | None
    high: float | None
    drift: float | None
    """Median of the last window less that of the first; None with fewer than two windows."""
    trend: Trend
    """Whether windows follow in order, by more than half their inner spread; ``unknown`` with fewer than four."""
    spike_count: int
    spikes: tuple[Spike, ...]
    """The largest, in order of time."""
    windows: tuple[MetricWindow, ...]


def quality(run: Run) -> tuple[QualityStat, ...]:
    """The metrics that the program told, losses first. A value belongs to the step that ran when it was told.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    rows = run.rows(
        "WITH steps AS (SELECT rank, step, start_ns, start_ns + dur_ns AS end_ns FROM raw_spans WHERE step IS NOT NULL "
        "AND context_id IN (SELECT context_id FROM process_contexts WHERE kind = 'step')) "
        "SELECT c.name, c.rank, any_value(c.unit), list(c.value ORDER BY c.ts_ns), "
        "list(CASE WHEN c.ts_ns <= s.end_ns THEN s.step END ORDER BY c.ts_ns) "
        "FROM counters c ASOF LEFT JOIN steps s ON c.rank = s.rank AND c.ts_ns >= s.start_ns "
        "WHERE c.device = ? GROUP BY c.name, c.rank "
        "ORDER BY NOT contains(lower(c.name), 'loss'), c.name, c.rank LIMIT ?",
        [PROGRAM_DEVICE, _MAX_SERIES],
    )
    return tuple(describe(name, unit or "", rank, values, steps) for name, rank, unit, values, steps in rows)


def describe(name: str, unit: str, rank: int, values: Sequence[float], steps: Sequence[int | None]) -> QualityStat:
    """The figures of one series: ``values`` in order of time, with the step of each."""
    every = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(every)
    series = every[finite]
    kept = np.flatnonzero(finite)
    windows = _windows(series, kept, steps)
    spikes = _spikes(series)
    largest = sorted(sorted(spikes, key=lambda each: -abs(each[1] - each[2]))[:MAX_SPIKES])
    bad = np.flatnonzero(~finite)
    return QualityStat(
        name=name,
        unit=unit,
        rank=rank,
        count=len(every),
        not_finite=len(bad),
        first_not_finite_step=steps[int(bad[0])] if len(bad) else None,
        first=float(series[0]) if len(series) else None,
        last=float(series[-1]) if len(series) else None,
        low=float(series.min()) if len(series) else None,
        high=float(series.max()) if len(series) else None,
        drift=windows[-1].median - windows[0].median if len(windows) > 1 else None,
        trend=_trend(series, windows),
        spike_count=len(spikes),
        spikes=tuple(Spike(steps[int(kept[index])], value, usual) for index, value, usual in largest),
        windows=windows,
    )


def _parts(series: Floats) -> list[Floats]:
    return np.array_split(series, max(1, min(WINDOWS, len(series) // MIN_PER_WINDOW))) if len(series) else []


def _windows(series: Floats, kept: npt.NDArray[np.intp], steps: Sequence[int | None]) -> tuple[MetricWindow, ...]:
    found = []
    end = 0
    for part in _parts(series):
        begin, end = end, end + len(part)
        found.append(
            MetricWindow(
                first_step=steps[int(kept[begin])],
                last_step=steps[int(kept[end - 1])],
                low=float(part.min()),
                median=float(np.median(part)),
                high=float(part.max()),
            )
        )
    return tuple(found)


def _trend(series: Floats, windows: Sequence[MetricWindow]) -> Trend:
    """By Kendall's order of the windows' medians, and their distance against the spread inside of windows."""
    if len(windows) < 4:
        return "unknown"
    medians = np.array([each.median for each in windows])
    order = np.sign(medians[None, :] - medians[:, None])[np.triu_indices(len(medians), 1)].mean()
    inside = float(np.median([np.subtract(*np.percentile(part, (75, 25))) for part in _parts(series)]))
    drift = medians[-1] - medians[0]
    if abs(order) < _TREND_ORDER or abs(drift) <= inside / 2:
        return "steady"
    return "rising" if drift > 0 else "falling"


def _spikes(series: Floats) -> list[tuple[int, float, float]]:
    """Index, value and usual value of each spike."""
    found: list[tuple[int, float, float]] = []
    for index in range(MIN_BEFORE, min(len(series), SPIKE_WINDOW)):
        usual, limit = _limits(series[None, :index])
        if abs(series[index] - usual[0]) > limit[0]:
            found.append((index, float(series[index]), float(usual[0])))
    for begin in range(SPIKE_WINDOW, len(series), _BLOCK):  # in blocks: the windows of a long series need much memory
        values = series[begin : begin + _BLOCK]
        around = series[begin - SPIKE_WINDOW : begin + len(values) - 1]
        usual, limit = _limits(np.lib.stride_tricks.sliding_window_view(around, SPIKE_WINDOW))
        found += [
            (begin + int(index), float(values[index]), float(usual[index]))
            for index in np.flatnonzero(np.abs(values - usual) > limit)
        ]
    return found


def _limits(before: Floats) -> tuple[Floats, Floats]:
    """The median of each row, and how far off it a spike is."""
    usual = np.median(before, axis=1)
    sigma = _SIGMA_OF_DEVIATION * np.median(np.abs(before - usual[:, None]), axis=1)
    return usual, np.maximum(SPIKE_SIGMAS * sigma, SPIKE_SHARE * np.abs(usual))
