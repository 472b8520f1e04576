"""``deepseek-prof logs``: operators and events in one stream, by time."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepseek_prof.cli.arguments import QUERY_HELP, RUN_HELP, RUN_QUERY_HELP, open_run, split_run_and_query
from deepseek_prof.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from deepseek_prof.analysis.logs import LogRecord, Selection
    from deepseek_prof.analysis.stacks import SampledFrames
    from deepseek_prof.cli.log_formats import Line
    from deepseek_prof.query.tree import Node
    from deepseek_prof.trace.run import Run

DEFAULT_LIMIT = 100
DEFAULT_BEFORE_FOLLOWING = 10
PYTHON = "python"
"""The field of ``--fields`` that only samples of Python stacks know."""


class LogFormat(str, Enum):
    """Values of ``--format``."""

    console = "console"
    json = "json"
    csv = "csv"
    logfmt = "logfmt"


def logs_command(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [QUERY]", help=RUN_QUERY_HELP)] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show new records while the program runs, until it ends.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=0,
            help=f"Records to show, the earliest first; 0: all. Default: {DEFAULT_LIMIT}. With --follow: events before "
            f"the new ones, the latest. Default: {DEFAULT_BEFORE_FOLLOWING}.",
        ),
    ] = None,
    since_step: Annotated[
        int | None, typer.Option("--since-step", metavar="STEP", min=0, help="Only records of this step and later.")
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields", metavar="NAMES", help="Only these fields, such as time,step,op,dur; python: the sampled frame."
        ),
    ] = None,
    output_format: Annotated[LogFormat, typer.Option("--format", help="How to write it.")] = LogFormat.console,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what the query means: its tree and its SQL. Reads no run.")
    ] = False,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help=RUN_HELP)] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="QUERY", help=QUERY_HELP)] = None,
) -> None:
    """Show operators and events in one stream, by time.

    Events are those of the recording (slow steps, NaN losses, data stalls, graph breaks, ...), the program's own
    logging, structlog and warnings records, and what it gives to deepseek_prof.log.
    """
    wanted = [name.strip() for name in (fields or "").split(",") if name.strip()]
    if explain:
        _explain(query if query is not None else " ".join(arguments or []))
        return
    from deepseek_prof.query import parse

    path, query_text = split_run_and_query(arguments or [], run, query)
    tree = parse(query_text)
    if follow:
        if PYTHON in wanted:
            raise UsageError("With --follow there is no field python: samples are read at the end of the program.")
        _follow(path, tree, output_format, wanted, since_step, DEFAULT_BEFORE_FOLLOWING if limit is None else limit)
        return
    bound = DEFAULT_LIMIT if limit is None else limit
    with open_run(path) as opened:
        from deepseek_prof.analysis.logs import records
        from deepseek_prof.analysis.stacks import SampledFrames, require_samples

        if PYTHON in wanted:
            require_samples(opened)
        frames = SampledFrames(opened)
        selection = _selection(opened, tree, since_step, bound + 1 if bound else None)
        line = _writer(output_format, wanted, opened)
        for shown, record in enumerate(records(opened, selection)):
            if bound and shown == bound:
                if limit is None:
                    sys.stdout.flush()
                    print(f"deepseek-prof: the first {bound} records; --limit 0 shows all.", file=sys.stderr)
                break
            sys.stdout.write(line(_with_frame(record, frames) if PYTHON in wanted else record) + "\n")


def _with_frame(record: LogRecord, frames: SampledFrames) -> LogRecord:
    from dataclasses import replace

    if record.pid is None or record.tid is None or record.dur_ns is None:
        return record
    frame = frames.within(record.rank, record.pid, record.tid, record.ts_ns, record.dur_ns)
    return replace(record, python=frame)


def _selection(run: Run, tree: Node, since_step: int | None, limit: int | None) -> Selection:
    from deepseek_prof.analysis.logs import Selection
    from deepseek_prof.query import Table, compile_tree

    origin_ns = _origin_ns(run, tree)
    return Selection(
        spans=compile_tree(tree, Table.SPANS, origin_ns=origin_ns),
        events=compile_tree(tree, Table.LOGS, origin_ns=origin_ns),
        since_step=since_step,
        limit=limit,
    )


def _origin_ns(run: Run, tree: Node) -> int:
    """The moment from which ``start`` counts, the same for operators and events; 0 where nothing asks for it."""
    from deepseek_prof.query import explain

    if "start" not in explain(tree):
        return 0
    first = run.rows("SELECT min(start_ns) FROM spans")[0][0]
    created = run.info.get("created_ns")
    return int(first if first is not None else created if isinstance(created, int) else 0)


def _writer(output_format: LogFormat, wanted: Sequence[str], run: Run | None) -> Line:
    """How a record becomes a line; for CSV the header is written."""
    import os

    from deepseek_prof.cli import log_formats

    if output_format is LogFormat.json:
        return log_formats.json_line(wanted)
    if output_format is LogFormat.logfmt:
        return log_formats.logfmt_line(wanted)
    if output_format is LogFormat.csv:
        print(log_formats.csv_header(wanted))
        return log_formats.csv_line(wanted)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return log_formats.console_line(wanted, colour=colour, ranked=_ranked(run))


def _ranked(run: Run | None) -> Callable[[LogRecord], bool]:
    """Whether a record tells its rank: where the run has several; while one is followed, from the second one on."""
    if run is not None:
        several = len({process.get("rank") for process in run.processes}) > 1
        return lambda record: several
    seen: set[int] = set()

    def ranked(record: LogRecord) -> bool:
        seen.add(record.rank)
        return len(seen) > 1

    return ranked


def _explain(query_text: str) -> None:
    from deepseek_prof.query import Table, compile_tree, explain, parse
    from deepseek_prof.text import clean

    tree = parse(query_text)
    print(explain(tree))
    for table in (Table.SPANS, Table.LOGS):
        compiled = compile_tree(tree, table)
        print(f"\n{table.value}: {compiled.sql}")
        for number, value in enumerate(compiled.params, 1):
            print(f"  ?{number} = {clean(repr(value), 1000)}")


def _follow(
    path: Path, tree: Node, output_format: LogFormat, wanted: Sequence[str], since_step: int | None, before: int
) -> None:
    """Print records as they appear, until the run ends."""
    from deepseek_prof.query import Table, compile_tree, evaluate
    from deepseek_prof.recording.log_tail import follow_logs
    from deepseek_prof.recording.span_tail import SpanTail
    from deepseek_prof.trace.run_file import read_run_file

    line = _writer(output_format, wanted, None)
    created = read_run_file(path).get("created_ns")
    origin_ns = created if isinstance(created, int) else 0

    def matches(row: Mapping[str, Any]) -> bool:
        if since_step is not None and (row["step"] is None or row["step"] < since_step):
            return False
        return evaluate(tree, row, Table.LOGS, origin_ns=origin_ns)

    def show(record: LogRecord) -> None:
        sys.stdout.write(line(record) + "\n")
        sys.stdout.flush()

    spans = SpanTail(path, compile_tree(tree, Table.SPANS, origin_ns=origin_ns), since_step)
    follow_logs(path, matches, spans, before, show)
