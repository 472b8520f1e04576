"""Nests the events of a thread by their times: calling contexts, and self times that count every nanosecond once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepseek_prof.importing.context_builder import LABEL_BITS, ROOT, ContextBuilder
from deepseek_prof.importing.event_columns import Int64s
from deepseek_prof.model import Kind

_ROUNDING_NS = 1000
"""Times are whole microseconds in many traces, and doubles that are little finer in others."""
UNKNOWN_THREAD = 1 << 20
"""The thread of a forward operator that nothing tells."""
_SEQUENCE_BITS = 43


@dataclass(frozen=True)
class ThreadEvents:
    """Some of the events of one thread, by start, the longer first where two start together.

    ``sequence`` is -1 where an event has none; ``forward_thread``: -1 for an event that runs forward, else the number
    of the thread that ran its forward operator.
    """

    label: npt.NDArray[np.int32]
    start_ns: Int64s
    dur_ns: Int64s
    sequence: Int64s
    forward_thread: Int64s


@dataclass(frozen=True)
class Nested:
    """One value for each event of a thread: its context's number, and its time outside the events in it."""

    context: npt.NDArray[np.int32]
    self_ns: Int64s


class SequenceLayers:
    """The layers of the operators that autograd has a number for; those outside any layer take no room."""

    def __init__(self) -> None:
        self._layers: dict[int, int] = {}

    def note(self, thread: int, sequence: int, layer: int) -> None:
        """An operator of ``thread`` has run forward; the last of a number is the one that autograd means."""
        key = thread << _SEQUENCE_BITS | sequence
        if layer != ROOT:
            self._layers[key] = layer
        else:
            self._layers.pop(key, None)

    def find(self, thread: int, sequence: int) -> int:
        """The layer of the forward operator, ROOT where it had none or is not known."""
        return self._layers.get(thread << _SEQUENCE_BITS | sequence, ROOT)


def nest(
    thread: int, count: int, blocks: Iterable[ThreadEvents], contexts: ContextBuilder, layers: SequenceLayers
) -> Nested:
    """Nests the events of a thread: an event lies in the innermost one that is open when it starts and ends after it.

    Where two overlap, the earlier one counts as ended when the later one starts: a Python frame that enters a scope
    ends long before the scope. Only what sticks out by no more than the rounding of the clock is cut off instead.

    Args:
        thread: the thread's number.
        count: of all its events.
        blocks: its events in turn, some thousands at a time.
        contexts: takes new contexts.
        layers: forward operators add to it, backward nodes are placed by it.
    """
    context = np.empty(count, dtype=np.int32)
    parent_row = np.empty(count, dtype=np.int32)
    self_ns = np.empty(count, dtype=np.int64)
    shortened_ns: dict[int, int] = {}
    open_ends: list[int] = []
    open_contexts: list[int] = []
    open_rows: list[int] = []
    children = contexts.children
    add = contexts.add
    layer_of, kind_of = contexts.layers, contexts.kinds
    first = 0
    for block in blocks:
        numbers: list[int] = []
        parents: list[int] = []
        ends = block.start_ns + block.dur_ns
        # As ContextBuilder.add wants it.
        variants = np.where(block.sequence < 0, 0, np.where(block.forward_thread < 0, 1, 2))
        columns = (block.start_ns.tolist(), ends.tolist(), block.label.tolist(), variants.tolist())
        for row, (start, event_end, label, variant) in enumerate(zip(*columns, strict=True), first):
            end = event_end
            while open_ends and open_ends[-1] < end:
                open_end = open_ends[-1]
                if open_end > start:
                    if end - open_end <= min(_ROUNDING_NS, open_end - start):
                        shortened_ns[row] = end - open_end
                        end = open_end
                        break
                    below = open_rows[-1]
                    shortened_ns[below] = shortened_ns.get(below, 0) + open_end - start
                open_ends.pop()
                open_contexts.pop()
                open_rows.pop()
            while open_ends and open_ends[-1] <= start:  # events of no length
                open_ends.pop()
                open_contexts.pop()
                open_rows.pop()
            parent = open_contexts[-1] if open_contexts else ROOT
            parents.append(open_rows[-1] if open_rows else -1)
            if variant == 2 and kind_of[parent] is not Kind.AUTOGRAD:
                layer = layers.find(int(block.forward_thread[row - first]), int(block.sequence[row - first]))
                if layer != ROOT:
                    parent = contexts.backward_twin(layer)
            # The key is written out: this line runs once an event.
            number = children.get((parent << LABEL_BITS | label) << 2 | variant) or add(parent, label, variant)
            if variant == 1:
                layers.note(thread, int(block.sequence[row - first]), layer_of[number])
            numbers.append(number)
            open_ends.append(end)
            open_contexts.append(number)
            open_rows.append(row)
        rows = slice(first, first + len(numbers))
        context[rows], parent_row[rows], self_ns[rows] = numbers, parents, block.dur_ns
        _take_from_parents(self_ns, parent_row[rows], block.dur_ns)
        first += len(numbers)
    if shortened_ns:
        shortened, by_ns = np.array(list(shortened_ns)), np.array(list(shortened_ns.values()))
        self_ns[shortened] -= by_ns
        _take_from_parents(self_ns, parent_row[shortened], -by_ns)
    return Nested(context, self_ns)


def _take_from_parents(self_ns: Int64s, parent_row: npt.NDArray[np.int32], spent_ns: Int64s) -> None:
    inside = parent_row >= 0
    np.subtract.at(self_ns, parent_row[inside], spent_ns[inside])
