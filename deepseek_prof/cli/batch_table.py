"""Throughput by batch size as a table in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from deepseek_prof.cli.rendering import figures_table
from deepseek_prof.optimizer.results import BatchResult, Optimization
from deepseek_prof.text import clean, count, duration, size

_HEADERS = ("rows/s", "against own", "95 % interval", "median", "p99", "more memory", "")


def show_batches(result: Optimization, console: Console) -> None:
    """The sizes that were measured, the best of them, and why others were not."""
    under = "eager" if result.winner is None else result.winner.label
    console.print(Text(f"\nRows per second by batch size, under {under}: {_verdict(result)}"))
    measured = [row for row in result.batches if row.median_ns is not None]
    if measured:
        console.print(figures_table("batch", _HEADERS, [_cells(row) for row in measured], console.width))
    for row in result.batches:
        if row.reason:
            console.print(Text(f"batch {row.rows}: {row.status} – {clean(row.reason, 400)}"))


def _verdict(result: Optimization) -> str:
    best = next((row for row in result.batches if row.status == "best"), None)
    if best is None or best.interval is None:
        return "no size is proven to do more than the program's own."
    low, high = best.interval
    return f"{best.rows} does {best.speedup:.2f} × the program's own ({low:.2f} to {high:.2f})."


def _cells(row: BatchResult) -> list[str]:
    low, high = row.interval or (0.0, 0.0)
    return [
        str(row.rows), count(row.rows_per_s or 0), f"{row.speedup:.2f}", f"{low:.2f}–{high:.2f}",
        duration(row.median_ns or 0), duration(row.p99_ns or 0), size(row.extra_bytes or 0), row.status,
    ]  # fmt: skip
