"""Where a process's training steps began and ended, read from its ``steps-*.seg`` while they may still grow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepseek_prof.recording.context_table import STEP_CONTEXT_ID
from deepseek_prof.recording.segments import Int64s, Segment, scan_segment
from deepseek_prof.trace.schema import SPANS


@dataclass(frozen=True)
class StepBoundaries:
    """The finished steps of a process: step i is from ``start_ns[i]`` for ``dur_ns[i]``.

    Where steps end with calls of root modules, ``call_ns[i]`` is the time inside of these; elsewhere it is
    ``dur_ns[i]``.
    """

    start_ns: Int64s
    dur_ns: Int64s
    call_ns: Int64s

    def moved(self, offset_ns: int) -> StepBoundaries:
        """The same on another clock."""
        return StepBoundaries(self.start_ns + offset_ns, self.dur_ns, self.call_ns)

    def steps_of(self, start_ns: Int64s) -> pa.Array:
        """For spans that start at these times: how many steps had ended by then; null before the first step."""
        if len(self.start_ns) == 0:
            return pa.nulls(len(start_ns), pa.int32())
        ends: npt.NDArray[np.int64] = np.maximum.accumulate(self.start_ns + self.dur_ns)
        steps = np.searchsorted(ends, start_ns, side="right").astype(np.int32)
        return pa.array(steps, mask=start_ns < self.start_ns[0])


class StepsReader:
    """Reads the steps of one process again and again, closed files only once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._closed: dict[Path, Segment] = {}
        self.boundaries = StepBoundaries(*(np.zeros(0, np.int64) for _ in range(3)))
        self.damage: dict[str, str] = {}
        """By file name, what could not be read."""

    def refresh(self, *, being_written: bool) -> bool:
        """Reads what is new and says whether there was anything. Raises OSError."""
        segments = []
        for path in sorted(self._directory.glob("steps-*.seg")):
            segment = self._closed.get(path)
            if segment is None:
                segment = scan_segment(path, being_written=being_written)
                if segment.damage is not None:
                    self.damage[path.name] = segment.damage
                elif segment.closed:
                    self._closed[path] = segment
            segments.append(segment)
        if sum(map(len, segments)) <= len(self.boundaries.start_ns):
            return False  # fewer where the run was converted to its end just now, and the files are gone
        self.boundaries = StepBoundaries(
            np.concatenate([segment.start_ns for segment in segments]),
            np.concatenate([segment.dur_ns for segment in segments]),
            np.concatenate([segment.self_ns for segment in segments]),
        )
        return True


def steps_to_arrow(boundaries: StepBoundaries, offset_ns: int, *, first: int = 0) -> pa.Table:
    """The steps from ``first`` on as spans; ``offset_ns`` leads from CLOCK_MONOTONIC to the Unix epoch."""
    numbers = np.arange(first, len(boundaries.start_ns), dtype=np.int32)
    count = len(numbers)
    columns = {
        "tid": np.zeros(count, dtype=np.int64),
        "step": numbers,
        "start_ns": boundaries.start_ns[first:] + offset_ns,
        "dur_ns": boundaries.dur_ns[first:],
        "self_ns": boundaries.dur_ns[first:],
        "context_id": np.full(count, STEP_CONTEXT_ID, dtype=np.int64),
    }
    return pa.table(
        [
            pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
            for field in SPANS
        ],
        schema=SPANS,
    )
