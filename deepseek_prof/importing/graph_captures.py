"""Replays of CUDA graphs: their work belongs to what launched it while the graph was captured, not to the replay.

A trace names a graph's nodes by number and holds no link to the calls that made them. Nodes are numbered in the order
in which a capture makes them. So a capture in the same trace is a graph's where it launched as many kernels, copies and
memsets as the graph has nodes, of the same kinds in the same order. A graph without its capture in the trace, as most
are, keeps the replay as its launcher.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepseek_prof.importing.event_columns import Int64s
from deepseek_prof.importing.labels import Label
from deepseek_prof.model import Kind
from deepseek_prof.recording.captured_calls import captured_kind

_BEGIN = re.compile(r"^(?:cuda|cu|hip)StreamBeginCapture")
_END = re.compile(r"^(?:cuda|cu|hip)StreamEndCapture")


class GraphCaptures:
    """The captures of one process. Add the calls of all its threads, then ask for launchers.

    Args:
        labels: what the label numbers of events stand for.
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        self._labels = labels
        self._is_any = any(_BEGIN.match(label.name) for label in labels)
        self._calls: list[tuple[int, int, int]] = []

    def add(self, label: npt.NDArray[np.int32], contexts: npt.NDArray[np.int32], start_ns: Int64s) -> None:
        """Calls into the driver with the contexts that they were made in."""
        if self._is_any:
            self._calls += zip(start_ns.tolist(), label.tolist(), contexts.tolist(), strict=True)

    def launchers(
        self, graph: Int64s, node: Int64s, label: npt.NDArray[np.int32], contexts: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int32]:
        """The contexts of work on the device, for that of captured graphs the ones in which it was captured.

        Args:
            graph: the graph of each piece of work; 0 or less for none.
            node: the node in it.
            label: its label.
            contexts: what launched it, a graph's replay for that of graphs.
        """
        unused = self._captures() if self._is_any else []
        found: npt.NDArray[np.int32] = contexts.copy()
        for number in np.unique(graph[graph > 0]).tolist():
            rows = np.flatnonzero(graph == number)
            _, first, node_of_row = np.unique(node[rows], return_index=True, return_inverse=True)
            kinds = [self._labels[each].kind for each in label[rows[first]].tolist()]
            capture = next((each for each in unused if [kind for kind, _ in each] == kinds), None)
            if capture is not None:
                unused.remove(capture)
                captured_in = np.array([context for _, context in capture], dtype=np.int32)
                found[rows] = captured_in[node_of_row.reshape(len(rows))]
        return found

    def _captures(self) -> list[list[tuple[Kind, int]]]:
        """For each capture, in order of time, the kinds of its launches and their contexts, on all threads together."""
        captures: list[list[tuple[Kind, int]]] = []
        is_open = False
        for _, label, context in sorted(self._calls):
            name = self._labels[label].name
            if _BEGIN.match(name):
                captures.append([])
                is_open = True
            elif _END.match(name):
                is_open = False
            elif is_open:
                kind = captured_kind(name)
                if kind is not None:
                    captures[-1].append((kind, context))
        return [each for each in captures if each]
