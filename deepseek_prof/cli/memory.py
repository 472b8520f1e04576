"""``deepseek-prof memory``: which layers and operators hold tensor memory, and what was held at the peak."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from deepseek_prof.cli.arguments import QUERY_HELP, RUN_HELP, RUN_QUERY_HELP, compiled, open_run, split_run_and_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from deepseek_prof.analysis.cuda_layers import CudaLayer
    from deepseek_prof.analysis.cuda_memory import CudaMemory, CudaPool
    from deepseek_prof.analysis.memory import MemoryProfile, MemoryRow

_HEADERS = ("at peak", "share", "peak", "allocated", "count", "kept")


class MemoryBy(str, Enum):
    """Values of ``--by``; the keys of ``analysis.memory.KEYS``."""

    role = "role"
    layer = "layer"
    op = "op"
    type = "type"
    phase = "phase"
    step = "step"


class MemoryFormat(str, Enum):
    """Values of ``--format``."""

    table = "table"
    json = "json"
    csv = "csv"


def memory_command(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [QUERY]", help=RUN_QUERY_HELP)] = None,
    by: Annotated[MemoryBy, typer.Option("--by", help="What to sum by.")] = MemoryBy.layer,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Rows to show; 0: all.")] = 20,
    output_format: Annotated[MemoryFormat, typer.Option("--format", help="How to write it.")] = MemoryFormat.table,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help=RUN_HELP)] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="QUERY", help=QUERY_HELP)] = None,
) -> None:
    """Show which layers, operators or roles hold tensor memory, and what was alive at the peak.

    Needs a run recorded with --record full. A query selects allocations: dur is how long one lived, bytes its size.
    """
    from deepseek_prof.analysis.cuda_memory import cuda_memory
    from deepseek_prof.analysis.memory import has_allocations, memory_profile
    from deepseek_prof.query import Table

    path, query_text = split_run_and_query(arguments or [], run, query)
    condition = compiled(query_text, Table.ALLOCATIONS)
    with open_run(path) as opened:
        on_cuda = cuda_memory(opened)
        # A run with a snapshot alone has something to tell; without either, say how to record it.
        recorded = has_allocations(opened) or not on_cuda.pools
        profile = memory_profile(opened, by.value, condition, limit) if recorded else None
        name = opened.name
    if output_format is MemoryFormat.json:
        _write_json(profile, on_cuda)
    elif output_format is MemoryFormat.csv:
        _write_csv(profile)
    else:
        _print(profile, name, query_text, recorded=recorded)
        _print_pools(on_cuda.pools)
        _print_layers(on_cuda.layers, limit)


def _write_json(profile: MemoryProfile | None, on_cuda: CudaMemory) -> None:
    import json
    from dataclasses import asdict

    content = {} if profile is None else asdict(profile)
    pools, layers = ([asdict(each) for each in part] for part in (on_cuda.pools, on_cuda.layers))
    print(json.dumps({**content, "cuda": pools, "cuda_layers": layers}, indent=1))


def _write_csv(profile: MemoryProfile | None) -> None:
    import csv
    import sys
    from dataclasses import astuple, fields

    from deepseek_prof.analysis.memory import MemoryRow
    from deepseek_prof.text import csv_cell

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([field.name for field in fields(MemoryRow)])
    for row in profile.rows if profile is not None else ():
        name, *figures = astuple(row)
        writer.writerow([csv_cell(name), *figures])


def _print(profile: MemoryProfile | None, run_name: str, query: str, *, recorded: bool) -> None:
    from rich.text import Text

    from deepseek_prof.cli.rendering import OutputConsole, emit, figures_table, heading
    from deepseek_prof.cli.report_memory import memory_lines
    from deepseek_prof.text import clean, count, counted, size

    console = OutputConsole()
    title = f"Memory of {clean(run_name)}" + (f", where {clean(query)}" if query else "")
    emit(console, Text(title, style="bold"))
    if profile is None:
        emit(console, Text("Nothing selected." if recorded else "No single allocations: they need --record full."))
        return
    for line in memory_lines(profile):
        emit(console, Text(line))
    if profile.by != MemoryBy.role.value:
        heading(console, "By role")
        _table(console, "role", profile.roles, profile.peak_bytes)
    heading(console, f"By {profile.by}")
    _table(console, profile.by, profile.rows, profile.peak_bytes)
    emit(console, Text(f"{len(profile.rows):,} of {counted(profile.groups, 'row')}", style="dim"))
    heading(console, "Alive at the peak", "the largest")
    rows = [
        (piece.layer or "-", piece.op or "-", piece.role, count(piece.count), size(piece.size_bytes))
        for piece in profile.pieces
    ]
    emit(console, figures_table("layer", ("operator", "role", "count", "size"), rows, console.width, drop=("count",)))


def _print_pools(pools: Sequence[CudaPool]) -> None:
    if not pools:
        return
    from deepseek_prof.cli.rendering import OutputConsole, emit, figures_table, heading
    from deepseek_prof.text import count, percent, size

    console = OutputConsole()
    heading(console, "CUDA memory at the end", "from the snapshot; free: reserved and in no use")
    headers = ("reserved", "allocated", "free", "share", "largest free", "free blocks")
    rows = [
        (
            f"{pool.device} of process {pool.pid}",
            size(pool.reserved_bytes),
            size(pool.allocated_bytes),
            size(pool.free_bytes),
            percent(pool.free_bytes / (pool.reserved_bytes or 1)),
            size(pool.largest_free_bytes),
            count(pool.free_blocks),
        )
        for pool in pools
    ]
    emit(console, figures_table("device", headers, rows, console.width, drop=("free blocks", "share")))


def _table(console: Console, key: str, rows: Sequence[MemoryRow], peak_bytes: int) -> None:
    from deepseek_prof.cli.rendering import emit, figures_table
    from deepseek_prof.text import count, percent, size

    cells = [
        (
            row.name or "-",
            size(row.at_peak_bytes),
            percent(row.at_peak_bytes / (peak_bytes or 1)),
            size(row.peak_bytes),
            size(row.allocated_bytes),
            count(row.count),
            size(row.kept_bytes),
        )
        for row in rows
    ]
    emit(console, figures_table(key, _HEADERS, cells, console.width, drop=("count", "kept", "share")))


def _print_layers(layers: Sequence[CudaLayer], limit: int) -> None:
    if not layers:
        return
    from deepseek_prof.cli.rendering import OutputConsole, emit, figures_table, heading
    from deepseek_prof.text import clean, count, size

    console = OutputConsole()
    heading(console, "CUDA memory at its peak, by layer", "of the forward pass, as far as the snapshot's history goes")
    rows = [
        (
            clean(each.name, 60),
            f"{each.device} of process {each.pid}",
            size(each.at_peak_bytes),
            size(each.allocated_bytes),
            count(each.count),
        )
        for each in (layers[:limit] if limit else layers)
    ]
    headers = ("device", "at peak", "allocated", "count")
    emit(console, figures_table("layer", headers, rows, console.width, drop=("device", "count")))
