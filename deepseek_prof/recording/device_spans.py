"""From the windows of device activities to spans, each below what the program did when it launched the work.

The launching call has the same correlation id as the work, and its thread and time tell the span around it. Work is a
child of that span's context and belongs to the step in which it was launched, as in imported traces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.model import Kind
from deepseek_prof.recording.context_table import ContextTable
from deepseek_prof.recording.device_files import DeviceFile, read_device_file
from deepseek_prof.recording.device_format import DEVICE_COLUMNS, GRAPH_CAPTURE, GRAPH_REPLAY, HANDLE_MASK, MARK
from deepseek_prof.recording.graph_replays import Calls, GraphCaptures, GraphMarks, Work
from deepseek_prof.recording.samples import UNRESOLVED, find_contexts
from deepseek_prof.recording.segments import Int64s
from deepseek_prof.recording.steps import StepBoundaries
from deepseek_prof.trace.schema import LAUNCHES, SPANS

_WORK = {"kernel": Kind.KERNEL, "gpu_memcpy": Kind.MEMCPY, "gpu_memset": Kind.MEMSET}
_FRAMES = {"cuda_sync": Kind.SYNC, "gpu_user_annotation": Kind.USER}
"""Names around work on a stream: their time is not their own."""
_CALLS = ("cuda_runtime", "cuda_driver")
_DEVICE = "cuda"


@dataclass(frozen=True)
class DeviceSpans:
    """The spans of some windows, and the launches of those that work."""

    spans: pa.Table
    launches: pa.Table
    """Of kernels, copies and memsets whose launching call was seen."""


def read_device_spans(
    files: Sequence[Path],
    parts: Sequence[Path],
    contexts: ContextTable,
    captures: GraphCaptures,
    boundaries: StepBoundaries,
    offset_ns: int,
    warn: Callable[[str], None],
) -> DeviceSpans:
    """The spans of a process's windows ``files``; what is damaged costs a warning.

    Args:
        files: ``device-NNNNN.bin``.
        parts: the process's span files in order.
        contexts: gains the contexts of the work.
        captures: of the process so far; gains those of ``files``.
        boundaries: the process's steps, CLOCK_MONOTONIC.
        offset_ns: from CLOCK_MONOTONIC to the Unix epoch.
        warn: told what is wrong with a file.

    Raises:
        RunDamagedError: a span file cannot be read.
        OSError: a file cannot be read.
    """
    windows = []
    for path in files:
        try:
            windows.append(read_device_file(path))
        except RunDamagedError as error:
            warn(str(error))
    columns, labels = _joined(windows)
    earlier = {tids[0]: tids[1:] for window in windows for tids in window.threads.values()}
    category = np.array([name for name, _ in labels], dtype=object)[columns["label"]]
    is_call = np.isin(category, _CALLS)
    starts_work = is_call | (category == MARK)
    # Where each call was in the program.
    around = np.full(len(category), -1, dtype=np.int64)
    rows = np.flatnonzero(starts_work)
    columns["resource"][rows], around[rows] = _callers(
        columns["resource"][rows], columns["start_ns"][rows] + offset_ns, earlier, parts
    )
    # A driver call inside a runtime call has the same id: the outer one came first, both are at the same place.
    known, source = _launches(columns["correlation"], rows)
    on_device = ~starts_work
    known &= on_device
    launched_ns = np.where(known, columns["start_ns"][source], columns["start_ns"])
    around[known] = around[source[known]]
    kinds = np.array([_kind(*label) for label in labels], dtype=np.int64)[columns["label"]]
    keep = kinds >= 0
    _attribute_replays(columns, labels, category, kinds, around, known, source, captures)
    is_frame = np.isin(category, tuple(_FRAMES)) | is_call
    spans = _table(columns, labels, kinds, around, launched_ns, is_frame, contexts, boundaries, offset_ns)
    is_launched = known & np.isin(category, tuple(_WORK))
    launches = _launches_table(columns, spans, launched_ns + offset_ns).filter(pa.array(is_launched))
    return DeviceSpans(spans.filter(pa.array(keep)), launches.cast(LAUNCHES))


def _kind(category: str, name: str) -> int:
    """A Kind's number; -1 for what becomes no span."""
    if category in _CALLS:
        return Kind.SYNC if "Synchronize" in name else Kind.RUNTIME
    kind = _WORK.get(category, _FRAMES.get(category))
    return -1 if kind is None else int(kind)


