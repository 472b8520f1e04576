"""From stretches of unchanged stacks to samples: evenly weighted rows, each with the span around it.

py-spy samples at irregular moments and tells of changes only. A stretch therefore becomes as many rows as sampling
periods begin in it, so that rows times period is time. The first row stands at the moment at which the stack was seen;
the others are spread over the stretch, and what then would contradict the stack goes back to that moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.innermost import innermost
from deepseek_prof.recording.part_files import read_table
from deepseek_prof.recording.segments import Int64s
from deepseek_prof.recording.steps import StepBoundaries
from deepseek_prof.trace.schema import SAMPLES
from deepseek_prof.trace.stack_text import split_stack

STRETCHES = pa.schema(
    [
        pa.field("tid", pa.int64(), nullable=False),
        pa.field("start_ns", pa.int64(), nullable=False),
        pa.field("end_ns", pa.int64(), nullable=False),
        pa.field("stack", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    ]
)
"""Stretches of one process, CLOCK_MONOTONIC, while it runs."""
UNRESOLVED = np.int64(-1)
"""No context: identities of contexts are not negative."""
_RUNS_BACKWARD = "_engine_run_backward "
_SPAN_COLUMNS = ["tid", "start_ns", "dur_ns", "context_id", "device"]


@dataclass(frozen=True)
class Samples:
    """Rows in order of time, all arrays of shape (rows,). ``stack`` numbers the entries of ``stacks``."""

    tid: Int64s
    ts_ns: Int64s
    first: Int64s
    """The row that stands at the moment at which this row's stack was seen."""
    stack: Int64s
    stacks: pa.Array

    def __len__(self) -> int:
        return len(self.tid)


