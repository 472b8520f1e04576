"""The quiet end of the report: data wait, memory, threads, the recorder's own cost, and what is missing."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepseek_prof.analysis.report_text import notes
from deepseek_prof.analysis.results import Summary
from deepseek_prof.cli.rendering import emit
from deepseek_prof.trace.run import Run


def print_notes(console: Console, run: Run, summary: Summary) -> None:
    """One line a subject, those that have something to say."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for name, text in notes(run, summary):
        grid.add_row(name, Text(text))
    if grid.row_count:
        console.print()
        emit(console, grid)
