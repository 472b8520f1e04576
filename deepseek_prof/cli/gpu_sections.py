"""The sections of ``deepseek-prof gpu``, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from deepseek_prof.analysis.gpu.summary import GpuSummary
from deepseek_prof.analysis.gpu.tables import BY
from deepseek_prof.analysis.gpu.wording import (
    copy_line,
    device_label,
    launch_lines,
    overlap_line,
    peaks_line,
    rate,
    tensor_core_line,
    time_parts,
)
from deepseek_prof.cli.rendering import bar, emit, figures_table, heading
from deepseek_prof.text import clean, count, duration, percent

_QUEUE_LEVELS = "▁▂▃▄▅▆▇█"
_BAR_WIDTH = 30


def print_gpu(console: Console, found: GpuSummary, run_name: str, query: str, limit: int) -> None:
    """Print everything; ``limit`` rows of each table, 0 for all."""
    title = f"{clean(run_name)}: accelerators" + (f", where {clean(query)}" if query else "")
    steps = f"  {count(found.window.step_count)} steady steps" if found.window.step_count else ""
    emit(console, Text.assemble((title, "bold"), (steps, "dim")))
    if found.device_names:
        emit(console, Text(", ".join(clean(name) for name in found.device_names)), 2)
    _print_time(console, found)
    _print_streams(console, found)
    _print_launches(console, found)
    _print_arithmetic(console, found)
    _print_roofline(console, found, limit)
    for by in BY:
        _print_table(console, found, by, limit)


def _print_time(console: Console, found: GpuSummary) -> None:
    for each in found.devices:
        heading(console, f"Time of {device_label(each.rank, each.device)}", f"of {duration(each.extent_ns)}")
        parts = time_parts(each)
        width = max(len(label) for label, _, _ in parts)
        for label, ns, is_idle in parts:
            share = ns / (each.extent_ns or 1)
            cells = bar(share, _BAR_WIDTH)
            line = f"  {label:<{width}}  "
            console.print(
                Text.assemble(line, (f"{cells:<{_BAR_WIDTH}}", "red" if is_idle else "green")),
                Text(f"{percent(share):>6}  {duration(ns):>8}"),
            )
    lines = [overlap_line(each) for each in found.overlaps]
    if lines:
        heading(console, "Overlap with arithmetic")
    for line in lines:
        emit(console, Text(line), 2)


def _print_streams(console: Console, found: GpuSummary) -> None:
    rows = [
        (
            f"{device_label(each.rank, each.device)} stream {each.stream}",
            duration(each.busy_ns),
            percent(each.share),
            duration(each.compute_ns),
            duration(each.communication_ns),
            duration(each.copy_ns),
            count(each.count),
        )
        for each in found.streams
    ]
    heading(console, "Streams")
    _emit_table(console, "stream", ("busy", "share", "arithmetic", "communication", "copies", "count"), rows)


def _print_launches(console: Console, found: GpuSummary) -> None:
    heading(console, "Launches", "" if found.launches else "none seen: the recording does not tell them")
    for each in found.launches:
        for line in launch_lines(each):
            emit(console, Text(line), 2)
        highest = max(each.queue, default=0.0) or 1.0
        top = len(_QUEUE_LEVELS) - 1
        emit(console, Text("".join(_QUEUE_LEVELS[round(value / highest * top)] for value in each.queue), "cyan"), 2)


def _print_arithmetic(console: Console, found: GpuSummary) -> None:
    heading(console, "Tensor cores", "by the names of kernels")
    emit(console, Text(tensor_core_line(found.tensor_cores)), 2)
    if found.copies:
        heading(console, "Copies")
    for each in found.copies:
        emit(console, Text(copy_line(each)), 2)


def _print_roofline(console: Console, found: GpuSummary, limit: int) -> None:
    if not found.roofline:
        heading(console, "Roofline", "needs the shapes of tensors: run --record full, or a trace with shapes")
        return
    heading(console, "Roofline", peaks_line(found))
    rows = [
        (
            f"{row.name} {row.precision}".rstrip(),
            row.bound or "–",
            duration(row.ns),
            rate(row.flops_per_s, "FLOP/s") if row.flops else "–",
            percent(row.compute_share) if row.compute_share is not None else "–",
            rate(row.bytes_per_s, "B/s"),
            percent(row.memory_share) if row.memory_share is not None else "–",
        )
        for row in found.roofline[: limit or None]
    ]
    headers = ("bound", "time", "reached", "of peak", "bytes", "of peak ")
    _emit_table(console, "operator", headers, rows)


def _print_table(console: Console, found: GpuSummary, by: str, limit: int) -> None:
    table = found.tables[by]
    heading(console, f"By {by}", f"{len(table):,} in all" + ("; with sub-layers" if by == "layer" else ""))
    typed = by in ("operator", "kernel")
    rows = [
        (
            row.name,
            *([row.type] if typed else []),
            duration(row.ns),
            percent(row.share),
            duration(row.forward_ns),
            duration(row.backward_ns),
            percent(row.tensor_core_ns / (row.ns or 1)),
            count(row.count),
        )
        for row in table[: limit or None]
    ]
    headers = ("type",) * typed + ("time", "share", "forward", "backward", "tensor", "count")
    _emit_table(console, by, headers, rows)


def _emit_table(console: Console, name: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    drop = ("forward", "backward", "count", "type")
    emit(console, figures_table(name, headers, rows, console.width - 2, drop=drop), 2)
