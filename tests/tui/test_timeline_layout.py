"""Cells of a timeline: what each shows of the spans, gaps and times behind it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_prof.analysis.flame_paths import Frame
from deepseek_prof.analysis.timeline import Event, Timeline
from deepseek_prof.tui.widgets.timeline_layout import Lane, axis_ticks, cells, chart

OUTER, INNER = Frame("outer", "layer"), Frame("inner", "op", "matmul")


def lane(*spans: tuple[int, int]) -> Lane:
    """Spans from start to end, all of one frame."""
    starts, ends = (np.array(each, dtype=np.int64) for each in zip(*spans, strict=True))
    return Lane(starts, ends, np.zeros(len(starts), dtype=np.int64))


def test_events_become_lanes_by_depth() -> None:
    events = [(True, OUTER, 0), (True, INNER, 10), (False, INNER, 20), (True, INNER, 30), (False, INNER, 60)]
    events += [(False, OUTER, 60), (True, INNER, 80), (False, INNER, 90)]
    found = chart([Timeline("thread 1", None, 1_000, 100, tuple(Event(*each) for each in events))])
    assert found.length_ns == 100
    (track,) = found.tracks
    assert [list(zip(each.start_ns, each.end_ns, strict=True)) for each in track.lanes] == [
        [(0, 60), (80, 90)],
        [(10, 20), (30, 60)],
    ]
    assert [[track.frames[index].name for index in each.frame] for each in track.lanes] == [
        ["outer", "inner"],
        ["inner", "inner"],
    ]
    assert track.busy(0, 100) == 0.7
    assert track.around(1, 15) == (OUTER,)
    assert track.around(1, 70) == ()


def test_no_timelines_make_an_empty_chart() -> None:
    assert chart([]).tracks == ()


def test_a_cell_shows_the_span_over_its_middle_and_how_full_it_is() -> None:
    found = cells(lane((0, 25), (40, 100)), 0, 100, 10)
    assert found.span.tolist() == [0, 0, 0, -1, 1, 1, 1, 1, 1, 1]
    assert found.share.tolist() == [1, 1, 0.5, 0, 1, 1, 1, 1, 1, 1]


def test_a_cell_full_of_short_spans_shows_the_longest() -> None:
    found = cells(lane((0, 1), (2, 4), (6, 7)), 0, 10, 1)
    assert found.span.tolist() == [1]
    assert found.share.tolist() == [0.4]


def test_a_span_that_reaches_into_a_cell_is_seen_there() -> None:
    found = cells(lane((0, 12)), 0, 20, 2)
    assert found.span.tolist() == [0, 0]
    assert found.share.tolist() == [1, 0.2]


@pytest.mark.parametrize("width", [0, 1, 80])
def test_an_empty_lane_shows_nothing(width: int) -> None:
    found = cells(Lane(*(np.array([], dtype=np.int64),) * 3), 0, 100, width)
    assert found.span.tolist() == [-1] * width
    assert found.share.tolist() == [0] * width


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 500)), min_size=1, max_size=60),
    st.integers(1, 200),
    st.integers(0, 5_000),
    st.integers(1, 20_000),
)
def test_cells_add_up_to_the_covered_time(parts: list[tuple[int, int]], width: int, start: int, length: int) -> None:
    moment, spans = 0, []
    for gap, dur in parts:
        spans.append((moment + gap, moment + gap + dur))
        moment += gap + dur
    found = cells(lane(*spans), start, start + length, width)
    exact = sum(max(0, min(end, start + length) - max(begin, start)) for begin, end in spans)
    edges = np.linspace(start, start + length, width + 1).astype(np.int64)
    assert float((found.share * np.maximum(np.diff(edges), 1)).sum()) == pytest.approx(exact)
    assert ((found.share > 0) <= (found.span >= 0)).all()
    shown = [spans[index] for index in found.span if index >= 0]
    assert all(left <= right for left, right in pairwise(shown))


def test_the_longest_gap_comes_first() -> None:
    assert lane((0, 10), (15, 20), (50, 60), (60, 70)).gaps() == [(20, 50), (10, 15)]
    assert lane((0, 10)).gaps() == []


def test_what_is_at_a_moment_or_nearest_to_it() -> None:
    spans = lane((10, 20), (30, 40))
    assert [spans.at(moment) for moment in (9, 10, 19, 20, 39, 40)] == [None, 0, 0, None, 1, None]
    assert [spans.nearest(moment) for moment in (0, 15, 22, 28, 90)] == [0, 0, 0, 1, 1]


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(1, 300))
def test_ticks_are_round_and_in_sight(start: int, length: int, width: int) -> None:
    found = axis_ticks(start, start + length, width)
    assert all(0 <= place <= width and start <= moment <= start + length for place, moment in found)
    steps = {right - left for (_, left), (_, right) in pairwise(found)}
    assert len(steps) <= 1
    assert all(str(step).rstrip("0") in ("1", "2", "5") for step in steps)
