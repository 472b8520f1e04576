"""Everything that is known of the accelerators of a run, in one frozen result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.analysis.device_peaks import DevicePeaks, peaks_of
from deepseek_prof.analysis.gpu.compiled import kernel_layers
from deepseek_prof.analysis.gpu.idle import DeviceTime, Overlap, StreamTime, device_time, overlaps, stream_times
from deepseek_prof.analysis.gpu.launches import LaunchStats, launch_stats
from deepseek_prof.analysis.gpu.overview import TensorCoreUse, selected_work, tensor_core_use
from deepseek_prof.analysis.gpu.roofline import RooflineRow, roofline
from deepseek_prof.analysis.gpu.tables import BY, GpuRow, gpu_rows, layer_rows
from deepseek_prof.analysis.gpu.work import timelines
from deepseek_prof.analysis.results import Window
from deepseek_prof.trace.run import Condition, Run


@dataclass(frozen=True)
class CopyRow:
    """Copies and memsets of one name; ``bytes`` None where they are not known."""

    name: str
    count: int
    ns: int
    bytes: int | None

    @property
    def bytes_per_s(self) -> float | None:
        """What the copies reached."""
        return None if self.bytes is None or not self.ns else self.bytes * 1e9 / self.ns


@dataclass(frozen=True)
class GpuSummary:
    """``devices`` to ``launches`` have entries for each device of each rank; the tables add over all."""

    window: Window
    device_names: tuple[str, ...]
    peaks: DevicePeaks | None
    """Of the devices, where they are all of one known model."""
    devices: tuple[DeviceTime, ...]
    streams: tuple[StreamTime, ...]
    overlaps: tuple[Overlap, ...]
    launches: tuple[LaunchStats, ...]
    tensor_cores: TensorCoreUse
    copies: tuple[CopyRow, ...]
    tables: dict[str, tuple[GpuRow, ...]]
    """By each of :data:`deepseek_prof.analysis.gpu.tables.BY`."""
    roofline: tuple[RooflineRow, ...]

    @property
    def work_ns(self) -> int:
        """Durations of all selected work."""
        return sum(row.ns for row in self.tables["kernel"])


def gpu_summary(run: Run, condition: Condition | None = None, measured: DevicePeaks | None = None) -> GpuSummary | None:
    """The work of accelerators in the steady steps of ``run``, or what ``condition`` selects; None where there is none.

    ``measured``: peaks to compare with in place of those of the data sheet.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    selected = selected_work(run, condition)
    if selected is None:
        return None
    selection, tree, sums, work = selected.selection, selected.tree, selected.sums, selected.work
    names = device_names(run)
    known = [peaks_of(name) for name in names]
    peak = measured or (known[0] if known and all(each is known[0] for each in known) else None)
    lines = timelines(run, selection.where, selection.params)
    return GpuSummary(
        window=selection.window,
        device_names=names,
        peaks=peak,
        devices=tuple(device_time(line) for line in lines),
        streams=tuple(each for line in lines for each in stream_times(line)),
        overlaps=tuple(each for line in lines for each in overlaps(line)),
        launches=tuple(found for line in lines if (found := launch_stats(line)) is not None),
        tensor_cores=tensor_core_use(work),
        copies=_copies(run, selection.where, selection.params),
        tables={
            by: layer_rows(work, sums, tree, kernel_layers(run)) if by == "layer" else gpu_rows(work, tree, by)
            for by in BY
        },
        roofline=roofline(run, selection.where, selection.params, work, tree, peak),
    )


def device_names(run: Run) -> tuple[str, ...]:
    """The models of the devices that did work, each once, as their driver calls them; empty where nobody noted them."""
    used = run.kept_rows("SELECT DISTINCT rank, pid, device FROM raw_spans WHERE device IS NOT NULL ORDER BY ALL")
    # A program that is not distributed tells no rank: its files are those of rank 0.
    listed = {(each.get("rank") or 0, each.get("pid")): each.get("devices") for each in run.processes}
    found: list[str] = []
    for rank, pid, device in used:
        names, number = listed.get((rank, pid)), str(device).rpartition(":")[2]
        if isinstance(names, list) and number.isdecimal() and int(number) < len(names):
            name = names[int(number)]
            if isinstance(name, str) and name not in found:
                found.append(name)
    return tuple(found)


def _copies(run: Run, where: str, params: Sequence[Any]) -> tuple[CopyRow, ...]:
    rows = run.rows(
        "SELECT name, count(*), sum(dur_ns)::BIGINT, sum(bytes)::BIGINT FROM spans "
        f"WHERE ({where}) AND device IS NOT NULL AND kind IN ('memcpy', 'memset') GROUP BY 1 ORDER BY 3 DESC, 1",
        params,
    )
    return tuple(CopyRow(*row) for row in rows)
