"""The report's section on tensor memory, and the lines that ``memory`` begins with."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from deepseek_prof.analysis.memory import MemoryProfile, has_allocations, memory_profile
from deepseek_prof.cli.rendering import emit, figures_table, heading
from deepseek_prof.text import clean, count, percent, size
from deepseek_prof.trace.run import Run

_TOP_LAYERS = 6


def print_memory(console: Console, run: Run) -> None:
    """Nothing for a run without allocations (``--record full``)."""
    if not has_allocations(run):
        return
    profile = memory_profile(run, "layer", limit=_TOP_LAYERS)
    if profile is None:
        return
    heading(console, "Tensor memory", "more of it: deepseek-prof memory")
    for line in memory_lines(profile):
        emit(console, Text(line), 2)
    rows = [
        (
            row.name or "(no layer)",
            size(row.at_peak_bytes),
            percent(row.at_peak_bytes / (profile.peak_bytes or 1)),
            size(row.peak_bytes),
            size(row.allocated_bytes),
            count(row.count),
        )
        for row in profile.rows
    ]
    headers = ("at peak", "share", "peak", "allocated", "count")
    emit(console, figures_table("layer", headers, rows, console.width - 2, drop=("count", "share")), 2)


def memory_lines(profile: MemoryProfile) -> list[str]:
    """When the peak was and what it held, in plain text."""
    where = [
        f"in {profile.peak_phase}" if profile.peak_phase else "",
        f"of step {profile.peak_step}" if profile.peak_step is not None else "",
        f"at {clean(profile.peak_layer, 60)}" if profile.peak_layer else "",
    ]
    of = (
        f"{profile.device} of process {profile.pid}, the most of {profile.processes}"
        if profile.processes > 1
        else profile.device
    )
    held = ", ".join(
        f"{row.name} {size(row.at_peak_bytes)} ({percent(row.at_peak_bytes / (profile.peak_bytes or 1))})"
        for row in profile.roles
        if row.at_peak_bytes
    )
    return [
        f"peak {size(profile.peak_bytes)} on {of} {' '.join(filter(None, where))}".rstrip(),
        f"held then: {held}",
        (
            f"{size(profile.allocated_bytes)} allocated in {count(profile.count)} pieces, "
            f"{size(profile.kept_bytes)} never given back"
        ),
    ]
