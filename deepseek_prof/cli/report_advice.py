"""The end of the text report: findings, and the commands to try next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepseek_prof.analysis.report_text import gain as gain_text
from deepseek_prof.analysis.results import Summary
from deepseek_prof.cli.rendering import emit, heading
from deepseek_prof.text import clean
from deepseek_prof.trace.catalog import default_root, list_runs, looks_like_run, resolve_run
from deepseek_prof.trace.run import Run

if TYPE_CHECKING:
    from deepseek_prof.analysis.findings import Finding


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Every finding: what it is, what it may gain, on what evidence, and what to do."""
    heading(console, "Findings")
    if not findings:
        emit(console, Text("None: nothing that we know how to improve stands out."), 2)
        return
    for number, finding in enumerate(findings, 1):
        gain = f"gain {gain_text(finding.gain_low, finding.gain_high)} of the step" if finding.gain_high > 0 else ""
        title = clean(finding.title, 300)
        fits = cell_len(title) + len(gain) + 7 <= console.width
        _hanging(
            console, f"{number}.", Text.assemble((title, "bold"), (f"  {gain}" if gain and fits else "", "green")), 2
        )
        if gain and not fits:
            emit(console, Text(gain, style="green"), 5)
        for evidence in finding.evidence:
            _hanging(console, "•", Text(clean(evidence, 300)), 5)
        _hanging(console, "→", Text(clean(finding.advice, 600)), 5)


def _hanging(console: Console, mark: str, text: Text, indent: int) -> None:
    """A text whose further lines begin below its first, not below its mark."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(mark, text)
    emit(console, grid, indent)


def print_next(console: Console, run: Run, summary: Summary) -> None:
    """Two commands that lead on from here."""
    name = "" if run.path.resolve().parent == default_root().resolve() and _is_latest(run) else f"{_argument(run)} "
    commands = [
        ("deepseek-prof runs", "every run recorded here"),
        ("deepseek-prof doctor", "is the recorder in order?"),
    ]
    if summary.span_count:
        by = "layer" if summary.layers else "op"
        commands[0] = (f"deepseek-prof top {name}--by {by}", f"every {'layer' if summary.layers else 'operator'}")
        largest = summary.types[0].name if summary.types else "matmul"
        query = f"type:{largest}"
        commands[1] = (f"deepseek-prof top {name}{query} --by context", f"where {largest} time comes from")
    heading(console, "Try next")
    width = max(len(command) for command, _ in commands)
    for command, meaning in commands:
        fits = width + len(meaning) + 6 <= console.width
        text = Text.assemble("  ", (f"{command:<{width}}" if fits else command, "cyan"))
        if fits:
            text.append(f"  {meaning}", "dim")
        console.print(text, soft_wrap=True)  # never broken: it is there to be copied


def _is_latest(run: Run) -> bool:
    runs = list_runs()
    return bool(runs) and runs[0].path.resolve() == run.path.resolve()


def _argument(run: Run) -> str:
    """The shortest way to name the run in a command: its name, its folder's, or its path."""
    path = run.path.resolve()
    if path.parent != default_root().resolve():
        return shlex.quote(str(run.path))
    named = looks_like_run(run.name) and resolve_run(run.name).resolve() == path
    return shlex.quote(run.name if named else path.name)
