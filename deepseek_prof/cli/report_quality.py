"""The report's section on losses and the program's other metrics."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from deepseek_prof.analysis.quality import QualityStat, quality
from deepseek_prof.cli.rendering import emit, figures_table, heading
from deepseek_prof.text import clean
from deepseek_prof.trace.run import Run

_MOST = 12


def print_quality(console: Console, run: Run) -> None:
    """Nothing for a run that told no numbers."""
    found = quality(run)
    if not found:
        return
    more = len(found) - _MOST
    heading(console, "Losses and metrics", f"{more} more: report --format json" if more > 0 else "")
    ranks = len({each.rank for each in found}) > 1
    rows = [_row(each, ranks=ranks) for each in found[:_MOST]]
    headers = ("values", "first", "last", "lowest", "highest", "trend", "spikes")
    emit(console, figures_table("metric", headers, rows, console.width - 2, drop=("values", "lowest", "highest")), 2)
    for line in _notes(found[:_MOST]):
        emit(console, Text(line), 2)


def _row(each: QualityStat, *, ranks: bool) -> tuple[str, ...]:
    name = clean(each.name, 80) + (f" rank {each.rank}" if ranks else "")
    name += f" ({clean(each.unit, 12)})" if each.unit else ""
    figures = (figure(value) for value in (each.first, each.last, each.low, each.high))
    trend = "" if each.trend == "unknown" else each.trend
    return (name, f"{each.count:,}", *figures, trend, f"{each.spike_count or ''}")


def _notes(found: Sequence[QualityStat]) -> list[str]:
    lines = []
    for each in found:
        name = clean(each.name, 60)
        if each.not_finite:
            lines.append(f"{name}: {each.not_finite:,} NaN or infinite{_at(each.first_not_finite_step, ', first')}")
        if each.spikes:
            most = max(each.spikes, key=lambda spike: abs(spike.value - spike.usual))
            lines.append(f"{name}: largest spike {figure(most.value)}{_at(most.step)}, usual {figure(most.usual)}")
    return lines


def _at(step: int | None, how: str = "") -> str:
    return "" if step is None else f"{how} in step {step}"


def figure(value: float | None) -> str:
    """A metric's value; a dash for none."""
    return "–" if value is None else f"{value:.4g}"
