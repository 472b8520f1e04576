"""The table behind ``top``: self and total time by operator, layer, type, phase, step, thread or context."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

from deepseek_prof.analysis.aggregate import (
    ContextNode,
    ContextSum,
    ContextTree,
    has_evicted,
    knows_evicted,
    on_host,
    selected_sums,
)
from deepseek_prof.analysis.devices import NOT_LAUNCHED, launcher, launching_operator
from deepseek_prof.analysis.groups import Group, group_by, group_layers, is_operator
from deepseek_prof.analysis.results import TopRow, TopTable
from deepseek_prof.errors import UsageError
from deepseek_prof.trace.run import Condition, Run

BY = ("op", "layer", "type", "phase", "step", "thread", "context")
SORT = ("self", "total", "count", "device")
DEFAULT_LIMIT = 20

__all__ = ["BY", "DEFAULT_LIMIT", "SORT", "TopRow", "TopTable", "top"]


def top(
    run: Run, by: str = "op", condition: Condition | None = None, sort: str = "self", limit: int | None = DEFAULT_LIMIT
) -> TopTable:
    """Sum the spans that ``condition`` selects (None: all) by ``by``, the largest by ``sort`` first.

    ``limit`` None or 0: all groups.

    Raises:
        UsageError: ``by`` or ``sort`` is not one of :data:`BY` and :data:`SORT`, or ``limit`` is negative.
        RunDamagedError: a file of the run is damaged.
    """
    if by not in BY:
        raise UsageError(f"Cannot group by {by!r}: choose one of {', '.join(BY)}.")
    if sort not in SORT:
        raise UsageError(f"Cannot sort by {sort!r}: choose one of {', '.join(SORT)}.")
    if limit is not None and limit < 0:
        raise UsageError(f"The limit must not be negative: {limit}")
    where, params = ("TRUE", ()) if condition is None else (condition.sql, condition.params)
    tree = ContextTree.of(run)
    evicted = has_evicted(run)
    included = evicted and by != "step" and knows_evicted(condition)
    device: list[ContextSum] = []
    if by == "step":
        rows, span_count, self_ns, on_devices = _steps(run, where, params)
    else:
        sums = selected_sums(run, tree, condition)
        span_count = sum(each.count for each in sums)
        host = on_host(sums)
        on_devices = bool(host) and host[0].device is not None
        self_ns = sum(each.self_ns for each in host)
        device = [] if on_devices else [each for each in sums if each.device is not None]
        rows = _with_devices(_groups(host, tree, by, self_ns), device, tree, by)
    keys: dict[str, Callable[[TopRow], int]] = {
        "self": lambda row: row.self_ns,
        "total": lambda row: row.total_ns,
        "count": lambda row: row.count,
        "device": lambda row: row.device_ns,
    }
    rows.sort(key=lambda row: (-keys[sort](row), row.name))
    shown = tuple(rows[:limit] if limit else rows)
    return TopTable(
        by,
        sort,
        shown,
        len(rows),
        span_count,
        self_ns,
        included,
        evicted and not included,
        device_ns=sum(row.device_ns for row in rows) if by != "layer" else sum(each.self_ns for each in device),
        devices=on_devices,
    )


def _with_devices(rows: list[TopRow], device: list[ContextSum], tree: ContextTree, by: str) -> list[TopRow]:
    """The rows with the time of accelerators on what each started, and rows for what none of them did."""
    if by == "layer":
        times = {name: group.total_ns for name, group in group_layers(device, tree).items()}
    else:
        times = {}
        for each in device:
            name = _started_by(each, tree, by)
            times[name] = times.get(name, 0) + each.self_ns
    found = [replace(row, device_ns=times.pop(row.name, 0)) for row in rows] if times else rows
    return found + [TopRow(name, "", "", "", 0, 0, 0, 0, 0.0, 0, 0, ns) for name, ns in times.items() if ns]


def _started_by(each: ContextSum, tree: ContextTree, by: str) -> str:
    """The name of the row that a device's work counts for."""
    if by == "phase":
        return each.node.phase
    if by == "thread":
        return f"rank {each.rank} pid {each.pid} {each.device} stream {each.tid}"
    node = launcher(each, tree)
    if node is None:
        return NOT_LAUNCHED
    if by == "context":
        return _path_of(each.rank, each.pid, node, tree)
    operator = launching_operator(each, tree)
    if operator is None:
        return NOT_LAUNCHED
    return operator.type if by == "type" else operator.name