def rows_of(stretches: pa.Table, period_ns: int, offset_ns: int) -> Samples:
    """The rows of stretches; ``offset_ns`` leads from their clock to the Unix epoch."""
    stretches = stretches.unify_dictionaries().sort_by("start_ns")
    stacks = stretches["stack"].combine_chunks()
    start = stretches["start_ns"].to_numpy() + offset_ns
    end = stretches["end_ns"].to_numpy() + offset_ns
    # Whole periods of one grid: what a stretch lacks, its neighbour has.
    count = np.maximum(-(-end // period_ns) - -(-start // period_ns), 0)
    number = np.repeat(np.arange(len(start)), count)
    first = np.repeat(np.cumsum(count) - count, count)
    place = np.arange(len(number)) - first
    ts_ns = start[number] + place * (end - start)[number] // np.maximum(count, 1)[number]
    return Samples(
        stretches["tid"].to_numpy()[number], ts_ns, first, stacks.indices.to_numpy()[number], stacks.dictionary
    )


def find_contexts(tid: Int64s, ts_ns: Int64s, parts: Sequence[Path]) -> Int64s:
    """The context of the innermost span around each moment of a thread; else UNRESOLVED.

    ``parts`` are the process's span files in order. One is in memory at a time, of those that may hold such a span.
    Raises RunDamagedError or OSError.
    """
    found = np.full(len(tid), UNRESOLVED, dtype=np.int64)
    waiting = np.arange(len(tid))
    for path in parts:
        if not len(waiting):
            break
        try:
            file = pq.ParquetFile(path)
            groups = _groups_around(file, int(ts_ns[waiting].min()), int(ts_ns[waiting].max()))
            if not groups:
                continue
            spans = file.read_row_groups(groups, columns=_SPAN_COLUMNS)
        except pa.ArrowException as error:
            raise RunDamagedError(f"{path} is damaged: {error}.") from error
        on_host = spans["device"].is_null().to_numpy()
        span_tid = spans["tid"].to_numpy()
        for thread in np.unique(tid[waiting]):
            rows = waiting[tid[waiting] == thread]
            mine = np.flatnonzero(on_host & (span_tid == thread))
            start = spans["start_ns"].to_numpy()[mine]
            end = start + spans["dur_ns"].to_numpy()[mine]
            if len(end) and (np.diff(end) < 0).any():  # not from the native recorder
                order = np.lexsort((-start, end))
                mine, start, end = mine[order], start[order], end[order]
            index = innermost(start, end, ts_ns[rows])
            hit = index >= 0
            found[rows[hit]] = spans["context_id"].to_numpy()[mine[index[hit]]]
        waiting = waiting[found[waiting] == UNRESOLVED]
    return found


def _groups_around(file: pq.ParquetFile, first_ns: int, last_ns: int) -> list[int]:
    """The row groups whose statistics do not exclude a span of the host around a moment from ``first`` to ``last``."""
    start_at, dur_at, device_at = (file.schema.names.index(name) for name in ("start_ns", "dur_ns", "device"))
    found = []
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        start, dur, device = (group.column(place).statistics for place in (start_at, dur_at, device_at))
        is_told = start is not None and dur is not None and start.has_min_max and dur.has_min_max
        if is_told and (start.min > last_ns or start.max + dur.max < first_ns):
            continue
        if device is not None and device.has_null_count and device.null_count == 0:
            continue  # all of it is work on devices
        found.append(number)
    return found


def place_rows(samples: Samples, contexts: Int64s, places: dict[int, int]) -> tuple[Int64s, Int64s]:
    """Moments and contexts, of rows that contradict their stack those of the moment at which it was seen.

    ``places``, by context, are parts of the program in which a stack stays: another place means another stack. Places
    below 0 are in backward. Where the stack ends in the call that runs backward, it says nothing on where in backward.
    0, as for a context that is not there: outside all places.
    """
    known = np.array(sorted(places), dtype=np.int64)
    values = np.array([places[context] for context in sorted(places)], dtype=np.int64)
    index = np.searchsorted(known, contexts)
    present = np.isin(contexts, known)
    place = np.zeros(len(contexts), dtype=np.int64)
    place[present] = values[index[present]]
    in_engine = np.array([_ends_in_engine(stack) for stack in samples.stacks.to_pylist()], dtype=np.bool_)
    astray = (place != place[samples.first]) & ~(in_engine[samples.stack] & (place <= 0))
    source = np.where(astray, samples.first, np.arange(len(samples)))
    return samples.ts_ns[source], contexts[source]


def _ends_in_engine(stack: str) -> bool:
    """Whether the innermost Python frame is the one below which torch runs backward."""
    frame = next((frame for frame in reversed(split_stack(stack)) if ".py:" in frame), "")
    return frame.startswith(_RUNS_BACKWARD)


def read_places(contexts_file: Path) -> dict[int, int]:
    """For :func:`place_rows`: a place is a layer in a phase. Raises RunDamagedError."""
    numbers: dict[tuple[str, str], int] = {("", "other"): 0}
    places: dict[int, int] = {}
    table = read_table(contexts_file).select(["context_id", "layer", "phase"])
    for context_id, layer, phase in zip(*(column.to_pylist() for column in table.columns), strict=True):
        number = numbers.setdefault((layer or "", phase), len(numbers))
        places[context_id] = -number if phase == "backward" else number
    return places


def samples_to_arrow(samples: Samples, ts_ns: Int64s, contexts: Int64s, steps: StepBoundaries) -> pa.Table:
    """The rows of a samples file by time; ``steps`` on the Unix epoch."""
    order = np.argsort(ts_ns, kind="stable")
    ts_ns, contexts = ts_ns[order], contexts[order]
    missing: npt.NDArray[np.bool_] = contexts == UNRESOLVED
    stacks = pa.DictionaryArray.from_arrays(pa.array(samples.stack[order], pa.int32()), samples.stacks)
    return pa.table(
        {
            "tid": pa.array(samples.tid[order]),
            "ts_ns": pa.array(ts_ns),
            "stack": stacks,
            "step": steps.steps_of(ts_ns),
            "context_id": pa.array(contexts, mask=missing),
        },
        schema=pa.schema([field.with_type(stacks.type) if field.name == "stack" else field for field in SAMPLES]),
    )
