"""From the event table of one trace file to its processes and the spans of their threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepseek_prof.importing.context_builder import ContextBuilder
from deepseek_prof.importing.event_columns import Int64s
from deepseek_prof.importing.forward_threads import forward_threads
from deepseek_prof.importing.graph_captures import GraphCaptures
from deepseek_prof.importing.identities import process_number, thread_number
from deepseek_prof.importing.labels import Place, step_number
from deepseek_prof.importing.launches import Launches
from deepseek_prof.importing.nesting import UNKNOWN_THREAD, Nested, SequenceLayers, ThreadEvents, nest
from deepseek_prof.importing.step_frames import StepFrames, framed_steps, no_steps, optimizer_steps
from deepseek_prof.importing.tensor_inputs import tensor_columns
from deepseek_prof.importing.trace_events import Rows, TraceEvents, position_in, rows_by_value, span_table
from deepseek_prof.model import Kind
from deepseek_prof.recording.context_table import STEP_CONTEXT_NAME

_OPTIMIZER_STEP = "Optimizer.step#"
_NESTED_AT_ONCE = 1 << 15
"""Rows that are Python lists at a time: they take ten times the memory of an array."""
_TABLE_ROWS = 1 << 18


@dataclass
class TraceProcess:
    """One process of a trace: its contexts, its steps, and what it started on devices.

    ``steps`` are those of another process of the file where it has none of its own; ``own_steps`` says so.
    """

    pid: int
    threads: tuple[int, ...]
    events: int
    contexts: ContextBuilder
    steps: StepFrames = field(default_factory=no_steps)
    own_steps: bool = False
    launches: Launches = field(default_factory=Launches)
    """By ``correlation``."""
    captures: GraphCaptures = field(default_factory=lambda: GraphCaptures(()))
    operators: Launches = field(default_factory=Launches)
    """By ``External id``, of those that work on a device without a known launch names."""


class HostSpans:
    """The processes of a trace file; :meth:`tables` nests their events."""

    def __init__(self, events: TraceEvents) -> None:
        self._events = events
        self._rows_of = rows_by_value(events.host["thread"])
        self._is_nested = events.places == Place.HOST
        threads: dict[int, list[int]] = {}
        for thread in self._rows_of:
            threads.setdefault(process_number(events.threads[thread][0]), []).append(thread)
        self.processes = [
            TraceProcess(
                pid,
                tuple(mine),
                sum(len(self._rows_of[each]) for each in mine),
                ContextBuilder(events.labels),
                captures=GraphCaptures(events.labels),
            )
            for pid, mine in threads.items()
        ]
        if not self.processes:  # nothing but work on devices
            self.processes = [TraceProcess(0, (), 0, ContextBuilder(events.labels))]
        self._find_steps()
        known = np.isin(events.device["correlation"], events.launches["correlation"])
        self._wanted_operators = np.unique(events.device["external"][~known])

    @property
    def main(self) -> TraceProcess:
        """The process with the most events."""
        return max(self.processes, key=lambda process: process.events)

    def tables(self) -> Iterator[tuple[TraceProcess, pa.Table]]:
        """The spans of each thread in turn."""
        for process in self.processes:
            links = self._events.links
            thread_of_link = self._events.host["thread"][links["row"]]
            mine = np.isin(thread_of_link, process.threads)
            by_id = forward_threads(
                thread_of_link[mine],
                self._events.host["start_ns"][links["row"][mine]],
                links["sequence"][mine],
                links["forward_thread"][mine],
                self._events.flows,
            )
            layers = SequenceLayers()
            backward = set(np.unique(thread_of_link[mine & (links["forward_thread"] > 0)]).tolist())
            # Backward nodes look up the layers of forward operators, which mostly run on another thread.
            for thread in sorted(process.threads, key=lambda thread: thread in backward):
                for table in self._thread_tables(process, thread, by_id, layers):
                    yield process, table

    def _thread_tables(
        self, process: TraceProcess, thread: int, by_id: dict[int, int], layers: SequenceLayers
    ) -> Iterator[pa.Table]:
        host = self._events.host
        rows = self._rows_of[thread]
        rows = rows[self._is_nested[host["label"][rows]]]
        rows = rows[np.lexsort((-host["dur_ns"][rows], host["start_ns"][rows]))]
        blocks = (
            self._block(rows[first : first + _NESTED_AT_ONCE], by_id) for first in range(0, len(rows), _NESTED_AT_ONCE)
        )
        nested = nest(thread, len(rows), blocks, process.contexts, layers)
        self._note_launches(process, rows, nested)
        tid = thread_number(self._events.threads[thread][1])
        for first in range(0, len(rows), _TABLE_ROWS):
            part = slice(first, first + _TABLE_ROWS)
            start_ns = host["start_ns"][rows[part]]
            ids, _ = process.contexts.table.ids_of(nested.context[part].astype(np.int64))
            columns = {
                "tid": pa.array(np.full(len(start_ns), tid, dtype=np.int64)),
                "step": process.steps.steps_of(start_ns),
                "start_ns": pa.array(start_ns + self._events.base_ns),
                "dur_ns": pa.array(host["dur_ns"][rows[part]]),
                "self_ns": pa.array(nested.self_ns[part]),
                "context_id": pa.array(ids),
            }
            signature = host["signature"][rows[part]]
            if signature.any():
                columns |= tensor_columns(
                    process.contexts.table, nested.context[part], signature, self._events.signatures
                )
            yield span_table(columns, len(start_ns))

    def _block(self, rows: Rows, by_id: dict[int, int]) -> ThreadEvents:
        host, links = self._events.host, self._events.links
        sequence = np.full(len(rows), -1, dtype=np.int64)
        forward = np.full(len(rows), -1, dtype=np.int64)
        linked, index = position_in(rows, links["row"])
        sequence[linked] = links["sequence"][index]
        forward[linked] = [
            -1 if each <= 0 else by_id.get(each, UNKNOWN_THREAD) for each in links["forward_thread"][index].tolist()
        ]
        return ThreadEvents(host["label"][rows], host["start_ns"][rows], host["dur_ns"][rows], sequence, forward)

    def _note_launches(self, process: TraceProcess, rows: Rows, nested: Nested) -> None:
        host, launches = self._events.host, self._events.launches
        calls, index = position_in(rows, launches["row"])
        started = _launchers(process.contexts, nested.context[calls])
        process.launches.add(launches["correlation"][index], started, host["start_ns"][rows[calls]])
        process.captures.add(host["label"][rows[calls]], started, host["start_ns"][rows[calls]])
        if len(self._wanted_operators):
            wanted = np.flatnonzero(np.isin(host["external"][rows], self._wanted_operators))
            started = _launchers(process.contexts, nested.context[wanted])
            process.operators.add(host["external"][rows[wanted]], started, host["start_ns"][rows[wanted]])

    # --- steps

    def _find_steps(self) -> None:
        for process in self.processes:
            process.steps = self._framed_steps(process)
            if not len(process.steps):
                process.steps = self._optimizer_steps(process)
            process.own_steps = len(process.steps) > 0
            if process.own_steps:
                process.contexts.table.add_special(STEP_CONTEXT_NAME, Kind.STEP)
        others = next((process.steps for process in self.processes if process.own_steps), no_steps())
        for process in self.processes:
            if not process.own_steps:
                process.steps = others

    def _framed_steps(self, process: TraceProcess) -> StepFrames:
        host = self._events.host
        rows = self._rows_labelled(process, np.flatnonzero(self._events.places == Place.STEP))
        names = [self._events.labels[label].name for label in host["label"][rows].tolist()]
        number: Int64s = np.array([step_number(name) for name in names], dtype=np.int64)
        return framed_steps(number, host["start_ns"][rows], host["dur_ns"][rows])

    def _optimizer_steps(self, process: TraceProcess) -> StepFrames:
        host = self._events.host
        labels = [number for number, each in enumerate(self._events.labels) if each.name.startswith(_OPTIMIZER_STEP)]
        calls = [rows for label in labels if len(rows := self._rows_labelled(process, np.array([label])))]
        if not calls:
            return no_steps()
        # With several optimizers a step ends with the one that is called least often.
        rows = min(calls, key=len)
        begin_ns = min(int(host["start_ns"][self._rows_of[thread]].min()) for thread in process.threads)
        return optimizer_steps(begin_ns, host["start_ns"][rows] + host["dur_ns"][rows])

    def _rows_labelled(self, process: TraceProcess, labels: Int64s) -> Int64s:
        """The rows of these labels that belong to the process."""
        host = self._events.host
        wanted = np.zeros(len(self._events.labels), dtype=bool)
        wanted[labels] = True
        rows = np.flatnonzero(wanted[host["label"]])
        return rows[np.isin(host["thread"][rows], process.threads)]


def _launchers(contexts: ContextBuilder, numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """For each of these contexts the operator that it belongs to."""
    distinct, number = np.unique(numbers, return_inverse=True)
    found = np.array([contexts.launcher(each) for each in distinct.tolist()], dtype=np.int32)
    return found[number.reshape(-1)]
