"""What the cells of a timeline show: spans of threads and streams as sorted arrays, in any window of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from deepseek_prof.analysis.flame_paths import Frame
from deepseek_prof.analysis.timeline import Timeline

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lane:
    """Spans that do not overlap, in the order of time. Arrays of one length; nanoseconds from the chart's beginning."""

    start_ns: Times
    end_ns: Times
    frame: Times
    """Index into the track's frames."""

    def __len__(self) -> int:
        return len(self.start_ns)

    @cached_property
    def _covered_before(self) -> Times:
        """For every span, the time that the spans before it cover, with the whole at the end."""
        return np.concatenate(([0], np.cumsum(self.end_ns - self.start_ns)))

    def covered(self, moments: Times) -> Times:
        """For every moment, how much time before it is covered by spans."""
        before = np.searchsorted(self.start_ns, moments, side="right") - 1
        known = np.maximum(before, 0)
        inside = np.minimum(moments, self.end_ns[known]) - self.start_ns[known]
        found: Times = np.where(before < 0, 0, self._covered_before[known] + inside)
        return found

    def at(self, moment: int) -> int | None:
        """The span that covers a moment; None in a gap."""
        index = int(np.searchsorted(self.start_ns, moment, side="right")) - 1
        return index if index >= 0 and moment < self.end_ns[index] else None

    def nearest(self, moment: int) -> int:
        """The span that covers a moment or begins or ends nearest to it. The lane must not be empty."""
        index = int(np.searchsorted(self.start_ns, moment, side="right")) - 1
        if index < 0:
            return 0
        if index + 1 < len(self) and self.start_ns[index + 1] - moment < moment - self.end_ns[index]:
            return index + 1
        return index

    def gaps(self) -> list[tuple[int, int]]:
        """Start and end of the times between spans, the longest first."""
        starts, ends = self.end_ns[:-1], self.start_ns[1:]
        order = np.argsort(starts - ends, kind="stable")
        return [(int(starts[each]), int(ends[each])) for each in order if ends[each] > starts[each]]


@dataclass(frozen=True)
class Track:
    """A thread or a stream: one lane for every level of nesting, the outermost first."""

    name: str
    lanes: tuple[Lane, ...]
    frames: tuple[Frame, ...]

    def busy(self, start_ns: float, end_ns: float) -> float:
        """The fraction of a time in which the thread was inside any span."""
        if not self.lanes or end_ns <= start_ns:
            return 0.0
        before, reached = self.lanes[0].covered(np.array([start_ns, end_ns]).astype(np.int64))
        return float(reached - before) / (end_ns - start_ns)

    def around(self, lane: int, moment: int) -> tuple[Frame, ...]:
        """The frames that surround a lane at a moment, the outermost first."""
        found = ((each, each.at(moment)) for each in self.lanes[:lane])
        return tuple(self.frames[each.frame[span]] for each, span in found if span is not None)


@dataclass(frozen=True)
class Chart:
    """All tracks of the chosen time."""

    tracks: tuple[Track, ...]
    length_ns: int


def chart(timelines: Sequence[Timeline]) -> Chart:
    """The chart of what :func:`deepseek_prof.analysis.timeline.timelines` found."""
    return Chart(tuple(_track(each) for each in timelines), max((each.end_ns for each in timelines), default=0))


def _track(timeline: Timeline) -> Track:
    known: dict[Frame, int] = {}
    lanes: list[tuple[list[int], list[int], list[int]]] = []
    depth = 0
    for opens, frame, at_ns in timeline.events:
        if not opens:
            depth -= 1
            lanes[depth][1].append(at_ns)
            continue
        if depth == len(lanes):
            lanes.append(([], [], []))
        lanes[depth][0].append(at_ns)
        lanes[depth][2].append(known.setdefault(frame, len(known)))
        depth += 1
    arrays = ((np.array(each, dtype=np.int64) for each in lane) for lane in lanes)
    return Track(timeline.name, tuple(Lane(*each) for each in arrays), tuple(known))


@dataclass(frozen=True)
class Cells:
    """A lane in a window of time, cell by cell."""

    span: Times
    """The span that the cell shows; -1: none."""
    share: npt.NDArray[np.float64]
    """The part of the cell's time that spans cover."""


def cells(lane: Lane, start_ns: float, end_ns: float, width: int) -> Cells:
    """What ``width`` cells show of the time from ``start_ns`` to ``end_ns``.

    A cell shows the span over its middle, or else the longest one that begins in it. The work grows with the width,
    not with the number of spans.
    """
    edges = np.linspace(start_ns, end_ns, width + 1)
    whole = edges.astype(np.int64)
    if not len(lane) or width <= 0:
        return Cells(np.full(max(0, width), -1, dtype=np.int64), np.zeros(max(0, width)))
    length = np.maximum(np.diff(whole), 1)
    share = np.diff(lane.covered(whole)) / length
    middles = ((edges[:-1] + edges[1:]) / 2).astype(np.int64)
    span = np.searchsorted(lane.start_ns, middles, side="right") - 1
    known = np.maximum(span, 0)
    span = np.where((span >= 0) & (middles < lane.end_ns[known]), span, -1)
    first, last = np.searchsorted(lane.start_ns, whole[:-1]), np.searchsorted(lane.start_ns, whole[1:])
    before = np.maximum(first - 1, 0)
    for index in np.flatnonzero((span < 0) & (share > 0)):
        if first[index] < last[index]:
            begun = slice(first[index], last[index])
            span[index] = first[index] + int(np.argmax(lane.end_ns[begun] - lane.start_ns[begun]))
        else:
            span[index] = before[index]
    return Cells(span, share)


def axis_ticks(start_ns: float, end_ns: float, width: int, cells_a_tick: int = 16) -> list[tuple[int, int]]:
    """Places in cells, and their moments, of round times: 1, 2 or 5 times a power of ten apart."""
    length = end_ns - start_ns
    if width <= 0 or length <= 0:
        return []
    least = length * cells_a_tick / width
    power = 10 ** int(np.floor(np.log10(max(1.0, least))))
    step = next((power * factor for factor in (1, 2, 5, 10) if power * factor >= least), power * 10)
    first = int(np.ceil(start_ns / step)) * step
    return [(int((moment - start_ns) * width / length), moment) for moment in range(first, int(end_ns) + 1, step)]
