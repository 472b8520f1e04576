"""The quiet end of the report: data wait, memory, threads, the recorder's own cost, and what is missing."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepseek_prof.analysis.results import Summary
from deepseek_prof.cli.rendering import emit
from deepseek_prof.text import clean, count, duration, percent, size
from deepseek_prof.trace.run import Run

_MAX_THREADS = 3
_MAX_WARNINGS = 5


def print_notes(console: Console, run: Run, summary: Summary) -> None:
    """One line a subject, those that have something to say."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for name, text in (
        ("Data wait", _data_wait(summary)),
        ("Memory", _memory(summary)),
        ("Threads", _threads(run, summary)),
        ("Own cost", _overhead(summary)),
        ("Dropped", _dropped(summary)),
        ("Warnings", _warnings(run)),
    ):
        if text:
            grid.add_row(name, Text(text))
    if grid.row_count:
        console.print()
        emit(console, grid)


def _data_wait(summary: Summary) -> str:
    wait = summary.data_wait
    if wait is None:
        return "no DataLoader was used" if summary.span_count and not summary.filtered else ""
    share = "" if summary.filtered else f", {percent(wait.share)} of the time"
    return f"{duration(wait.mean_ns)} a batch{share}; longest {duration(wait.max_ns)}"


def _memory(summary: Summary) -> str:
    return "\n".join(
        (f"rank {stat.rank}: " if summary.ranks > 1 else "")
        + f"resident peak {size(stat.peak_bytes)}, "
        + f"{size(stat.first_bytes)} at the start, {size(stat.last_bytes)} at the end"
        for stat in summary.memory
    )


def _threads(run: Run, summary: Summary) -> str:
    if not summary.threads:
        return ""
    parts = []
    for thread in summary.threads[:_MAX_THREADS]:
        rank = f"rank {thread.rank} " if summary.ranks > 1 else ""
        main = " (drives the steps)" if thread.drives_steps and summary.steps else ""
        parts.append(f"{rank}thread {thread.tid}{main}: {duration(thread.self_ns)} in {count(thread.count)} spans")
    more = len(summary.threads) - _MAX_THREADS
    text = "; ".join(parts) + (f"; {more} more" if more > 0 else "")
    counts = [each.get("intra_op_threads") for each in run.processes]
    intra = next((each for each in counts if isinstance(each, int) and each > 0), None)
    return text + (f"\n{intra} intra-op thread{'s' if intra != 1 else ''} for the kernels" if intra else "")


def _overhead(summary: Summary) -> str:
    overhead = summary.overhead
    if overhead is None:
        return "not measured" if summary.span_count else ""
    each = (
        f", {overhead.operator_ns:.0f} ns an operator, {overhead.layer_ns:.0f} ns a layer"
        if overhead.operator_ns
        else ""
    )
    name = f"{clean(overhead.recorder)} recorder: " if overhead.recorder else ""
    return f"{name}{duration(overhead.total_ns)}, {percent(overhead.share)} of the run{each}"


def _dropped(summary: Summary) -> str:
    return "\n".join(
        f"{each.spans:,} spans of process {each.pid}: {clean(each.reason) or 'reason unknown'}"
        for each in summary.dropped
    )


def _warnings(run: Run) -> str:
    found = [str(text) for text in run.listed("warnings")]
    for process in run.processes:
        warnings = process.get("warnings")
        found += [str(text) for text in warnings] if isinstance(warnings, list) else []
    unique = list(dict.fromkeys(found))
    lines = [clean(text, 300) for text in unique[:_MAX_WARNINGS]]
    return "\n".join(
        lines + ([f"{len(unique) - _MAX_WARNINGS} more in run.json"] if len(unique) > _MAX_WARNINGS else [])
    )
