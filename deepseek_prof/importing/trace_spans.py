"""From the event table of one trace file to the spans of its processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepseek_prof.importing.context_builder import ContextBuilder
from deepseek_prof.importing.event_table import Columns, Flow, Int64s
from deepseek_prof.importing.forward_threads import forward_threads
from deepseek_prof.importing.identities import process_number, thread_number
from deepseek_prof.importing.labels import Label, Place, step_number
from deepseek_prof.importing.nesting import UNKNOWN_THREAD, Nested, ThreadEvents, nest
from deepseek_prof.importing.step_frames import StepFrames, framed_steps, optimizer_steps
from deepseek_prof.model import Kind
from deepseek_prof.recording.context_table import STEP_CONTEXT_NAME
from deepseek_prof.trace.schema import SPANS

_OPTIMIZER_STEP = "Optimizer.step#"


@dataclass
class Launches:
    """Where the work on devices was started: one entry for each call into the driver."""

    keys: list[Int64s] = field(default_factory=list)
    contexts: list[Int64s] = field(default_factory=list)
    start_ns: list[Int64s] = field(default_factory=list)

    def add(self, keys: Int64s, contexts: Int64s, start_ns: Int64s) -> None:
        """Adds calls; a key of 0 or less means none."""
        good = keys > 0
        self.keys.append(keys[good])
        self.contexts.append(contexts[good])
        self.start_ns.append(start_ns[good])

    def find(self, keys: Int64s) -> tuple[npt.NDArray[np.bool_], Int64s, Int64s]:
        """Which of ``keys`` are known, and the context and start of each (anything where it is not)."""
        known = np.concatenate([*self.keys, np.zeros(0, np.int64)])
        if len(known) == 0:
            return np.zeros(len(keys), bool), np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
        order = np.argsort(known, kind="stable")
        index = np.minimum(np.searchsorted(known, keys, sorter=order), len(known) - 1)
        rows = order[index]
        return known[rows] == keys, np.concatenate(self.contexts)[rows], np.concatenate(self.start_ns)[rows]


@dataclass
class TraceProcess:
    """One process of a trace, nested: its contexts, its steps, and what it started on devices."""

    pid: int
    contexts: ContextBuilder
    steps: StepFrames
    events: int
    launches: Launches = field(default_factory=Launches)
    operators: Launches = field(default_factory=Launches)
    """By the profiler's own numbers of operators, of those that work on a device without a known launch names."""


@dataclass(frozen=True)
class TraceEvents:
    """The content of an :class:`EventTable`, complete. Times are in nanoseconds since the Unix epoch."""

    host: Columns
    links: Columns
    launches: Columns
    device: Columns
    flows: Sequence[Flow]
    labels: Sequence[Label]
    threads: Sequence[tuple[Any, Any]]