def _callers(
    tid: Int64s, ts_ns: Int64s, earlier: Mapping[int, Sequence[int]], parts: Sequence[Path]
) -> tuple[Int64s, Int64s]:
    """The thread of each call and the context around it.

    ``earlier``: the threads that had the handle of a thread before it. Where that one did nothing at the moment of the
    call, it was one of these that did.
    """
    found = find_contexts(tid, ts_ns, parts)
    lost = np.flatnonzero(found == UNRESOLVED)
    places, others = [lost[:0]], [tid[:0]]
    for thread in np.unique(tid[lost]).tolist():
        mine = lost[tid[lost] == thread]
        for other in earlier.get(thread, ()):
            places.append(mine)
            others.append(np.full(len(mine), other, dtype=np.int64))
    place, other_tid = np.concatenate(places), np.concatenate(others)
    if len(place):
        seen = find_contexts(other_tid, ts_ns[place], parts)
        hit = seen != UNRESOLVED
        tid = tid.copy()
        tid[place[hit]], found[place[hit]] = other_tid[hit], seen[hit]
    return tid, found


def _attribute_replays(
    columns: dict[str, Int64s],
    labels: Sequence[tuple[str, str]],
    category: npt.NDArray[np.object_],
    kinds: Int64s,
    around: Int64s,
    known: npt.NDArray[np.bool_],
    source: Int64s,
    captures: GraphCaptures,
) -> None:
    """Puts into ``around``, for the work of replays, what was around when it was captured, as far as that is known."""
    is_work = np.isin(category, tuple(_WORK))

    def marks(name: str) -> GraphMarks:
        rows = np.flatnonzero(category == name)
        number, tid, start_ns, dur_ns = (columns[each][rows] for each in ("graph", "resource", "start_ns", "dur_ns"))
        return GraphMarks(number, tid, start_ns, start_ns + dur_ns)

    replays, captured = marks(GRAPH_REPLAY), marks(GRAPH_CAPTURE)
    if not len(replays) and not len(captured):
        return
    rows = np.flatnonzero(np.isin(category, _CALLS))
    calls = Calls(
        rows,
        columns["resource"][rows],
        columns["start_ns"][rows],
        columns["start_ns"][rows] + columns["dur_ns"][rows] // 2,
        columns["correlation"][rows],
        around[rows],
        columns["label"][rows],
        [name for _, name in labels],
    )
    captures.add(captured, calls, columns["correlation"][is_work])
    rows = np.flatnonzero(is_work & known)
    work = Work(source[rows], kinds[rows], columns["start_ns"][rows], columns["graph_node"][rows], around[rows])
    around[rows] = captures.places(replays, calls, work)


def _joined(windows: Sequence[DeviceFile]) -> tuple[dict[str, Int64s], list[tuple[str, str]]]:
    """All windows as one, with calls' threads by their ids in the operating system."""
    numbers: dict[tuple[str, str], int] = {("", ""): 0}
    blocks: dict[str, list[Int64s]] = {}
    for index, window in enumerate(windows):
        renumbered = np.array([numbers.setdefault(label, len(numbers)) for label in window.labels], dtype=np.int64)
        columns = dict(window.columns)
        columns["resource"] = _threads_of(window)
        # CUPTI counts correlation ids anew where it was torn down; work and its launch are in one window.
        correlation = columns["correlation"]
        columns["correlation"] = np.where(correlation > 0, correlation + (index << 32), -1)
        if len(columns["label"]):
            columns["label"] = renumbered[columns["label"]]
        for name, values in columns.items():
            blocks.setdefault(name, []).append(values)
    empty = np.zeros(0, dtype=np.int64)
    return {name: np.concatenate(blocks.get(name, [empty])) for name in DEVICE_COLUMNS}, list(numbers)


