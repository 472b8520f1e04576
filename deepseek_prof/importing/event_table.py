"""The events of a trace file as columns: a few dozen bytes an event, whatever its JSON took.

Rows of ``host`` nest on threads; rows of ``device`` are work on streams. Everything that is the same for many events
(threads, categories with names) is a number into a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Any

import numpy as np

from deepseek_prof.importing.event_columns import (
    DEVICE_COLUMNS,
    FLOW_COLUMNS,
    HOST_COLUMNS,
    LAUNCH_COLUMNS,
    LINK_COLUMNS,
    GrowingColumns,
    Interned,
)
from deepseek_prof.importing.event_values import (
    as_floats,
    as_integer,
    as_integers,
    as_text,
    external_ids,
    whole_nanoseconds,
)
from deepseek_prof.importing.labels import Label, Place, label_of
from deepseek_prof.importing.tensor_inputs import NO_SIGNATURE, signature_of
from deepseek_prof.importing.trace_event import NO_LIST, TraceEvent
from deepseek_prof.recording.signatures import Signature

_LATEST_US = 4e15
"""Above this, the year 2096 in microseconds since 1970, start and length together do not fit into 64 bits."""


class EventTable:
    """Takes events in, batch by batch."""

    def __init__(self) -> None:
        self._threads = Interned(lambda key: key)
        self._labels = Interned(lambda key: label_of(as_text(key[0]), as_text(key[1])))
        self._signatures = Interned(lambda key: signature_of(*key))
        self._signatures.values_made.append(None)  # NO_SIGNATURE
        self._places = np.zeros(0, np.int8)
        self._launches = np.zeros(0, bool)
        self.host = GrowingColumns(HOST_COLUMNS)
        self.links = GrowingColumns(LINK_COLUMNS)
        self.launches = GrowingColumns(LAUNCH_COLUMNS)
        self.device = GrowingColumns(DEVICE_COLUMNS)
        self.flows = GrowingColumns(FLOW_COLUMNS)
        self.thread_names: dict[tuple[Any, Any], str] = {}
        self.events = 0
        self.malformed = 0
        self.bookkeeping = 0
        self._open: list[tuple[int, int, int, TraceEvent]] = []

    @property
    def threads(self) -> list[tuple[Any, Any]]:
        """The ``pid`` and ``tid`` that each number of a thread stands for, as the file has them."""
        return self._threads.values_made

    @property
    def signatures(self) -> list[Signature | None]:
        """What each number of a signature stands for."""
        return self._signatures.values_made

    @property
    def labels(self) -> list[Label]:
        """What each number of a label stands for."""
        return self._labels.values_made

    def add(self, events: Sequence[TraceEvent], times_ns: Callable[[], Sequence[int] | None]) -> None:
        """Adds a batch. ``times_ns`` gives the exact times of the same events, and is asked where floats are not."""
        self.events += len(events)
        complete = [event for event in events if event.ph == "X"]
        exact: dict[int, int] = {}
        if _needs_exact_times(events):
            exact_ns = times_ns()
            if exact_ns is not None and len(exact_ns) == len(events):
                exact = {id(event): time_ns for event, time_ns in zip(events, exact_ns, strict=True)}
        if len(complete) < len(events):
            self._add_others([event for event in events if event.ph != "X"], exact)
        if complete:
            self._add_complete(complete, exact)

    def close(self) -> int:
        """Makes events of the pairs of begin and end; returns how many had only one of the two."""
        opened: dict[int, list[tuple[int, TraceEvent]]] = {}
        paired: list[TraceEvent] = []
        starts: dict[int, int] = {}
        alone = 0
        for _, time_ns, thread, event in sorted(self._open, key=lambda entry: (entry[2], entry[1], entry[0])):
            stack = opened.setdefault(thread, [])
            if event.ph == "B":
                stack.append((time_ns, event))
            elif stack:
                start_ns, begun = stack.pop()
                begun.ph, begun.dur = "X", (time_ns - start_ns) / 1000
                starts[id(begun)] = start_ns
                paired.append(begun)
            else:
                alone += 1
        self._open.clear()
        if paired:
            self._add_complete(paired, starts)
        return alone + sum(map(len, opened.values()))

    # --- one batch

    def _add_complete(self, events: list[TraceEvent], exact: dict[int, int]) -> None:
        try:
            start_us = np.array([event.ts for event in events], dtype=np.float64)
            dur_us = np.array([event.dur for event in events], dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            start_us, dur_us = as_floats(event.ts for event in events), as_floats(event.dur for event in events)
        good = (np.abs(start_us) < _LATEST_US) & (dur_us >= 0) & (dur_us < _LATEST_US)
        if not good.all():
            self.malformed += int(np.count_nonzero(~good))
            events = [event for event, keep in zip(events, good.tolist(), strict=True) if keep]
            start_us, dur_us = start_us[good], dur_us[good]
            if not events:
                return
        start_ns = whole_nanoseconds(start_us)
        if exact:
            start_ns = np.array([exact[id(event)] for event in events], dtype=np.int64)
        dur_ns = whole_nanoseconds(dur_us)
        numbers = self._labels
        label = np.array([numbers[event.cat, event.name] for event in events], dtype=np.int32)
        threads = self._threads
        thread = np.array([threads[event.pid, event.tid] for event in events], dtype=np.int32)
        if len(self._places) < len(self.labels):
            self._places = np.array([each.place for each in self.labels], dtype=np.int8)
            self._launches = np.array([each.launches for each in self.labels], dtype=bool)
        place = self._places[label]
        self.bookkeeping += int(np.count_nonzero(place == Place.NOWHERE))
        on_device = (place == Place.DEVICE) | (place == Place.DEVICE_FRAME)
        if on_device.any():
            rows = np.flatnonzero(on_device)
            chosen = [events[row].args for row in rows.tolist()]
            self.device.append(
                thread=thread[rows],
                label=label[rows],
                start_ns=start_ns[rows],
                dur_ns=dur_ns[rows],
                external=external_ids(chosen),
                correlation=as_integers([each.correlation for each in chosen]),
                device=as_integers([each.device for each in chosen]),
                stream=as_integers([each.stream for each in chosen]),
                bytes=as_integers([each.bytes for each in chosen]),
                graph=as_integers([each.graph for each in chosen]),
                graph_node=as_integers([each.graph_node for each in chosen]),
            )
        rows = np.flatnonzero((place == Place.HOST) | (place == Place.STEP))
        if len(rows) == 0:
            return
        arguments = [event.args for event in events]
        if len(rows) < len(events):
            arguments = [arguments[row] for row in rows.tolist()]
            thread, label, start_ns, dur_ns = thread[rows], label[rows], start_ns[rows], dur_ns[rows]
        first_row = self.host.rows
        self.host.append(
            thread=thread,
            label=label,
            start_ns=start_ns,
            dur_ns=dur_ns,
            external=external_ids(arguments),
            signature=[
                NO_SIGNATURE
                if each.input_dims is NO_LIST
                else self._signatures[bytes(each.input_dims), bytes(each.input_types)]
                for each in arguments
            ],
        )
        sequence = as_integers([each.sequence for each in arguments])
        linked = np.flatnonzero(sequence >= 0)
        if len(linked):
            forward = as_integers([arguments[row].forward_thread for row in linked.tolist()])
            self.links.append(row=linked + first_row, sequence=sequence[linked], forward_thread=forward)
        launching = np.flatnonzero(self._launches[label])
        if len(launching):
            correlation = as_integers([arguments[row].correlation for row in launching.tolist()])
            self.launches.append(row=launching + first_row, correlation=correlation)

    def _add_others(self, events: Iterable[TraceEvent], exact: dict[int, int]) -> None:
        timed: list[TraceEvent] = []
        for event in events:
            phase = event.ph
            if phase in ("B", "E") or (phase in ("s", "f") and event.cat == "fwdbwd"):
                timed.append(event)
            elif phase == "M":
                if event.name == "thread_name" and isinstance(event.args.name, str):
                    self.thread_names[event.pid, event.tid] = event.args.name
            elif phase == "":
                self.malformed += 1
        time_us = as_floats(event.ts for event in timed)
        good = np.abs(time_us) < _LATEST_US
        self.malformed += int(np.count_nonzero(~good))
        times_ns = whole_nanoseconds(time_us[good]).tolist()
        flows: list[tuple[int, int, int, bool]] = []
        for event, time_ns in zip(compress(timed, good.tolist()), times_ns, strict=True):
            thread = self._threads[event.pid, event.tid]
            start_ns = exact.get(id(event), time_ns)
            if event.ph in ("B", "E"):
                self._open.append((len(self._open), start_ns, thread, event))
            else:
                flows.append((as_integer(event.id), thread, start_ns, event.ph == "s"))
        if flows:
            identity, threads, starts, begins = zip(*flows, strict=True)
            self.flows.append(identity=identity, thread=threads, start_ns=starts, begins=begins)


def _needs_exact_times(events: Sequence[TraceEvent]) -> bool:
    """Whether times are so large that a float of microseconds is coarser than a nanosecond, and not whole."""
    first = next((event.ts for event in events if isinstance(event.ts, float)), 0.0)
    return abs(first) >= 2**43
