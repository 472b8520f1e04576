"""The spans of work on devices, each below the context that started it, and the calls that launched it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepseek_prof.importing.context_builder import ROOT
from deepseek_prof.importing.event_columns import Int64s
from deepseek_prof.importing.host_spans import TraceProcess
from deepseek_prof.importing.identities import process_number, thread_number
from deepseek_prof.importing.labels import Place
from deepseek_prof.importing.trace_events import TraceEvents, span_table
from deepseek_prof.trace.schema import LAUNCHES

_LABEL_BITS = 32
_DEVICE = "cuda"


@dataclass(frozen=True)
class DeviceWork:
    """What a process started on devices. ``launches`` are those whose call was seen; none for the others."""

    process: TraceProcess
    spans: pa.Table
    launches: pa.Table


def device_work(events: TraceEvents, processes: Sequence[TraceProcess], main: TraceProcess) -> Iterator[DeviceWork]:
    """What each process started on devices; ``main`` gets what nobody is known to have started.

    The processes' events must have been nested before.
    """
    device = events.device
    waiting = np.ones(len(device["label"]), dtype=bool)
    for process in processes:
        for launches, key in ((process.launches, "correlation"), (process.operators, "external")):
            rows = np.flatnonzero(waiting)
            known, contexts, started_ns = launches.find(device[key][rows])
            if known.any():
                waiting[rows[known]] = False
                graph, node, label = (device[name][rows[known]] for name in ("graph", "graph_node", "label"))
                started_in = process.captures.launchers(graph, node, label, contexts[known])
                spans = _table(events, process, rows[known], started_in, started_ns[known])
                seen = launches is process.launches
                yield DeviceWork(process, spans, _launches(events, rows[known], started_ns[known], spans, seen))
    rows = np.flatnonzero(waiting)
    if len(rows):
        nowhere = np.full(len(rows), ROOT, dtype=np.int32)
        spans = _table(events, main, rows, nowhere, device["start_ns"][rows])
        yield DeviceWork(main, spans, LAUNCHES.empty_table())


def _table(
    events: TraceEvents,
    process: TraceProcess,
    rows: Int64s,
    started_in: npt.NDArray[np.int32],
    started_ns: Int64s,
) -> pa.Table:
    """A span belongs to the step in which the host started it."""
    device = {name: column[rows] for name, column in events.device.items()}
    thread_pid = np.array([process_number(pid) for pid, _ in events.threads], dtype=np.int64)
    thread_tid = np.array([thread_number(tid) for _, tid in events.threads], dtype=np.int64)
    index = np.where(device["device"] >= 0, device["device"], thread_pid[device["thread"]])
    stream = np.where(device["stream"] >= 0, device["stream"], thread_tid[device["thread"]])
    indexes, index_of_row = np.unique(index, return_inverse=True)
    names = pa.array([f"{_DEVICE}:{each}" for each in indexes.tolist()])
    is_frame = events.places[device["label"]] == Place.DEVICE_FRAME
    columns = {
        "tid": pa.array(stream),
        "step": process.steps.steps_of(started_ns),
        "start_ns": pa.array(device["start_ns"] + events.base_ns),
        "dur_ns": pa.array(device["dur_ns"]),
        "self_ns": pa.array(np.where(is_frame, 0, device["dur_ns"])),
        "context_id": pa.array(_context_ids(process, started_in, device["label"])),
        "device": names.take(pa.array(index_of_row.reshape(-1))),
        "stream": pa.array((stream & 0x7FFFFFFF).astype(np.int32)),
        "bytes": pa.array(device["bytes"], mask=device["bytes"] < 0),
    }
    return span_table(columns, len(rows))


def _launches(events: TraceEvents, rows: Int64s, launched_ns: Int64s, spans: pa.Table, seen: bool) -> pa.Table:
    """The launches of work whose ``spans`` these are; none where the calls themselves were not ``seen``."""
    is_work = seen & (events.places[events.device["label"][rows]] == Place.DEVICE)
    graph = events.device["graph"][rows]
    columns = {name: spans[name] for name in LAUNCHES.names if name in spans.schema.names}
    columns["launched_ns"] = pa.array(launched_ns + events.base_ns)
    # The driver gives 0 to what belongs to no graph.
    columns["graph_id"] = pa.array(graph, mask=graph <= 0)
    columns["graph_node_id"] = pa.array(events.device["graph_node"][rows], mask=graph <= 0)
    return pa.table([columns[name] for name in LAUNCHES.names], schema=LAUNCHES).filter(pa.array(is_work))


def _context_ids(
    process: TraceProcess, started_in: npt.NDArray[np.int32], label: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    contexts = process.contexts
    pairs, pair_of_row = np.unique(started_in.astype(np.int64) << _LABEL_BITS | label, return_inverse=True)
    numbers = []
    for pair in pairs.tolist():
        parent, label_number = pair >> _LABEL_BITS, pair & ((1 << _LABEL_BITS) - 1)
        known = contexts.children.get(contexts.key(parent, label_number, 0))
        numbers.append(known or contexts.add(parent, label_number, 0))
    ids, _ = contexts.table.ids_of(np.array(numbers, dtype=np.int64)[pair_of_row.reshape(-1)])
    return ids
