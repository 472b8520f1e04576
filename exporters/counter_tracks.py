"""What a timeline shows beside spans: the counters that were sampled, and the tensor memory that was held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepseek_prof.exporters.span_stream import SpanStream
    from deepseek_prof.trace.run import Run

_STRETCHES = 2_000
"""Points of a track at most: a viewer's window is not wider."""


@dataclass(frozen=True)
class CounterTrack:
    """Values over time, nanoseconds since the Unix epoch, within the time of the exported spans."""

    shown_pid: int
    name: str
    unit: str
    points: tuple[tuple[int, float], ...]


def counter_tracks(run: Run, stream: SpanStream) -> list[CounterTrack]:
    """The counters of the ranks and the tensor memory of the processes that are exported.

    No counter has one point alone. Where there are more points than can be shown, each stretch of time shows its
    highest.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    from deepseek_prof.analysis.memory import held_over_time

    of_process = {
        (each.rank, each.pid): each.shown_pid
        for each in reversed(stream.tracks)
        if each.device is None and (each.rank, each.pid) in stream.processes
    }
    of_rank = {rank: shown_pid for (rank, _), shown_pid in of_process.items()}
    begin_ns, end_ns = stream.start_ns, stream.end_ns
    rows = run.rows(
        "WITH highest AS (SELECT rank, device, name, unit, arg_max(ts_ns, value) AS ts_ns, max(value) AS value "
        "FROM counters WHERE ts_ns BETWEEN ? AND ? AND isfinite(value) "
        "GROUP BY rank, device, name, unit, (ts_ns - ?) * ? // (? - ? + 1)) "
        "SELECT rank, device, name, unit, list(ts_ns ORDER BY ts_ns), list(value ORDER BY ts_ns) FROM highest "
        "GROUP BY rank, device, name, unit ORDER BY rank, device, name, unit",
        (begin_ns, end_ns, begin_ns, _STRETCHES, end_ns, begin_ns),
    )
    tracks = [
        CounterTrack(of_rank[rank], f"{name} ({device})", unit, tuple(zip(ts, values, strict=True)))
        for rank, device, name, unit, ts, values in rows
        if rank in of_rank and len(ts) > 1
    ]
    for held in held_over_time(run, _STRETCHES - 1, begin_ns=begin_ns, end_ns=end_ns):
        if (held.rank, held.pid) in of_process:
            points = tuple(zip(held.ts_ns, map(float, held.held_bytes), strict=True))
            tracks.append(CounterTrack(of_process[held.rank, held.pid], f"tensors ({held.device})", "bytes", points))
    return tracks
