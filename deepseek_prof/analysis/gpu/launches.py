"""From the launching call to the start on the device: latency, and how much work waits in the queue over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepseek_prof.analysis.gpu.intervals import Int64s
from deepseek_prof.analysis.gpu.work import DeviceTimeline

QUEUE_BINS = 60


@dataclass(frozen=True)
class LaunchStats:
    """Of one device: times from the beginning of the launching call to the start of the work, in nanoseconds.

    A latency has two parts: waiting for earlier work of the same stream (``queued_ns``, a sum over all), and the rest
    (``delay_*``), which the driver, the hardware or an event of another stream takes.
    """

    rank: int
    device: str
    count: int
    not_seen: int
    """Work whose launch is not in the recording."""
    p50_ns: int
    p90_ns: int
    p99_ns: int
    max_ns: int
    queued_ns: int
    delay_p50_ns: int
    delay_p99_ns: int
    mean_queue: float
    """Launched and not started, averaged over the time looked at."""
    max_queue: int
    empty_share: float
    """Of that time, with nothing in the queue."""
    queue: tuple[float, ...]
    """The mean length of the queue in equal parts of that time."""


def launch_stats(timeline: DeviceTimeline, bins: int = QUEUE_BINS) -> LaunchStats | None:
    """Launches of a device; None where no launch of its work was seen."""
    seen = timeline.launched_ns >= 0
    if not seen.any():
        return None
    launched, start = timeline.launched_ns[seen], timeline.start_ns[seen]
    # Clocks of host and device are aligned to a microsecond or so: work cannot start before it was launched.
    latency = np.maximum(0, start - launched)
    before = _end_before_on_stream(timeline)[seen]
    queued = np.clip(np.minimum(before, start) - launched, 0, None)
    delay = latency - queued
    times, lengths = queue_length(launched, start)
    mean, empty, parts = _averages(times, lengths, timeline.begin_ns, timeline.end_ns, bins)
    p50, p90, p99 = np.percentile(latency, (50, 90, 99))
    delay_p50, delay_p99 = np.percentile(delay, (50, 99))
    return LaunchStats(
        rank=timeline.rank,
        device=timeline.device,
        count=int(seen.sum()),
        not_seen=int((~seen).sum()),
        p50_ns=int(p50),
        p90_ns=int(p90),
        p99_ns=int(p99),
        max_ns=int(latency.max()),
        queued_ns=int(queued.sum()),
        delay_p50_ns=int(delay_p50),
        delay_p99_ns=int(delay_p99),
        mean_queue=mean,
        max_queue=int(lengths.max(initial=0)),
        empty_share=empty,
        queue=parts,
    )


def queue_length(launched_ns: Int64s, start_ns: Int64s) -> tuple[Int64s, Int64s]:
    """Times at which the number of pieces of work that are launched and not started changes, and the number from then.

    Args:
        launched_ns: when each was launched.
        start_ns: when each started; earlier than its launch counts as at its launch.
    """
    times = np.concatenate((launched_ns, np.maximum(start_ns, launched_ns)))
    change = np.concatenate((np.ones(len(launched_ns), np.int64), np.full(len(start_ns), -1, np.int64)))
    moments, index = np.unique(times, return_inverse=True)
    net = np.zeros(len(moments), dtype=np.int64)
    np.add.at(net, index.reshape(-1), change)
    return moments, np.cumsum(net)


def _end_before_on_stream(timeline: DeviceTimeline) -> Int64s:
    """For each piece of work, when all that started before it on its stream had ended; long ago for the first."""
    found = np.zeros(len(timeline.start_ns), dtype=np.int64)
    for stream in np.unique(timeline.stream).tolist():
        mine = np.flatnonzero(timeline.stream == stream)
        found[mine[1:]] = np.maximum.accumulate(timeline.end_of_ns[mine])[:-1]
    return found


def _averages(
    times: Int64s, lengths: Int64s, begin_ns: int, end_ns: int, bins: int
) -> tuple[float, float, tuple[float, ...]]:
    """Mean length, share of time with none, and mean length in each of ``bins`` equal parts."""
    if end_ns <= begin_ns:
        return 0.0, 1.0, ()
    edges = np.linspace(begin_ns, end_ns, bins + 1)
    moments = np.union1d(edges, times[(times > begin_ns) & (times < end_ns)].astype(np.float64))
    index = np.searchsorted(times, moments[:-1], side="right") - 1
    length = np.where(index >= 0, lengths[np.maximum(index, 0)], 0)
    spent = np.diff(moments)
    part = np.minimum(np.searchsorted(edges, moments[:-1], side="right") - 1, bins - 1)
    sums = np.bincount(part, weights=length * spent, minlength=bins)
    mean = float((length * spent).sum() / (end_ns - begin_ns))
    empty = float(spent[length == 0].sum() / (end_ns - begin_ns))
    return mean, empty, tuple((sums / ((end_ns - begin_ns) / bins)).tolist())