class TraceSpans:
    """The processes of a trace file and their spans. Call :meth:`host_spans` to its end, then :meth:`device_spans`."""

    def __init__(self, events: TraceEvents) -> None:
        self._events = events
        self._places = np.array([label.place for label in events.labels], dtype=np.int8)
        self._order = np.argsort(events.host["thread"], kind="stable")
        self._rows_of = _groups(events.host["thread"], self._order)
        self.processes: dict[int, TraceProcess] = {}
        for pid, threads in self._threads_by_process().items():
            rows = sum(len(self._rows_of[thread]) for thread in threads)
            self.processes[pid] = TraceProcess(pid, ContextBuilder(events.labels), self._steps(threads), rows)
        if not self.processes and len(events.device["thread"]):
            self.processes[0] = TraceProcess(0, ContextBuilder(events.labels), _no_steps(), 0)
        stepping = next((process.steps for process in self.processes.values() if len(process.steps)), None)
        self._device_links()
        for process in self.processes.values():
            if len(process.steps):
                process.contexts.table.add_special(STEP_CONTEXT_NAME, Kind.STEP)
        self._default_steps = stepping or _no_steps()

    @property
    def main(self) -> TraceProcess | None:
        """The process with the most events; None for an empty trace."""
        return max(self.processes.values(), key=lambda process: process.events, default=None)

    def host_spans(self) -> Iterator[tuple[int, pa.Table]]:
        """Process id and spans of each thread in turn."""
        links = self._events.links
        for pid, threads in self._threads_by_process().items():
            process = self.processes[pid]
            of_process = np.isin(self._events.host["thread"][links["row"]], threads)
            rows = links["row"][of_process]
            by_id = forward_threads(
                self._events.host["thread"][rows].astype(np.int64),
                self._events.host["start_ns"][rows],
                links["sequence"][of_process],
                links["forward_thread"][of_process],
                self._events.flows,
            )
            layers_by_sequence: dict[tuple[int, int], int] = {}
            backward = set(np.unique(self._events.host["thread"][rows[links["forward_thread"][of_process] > 0]]))
            # Backward nodes look up the layers of forward operators, which mostly run on another thread.
            for thread in sorted(threads, key=lambda thread: thread in backward):
                table = self._thread_spans(process, thread, by_id, layers_by_sequence)
                if table is not None:
                    yield pid, table

    def _thread_spans(
        self,
        process: TraceProcess,
        thread: int,
        by_id: dict[int, int],
        layers_by_sequence: dict[tuple[int, int], int],
    ) -> pa.Table | None:
        host = self._events.host
        rows = self._rows_of[thread]
        rows = rows[self._places[host["label"][rows]] == Place.HOST]
        if len(rows) == 0:
            return None
        rows = rows[np.lexsort((-host["dur_ns"][rows], host["start_ns"][rows]))]
        sequence, forward = self._links_of(rows, by_id)
        events = ThreadEvents(
            thread, host["label"][rows], host["start_ns"][rows], host["dur_ns"][rows], sequence, forward
        )
        nested = nest(events, process.contexts, layers_by_sequence)
        self._note_launches(process, rows, nested)
        steps = process.steps if len(process.steps) else self._default_steps
        ids, _ = process.contexts.table.ids_of(nested.context)
        return _span_table(
            {
                "tid": pa.array(np.full(len(rows), thread_number(self._events.threads[thread][1]), dtype=np.int64)),
                "step": steps.steps_of(events.start_ns),
                "start_ns": pa.array(events.start_ns),
                "dur_ns": pa.array(events.dur_ns),
                "self_ns": pa.array(nested.self_ns),
                "context_id": pa.array(ids),
            },
            len(rows),
        )

    def device_spans(self) -> Iterator[tuple[int, pa.Table]]:
        """Process id and spans of the work that each process started on devices."""
        device = self._events.device
        waiting = np.ones(len(device["thread"]), dtype=bool)
        for process in self.processes.values():
            for launches, key in ((process.launches, "correlation"), (process.operators, "external")):
                rows = np.flatnonzero(waiting)
                known, contexts, started_ns = launches.find(device[key][rows])
                if known.any():
                    waiting[rows[known]] = False
                    yield process.pid, self._device_table(process, rows[known], contexts[known], started_ns[known])
        rows = np.flatnonzero(waiting)
        if len(rows) and self.main is not None:
            nowhere = np.zeros(len(rows), dtype=np.int64)
            yield self.main.pid, self._device_table(self.main, rows, nowhere, device["start_ns"][rows])

    def _device_table(self, process: TraceProcess, rows: Int64s, launched_in: Int64s, launched_ns: Int64s) -> pa.Table:
        """``launched_in`` is the number of a context, 0 where none is known; the step is that of the launch."""
        device = {name: column[rows] for name, column in self._events.device.items()}
        label = device["label"].astype(np.int64)
        pairs, pair_of_row = np.unique(launched_in << 32 | label, return_inverse=True)
        contexts = process.contexts
        numbers = np.array(
            [
                contexts.children.get(contexts.key(pair >> 32, pair & 0xFFFFFFFF, 0))
                or contexts.add(pair >> 32, pair & 0xFFFFFFFF, 0)
                for pair in pairs.tolist()
            ],
            dtype=np.int64,
        )
        ids, _ = contexts.table.ids_of(numbers[pair_of_row.reshape(-1)])
        owners = [self._events.threads[thread] for thread in device["thread"].tolist()]
        index = np.where(device["device"] >= 0, device["device"], [process_number(pid) for pid, _ in owners])
        stream = np.where(device["stream"] >= 0, device["stream"], [thread_number(tid) for _, tid in owners])
        names, name_of_row = np.unique(index, return_inverse=True)
        steps = process.steps if len(process.steps) else self._default_steps
        frame = self._places[label] == Place.DEVICE_FRAME
        return _span_table(
            {
                "tid": pa.array(stream),
                "step": steps.steps_of(launched_ns),
                "start_ns": pa.array(device["start_ns"]),
                "dur_ns": pa.array(device["dur_ns"]),
                "self_ns": pa.array(np.where(frame, 0, device["dur_ns"])),
                "context_id": pa.array(ids),
                "device": pa.array([f"cuda:{each}" for each in names.tolist()]).take(pa.array(name_of_row.reshape(-1))),
                "stream": pa.array((stream & 0x7FFFFFFF).astype(np.int32)),
                "bytes": pa.array(device["bytes"], mask=device["bytes"] < 0),
            },
            len(rows),
        )

    # --- parts of the above

    def _threads_by_process(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for thread in self._rows_of:
            found.setdefault(process_number(self._events.threads[thread][0]), []).append(thread)
        return found

    def _steps(self, threads: list[int]) -> StepFrames:
        host = self._events.host
        rows = np.concatenate([self._rows_of[thread] for thread in threads])
        labels = host["label"][rows]
        framed = rows[self._places[labels] == Place.STEP]
        if len(framed):
            number = np.array([step_number(self._events.labels[each].name) for each in host["label"][framed].tolist()])
            return framed_steps(number.astype(np.int64), host["start_ns"][framed], host["dur_ns"][framed])
        optimizers = [
            number for number, label in enumerate(self._events.labels) if label.name.startswith(_OPTIMIZER_STEP)
        ]
        called = [number for number in optimizers if (labels == number).any()]
        if not called:
            return _no_steps()
        # With several optimizers a step ends with the one that is called least often.
        chosen = min(called, key=lambda number: int(np.count_nonzero(labels == number)))
        stepped = rows[labels == chosen]
        return optimizer_steps(int(host["start_ns"][rows].min()), host["start_ns"][stepped] + host["dur_ns"][stepped])

    def _links_of(self, rows: Int64s, by_id: dict[int, int]) -> tuple[Int64s, Int64s]:
        """Sequence number and forward thread of these events, as :class:`ThreadEvents` wants them."""
        links = self._events.links
        sequence = np.full(len(rows), -1, dtype=np.int64)
        forward = np.full(len(rows), -1, dtype=np.int64)
        if len(links["row"]) == 0:
            return sequence, forward
        index = np.minimum(np.searchsorted(links["row"], rows), len(links["row"]) - 1)
        linked = np.flatnonzero(links["row"][index] == rows)
        index = index[linked]
        sequence[linked] = links["sequence"][index]
        forward_id = links["forward_thread"][index]
        forward[linked] = [-1 if each <= 0 else by_id.get(each, UNKNOWN_THREAD) for each in forward_id.tolist()]
        return sequence, forward

    def _device_links(self) -> None:
        """Which operators' own numbers are wanted: those of work whose launch is not in the trace."""
        device, launches = self._events.device, self._events.launches
        unknown = ~np.isin(device["correlation"], launches["correlation"])
        self._wanted_operators = np.unique(device["external"][unknown])

    def _note_launches(self, process: TraceProcess, rows: Int64s, nested: Nested) -> None:
        host, launches = self._events.host, self._events.launches
        launcher = process.contexts.launcher
        if len(launches["row"]):
            index = np.minimum(np.searchsorted(launches["row"], rows), len(launches["row"]) - 1)
            calls = np.flatnonzero(launches["row"][index] == rows)
            numbers, number_of_call = np.unique(nested.context[calls], return_inverse=True)
            launched_in = np.array([launcher(number) for number in numbers.tolist()], dtype=np.int64)
            process.launches.add(
                launches["correlation"][index[calls]],
                launched_in[number_of_call.reshape(-1)] if len(calls) else np.zeros(0, np.int64),
                host["start_ns"][rows[calls]],
            )
        if len(self._wanted_operators):
            wanted = np.flatnonzero(np.isin(host["external"][rows], self._wanted_operators))
            process.operators.add(
                host["external"][rows[wanted]],
                np.array([launcher(number) for number in nested.context[wanted].tolist()], dtype=np.int64),
                host["start_ns"][rows[wanted]],
            )


def _groups(values: npt.NDArray[np.int32], order: Int64s) -> dict[int, Int64s]:
    """The rows of each value, in their own order."""
    present, starts = np.unique(values[order], return_index=True)
    ends = [*starts.tolist()[1:], len(order)]
    return {value: order[start:end] for value, start, end in zip(present.tolist(), starts.tolist(), ends, strict=True)}


def _no_steps() -> StepFrames:
    nothing = np.zeros(0, dtype=np.int64)
    return StepFrames(nothing, nothing, nothing)


def _span_table(columns: dict[str, pa.Array], count: int) -> pa.Table:
    arrays = [columns[each.name] if each.name in columns else pa.nulls(count, each.type) for each in SPANS]
    return pa.table(arrays, schema=SPANS)
