"""The steps of an imported process: the frames that ``profiler.step()`` leaves, or else the optimizer's steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from deepseek_prof.importing.event_columns import Int64s
from deepseek_prof.recording.context_table import STEP_CONTEXT_ID
from deepseek_prof.trace.schema import SPANS


@dataclass(frozen=True)
class StepFrames:
    """Steps in order of time, none within another; ``number`` is what the program calls them."""

    number: Int64s
    start_ns: Int64s
    dur_ns: Int64s

    def __len__(self) -> int:
        return len(self.number)

    def steps_of(self, start_ns: Int64s) -> pa.Array:
        """The step of events that start at these times; what comes after a step belongs to the next one.

        Null before the first step; after the last, the number after its.
        """
        if len(self) == 0:
            return pa.nulls(len(start_ns), pa.int32())
        numbers = np.append(self.number, self.number[-1] + 1)
        index = np.searchsorted(self.start_ns + self.dur_ns, start_ns, side="right")
        return pa.array(numbers[index].astype(np.int32), mask=start_ns < self.start_ns[0])

    def to_arrow(self, base_ns: int) -> pa.Table:
        """The steps as spans; ``start_ns`` counts from ``base_ns`` after the Unix epoch."""
        count = len(self)
        columns = {
            "tid": np.zeros(count, dtype=np.int64),
            "step": self.number.astype(np.int32),
            "start_ns": self.start_ns + base_ns,
            "dur_ns": self.dur_ns,
            "self_ns": self.dur_ns,
            "context_id": np.full(count, STEP_CONTEXT_ID, dtype=np.int64),
        }
        return pa.table(
            [
                pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
                for field in SPANS
            ],
            schema=SPANS,
        )


def no_steps() -> StepFrames:
    """The steps of a program without any."""
    nothing = np.zeros(0, dtype=np.int64)
    return StepFrames(nothing, nothing, nothing)


def framed_steps(number: Int64s, start_ns: Int64s, dur_ns: Int64s) -> StepFrames:
    """Steps from frames in any order; of frames that overlap, or that repeat a number, the first is taken."""
    order = np.argsort(start_ns, kind="stable")
    kept: list[int] = []
    seen: set[int] = set()
    end_ns = -(1 << 62)
    for row in order.tolist():
        # A frame ends when the next begins; clocks that count microseconds may make them touch or overlap by one.
        if number[row] not in seen and start_ns[row] >= end_ns - 2000:
            kept.append(row)
            seen.add(int(number[row]))
            end_ns = int(start_ns[row] + dur_ns[row])
    rows = np.array(kept, dtype=np.int64)
    return StepFrames(number[rows], start_ns[rows], dur_ns[rows])


def optimizer_steps(begin_ns: int, ends_ns: Int64s) -> StepFrames:
    """Steps from 0 on that end where an optimizer's step ends, the first beginning with the trace."""
    ends = np.unique(ends_ns)
    starts = np.concatenate([[begin_ns], ends[:-1]]).astype(np.int64)
    return StepFrames(np.arange(len(ends), dtype=np.int64), starts, ends - starts)
