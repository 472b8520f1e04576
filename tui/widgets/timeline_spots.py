"""Places in a timeline: what a lane has at a moment, and which lane has a span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.flame_paths import Frame
from deepseek_prof.tui.widgets.timeline_layout import Chart, Track

TimelineRow = tuple[Track, int | None]
"""A lane of a track by its number, or None for the line with the track's name."""


@dataclass(frozen=True)
class Spot:
    """A place in the chart: a track, a lane of it, and the span there; without a span a gap, from start to end."""

    track: Track
    lane: int
    span: int | None
    start_ns: int
    end_ns: int

    @property
    def frame(self) -> Frame | None:
        """What the span is; None for a gap."""
        return None if self.span is None else self.track.frames[self.track.lanes[self.lane].frame[self.span]]


def rows_of(chart: Chart) -> list[TimelineRow]:
    """The lines of the chart from top to bottom: of every track its name, then its lanes."""
    rows: list[TimelineRow] = []
    for track in chart.tracks:
        rows += [(track, None), *((track, depth) for depth in range(len(track.lanes)))]
    return rows


def span_spot(track: Track, lane: int, span: int) -> Spot:
    """The place of a span, by its number in its lane."""
    spans = track.lanes[lane]
    return Spot(track, lane, span, int(spans.start_ns[span]), int(spans.end_ns[span]))


def spot_at(chart: Chart, track: Track, lane_index: int, moment: int) -> Spot | None:
    """What a lane has at a moment: a span, or the gap between two; None in an empty lane."""
    lane = track.lanes[lane_index]
    if not len(lane):
        return None
    span = lane.at(moment)
    if span is not None:
        return span_spot(track, lane_index, span)
    behind = lane.nearest(moment)
    behind += int(lane.end_ns[behind] <= moment)
    start = int(lane.end_ns[behind - 1]) if behind else 0
    end = int(lane.start_ns[behind]) if behind < len(lane) else chart.length_ns
    return Spot(track, lane_index, None, start, end)


def row_of(rows: Sequence[TimelineRow], start_ns: int, end_ns: int) -> int | None:
    """The row whose span at ``start_ns`` is most like that from ``start_ns`` to ``end_ns``; None where none has one."""
    found: list[tuple[int, int]] = []
    for at, (track, lane) in enumerate(rows):
        span = None if lane is None else track.lanes[lane].at(start_ns)
        if lane is not None and span is not None:
            spot = span_spot(track, lane, span)
            # One whose end sticks out of the span around it was cut: it is still the nearest.
            found.append((abs(spot.start_ns - start_ns) + abs(spot.end_ns - end_ns), at))
    return min(found)[1] if found else None
