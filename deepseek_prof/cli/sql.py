"""``deepseek-prof sql``: one SQL statement over the views of a run."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from deepseek_prof.cli.arguments import RUN_HELP, open_run
from deepseek_prof.errors import UsageError
from deepseek_prof.trace.catalog import looks_like_run, resolve_run

_HELP = "A run (directory, name or 'latest'; may be left out), then one statement in quotes; '-': read it from stdin."


class SqlFormat(str, Enum):
    """Values of ``--format``."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


def sql_command(
    arguments: Annotated[list[str], typer.Argument(metavar="[RUN] STATEMENT", help=_HELP)],
    output_format: Annotated[SqlFormat, typer.Option("--format", help="How to write it.")] = SqlFormat.table,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Rows a table shows; 0: all.")] = 100,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file, which is replaced.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help=RUN_HELP)] = None,
) -> None:
    """Run one SQL statement (DuckDB's SQL) over the views spans, contexts, counters, samples, sums,
    allocations and logs.

    A statement only reads, and only this run: no other file, no network, no change of settings. Times are nanoseconds.
    """
    import sys

    from deepseek_prof.cli import sql_output
    from deepseek_prof.trace.statement import Statement

    path, text = _run_and_statement(arguments, run)
    if output_format is SqlFormat.parquet and output is None and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal. Give a file: --output FILE")
    arrow = output_format is SqlFormat.parquet
    with (
        open_run(path) as opened,
        Statement(opened, text, arrow=arrow) as statement,
        sql_output.destination(output) as file,
    ):
        if arrow:
            sql_output.write_parquet(statement, file)
        elif output_format is SqlFormat.table:
            sql_output.write_table(statement, file, limit)
        elif output_format is SqlFormat.csv:
            sql_output.write_csv(statement, file)
        else:
            sql_output.write_json(statement, file)


def _run_and_statement(arguments: Sequence[str], run: str | None) -> tuple[Path, str]:
    """The run's directory and the statement.

    Raises:
        UsageError: there is no statement, or more than one argument beside the run.
        RunNotFoundError: no such run.
    """
    rest = list(arguments)
    if run is None and (len(rest) > 1 or looks_like_run(rest[0])):
        run = rest.pop(0)
    if len(rest) != 1:
        told = "Give a statement" if not rest else "Put the statement in quotes: it must be one argument"
        raise UsageError(f"{told}, such as: deepseek-prof sql 'select * from spans limit 10'")
    path = resolve_run(run)
    if rest[0] != "-":
        return path, rest[0]
    import sys

    return path, sys.stdin.read()
