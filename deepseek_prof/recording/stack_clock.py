"""Dates what py-spy saw: its times count from a start of its own, the marks of the profiled process from the clock.

A mark is a stretch of time in which a thread of ours shows its number in its stack, with stretches without one
between. What py-spy saw at a moment bounds the offset of its clock from both sides, and many moments bound it well.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_MARK_WEIGHT = 3
_UNSEEN_MARKS = 12
"""A mark of one period is seen in 63 of 100 cases: so many that pass unseen, by chance, are one case in 150,000."""


@dataclass(frozen=True)
class Mark:
    """From ``start_ns`` to ``end_ns`` (CLOCK_MONOTONIC) the stack showed ``number``; 0: no mark."""

    start_ns: int
    end_ns: int
    number: int


@dataclass(frozen=True)
class Anchor:
    """``offset_ns`` leads from py-spy's clock to CLOCK_MONOTONIC; the marks leave ``error_ns`` on either side of it."""

    offset_ns: int
    error_ns: int


def parse_marks(lines: Iterable[str]) -> tuple[list[Mark], dict[int, int]]:
    """The marks of a process with the stretches between them, and the kernel's number of threads by their ident.

    A line that is cut off or damaged is left out: a mark fewer.
    """
    marks: list[Mark] = []
    threads: dict[int, int] = {}
    for line in lines:
        words = line.split()
        if not line.endswith("\n") or not all(word.isascii() and word.isdecimal() for word in words):
            continue
        numbers = [int(word) for word in words]
        if len(numbers) == 2:
            threads[numbers[0]] = numbers[1]
        elif len(numbers) == 3 and (not marks or marks[-1].end_ns <= numbers[0]) and numbers[0] <= numbers[1]:
            if marks:
                marks.append(Mark(marks[-1].end_ns, numbers[0], 0))
            marks.append(Mark(*numbers))
    return marks, threads


def find_anchor(
    seen: Sequence[tuple[int, int]], marks: Sequence[Mark], not_before_ns: int, period_ns: int
) -> Anchor | None:
    """The offset that explains most of ``seen``, some of which may be stamped late; None where there is no mark in it.

    Args:
        seen: moments of py-spy's clock, in nanoseconds, at which the number in the stack was first another one.
        not_before_ns: CLOCK_MONOTONIC before py-spy was started.
        period_ns: mean time between two of py-spy's samples.
    """
    if not any(number for _, number in seen):
        return None
    bounds: list[tuple[int, int]] = []
    for ts_ns, number in seen:
        for mark in marks:
            if mark.number == number and mark.end_ns - ts_ns >= not_before_ns:
                low = max(mark.start_ns - ts_ns, not_before_ns)
                # A mark counts more than a stretch without one, of which each is like the others.
                weight = _MARK_WEIGHT if number else 1
                bounds += [(low, weight), (mark.end_ns - ts_ns + 1, -weight)]
    bounds.sort()
    best, total, low, high = 0, 0, 0, 0
    for (here, weight), (following, _) in pairwise([*bounds, (0, 0)]):
        total += weight
        if total > best and following > here:
            best, low, high = total, here, following - 1
    if best < _MARK_WEIGHT:
        return None
    # A change is seen at the next sample, some time after it; of so many delays, the shortest is about this.
    offset_ns = min(low + period_ns // (len(seen) + 1), (low + high) // 2)
    return Anchor(offset_ns, max(high - offset_ns, offset_ns - low))


def unsampled(changes_ns: Sequence[int], marks: Sequence[Mark]) -> list[tuple[int, int]]:
    """The times in which so many marks passed unseen that py-spy cannot have read the process.

    It tells of no failure: what it saw last seems to go on.

    Args:
        changes_ns: when any thread's stack was another one, ascending, on the clock of the marks.
    """
    ends = [mark.end_ns for mark in marks if mark.number]
    starts = [mark.start_ns for mark in marks if mark.number]
    return [
        (before, after)
        for before, after in pairwise(changes_ns)
        if bisect_right(ends, after) - bisect_left(starts, before) >= _UNSEEN_MARKS
    ]