def _threads_of(window: DeviceFile) -> Int64s:
    """CUPTI names a thread by 32 bits of ``pthread_self()``, signed, or by its id where Kineto has seen it before."""
    resource: Int64s = window.columns["resource"].copy()
    calls = {number for number, (category, _) in enumerate(window.labels) if category in _CALLS}
    rows = np.flatnonzero(np.isin(window.columns["label"], list(calls)))
    distinct, number = np.unique(resource[rows], return_inverse=True)
    tids = [window.threads.get(each & HANDLE_MASK, (each,))[0] for each in distinct.tolist()]
    resource[rows] = np.array(tids, dtype=np.int64)[number.reshape(-1)]
    return resource


def _launches(correlation: Int64s, calls: Int64s) -> tuple[npt.NDArray[np.bool_], Int64s]:
    """For each row whether a call has its correlation id, and the first such call's row."""
    ids, first = np.unique(correlation[calls], return_index=True)
    if not len(ids):
        return np.zeros(len(correlation), dtype=np.bool_), np.zeros(len(correlation), dtype=np.int64)
    place = np.minimum(np.searchsorted(ids, correlation), len(ids) - 1)
    known: npt.NDArray[np.bool_] = (ids[place] == correlation) & (correlation > 0)
    return known, calls[first[place]]


def _table(
    columns: dict[str, Int64s],
    labels: list[tuple[str, str]],
    kinds: Int64s,
    around: Int64s,
    launched_ns: Int64s,
    is_frame: npt.NDArray[np.bool_],
    contexts: ContextTable,
    boundaries: StepBoundaries,
    offset_ns: int,
) -> pa.Table:
    count = len(kinds)
    on_device = columns["device"] >= 0
    stream = columns["resource"]
    indexes, index_of_row = np.unique(columns["device"], return_inverse=True)
    names = pa.array([f"{_DEVICE}:{each}" if each >= 0 else None for each in indexes.tolist()], pa.string())
    values = {
        "tid": pa.array(stream),
        "step": boundaries.steps_of(launched_ns),
        "start_ns": pa.array(columns["start_ns"] + offset_ns),
        "dur_ns": pa.array(columns["dur_ns"]),
        "self_ns": pa.array(np.where(is_frame, 0, columns["dur_ns"])),
        "context_id": pa.array(_context_ids(columns["label"], labels, kinds, around, contexts)),
        "device": names.take(pa.array(index_of_row.reshape(-1))),
        "stream": pa.array((stream & 0x7FFFFFFF).astype(np.int32), mask=~on_device),
        "bytes": pa.array(columns["bytes"], mask=columns["bytes"] < 0),
    }
    arrays = [
        values[field.name].cast(field.type) if field.name in values else pa.nulls(count, field.type) for field in SPANS
    ]
    return pa.table(arrays, schema=SPANS)


def _launches_table(columns: dict[str, Int64s], spans: pa.Table, launched_ns: Int64s) -> pa.Table:
    """A row for each of ``spans``. The driver gives 0 to what belongs to no graph."""
    no_graph = columns["graph"] <= 0
    values = {name: spans[name] for name in LAUNCHES.names if name in spans.schema.names}
    values["launched_ns"] = pa.array(launched_ns)
    values["graph_id"] = pa.array(columns["graph"], mask=no_graph)
    values["graph_node_id"] = pa.array(columns["graph_node"], mask=no_graph)
    return pa.table({name: values[name] for name in LAUNCHES.names})


def _context_ids(
    label: Int64s, labels: list[tuple[str, str]], kinds: Int64s, around: Int64s, contexts: ContextTable
) -> Int64s:
    """The contexts of all rows; a few thousand distinct ones for millions of rows."""
    pairs, first, number = np.unique(np.stack([around, label]), axis=1, return_index=True, return_inverse=True)
    ids = [
        contexts.child(parent, Kind(kind), labels[own][1]) if kind >= 0 else 0
        for parent, own, kind in zip(*pairs.tolist(), kinds[first].tolist(), strict=True)
    ]
    distinct: Int64s = np.array(ids, dtype=np.int64)
    return distinct[number.reshape(-1)]
