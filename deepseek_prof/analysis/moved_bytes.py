"""Bytes by context: of the tensors that operators were given (``--record full``), and of copies by accelerators."""

from __future__ import annotations

from dataclasses import dataclass

from deepseek_prof.analysis.aggregate import ContextNode, ContextSum, ContextTree, has_devices
from deepseek_prof.trace.run import Condition, Run

_MOVES_NOTHING = "layout"
"""Type of operators that give tensors another shape and leave their elements where they are."""


@dataclass(frozen=True)
class ByteSum:
    """Spans of one context with the bytes that they name; times are 0."""

    spans: ContextSum
    size_bytes: int


def byte_sums(run: Run, tree: ContextTree, condition: Condition | None = None, *, device: bool) -> list[ByteSum]:
    """The bytes of what ``condition`` selects, by context; empty where none were recorded.

    An operator passes its tensors on to those that it calls: only those that call none with bytes count. Bytes of spans
    that ``--max-size`` removed are not known.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    where, params = ("TRUE", ()) if condition is None else (condition.sql, condition.params)
    if has_devices(run):
        where = f"({where}) AND device IS {'NOT ' * device}NULL"
    elif device:
        return []
    rows = run.rows(
        f"SELECT rank, pid, context_id, count(*), sum(bytes)::BIGINT FROM spans WHERE ({where}) AND bytes > 0 "
        "AND kind <> 'step' GROUP BY rank, pid, context_id ORDER BY rank, pid, context_id",
        params,
    )
    found = [
        (rank, pid, node, count, size_bytes)
        for rank, pid, context_id, count, size_bytes in rows
        if (node := tree.node(rank, pid, context_id)) is not None and node.type != _MOVES_NOTHING
    ]
    outer = {
        (rank, pid, above.context_id) for rank, pid, node, *_ in found for above in tree.ancestors(rank, pid, node)
    }
    return [
        ByteSum(_sum(rank, pid, node, count), size_bytes)
        for rank, pid, node, count, size_bytes in found
        if (rank, pid, node.context_id) not in outer
    ]


def _sum(rank: int, pid: int, node: ContextNode, count: int) -> ContextSum:
    return ContextSum(rank, pid, 0, node, count, 0, 0, 0)
