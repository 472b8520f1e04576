"""Nests the events of a thread by their times: calling contexts, and self times that count every nanosecond once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepseek_prof.importing.context_builder import LABEL_BITS, ROOT, ContextBuilder
from deepseek_prof.importing.event_table import Int64s
from deepseek_prof.model import Kind

_ROUNDING_NS = 1000
"""Times are whole microseconds in many traces, and doubles that are little finer in others."""
_BLOCK = 1 << 16
"""Rows that are Python lists at a time: they take ten times the memory of an array."""


@dataclass(frozen=True)
class ThreadEvents:
    """The events of one thread, by start, the longer first where two start together.

    ``sequence`` is -1 where an event has none; ``forward_thread``: -1 for an event that runs forward, else the number
    of the thread that ran its forward operator (:data:`UNKNOWN_THREAD` where nothing tells).
    """

    thread: int
    label: npt.NDArray[np.int32]
    start_ns: Int64s
    dur_ns: Int64s
    sequence: Int64s
    forward_thread: Int64s


UNKNOWN_THREAD = 1 << 40


@dataclass(frozen=True)
class Nested:
    """One value for each event of a thread: its context's number, and its time outside the events in it."""

    context: npt.NDArray[np.int64]
    self_ns: Int64s


def nest(events: ThreadEvents, contexts: ContextBuilder, layers_by_sequence: dict[tuple[int, int], int]) -> Nested:
    """Nests the events of a thread: an event lies in the innermost one that is open when it starts and ends after it.

    Where two overlap, the earlier one counts as ended when the later one starts: a Python frame that enters a scope
    ends long before the scope. Only what sticks out by no more than the rounding of the clock is cut off instead.

    Args:
        events: the thread's events.
        contexts: takes new contexts.
        layers_by_sequence: the layer of the operators that autograd has a number for, by thread and number; forward
            threads add to it, backward nodes are placed by it.
    """
    count = len(events.start_ns)
    context = np.empty(count, dtype=np.int64)
    parent_row = np.empty(count, dtype=np.int64)
    end_ns = events.start_ns + events.dur_ns
    variant = np.where(events.sequence < 0, 0, np.where(events.forward_thread < 0, 1, 2)).astype(np.int64)
    ends: dict[int, int] = {}
    open_ends: list[int] = []
    open_contexts: list[int] = []
    open_rows: list[int] = []
    children = contexts.children
    add = contexts.add
    layers, kinds, thread = contexts.layers, contexts.kinds, events.thread
    for first in range(0, count, _BLOCK):
        rows = slice(first, min(first + _BLOCK, count))
        numbers: list[int] = []
        parents: list[int] = []
        for row, (start, event_end, label, kind_of_link) in enumerate(
            zip(
                events.start_ns[rows].tolist(),
                end_ns[rows].tolist(),
                events.label[rows].tolist(),
                variant[rows].tolist(),
                strict=True,
            ),
            first,
        ):
            end = event_end
            while open_ends and open_ends[-1] < end:
                open_end = open_ends[-1]
                if open_end > start:
                    if end - open_end <= min(_ROUNDING_NS, open_end - start):
                        end = ends[row] = open_end
                        break
                    ends[open_rows[-1]] = start
                open_ends.pop()
                open_contexts.pop()
                open_rows.pop()
            while open_ends and open_ends[-1] <= start:  # events of no length
                open_ends.pop()
                open_contexts.pop()
                open_rows.pop()
            parent = open_contexts[-1] if open_contexts else ROOT
            parents.append(open_rows[-1] if open_rows else -1)
            if kind_of_link == 2 and kinds[parent] is not Kind.AUTOGRAD:
                sequence, forward = int(events.sequence[row]), int(events.forward_thread[row])
                layer = layers_by_sequence.get((forward, sequence), ROOT)
                if layer != ROOT:
                    parent = contexts.backward_twin(layer)
            # The key is written out: this line runs once an event.
            number = children.get((parent << LABEL_BITS | label) << 2 | kind_of_link) or add(
                parent, label, kind_of_link
            )
            if kind_of_link == 1:
                layers_by_sequence[thread, int(events.sequence[row])] = layers[number]
            numbers.append(number)
            open_ends.append(end)
            open_contexts.append(number)
            open_rows.append(row)
        context[rows], parent_row[rows] = numbers, parents
    if ends:
        end_ns[list(ends)] = list(ends.values())
    return Nested(context, _self_times(events.start_ns, end_ns, parent_row))


def _self_times(start_ns: Int64s, end_ns: Int64s, parent_row: Int64s) -> Int64s:
    spent = end_ns - start_ns
    inside = np.flatnonzero(parent_row >= 0)
    # Sums of nanoseconds as doubles: exact up to 104 days.
    by_child = np.bincount(parent_row[inside], weights=spent[inside], minlength=len(spent))
    return spent - by_child.astype(np.int64)
