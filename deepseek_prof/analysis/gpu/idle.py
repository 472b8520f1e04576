"""What a device's time went to: arithmetic, communication, copies, and idle time by its cause.

Idle time is cut where the work that ends it was launched. Before that, the host was late: it waited for data, or it had
waited for the device and so let its queue run empty, or it was busy launching. After that, the work was in the queue
and did not start: it waited for an event of another stream or for the driver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepseek_prof.analysis.gpu.intervals import Int64s, intersection, union
from deepseek_prof.analysis.gpu.work import COMMUNICATION, COMPUTE, COPY, DeviceTimeline


@dataclass(frozen=True)
class DeviceTime:
    """The time of one device; the parts from ``compute_ns`` to ``unknown_ns`` add up to ``extent_ns``."""

    rank: int
    device: str
    extent_ns: int
    busy_ns: int
    compute_ns: int
    """At least one kernel that is no collective ran."""
    exposed_communication_ns: int
    """Collectives ran and no other kernel did."""
    exposed_copy_ns: int
    """Only copies and memsets ran."""
    launch_ns: int
    """Idle: the host had not launched the next work yet."""
    data_ns: int
    """Idle: the host waited for its data loader."""
    sync_ns: int
    """Idle: the host had waited for the device, so that nothing was queued."""
    start_ns: int
    """Idle: the next work was launched and had not started."""
    unknown_ns: int
    """Idle: the launch of the next work was not seen."""

    @property
    def idle_ns(self) -> int:
        """Nothing ran at all."""
        return self.extent_ns - self.busy_ns


@dataclass(frozen=True)
class StreamTime:
    """The time of one stream. ``share`` of the device's extent."""

    rank: int
    device: str
    stream: int
    count: int
    busy_ns: int
    compute_ns: int
    communication_ns: int
    copy_ns: int
    share: float


@dataclass(frozen=True)
class Overlap:
    """How much of a kind of work (``communication``, ``copy``) runs beside arithmetic. Unions of intervals."""

    rank: int
    device: str
    kind: str
    total_ns: int
    hidden_ns: int
    exposed_ns: int


def device_time(timeline: DeviceTimeline) -> DeviceTime:
    """The parts of the time of a device."""
    busy = timeline.busy()
    compute = timeline.busy(COMPUTE)
    communication = timeline.busy(COMMUNICATION).minus(compute)
    idle = busy.gaps(timeline.begin_ns, timeline.end_ns)
    launched = _launches_of(timeline, idle.end)
    known = launched >= 0
    late = np.clip(launched, idle.start, idle.end)
    unknown = int((idle.end - idle.start)[~known].sum())
    start = int((idle.end - late)[known].sum())
    # The host had waited for the device when the idle time began: that is why there was nothing in the queue.
    synced = timeline.syncs.contains(idle.start) & known
    drained = union(idle.start[synced], late[synced])
    others = union(idle.start[known & ~synced], late[known & ~synced])
    data = sum(intersection(each, timeline.data_waits).total_ns for each in (drained, others))
    waiting = others.minus(timeline.data_waits)
    launch = waiting.minus(timeline.syncs).total_ns
    sync = drained.minus(timeline.data_waits).total_ns + waiting.total_ns - launch
    return DeviceTime(
        timeline.rank,
        timeline.device,
        timeline.extent_ns,
        busy.total_ns,
        compute.total_ns,
        communication.total_ns,
        busy.total_ns - compute.total_ns - communication.total_ns,
        launch,
        data,
        sync,
        start,
        unknown,
    )


def stream_times(timeline: DeviceTimeline) -> tuple[StreamTime, ...]:
    """The time of each stream, the busiest first."""
    found = []
    for stream in np.unique(timeline.stream).tolist():
        mine = timeline.stream == stream
        times = {
            kind: union(timeline.start_ns[chosen], timeline.end_of_ns[chosen])
            .within(timeline.begin_ns, timeline.end_ns)
            .total_ns
            for kind in (COMPUTE, COMMUNICATION, COPY)
            if (chosen := mine & (timeline.kind == kind)) is not None
        }
        busy = union(timeline.start_ns[mine], timeline.end_of_ns[mine]).within(timeline.begin_ns, timeline.end_ns)
        found.append(
            StreamTime(
                timeline.rank,
                timeline.device,
                stream,
                int(mine.sum()),
                busy.total_ns,
                times[COMPUTE],
                times[COMMUNICATION],
                times[COPY],
                busy.total_ns / (timeline.extent_ns or 1),
            )
        )
    return tuple(sorted(found, key=lambda each: (-each.busy_ns, each.stream)))


def overlaps(timeline: DeviceTimeline) -> tuple[Overlap, ...]:
    """Communication and copies beside arithmetic; kinds that do not occur are left out."""
    compute = timeline.busy(COMPUTE)
    found = []
    for name, kind in (("communication", COMMUNICATION), ("copy", COPY)):
        mine = timeline.busy(kind)
        if len(mine):
            hidden = intersection(mine, compute).total_ns
            found.append(Overlap(timeline.rank, timeline.device, name, mine.total_ns, hidden, mine.total_ns - hidden))
    return tuple(found)


def _launches_of(timeline: DeviceTimeline, starts_ns: Int64s) -> Int64s:
    """When the work that starts at each of these times was launched, the earliest of several; -1 where not seen."""
    if not len(timeline.start_ns) or not len(starts_ns):
        return np.full(len(starts_ns), -1, dtype=np.int64)
    last = np.int64(2**63 - 1)
    launched = np.where(timeline.launched_ns >= 0, timeline.launched_ns, last)
    firsts, index = np.unique(timeline.start_ns, return_index=True)
    earliest = np.minimum.reduceat(launched, index)
    place = np.minimum(np.searchsorted(firsts, starts_ns), len(firsts) - 1)
    found = np.where(firsts[place] == starts_ns, earliest[place], last)
    return np.where(found == last, -1, found)