def _groups(sums: list[ContextSum], tree: ContextTree, by: str, self_ns: int) -> list[TopRow]:
    if by == "layer":
        return [_row(name, group, self_ns, layer=name) for name, group in group_layers(sums, tree).items()]
    if by == "context":
        groups = group_by(sums, tree, lambda each: (_path(each, tree), each.node))
        return [
            _row(path, group, self_ns, type_=node.type, layer=node.layer or "", phase=node.phase)
            for (path, node), group in _pairs(groups)
        ]
    if by == "thread":
        groups = group_by(sums, tree, lambda each: (each.rank, each.pid, each.tid))
        return [
            _row(f"rank {rank} pid {pid} tid {tid}", _covered(group), self_ns)
            for (rank, pid, tid), group in _pairs(groups)
        ]
    if by == "phase":
        groups = group_by(sums, tree, lambda each: each.node.phase)
        return [_row(str(name), _covered(group), self_ns, phase=str(name)) for name, group in groups.items()]
    attribute = {"op": "name", "type": "type"}[by]

    def node_key(node: ContextNode) -> Hashable:
        return getattr(node, attribute) if is_operator(node) else None

    chosen = [each for each in sums if is_operator(each.node)]
    groups = group_by(chosen, tree, lambda each: getattr(each.node, attribute), node_key)
    return [_row(str(name), group, self_ns, type_=group.type) for name, group in groups.items()]


def _covered(group: Group) -> Group:
    """A thread's or phase's total is its self time: its spans tile it, while backward contexts hang below their
    layers and not below the frame that ran them, so that durations would count twice."""
    group.total_ns = group.self_ns
    return group


def _pairs(groups: dict[Hashable, Group]) -> list[tuple[Any, Group]]:
    """The items of groups whose keys are tuples."""
    return list(groups.items())


def _row(name: str, group: Group, self_ns: int, *, type_: str = "", layer: str = "", phase: str = "") -> TopRow:
    return TopRow(
        name=name,
        type=type_,
        layer=layer,
        phase=phase,
        count=group.count,
        self_ns=group.self_ns,
        total_ns=group.total_ns,
        max_ns=group.max_ns,
        share=group.self_ns / (self_ns or 1),
        forward_ns=group.forward_ns,
        backward_ns=group.backward_ns,
    )


def _path(each: ContextSum, tree: ContextTree) -> str:
    return _path_of(each.rank, each.pid, each.node, tree)


def _path_of(rank: int, pid: int, node: ContextNode, tree: ContextTree) -> str:
    names = [node.name, *(above.name for above in tree.ancestors(rank, pid, node))]
    return " > ".join(reversed(names))


def _steps(run: Run, where: str, params: Any) -> tuple[list[TopRow], int, int, bool]:
    """Steps by rank and number, with the self time of their selected spans, and the length of the step itself.

    Returns the rows, the number of spans, their self time, and whether all of it is that of accelerators.
    """
    rows = run.rows(
        "WITH lengths AS (SELECT rank, pid, step, max(dur_ns) AS dur_ns FROM raw_spans WHERE context_id IN "
        "(SELECT context_id FROM process_contexts WHERE kind = 'step') GROUP BY ALL), "
        "inside AS (SELECT rank, pid, step, device IS NOT NULL AS on_device, count(*) AS count, "
        "sum(self_ns)::BIGINT AS self_ns, max(dur_ns) AS max_ns, "
        "coalesce(sum(self_ns) FILTER (phase = 'forward'), 0)::BIGINT AS forward_ns, "
        "coalesce(sum(self_ns) FILTER (phase = 'backward'), 0)::BIGINT AS backward_ns "
        f"FROM spans WHERE step IS NOT NULL AND kind <> 'step' AND ({where}) GROUP BY ALL) "
        "SELECT i.on_device, i.rank, i.pid, i.step, i.count, i.self_ns, coalesce(l.dur_ns, 0), i.max_ns, "
        "i.forward_ns, i.backward_ns "
        "FROM inside i LEFT JOIN lengths l USING (rank, pid, step)",
        params,
    )
    span_count = sum(row[4] for row in rows)
    host = [tuple(row[1:]) for row in rows if not row[0]]
    device_ns = {(rank, pid, step): own_ns for on_device, rank, pid, step, _, own_ns, *_ in rows if on_device}
    on_devices = bool(rows) and not host
    if on_devices:
        host, device_ns = [tuple(row[1:]) for row in rows], {}
    processes = len({(rank, pid) for rank, pid, *_ in host})
    ranks = len({rank for rank, *_ in host})
    self_ns = sum(row[4] for row in host)
    found = []
    for rank, pid, step, count, own_ns, dur_ns, max_ns, forward_ns, backward_ns in host:
        name = str(step) if processes == 1 else f"rank {rank} step {step}"
        if processes > ranks:
            name = f"rank {rank} pid {pid} step {step}"
        found.append(
            TopRow(
                name,
                "",
                "",
                "",
                count,
                own_ns,
                dur_ns,
                max_ns,
                own_ns / (self_ns or 1),
                forward_ns,
                backward_ns,
                device_ns.get((rank, pid, step), 0),
            )
        )
    return found, span_count, self_ns, on_devices
