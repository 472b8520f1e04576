"""Sets of time as sorted, disjoint intervals: two arrays of int64 nanoseconds, starts and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Int64s: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Intervals:
    """Half-open intervals ``[start, end)`` in order, none empty, none touching the next."""

    start: Int64s
    end: Int64s

    def __len__(self) -> int:
        return len(self.start)

    @property
    def total_ns(self) -> int:
        """The time that is covered."""
        return int((self.end - self.start).sum())

    def within(self, begin_ns: int, end_ns: int) -> Intervals:
        """The part between two times."""
        return union(np.maximum(self.start, begin_ns), np.minimum(self.end, end_ns))

    def gaps(self, begin_ns: int, end_ns: int) -> Intervals:
        """What is not covered between two times."""
        inside = self.within(begin_ns, end_ns)
        return union(
            np.concatenate(([begin_ns], inside.end)).astype(np.int64),
            np.concatenate((inside.start, [end_ns])).astype(np.int64),
        )

    def minus(self, other: Intervals) -> Intervals:
        """What is covered here and not there."""
        if not len(self):
            return self
        return intersection(self, other.gaps(int(self.start[0]), int(self.end[-1])))

    def contains(self, times_ns: Int64s) -> npt.NDArray[np.bool_]:
        """Whether each of the times is covered; the end of an interval is taken to be."""
        if not len(self):
            return np.zeros(len(times_ns), dtype=bool)
        index = np.searchsorted(self.start, times_ns, side="right") - 1
        return (index >= 0) & (times_ns <= self.end[np.maximum(index, 0)])


def union(start: Int64s, end: Int64s) -> Intervals:
    """The time that any of these intervals covers; they may come in any order and overlap."""
    good = end > start
    start, end = start[good], end[good]
    if not len(start):
        return EMPTY
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order])
    first = np.concatenate(([True], start[1:] > end[:-1]))
    last = np.concatenate((first[1:], [True]))
    return Intervals(start[first], end[last])


def intersection(one: Intervals, other: Intervals) -> Intervals:
    """The time that both cover."""
    if not len(one) or not len(other):
        return EMPTY
    # Between two neighbouring borders of either, nothing changes.
    borders = np.unique(np.concatenate((one.start, one.end, other.start, other.end)))
    begin, end = borders[:-1], borders[1:]
    covered = _covers(one, begin) & _covers(other, begin)
    return union(begin[covered], end[covered])


def _covers(intervals: Intervals, begin: Int64s) -> npt.NDArray[np.bool_]:
    index = np.searchsorted(intervals.start, begin, side="right") - 1
    return (index >= 0) & (begin < intervals.end[np.maximum(index, 0)])


EMPTY = Intervals(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
