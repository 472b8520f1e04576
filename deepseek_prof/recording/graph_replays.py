"""Replays of CUDA graphs in our own recordings: their work belongs to what launched it while the graph was captured.

A replay does what its capture recorded, in that order. The recorder tells when which graph was captured and replayed;
during a capture, calls that would start work start none, and each makes a node of the graph. So the work of a replay,
in its order, is that of these calls, where it is as many and of the same kinds: kernels, copies, memsets. All else
stays with the replay: graphs whose capture no window held, graphs within graphs, and graphs with branches, whose order
only the driver's node numbers tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepseek_prof.recording.captured_calls import captured_kind, orders_streams
from deepseek_prof.recording.samples import UNRESOLVED
from deepseek_prof.recording.segments import Int64s

MAX_CALLS = 4 << 20
"""Of captures that are kept, 16 bytes each; past it the oldest go, whose replays then stay as they are."""


@dataclass(frozen=True)
class GraphMarks:
    """Captures or replays: our number of the graph, thread, first and last moment; all of shape (marks,)."""

    number: Int64s
    tid: Int64s
    start_ns: Int64s
    end_ns: Int64s

    def __len__(self) -> int:
        return len(self.number)


@dataclass(frozen=True)
class Calls:
    """Calls into the driver, of shape (calls,) but for ``names``. ``around``: the contexts that they were made in."""

    row: Int64s
    tid: Int64s
    start_ns: Int64s
    middle_ns: Int64s
    correlation: Int64s
    around: Int64s
    label: Int64s
    names: Sequence[str]
    """What each label stands for."""

    def kinds(self) -> Int64s:
        """The Kind of the node that each makes where it is captured; -1 for none."""
        kinds = [captured_kind(name) for name in self.names]
        return np.array([-1 if kind is None else int(kind) for kind in kinds], dtype=np.int64)[self.label]

    def are(self, is_such: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
        """Which of them have such a name."""
        return np.array([is_such(name) for name in self.names], dtype=np.bool_)[self.label]


@dataclass(frozen=True)
class Work:
    """Work on devices; all of shape (pieces,). ``source``: the row of the call that launched each."""

    source: Int64s
    kind: Int64s
    start_ns: Int64s
    node: Int64s
    """The driver's number of the node in its graph, in order of capture; -1 where it is not told."""
    around: Int64s


@dataclass(frozen=True)
class _Capture:
    kinds: Int64s
    contexts: Int64s
    has_branches: bool


class GraphCaptures:
    """The captures of one process, by our numbers of its graphs."""

    def __init__(self) -> None:
        self._captures: dict[int, _Capture] = {}
        self._calls = 0

    def add(self, marks: GraphMarks, calls: Calls, working: Int64s) -> None:
        """Take over the captures of some windows.

        Args:
            marks: of captures.
            calls: in these windows.
            working: correlation ids of all work on devices in them: what has one was not captured.
        """
        if not len(marks):
            return
        kinds, waits = calls.kinds(), calls.are(orders_streams)
        makes_node = (kinds >= 0) & ~np.isin(calls.correlation, working)
        columns = marks.number, marks.start_ns, marks.end_ns
        for number, start_ns, end_ns in zip(*(column.tolist() for column in columns), strict=True):
            # What a thread captures while another one does, too, nobody can tell apart.
            if np.count_nonzero((marks.start_ns < end_ns) & (marks.end_ns > start_ns)) > 1:
                continue
            inside = (calls.middle_ns >= start_ns) & (calls.middle_ns < end_ns)
            rows = np.flatnonzero(inside & makes_node)
            # A driver call inside a runtime call has the same id, and they make one node.
            _, first = np.unique(calls.correlation[rows], return_index=True)
            rows = rows[first]
            rows = rows[np.argsort(calls.start_ns[rows], kind="stable")]
            self._keep(number, _Capture(kinds[rows], calls.around[rows], bool((inside & waits).any())))

    def _keep(self, number: int, capture: _Capture) -> None:
        if not len(capture.kinds):
            return
        self._captures[number] = capture
        self._calls += len(capture.kinds)
        while self._calls > MAX_CALLS:
            oldest = next(iter(self._captures))
            self._calls -= len(self._captures.pop(oldest).kinds)

    def places(self, replays: GraphMarks, calls: Calls, work: Work) -> Int64s:
        """The contexts of ``work``: for that of replays, as far as it is known, those in which it was captured."""
        found: Int64s = work.around.copy()
        graph_of_call = _graphs_of(replays, calls)
        replayed = np.flatnonzero(np.isin(work.source, list(graph_of_call)))
        if not len(replayed):
            return found
        order = replayed[np.lexsort((work.start_ns[replayed], work.source[replayed]))]
        source = work.source[order]
        first = np.flatnonzero(np.diff(source, prepend=-1))
        for begin, end in zip(first.tolist(), [*first[1:].tolist(), len(source)], strict=True):
            capture = self._captures.get(graph_of_call[int(source[begin])])
            if capture is None or end - begin != len(capture.kinds):
                continue
            rows = order[begin:end]
            node = work.node[rows]
            if (node > 0).all() and len(np.unique(node)) == len(node):  # 0 is what some drivers tell of all
                rows = rows[np.argsort(node, kind="stable")]
            elif capture.has_branches:
                continue
            if (work.kind[rows] == capture.kinds).all():
                found[rows] = np.where(capture.contexts == UNRESOLVED, found[rows], capture.contexts)
        return found


def _graphs_of(replays: GraphMarks, calls: Calls) -> dict[int, int]:
    """For the rows of calls that launch graphs in ``replays``, our number of the graph."""
    found: dict[int, int] = {}
    launching = calls.are(lambda name: "GraphLaunch" in name)
    for tid in np.unique(replays.tid).tolist():
        mine = np.flatnonzero(replays.tid == tid)
        mine = mine[np.argsort(replays.start_ns[mine], kind="stable")]
        launches = np.flatnonzero(launching & (calls.tid == tid))
        place = np.searchsorted(replays.start_ns[mine], calls.middle_ns[launches], side="right") - 1
        inside = (place >= 0) & (calls.middle_ns[launches] < replays.end_ns[mine[place]])
        for launch, replay in zip(launches[inside].tolist(), mine[place[inside]].tolist(), strict=True):
            found[int(calls.row[launch])] = int(replays.number[replay])
    return found
