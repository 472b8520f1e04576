"""Timelines of one device drawn by hand, in nanoseconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepseek_prof.analysis.gpu.intervals import Int64s, union
from deepseek_prof.analysis.gpu.work import COMPUTE, DeviceTimeline

Work = tuple[int, int, int]
"""Start, end, launch (-1: not seen)."""


def _column(values: Sequence[int]) -> Int64s:
    return np.array(values, dtype=np.int64)


def timeline(
    work: Sequence[Work],
    *,
    kinds: Sequence[int] = (),
    streams: Sequence[int] = (),
    syncs: Sequence[tuple[int, int]] = (),
    waits: Sequence[tuple[int, int]] = (),
) -> DeviceTimeline:
    """A timeline over ``work``, which is in order of its starts."""
    start, end = _column([each[0] for each in work]), _column([each[1] for each in work])
    return DeviceTimeline(
        rank=0,
        device="cuda:0",
        begin_ns=int(start.min()),
        end_ns=int(end.max()),
        start_ns=start,
        end_of_ns=end,
        stream=_column(streams or [7] * len(work)),
        kind=np.array(kinds or [COMPUTE] * len(work), dtype=np.int8),
        launched_ns=_column([each[2] for each in work]),
        syncs=union(_column([a for a, _ in syncs]), _column([b for _, b in syncs])),
        data_waits=union(_column([a for a, _ in waits]), _column([b for _, b in waits])),
    )
