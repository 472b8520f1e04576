"""A run in one frozen :class:`Summary`: what ``report`` shows and what findings start from."""

from __future__ import annotations

from collections.abc import Sequence

from deepseek_prof.analysis.aggregate import ContextSum, ContextTree, context_sums, has_evicted, on_host
from deepseek_prof.analysis.devices import device_stats
from deepseek_prof.analysis.groups import group_by, group_layers, is_operator
from deepseek_prof.analysis.process import dropped_spans, memory_stats, recorder_overhead
from deepseek_prof.analysis.results import (
    DataWait,
    Dropped,
    GroupRow,
    LayerRow,
    MemoryStat,
    Overhead,
    PhaseShare,
    StepStats,
    Summary,
    ThreadStat,
    Window,
)
from deepseek_prof.analysis.steps import common_warmup, read_steps, step_stats
from deepseek_prof.analysis.window import select
from deepseek_prof.trace.run import Condition, Run

__all__ = [
    "DataWait",
    "Dropped",
    "GroupRow",
    "LayerRow",
    "MemoryStat",
    "Overhead",
    "PhaseShare",
    "StepStats",
    "Summary",
    "ThreadStat",
    "Window",
    "summarize",
]

_PHASES = ("data", "forward", "backward", "optimizer", "other")


def summarize(run: Run, condition: Condition | None = None) -> Summary:
    """Summarise the steady steps of ``run``, or, with ``condition``, exactly the spans that it selects.

    Without steps everything recorded is taken. The spans are read once.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    tree = ContextTree.of(run)
    steps = read_steps(run)
    warmup = common_warmup(steps)
    evicted = has_evicted(run)
    selection = select(run, steps, warmup, evicted=evicted, condition=condition)
    sums = context_sums(run, tree, selection.where, selection.params)
    device_sums = [each for each in sums if each.device is not None]
    sums = on_host(each for each in sums if each.node.kind != "step")
    driving = _driving_threads(sums, {(step.rank, step.pid) for step in steps})
    if condition is None:
        wall_ns = selection.wall_ns or _extent_ns(run, driving)
    else:
        wall_ns = sum(each.self_ns for each in sums if (each.rank, each.pid, each.tid) in driving)
    operators = [each for each in sums if is_operator(each.node)]
    op_self_ns = sum(each.self_ns for each in operators)
    self_ns = sum(each.self_ns for each in sums)
    ranks = len({each.rank for each in sums}) or len({step.rank for step in steps})
    return Summary(
        span_count=sum(each.count for each in sums),
        ranks=ranks,
        filtered=condition is not None,
        window=selection.window,
        wall_ns=wall_ns,
        self_ns=self_ns,
        op_count=sum(each.count for each in operators),
        op_self_ns=op_self_ns,
        steps=step_stats(steps, warmup),
        phases=_phases(sums, driving, wall_ns, complete=condition is None),
        types=_group_rows(operators, tree, "type", op_self_ns),
        ops=_group_rows(operators, tree, "name", op_self_ns),
        layers=_layer_rows(sums, tree, self_ns, device_sums),
        data_wait=_data_wait(sums, tree, driving, wall_ns),
        memory=memory_stats(run),
        threads=_threads(sums, driving, wall_ns, max(1, len(driving))),
        overhead=recorder_overhead(run),
        dropped=dropped_spans(run),
        devices=device_stats(run, selection.where, selection.params, device_sums, wall_ns // max(1, ranks)),
        kernels=_group_rows(device_sums, tree, "name", sum(each.self_ns for each in device_sums)),
        kernel_types=_group_rows(device_sums, tree, "type", sum(each.self_ns for each in device_sums)),
    )


def _driving_threads(sums: Sequence[ContextSum], stepping: set[tuple[int, int]]) -> set[tuple[int, int, int]]:
    """The thread of every process (of those with steps, where there are any) that spends the most outside backward.

    On an accelerator, backward runs on a thread of its own, often longer than the thread that waits for it.
    """
    times: dict[tuple[int, int], dict[int, tuple[int, int]]] = {}
    for each in sums:
        if stepping and (each.rank, each.pid) not in stepping:
            continue
        threads = times.setdefault((each.rank, each.pid), {})
        outside, everything = threads.get(each.tid, (0, 0))
        counts = each.node.phase != "backward" or each.node.kind == "phase"
        threads[each.tid] = (outside + (each.self_ns if counts else 0), everything + each.self_ns)
    return {(*process, max(threads, key=lambda tid: threads[tid])) for process, threads in times.items()}


def _extent_ns(run: Run, driving: set[tuple[int, int, int]]) -> int:
    rows = run.rows("SELECT rank, pid, tid, max(start_ns + dur_ns) - min(start_ns) FROM raw_spans GROUP BY 1, 2, 3")
    return sum(extent for rank, pid, tid, extent in rows if (rank, pid, tid) in driving)


def _phases(
    sums: Sequence[ContextSum], driving: set[tuple[int, int, int]], wall_ns: int, *, complete: bool
) -> tuple[PhaseShare, ...]:
    times = dict.fromkeys(_PHASES, 0)
    for each in sums:
        if (each.rank, each.pid, each.tid) in driving:
            times[each.node.phase if each.node.phase in times else "other"] += each.self_ns
    if complete and wall_ns:
        times["outside"] = max(0, wall_ns - sum(times.values()))
    whole = wall_ns or 1
    return tuple(PhaseShare(phase, ns, ns / whole) for phase, ns in times.items() if ns)


def _group_rows(
    operators: Sequence[ContextSum], tree: ContextTree, attribute: str, op_self_ns: int
) -> tuple[GroupRow, ...]:
    groups = group_by(
        operators,
        tree,
        lambda each: getattr(each.node, attribute),
        lambda node: getattr(node, attribute) if is_operator(node) else None,
    )
    rows = [
        GroupRow(
            name=str(name),
            type=group.type,
            count=group.count,
            self_ns=group.self_ns,
            total_ns=group.total_ns,
            share=group.self_ns / (op_self_ns or 1),
            forward_ns=group.forward_ns,
            backward_ns=group.backward_ns,
        )
        for name, group in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.self_ns, row.name)))


def _layer_rows(
    sums: Sequence[ContextSum], tree: ContextTree, self_ns: int, device_sums: Sequence[ContextSum]
) -> tuple[LayerRow, ...]:
    device_ns = (
        {name: group.total_ns for name, group in group_layers([*sums, *device_sums], tree).items()}
        if device_sums
        else {}
    )
    rows = [
        LayerRow(
            name=name,
            depth=group.depth,
            count=group.count,
            self_ns=group.self_ns,
            total_ns=group.total_ns,
            share=group.total_ns / (self_ns or 1),
            forward_ns=group.forward_ns,
            backward_ns=group.backward_ns,
            leaf=group.leaf,
            device_ns=max(0, device_ns.get(name, group.total_ns) - group.total_ns),
            parent=group.parent,
        )
        for name, group in group_layers(sums, tree).items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.total_ns, row.depth, row.name)))


def _data_wait(
    sums: Sequence[ContextSum], tree: ContextTree, driving: set[tuple[int, int, int]], wall_ns: int
) -> DataWait | None:
    waits = [each for each in sums if each.node.kind == "data" and (each.rank, each.pid, each.tid) in driving]
    if not waits:
        return None
    (group,) = group_by(waits, tree, lambda each: each.node.kind, lambda node: node.kind).values()
    return DataWait(
        count=group.count,
        ns=group.total_ns,
        share=group.total_ns / (wall_ns or 1),
        mean_ns=group.total_ns / group.count,
        max_ns=group.max_ns,
    )


def _threads(
    sums: Sequence[ContextSum], driving: set[tuple[int, int, int]], wall_ns: int, processes: int
) -> tuple[ThreadStat, ...]:
    times: dict[tuple[int, int, int], tuple[int, int]] = {}
    for each in sums:
        count, ns = times.get((each.rank, each.pid, each.tid), (0, 0))
        times[(each.rank, each.pid, each.tid)] = (count + each.count, ns + each.self_ns)
    rows = [
        ThreadStat(
            *thread, count=count, self_ns=ns, share=ns * processes / (wall_ns or 1), drives_steps=thread in driving
        )
        for thread, (count, ns) in times.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.self_ns, row.rank, row.pid, row.tid)))
