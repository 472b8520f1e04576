"""Sets of time: against a count of single nanoseconds, which cannot go wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_prof.analysis.gpu.intervals import Intervals, intersection, union

PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12)


def made(pairs: list[tuple[int, int]]) -> Intervals:
    return union(np.array([a for a, _ in pairs], dtype=np.int64), np.array([b for _, b in pairs], dtype=np.int64))


def moments(pairs: list[tuple[int, int]]) -> set[int]:
    return {moment for start, end in pairs for moment in range(start, end)}


def of(intervals: Intervals) -> set[int]:
    return moments(list(zip(intervals.start.tolist(), intervals.end.tolist(), strict=True)))


@given(PAIRS, PAIRS)
def test_sets_of_time_are_sets_of_moments(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    first, second = made(one), made(other)
    assert of(first) == moments(one)
    assert first.total_ns == len(moments(one))
    assert (first.start[1:] > first.end[:-1]).all()
    assert of(intersection(first, second)) == moments(one) & moments(other)
    assert of(first.minus(second)) == moments(one) - moments(other)
    assert of(first.within(10, 20)) == moments(one) & set(range(10, 20))
    assert of(first.gaps(5, 30)) == set(range(5, 30)) - moments(one)


@pytest.mark.parametrize(("time", "inside"), [(9, False), (10, True), (19, True), (20, True), (21, False)])
def test_the_end_of_an_interval_is_contained(time: int, inside: bool) -> None:
    assert made([(10, 20)]).contains(np.array([time])).tolist() == [inside]
