"""Charts as geometry: step times as bars, resident memory as lines. Lengths are percentages of the plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.results import StepStats
from deepseek_prof.analysis.steps import Step, percentile
from deepseek_prof.text import clean, duration, size
from deepseek_prof.trace.run import Run

_MAX_BARS = 240
_MAX_POINTS = 240
_MAX_LINES = 8
_HEADROOM = 1.05
_BINARY_UNITS = (1 << 30, 1 << 20, 1 << 10)


@dataclass(frozen=True)
class Tick:
    """A mark of the vertical axis; ``y`` counts from the top."""

    y: float
    text: str


@dataclass(frozen=True)
class Bar:
    """Steps that stand in one bar: their median from the ground, their extremes as a thin line; ``y`` from the top."""

    x: float
    width: float
    y: float
    low_y: float
    high_y: float
    kind: str
    """``warm-up`` or ``steady``."""
    beyond: bool
    """The longest reaches beyond the plot."""
    title: str


@dataclass(frozen=True)
class StepChart:
    """Every finished step of all ranks."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    median: Tick
    first: int
    last: int
    description: str


@dataclass(frozen=True)
class Line:
    """``points`` as the attribute of an SVG polyline in a plot of 100 by 100."""

    name: str
    points: str


@dataclass(frozen=True)
class MemoryChart:
    """Resident memory of the ranks over the run."""

    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]
    length: str
    description: str


def step_chart(steps: Sequence[Step], stats: StepStats) -> StepChart | None:
    """The chart; None for fewer than two steps. Steps of many bars' worth are put together.

    The axis ends above the steady steps' 99th percentile, or twice their median if that is more: one slow step must
    not flatten the others.
    """
    numbers = [each.step for each in steps]
    if len(set(numbers)) < 2:
        return None
    first, last = min(numbers), max(numbers)
    width = math.ceil((last - first + 1) / _MAX_BARS)
    bins: dict[int, list[Step]] = {}
    for each in steps:
        bins.setdefault((each.step - first) // width, []).append(each)
    slots = (last - first) // width + 1
    longest = max(each.dur_ns for each in steps)
    top = min(longest, max(stats.p99_ns, 2 * stats.median_ns)) * _HEADROOM or 1

    def y(ns: float) -> float:
        return round(100 * (1 - min(1.0, ns / top)), 2)

    bars = []
    for slot, members in sorted(bins.items()):
        ordered = sorted(each.dur_ns for each in members)
        steady = all(each.step >= stats.first for each in members)
        bars.append(
            Bar(
                x=round(100 * slot / slots, 3),
                width=round(100 / slots, 3),
                y=y(percentile(ordered, 0.5)),
                low_y=y(ordered[0]),
                high_y=y(ordered[-1]),
                kind="steady" if steady else "warm-up",
                beyond=ordered[-1] > top,
                title=_title(members, ordered, steady=steady),
            )
        )
    description = (
        f"Times of steps {first} to {last}: median {duration(stats.median_ns)}, p90 {duration(stats.p90_ns)}, "
        f"longest steady step {stats.slowest} with {duration(stats.max_ns)}."
    )
    median = Tick(y(stats.median_ns), f"median {duration(stats.median_ns)}")
    return StepChart(tuple(bars), _ticks(top, duration), median, first, last, description)


def memory_chart(run: Run) -> MemoryChart | None:
    """The chart of the ``rss`` counters; None where there are no two moments. Of each stretch, the highest value."""
    rows = run.rows(
        "WITH rss AS (SELECT rank, device, ts_ns, value FROM counters "
        "WHERE lower(name) IN ('rss', 'rss_bytes') AND isfinite(value)), "
        "whole AS (SELECT min(ts_ns) AS began_ns, max(ts_ns) - min(ts_ns) AS length_ns FROM rss) "
        f"SELECT rank, device, least({_MAX_POINTS - 1}, (ts_ns - began_ns) * {_MAX_POINTS} // length_ns)::INTEGER, "
        "max(value), any_value(length_ns) FROM rss, whole WHERE length_ns > 0 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    if not rows:
        return None
    top = max(row[3] for row in rows) * _HEADROOM or 1.0
    lines: dict[tuple[int, str], list[str]] = {}
    for rank, device, slot, value, _ in rows:
        point = f"{100 * slot / (_MAX_POINTS - 1):.2f},{100 * (1 - value / top):.2f}"
        lines.setdefault((rank, device or "cpu"), []).append(point)
    named = tuple(
        Line(f"rank {rank}, {clean(device, 40)}", " ".join(points)) for (rank, device), points in lines.items()
    )
    description = f"Resident memory over the run, at most {size(top / _HEADROOM)}."
    return MemoryChart(named[:_MAX_LINES], _ticks(top, size, binary=True), duration(rows[0][4]), description)


def _title(members: Sequence[Step], ordered: Sequence[int], *, steady: bool) -> str:
    numbers = sorted({each.step for each in members})
    which = f"step {numbers[0]}" if len(numbers) == 1 else f"steps {numbers[0]} to {numbers[-1]}"
    which += "" if steady else " (warm-up)"
    if len(ordered) == 1:
        return f"{which}: {duration(ordered[0])}"
    return f"{which}: median {duration(percentile(ordered, 0.5))}, {duration(ordered[0])} to {duration(ordered[-1])}"


def _ticks(top: float, written: Callable[[float], str], *, binary: bool = False) -> tuple[Tick, ...]:
    """Three to six round marks from 0 on."""
    unit = next((unit for unit in _BINARY_UNITS if top >= unit), 1) if binary else 1
    scale = 10.0 ** math.floor(math.log10(top / unit))
    step = unit * next(part * scale for part in (2.0, 1.0, 0.5, 0.2) if top / unit / (part * scale) >= 2.5)
    return tuple(
        Tick(round(100 * (1 - mark * step / top), 2), written(mark * step)) for mark in range(int(top / step) + 1)
    )
