"""``deepseek-prof gpu``: what accelerators did, when they were idle, and why."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from deepseek_prof.cli.arguments import QUERY_HELP, RUN_HELP, RUN_QUERY_HELP, compiled, open_run, split_run_and_query
from deepseek_prof.errors import UsageError

if TYPE_CHECKING:
    from deepseek_prof.analysis.gpu.summary import GpuSummary


class GpuFormat(str, Enum):
    """Values of ``--format``."""

    text = "text"
    json = "json"


def gpu_command(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [QUERY]", help=RUN_QUERY_HELP)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Rows of each table; 0: all.")] = 8,
    output_format: Annotated[GpuFormat, typer.Option("--format", help="How to write it.")] = GpuFormat.text,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help=RUN_HELP)] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="QUERY", help=QUERY_HELP)] = None,
) -> None:
    """Show what accelerators did: busy, idle and why, launches, overlap, tensor cores, roofline, and their time by
    layer, operator, type and kernel.

    Warm-up steps are left out. With a query, the tables cover the work that it selects, and idle time is that of the
    device from the first to the last of it.
    """
    from deepseek_prof.analysis.gpu.summary import gpu_summary

    path, query_text = split_run_and_query(arguments or [], run, query)
    condition = compiled(query_text)
    with open_run(path) as opened:
        found = gpu_summary(opened, condition)
        name = opened.name
    if found is None:
        raise UsageError(
            "The query selects no work of an accelerator."
            if query_text
            else f"The run {name} holds no work of an accelerator: it was recorded without one, or without its kernels."
        )
    if output_format is GpuFormat.json:
        _write_json(found)
        return
    from deepseek_prof.cli.gpu_sections import print_gpu
    from deepseek_prof.cli.rendering import OutputConsole

    print_gpu(OutputConsole(), found, name, query_text, limit)


def _write_json(found: GpuSummary) -> None:
    import json
    from dataclasses import asdict

    print(json.dumps(asdict(found), indent=1))
