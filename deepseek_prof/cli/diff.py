"""``deepseek-prof diff``: two runs side by side."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from deepseek_prof.cli.arguments import compiled, one_query, open_run
from deepseek_prof.errors import UsageError
from deepseek_prof.trace.catalog import resolve_run

if TYPE_CHECKING:
    from deepseek_prof.analysis.diff import DiffRow, DiffTable

_HELP = "Two runs (directory, name or 'latest'), the earlier one first, then a query such as 'phase:forward'."


class DiffBy(str, Enum):
    """Values of ``--by``."""

    layer = "layer"
    op = "op"
    type = "type"
    phase = "phase"
    context = "context"


class DiffTime(str, Enum):
    """Values of ``--time``."""

    host = "host"
    device = "device"


class DiffStatistic(str, Enum):
    """Values of ``--statistic``."""

    mean = "mean"
    median = "median"


class DiffFormat(str, Enum):
    """Values of ``--format``."""

    table = "table"
    json = "json"


def diff_command(
    arguments: Annotated[list[str], typer.Argument(metavar="RUN_A RUN_B [QUERY]", help=_HELP)],
    by: Annotated[DiffBy, typer.Option("--by", help="What to compare by.")] = DiffBy.layer,
    time: Annotated[
        DiffTime, typer.Option("--time", help="Self time of the host's threads, or of accelerators.")
    ] = DiffTime.host,
    statistic: Annotated[
        DiffStatistic, typer.Option("--statistic", help="What stands for all steps.")
    ] = DiffStatistic.mean,
    min_change: Annotated[
        str, typer.Option("--min-change", metavar="PERCENT", help="Smaller changes are inconclusive.")
    ] = "5%",
    changed: Annotated[bool, typer.Option("--changed", help="Leave out what is inconclusive.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Entries to show; 0: all.")] = 20,
    output_format: Annotated[DiffFormat, typer.Option("--format", help="How to write it.")] = DiffFormat.table,
    query: Annotated[
        str | None, typer.Option("--query", metavar="QUERY", help="The query, where it begins with '-'.")
    ] = None,
) -> None:
    """Compare a step of two runs: what became slower or faster, what was added or removed.

    The difference counts where its 95 % interval (bootstrap over steps) leaves out zero; it is inconclusive otherwise.
    Warm-up steps are left out.
    """
    from deepseek_prof.analysis.diff import diff

    if len(arguments) < 2:
        raise UsageError("Give two runs, such as: deepseek-prof diff before after. deepseek-prof runs lists them.")
    first, second = (resolve_run(each) for each in arguments[:2])
    rest = arguments[2:]
    query_text = one_query(rest, query)
    condition = compiled(query_text)
    with open_run(first) as before, open_run(second) as after:
        names = before.name, after.name
        table = diff(
            before,
            after,
            by.value,
            condition,
            limit=limit,
            statistic=statistic.value,
            min_change=_fraction(min_change),
            device=time is DiffTime.device,
            changed_only=changed,
        )
    if output_format is DiffFormat.json:
        _write_json(table)
    else:
        _print_table(table, names, query_text)


def _fraction(text: str) -> float:
    """The fraction that ``5%`` means. Raises UsageError."""
    import re

    match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*%\s*", text, re.ASCII)
    if match is None:
        raise UsageError(f"{text!r} is not a percentage. Write it as 5%.")
    return float(match[1]) / 100


def _write_json(table: DiffTable) -> None:
    import json
    from dataclasses import asdict

    rows = [*([] if table.step is None else [table.step]), table.total, *table.rows]
    print(json.dumps([asdict(row) for row in rows], indent=1, allow_nan=False))


def _print_table(table: DiffTable, runs: tuple[str, str], query: str) -> None:
    from rich.text import Text

    from deepseek_prof.cli.rendering import OutputConsole, emit, figures_table
    from deepseek_prof.text import clean

    console = OutputConsole()
    emit(console, Text(_title(table, runs) + (f", where {clean(query)}" if query else ""), style="bold"))
    headers = ("before", "after", "delta", "95 % interval", "ratio", "verdict")
    whole = [*([] if table.step is None else [table.step]), table.total]
    rows = [_cells(row) for row in (*whole, *table.rows)]
    drop = ("95 % interval", "ratio")
    emit(console, figures_table(table.by, headers, rows, console.width, drop=drop))
    for note in _notes(table):
        emit(console, Text(note, style="dim"))


def _title(table: DiffTable, runs: tuple[str, str]) -> str:
    from deepseek_prof.text import clean, counted

    steps = (table.total.before_steps, table.total.after_steps)
    unit = f"{table.statistic} step" if any(steps) else "whole recording"
    figures = " and ".join(counted(each, "step") if each else "no steps" for each in steps)
    return f"{clean(runs[0])} → {clean(runs[1])} by {table.by}, {unit} ({figures})"


def _cells(row: DiffRow) -> tuple[str, ...]:
    from deepseek_prof.text import duration

    sign = "-" if row.delta_ns < 0 else "+"
    interval = ""
    if row.low_ns is not None and row.high_ns is not None:
        interval = " … ".join(_signed(each) for each in (row.low_ns, row.high_ns))
    return (
        {"total": "all spans", "step": "the step itself"}.get(row.row, row.name),
        "" if row.before_ns is None else duration(row.before_ns),
        "" if row.after_ns is None else duration(row.after_ns),
        f"{sign}{duration(abs(row.delta_ns))}" if row.delta_ns else "0",
        interval,
        "" if row.ratio is None else f"{row.ratio:.2f}×",
        row.verdict,
    )


def _signed(ns: float) -> str:
    from deepseek_prof.text import duration

    return f"{'-' if ns < 0 else '+'}{duration(abs(ns))}"


def _notes(table: DiffTable) -> list[str]:
    from deepseek_prof.text import counted

    notes = [f"{len(table.rows):,} of {table.groups:,} entries · {table.changed:,} changed"]
    if table.step is not None:
        notes[0] += f" · warm-up left out: {table.before_warmup} and {counted(table.after_warmup, 'step')}"
    if table.judged:
        notes.append(
            f"Changed: the 95 % interval leaves out zero, and the change is at least {table.min_change * 100:g} %. Of "
            f"{table.judged:,} intervals up to {max(1, round(table.judged * 0.05))} may leave it out by chance."
        )
    notes += table.notes
    return notes
