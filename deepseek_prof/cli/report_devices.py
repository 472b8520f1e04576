"""The report's section on accelerators: how busy each was, and what they ran."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from deepseek_prof.analysis.report_text import device_lines
from deepseek_prof.analysis.results import Summary
from deepseek_prof.cli.rendering import emit, figures_table
from deepseek_prof.text import count, duration, percent
from deepseek_prof.trace.run import Run

_TOP_KERNELS = 8


def print_devices(console: Console, run: Run, summary: Summary) -> None:
    """Nothing for a run without accelerators."""
    if not summary.devices:
        return
    per_step = " per step" if summary.window.step_count and not summary.filtered else ""
    console.print()
    console.print(
        Text.assemble(
            ("Accelerators", "bold"), (f"  {len(summary.kernels):,} kernels and copies in all;{per_step}", "dim")
        )
    )
    for line in device_lines(summary):
        emit(console, Text(line), 2)
    if not summary.filtered:
        _print_idle(console, run)
    rows = [
        (
            row.name,
            row.type,
            duration(row.self_ns / summary.per_step),
            percent(row.share),
            duration(row.forward_ns / summary.per_step),
            duration(row.backward_ns / summary.per_step),
            count(row.count / summary.per_step),
        )
        for row in summary.kernels[:_TOP_KERNELS]
    ]
    headers = ("type", "time", "share", "forward", "backward", "calls")
    emit(console, figures_table("kernel", headers, rows, console.width - 2, drop=("forward", "backward", "type")), 2)


def _print_idle(console: Console, run: Run) -> None:
    from deepseek_prof.analysis.gpu.overview import gpu_overview
    from deepseek_prof.analysis.gpu.wording import gpu_lines

    found = gpu_overview(run)
    for line in () if found is None else (*gpu_lines(found), "more: deepseek-prof gpu"):
        emit(console, Text(line), 2)
