"""``deepseek-prof tui``: a run in the terminal, live and afterwards."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deepseek_prof.cli.arguments import QUERY_HELP, RUN_HELP, RUN_QUERY_HELP, split_run_and_query
from deepseek_prof.errors import UsageError


def export_formats() -> dict[str, tuple[str, str]]:
    """The formats of ``deepseek-prof export``: what reads each, and the suffix of its files."""
    from deepseek_prof.exporters.registry import available, load

    loaded = {name: load(name) for name in available()}
    return {name: (exporter.summary, exporter.suffix) for name, exporter in loaded.items()}


def tui_command(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [QUERY]", help=RUN_QUERY_HELP)] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help=RUN_HELP)] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="QUERY", help=QUERY_HELP)] = None,
) -> None:
    """Look at a run in the terminal: panes of figures that one filter slices, by keyboard or mouse.

    A run that is still being recorded is followed. Press ? for the keys.
    """
    from deepseek_prof.query import parse

    path, query_text = split_run_and_query(arguments or [], run, query)
    parse(query_text)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("tui needs a terminal for input and output. Use 'deepseek-prof report' or 'top' in scripts.")
    from deepseek_prof.tui.app import ProfilerApp
    from deepseek_prof.tui.history import default_path

    app = ProfilerApp(path, query_text, formats=export_formats, history=default_path())
    status = app.run()
    raise typer.Exit(status if status is not None else app.return_code or 0)
