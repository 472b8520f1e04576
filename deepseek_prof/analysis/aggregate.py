"""One pass over the spans: sums by process, thread and context. Every table of a report is derived from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.trace.run import Condition, Run

_CONTEXT_COLUMNS = re.compile(r"\b(phase|kind|name|type|layer)\b")
"""Columns that ``spans`` has from the contexts. A condition holds no text of the user's that could look like one."""
_RAW_ONLY = re.compile(r"\b(step|start_ns|dur_ns|self_ns|device|stream|bytes|flops|shapes)\b")
"""Sums of removed spans know neither step nor time: a condition on one of these is answered from raw spans alone."""
_TOTALS = "rank, pid, tid, context_id, count, sum_dur_ns, sum_self_ns, max_dur_ns, device"


@dataclass(frozen=True)
class ContextNode:
    """A row of a process's context tree."""

    context_id: int
    parent_id: int | None
    kind: str
    name: str
    type: str
    layer: str | None
    phase: str


@dataclass(frozen=True)
class ContextSum:
    """All selected spans of one context on one thread."""

    rank: int
    pid: int
    tid: int
    node: ContextNode
    count: int
    dur_ns: int
    self_ns: int
    max_ns: int
    device: str | None = None
    """The accelerator that worked; None for a thread of the host."""


class ContextTree:
    """The context trees of all processes, with memoised walks towards the root."""

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        self._nodes: dict[tuple[int, int, int], ContextNode] = {}
        shared: dict[tuple[Any, ...], ContextNode] = {}
        for rank, pid, *columns in rows:
            node = shared.setdefault(tuple(columns), ContextNode(*columns))
            self._nodes[(rank, pid, node.context_id)] = node

    @classmethod
    def of(cls, run: Run) -> ContextTree:
        """Read the trees of ``run``."""
        return cls(
            run.rows("SELECT rank, pid, context_id, parent_id, kind, name, type, layer, phase FROM process_contexts")
        )

    def __len__(self) -> int:
        return len(self._nodes)

    def items(self) -> Iterator[tuple[int, int, ContextNode]]:
        """Rank, pid and context, for all contexts of all processes."""
        return ((rank, pid, node) for (rank, pid, _), node in self._nodes.items())

    def node(self, rank: int, pid: int, context_id: int) -> ContextNode | None:
        """A context of a process; None where the file does not hold it."""
        return self._nodes.get((rank, pid, context_id))

    def ancestors(self, rank: int, pid: int, node: ContextNode) -> list[ContextNode]:
        """The contexts around ``node``, nearest first, without itself."""
        found: list[ContextNode] = []
        seen = {node.context_id}
        parent = node.parent_id
        while parent is not None and parent not in seen:
            above = self._nodes.get((rank, pid, parent))
            if above is None:
                break
            seen.add(parent)
            found.append(above)
            parent = above.parent_id
        return found


def source_of(where: str) -> str:
    """The view that a condition on the columns of ``spans`` needs: without the join to the contexts where it can do."""
    return "spans" if _CONTEXT_COLUMNS.search(where) else "raw_spans"


def context_sums(run: Run, tree: ContextTree, where: str = "TRUE", params: Sequence[Any] = ()) -> list[ContextSum]:
    """Sum the spans that ``where``, an expression over the columns of the ``spans`` view, selects."""
    if run.has_totals and not _RAW_ONLY.search(where):
        return _with_nodes(run.rows(f"SELECT {_TOTALS} FROM context_totals WHERE {where}", params), tree)
    device, key = ("device", ", device") if has_devices(run) else ("NULL", "")  # each column of a key takes its time
    rows = run.kept_rows(
        f"SELECT rank, pid, tid, context_id, count(*), sum(dur_ns)::BIGINT, sum(self_ns)::BIGINT, max(dur_ns), "
        f"{device} FROM {source_of(where)} WHERE {where} GROUP BY rank, pid, tid, context_id{key}",
        params,
    )
    return _with_nodes(rows, tree)


def evicted_sums(run: Run, tree: ContextTree, condition: Condition | None = None) -> list[ContextSum]:
    """The sums that ``--max-size`` kept of spans it removed, as far as ``condition`` selects them."""
    where, params = ("TRUE", ()) if condition is None else (condition.sql, condition.params)
    rows = run.rows(
        "SELECT rank, pid, tid, context_id, sum(count)::BIGINT, sum(sum_dur_ns)::BIGINT, sum(sum_self_ns)::BIGINT, "
        f"max(max_dur_ns) FROM sums WHERE {where} GROUP BY rank, pid, tid, context_id",
        params,
    )
    return _with_nodes(rows, tree)


def knows_evicted(condition: Condition | None) -> bool:
    """Whether ``condition`` can be asked of the sums of removed spans."""
    return condition is None or not _RAW_ONLY.search(condition.sql)


def selected_sums(run: Run, tree: ContextTree, condition: Condition | None = None) -> list[ContextSum]:
    """The sums of what ``condition`` selects, without the steps' own spans, with those of removed spans where it can be
    asked of them."""
    where, params = ("TRUE", ()) if condition is None else (condition.sql, condition.params)
    sums = context_sums(run, tree, where, params)
    if has_evicted(run) and knows_evicted(condition):
        sums += evicted_sums(run, tree, condition)
    return [each for each in sums if each.node.kind != "step"]


def has_devices(run: Run) -> bool:
    """Whether the run holds work of accelerators. A thread's number may be a stream's too: only ``device`` tells."""
    table = "context_totals" if run.has_totals else "raw_spans"
    return bool(run.kept_rows(f"SELECT 1 FROM {table} WHERE device IS NOT NULL LIMIT 1"))


def on_host(sums: Iterable[ContextSum]) -> list[ContextSum]:
    """Those of the host's threads; where there are none, all: then what was asked for is the work of devices."""
    everything = list(sums)
    return [each for each in everything if each.device is None] or everything


def has_evicted(run: Run) -> bool:
    """Whether ``--max-size`` removed raw spans of this run."""
    return bool(run.rows("SELECT 1 FROM raw_sums LIMIT 1"))


def _with_nodes(rows: Iterable[Sequence[Any]], tree: ContextTree) -> list[ContextSum]:
    found = []
    for rank, pid, tid, context_id, *numbers in rows:
        node = tree.node(rank, pid, context_id)
        if node is None:
            # A span without its context can only be a torn directory; it keeps its time, without a name.
            node = ContextNode(context_id, None, "op", "(unknown)", "other", None, "other")
        found.append(ContextSum(rank, pid, tid, node, *numbers))
    return found
