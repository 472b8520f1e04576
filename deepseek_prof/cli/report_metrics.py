"""The report's section on metrics: latency, throughput, and what was sampled of the machine."""

from __future__ import annotations

from rich.console import Console

from deepseek_prof.analysis.metrics import MetricStat, metric_stats
from deepseek_prof.cli.rendering import emit, figures_table, heading
from deepseek_prof.text import clean, measured
from deepseek_prof.trace.run import Run

_MOST = 24
_HOST = ("", "cpu", "host")


def print_metrics(console: Console, run: Run) -> None:
    """Nothing for a run without counters."""
    found = metric_stats(run)
    if not found:
        return
    more = len(found) - _MOST
    heading(console, "Metrics", "sampled about once a second" + (f"; {more} more in `counters`" if more > 0 else ""))
    ranks = len({each.rank for each in found}) > 1
    rows = [_row(each, ranks=ranks) for each in found[:_MOST]]
    headers = ("median", "lowest", "highest", "last")
    emit(console, figures_table("metric", headers, rows, console.width - 2, drop=("lowest", "last")), 2)


def _row(each: MetricStat, *, ranks: bool) -> tuple[str, ...]:
    device = [] if each.device in _HOST else [clean(each.device, 20)]
    name = " ".join((clean(each.name, 60), *device, *([f"rank {each.rank}"] if ranks else [])))
    return (name, *(measured(value, each.unit) for value in (each.median, each.low, each.high, each.last)))
