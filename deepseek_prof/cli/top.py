"""``deepseek-prof top``: where the time goes, by one key."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from deepseek_prof.cli.arguments import QUERY_HELP, RUN_HELP, RUN_QUERY_HELP, compiled, open_run, split_run_and_query

if TYPE_CHECKING:
    from deepseek_prof.analysis.top import TopTable


_NAME_WIDTH, _PATH_WIDTH, _LAYER_WIDTH = 26, 44, 24


class By(str, Enum):
    """Values of ``--by``."""

    op = "op"
    layer = "layer"
    type = "type"
    phase = "phase"
    step = "step"
    thread = "thread"
    context = "context"
    python = "python"


class Sort(str, Enum):
    """Values of ``--sort``."""

    self = "self"
    total = "total"
    count = "count"  # type: ignore[assignment]  # hides str.count, which nobody calls on an option
    device = "device"


class TopFormat(str, Enum):
    """Values of ``--format``."""

    table = "table"
    json = "json"
    csv = "csv"


def top_command(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [QUERY]", help=RUN_QUERY_HELP)] = None,
    by: Annotated[By, typer.Option("--by", help="What to sum by.")] = By.op,
    sort: Annotated[Sort, typer.Option("--sort", help="What comes first.")] = Sort.self,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Rows to show; 0: all.")] = 20,
    output_format: Annotated[TopFormat, typer.Option("--format", help="How to write it.")] = TopFormat.table,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help=RUN_HELP)] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="QUERY", help=QUERY_HELP)] = None,
) -> None:
    """Show where the time goes: by operator, layer, type, phase, step, thread, context or Python function.

    Self time is time not spent in anything recorded below; total adds what was called. Times in JSON and CSV are
    nanoseconds, summed over the whole run unless a query says otherwise. --by python needs run --python-stacks.
    """
    from deepseek_prof.analysis.python_functions import python_functions
    from deepseek_prof.analysis.top import top
    from deepseek_prof.query import Table

    path, query_text = split_run_and_query(arguments or [], run, query)
    condition = compiled(query_text, Table.SAMPLES if by is By.python else Table.SPANS)
    with open_run(path) as opened:
        if by is By.python:
            table = python_functions(opened, condition, sort.value, limit)
        else:
            table = top(opened, by.value, condition, sort.value, limit)
        name = opened.name
    if output_format is TopFormat.json:
        _write_json(table)
    elif output_format is TopFormat.csv:
        _write_csv(table)
    else:
        _print_table(table, name, query_text)


def _write_json(table: TopTable) -> None:
    import json
    from dataclasses import asdict

    print(json.dumps([asdict(row) for row in table.rows], indent=1))


def _write_csv(table: TopTable) -> None:
    import csv
    import sys
    from dataclasses import astuple, fields

    from deepseek_prof.analysis.top import TopRow
    from deepseek_prof.text import csv_cell

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([field.name for field in fields(TopRow)])
    for row in table.rows:
        writer.writerow([csv_cell(value) if isinstance(value, str) else value for value in astuple(row)])


def _print_table(table: TopTable, run_name: str, query: str) -> None:
    from rich.text import Text

    from deepseek_prof.cli.rendering import OutputConsole, emit, figures_table
    from deepseek_prof.text import clean, count, counted, duration, percent, shortened

    console = OutputConsole()
    title = f"{clean(run_name)} by {table.by}, {table.sort} first" + (f", where {clean(query)}" if query else "")
    emit(console, Text(title, style="bold"))
    if not table.rows:
        emit(console, Text("Nothing selected." if query else "This run holds nothing to group so."))
        return
    sampled = table.by == By.python.value
    with_type = table.by in ("op", "context")
    phases = table.by != "phase"
    with_device = table.device_ns > 0
    headers = (
        ("type",) * with_type
        + ("self", "share", "total", "samples" if sampled else "count")
        + ("layer",) * sampled
        + ("max",) * (not sampled)
        + ("forward", "backward") * phases
        + ("device",) * with_device
    )
    rows = [
        (
            row.name,
            *([row.type] if with_type else []),
            duration(row.self_ns),
            percent(row.share),
            duration(row.total_ns),
            count(row.count),
            *([shortened(row.layer, _LAYER_WIDTH)] if sampled else [duration(row.max_ns)]),
            *([duration(row.forward_ns), duration(row.backward_ns)] if phases else []),
            *([duration(row.device_ns)] if with_device else []),
        )
        for row in table.rows
    ]
    drop = ("max", "backward", "forward", "layer", "type")
    # Paths differ in their middle: they need more room than names.
    name_width = _PATH_WIDTH if sampled or table.by == "context" else _NAME_WIDTH
    emit(console, figures_table(table.by, headers, rows, console.width, drop=drop, name_width=name_width))
    notes = [
        " · ".join(
            (
                f"{len(table.rows):,} of {counted(table.groups, 'row')}",
                counted(table.span_count, "sample" if sampled else "span"),
                f"{duration(table.self_ns)} of {_time_of(table)} time",
                *([f"{duration(table.device_ns)} of accelerators on what it started"] if with_device else []),
            )
        )
    ]
    if table.evicted_included:
        notes.append("With the sums of spans that --max-size removed.")
    if table.evicted_left_out:
        notes.append("Without the spans that --max-size removed: their sums know neither step nor time.")
    for note in notes:
        emit(console, Text(note, style="dim"))


def _time_of(table: TopTable) -> str:
    if table.by == By.python.value:
        return "sampled"
    return "accelerator" if table.devices else "self"
