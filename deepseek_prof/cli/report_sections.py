"""The sections of the text report, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepseek_prof.analysis.blocks import merged_blocks
from deepseek_prof.analysis.report_text import PHASE_LABELS, ending, steps_per_second, torch_version, window_notes
from deepseek_prof.analysis.results import GroupRow, LayerRow, Summary
from deepseek_prof.analysis.verdict import judge
from deepseek_prof.cli.rendering import bar, emit, figures_table, heading
from deepseek_prof.cli.report_advice import print_findings, print_next
from deepseek_prof.cli.report_devices import print_devices
from deepseek_prof.cli.report_memory import print_memory
from deepseek_prof.cli.report_metrics import print_metrics
from deepseek_prof.cli.report_notes import print_notes
from deepseek_prof.cli.report_quality import print_quality
from deepseek_prof.text import clean, count, duration, percent
from deepseek_prof.trace.run import Run

if TYPE_CHECKING:
    from deepseek_prof.analysis.findings import Finding

_TOP_TYPES = 6
_TOP_OPERATORS = 8
_TOP_LAYERS = 8
_MIN_BAR, _MAX_BAR = 4, 48
_PHASE_STYLES = {"data": "yellow", "forward": "green", "backward": "blue", "optimizer": "magenta", "outside": "red"}


def print_report(console: Console, run: Run, summary: Summary, findings: Sequence[Finding], query: str = "") -> None:
    """Print everything; with a ``query`` no verdict and no findings, which are about whole runs."""
    _print_title(console, run, query)
    if not query:
        _print_verdict(console, summary)
    if summary.span_count:
        _print_steps(console, summary)
        _print_phases(console, summary)
        print_devices(console, run, summary)
        _print_tables(console, summary)
        if not query:
            print_memory(console, run)
    elif query:
        console.print()
        emit(console, Text("The query selects nothing."))
    if not query:
        print_quality(console, run)
        print_metrics(console, run)
    print_notes(console, run, summary)
    if summary.span_count and not query:
        print_findings(console, findings)
    print_next(console, run, summary)


def _print_title(console: Console, run: Run, query: str) -> None:
    torch = torch_version(run)
    parts = [clean(str(run.info.get("script") or "")), *ending(run), f"torch {torch}" if torch else ""]
    parts += [f"where {clean(query)}"] if query else []
    rest = " · ".join(part for part in parts if part)
    emit(console, Text.assemble((f"Run {clean(run.name, 60)}", "bold"), (f"  {rest}", "dim")))


def _print_verdict(console: Console, summary: Summary) -> None:
    verdict = judge(summary)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    grid.add_row("Verdict", Text(clean(verdict.headline, 400), style="bold"))
    grid.add_row("Why", Text(clean(verdict.why, 400)))
    grid.add_row("Next", Text(clean(verdict.next, 400)))
    console.print()
    emit(console, grid)


def _print_steps(console: Console, summary: Summary) -> None:
    steps = summary.steps
    if steps is None:
        heading(console, "Steps", "none found: no optimizer step and no repeated call of a root module")
        _print_window(console, summary)
        return
    ranks = f" on {summary.ranks} ranks" if summary.ranks > 1 else ""
    heading(console, "Steps", f"{steps.recorded:,} recorded{ranks}")
    if steps.count == 1:
        _line(console, f"one step of {duration(steps.median_ns)}")
    else:
        _line(
            console,
            f"median {duration(steps.median_ns)}   p90 {duration(steps.p90_ns)}   p99 {duration(steps.p99_ns)}   "
            f"max {duration(steps.max_ns)}   {steps_per_second(summary)} steps/s",
        )
    _print_window(console, summary, "dim")


def _print_window(console: Console, summary: Summary, style: str = "") -> None:
    for note in window_notes(summary):
        _line(console, note, style)


def _print_phases(console: Console, summary: Summary) -> None:
    if not summary.phases:
        return
    each = summary.wall_ns / summary.per_step
    heading(
        console,
        "Phases",
        f"of what the query selects{',' if _per_step(summary) else ''}{_per_step(summary)}"
        if summary.filtered
        else f"of {duration(each)}{_per_step(summary)}",
    )
    label_width = max(len(PHASE_LABELS[phase.phase]) for phase in summary.phases)
    width = min(_MAX_BAR, console.width - label_width - 23)
    width = width if width >= _MIN_BAR else 0
    largest = max(phase.share for phase in summary.phases) or 1.0
    for phase in summary.phases:
        cells = bar(phase.share / largest, width)
        console.print(
            Text.assemble(
                f"  {PHASE_LABELS[phase.phase]:<{label_width}}  ",
                (f"{cells:<{width}}", _PHASE_STYLES.get(phase.phase, "")),
                f"  {percent(phase.share):>6}  {duration(phase.ns / summary.per_step):>8}",
            )
        )


def _print_tables(console: Console, summary: Summary) -> None:
    _print_groups(console, summary, "Operator types", "type", summary.types[:_TOP_TYPES])
    _print_groups(console, summary, "Operators", "operator", summary.ops[:_TOP_OPERATORS])
    if not summary.layers:
        heading(console, "Layers", "none: no module was called, or layers were not recorded")
        return
    blocks = merged_blocks(summary.layers)
    heading(console, "Layers", f"{_known(summary, summary.layers)}; self: without sub-layers, total: with them")
    rows = [
        (
            f"{row.name} ×{number}" if number > 1 else row.name,
            duration(row.self_ns / summary.per_step),
            percent(row.self_ns / (summary.self_ns or 1)),
            duration(row.total_ns / summary.per_step),
            duration(row.forward_ns / summary.per_step),
            duration(row.backward_ns / summary.per_step),
            count(row.count / summary.per_step),
            *([duration(row.device_ns / summary.per_step)] if summary.devices else []),
        )
        for row, number in blocks[:_TOP_LAYERS]
    ]
    headers = ("self", "share", "total", "forward", "backward", "calls") + ("device",) * bool(summary.devices)
    _indented(console, "layer", headers, rows)


def _print_groups(console: Console, summary: Summary, title: str, name_header: str, groups: Sequence[GroupRow]) -> None:
    if not groups:
        return
    heading(console, title, _known(summary, summary.types if name_header == "type" else summary.ops))
    rows = [
        (
            row.name,
            duration(row.self_ns / summary.per_step),
            percent(row.share),
            duration(row.total_ns / summary.per_step),
            duration(row.forward_ns / summary.per_step),
            duration(row.backward_ns / summary.per_step),
            count(row.count / summary.per_step),
        )
        for row in groups
    ]
    _indented(console, name_header, ("self", "share", "total", "forward", "backward", "calls"), rows)


def _per_step(summary: Summary) -> str:
    return " per step" if summary.window.step_count else ""


def _known(summary: Summary, groups: Sequence[GroupRow] | Sequence[LayerRow]) -> str:
    """How many there are, and what their figures are taken over."""
    return f"{len(groups):,} in all{';' if _per_step(summary) else ''}{_per_step(summary)}"


def _line(console: Console, text: str, style: str = "") -> None:
    emit(console, Text(text, style=style), 2)


def _indented(console: Console, name_header: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = figures_table(name_header, headers, rows, console.width - 2, drop=("forward", "backward", "total"))
    emit(console, table, 2)
