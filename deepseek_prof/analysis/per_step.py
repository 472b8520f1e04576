"""The time of every entry (a layer, an operator, …) in every step of a run, as a matrix."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from deepseek_prof.analysis.aggregate import ContextNode, ContextTree, has_devices, has_evicted
from deepseek_prof.analysis.bootstrap import Matrix
from deepseek_prof.analysis.devices import launcher_of
from deepseek_prof.analysis.groups import OUTSIDE_LAYERS, is_operator
from deepseek_prof.analysis.steps import Step, common_warmup, read_steps
from deepseek_prof.analysis.window import select
from deepseek_prof.trace.run import Condition, Run

BY = ("layer", "op", "type", "phase", "context")
OUTSIDE_OPERATORS = "(outside operators)"
_ASKS_FOR_STEPS = re.compile(r"\bstep\b")


@dataclass(frozen=True)
class StepSamples:
    """Times of one rank; where several ranks ran a step, their mean."""

    entries: tuple[str, ...]
    """All that the run knows, also those that the selected spans do not touch."""
    ns: Matrix
    """Shape (steps, entries). Without steps one row: the whole recording."""
    calls: Matrix
    """Number of spans, of the same shape; for layers of calls in forward."""
    step_ns: Matrix
    """Shape (steps, 1): their lengths; empty without steps."""
    steps: int
    """Steps compared; 0: the run has none, or the query selects none."""
    has_steps: bool
    warmup: int
    """Leading steps left out of every process."""
    evicted: bool
    """``--max-size`` removed spans: what they took is missing."""
    types: dict[str, str]
    """The operator type of an entry, where it has one."""


Namer: TypeAlias = Callable[[int, int, ContextNode], str]
"""Names the entry that a context of a process (rank, pid) counts for."""


def step_samples(
    run: Run, by: str, condition: Condition | None = None, *, device: bool = False, named: Namer | None = None
) -> StepSamples:
    """Self time of the selected spans of the host (of accelerators with ``device``) by step and entry.

    ``named`` gives contexts other entries than ``by`` does; they are then counted as with ``context``.

    The steps are those of a report: no warm-up, fully recorded, none whose spans were removed. A condition that asks
    for steps chooses for itself. Without finished steps everything recorded counts as one.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    tree = ContextTree.of(run)
    by = "context" if named else by
    names, types = _write_entries(run, tree, by, named or _namer(tree, by, device=device), device=device)
    steps = read_steps(run)
    own_steps = condition is not None and _ASKS_FOR_STEPS.search(condition.sql) is not None
    warmup = 0 if own_steps else common_warmup(steps)
    evicted = has_evicted(run)
    window = select(run, steps, warmup, evicted=evicted)
    chosen = [step for step in steps if step.step >= 0] if own_steps else _chosen(run, window.where, steps)
    where = "TRUE" if own_steps else window.where
    params: Sequence[Any] = () if condition is None else condition.params
    if condition is not None:
        where = f"({where}) AND ({condition.sql})"
    if has_devices(run):
        where = f"({where}) AND device IS {'NOT ' * device}NULL"
    elif device:
        where = "FALSE"
        params = ()
    step = "step" if steps else "0"
    if steps:
        where = f"({where}) AND step IS NOT NULL"
    table = run.table(
        f"SELECT s.step, e.entry, sum(s.self_ns)::BIGINT AS ns, count(*) FILTER (e.counted) AS calls FROM "
        f"(SELECT rank, pid, {step} AS step, context_id, self_ns FROM {'spans' if condition else 'raw_spans'} "
        f"WHERE {where}) s JOIN diff_entries e USING (rank, pid, context_id) GROUP BY ALL",
        params,
    )
    column = {name: table.column(name).to_numpy() for name in ("step", "entry", "ns", "calls")}
    if own_steps and steps:
        asked = set(column["step"].tolist())
        chosen = [each for each in chosen if each.step in asked]
    return _filled(column, chosen, bool(steps), names, types, warmup, evicted=evicted)


def _filled(
    column: dict[str, Any],
    chosen: Sequence[Step],
    has_steps: bool,
    names: list[str],
    types: dict[str, str],
    warmup: int,
    *,
    evicted: bool,
) -> StepSamples:
    numbers = np.array(sorted({each.step for each in chosen}) if has_steps else [0], dtype=np.int64)
    ns = np.zeros((len(numbers), len(names)))
    calls = np.zeros_like(ns)
    lengths = np.zeros((len(numbers) if has_steps else 0, 1))
    ranks = np.zeros((len(numbers), 1))
    for each in chosen:
        row = int(np.searchsorted(numbers, each.step))
        ranks[row] += 1
        lengths[row] += each.dur_ns
    ranks = np.maximum(ranks, 1)
    known = np.isin(column["step"], numbers)
    at = (np.searchsorted(numbers, column["step"][known]), column["entry"][known])
    np.add.at(ns, at, column["ns"][known])
    np.add.at(calls, at, column["calls"][known])
    return StepSamples(
        tuple(names),
        ns / ranks,
        calls / ranks,
        lengths / ranks if has_steps else lengths,
        len(numbers) if has_steps else 0,
        has_steps,
        warmup,
        evicted,
        types,
    )


def _chosen(run: Run, where: str, steps: Sequence[Step]) -> list[Step]:
    """The steps that the SQL of a window selects."""
    if not steps:
        return []
    rows = run.rows(
        f"SELECT DISTINCT rank, pid, step FROM raw_spans WHERE ({where}) AND context_id IN "
        "(SELECT context_id FROM process_contexts WHERE kind = 'step')"
    )
    found = {(rank, pid, step) for rank, pid, step in rows}
    return [each for each in steps if (each.rank, each.pid, each.step) in found]


def _write_entries(
    run: Run, tree: ContextTree, by: str, named: Namer, *, device: bool
) -> tuple[list[str], dict[str, str]]:
    """Create the table ``diff_entries``, which gives every context its entry; returns the entries' names and types."""
    import pyarrow as pa

    index: dict[str, int] = {}
    types: dict[str, str] = {}
    rows: list[tuple[int, int, int, int, bool]] = []
    for rank, pid, node in tree.items():
        if node.kind == "step":
            continue
        name = named(rank, pid, node)
        entry = index.setdefault(name, len(index))
        counted = by != "layer" or device or (node.kind == "layer" and node.phase == "forward")
        rows.append((rank, pid, node.context_id, entry, counted))
        if by in ("op", "context") and is_operator(node):
            types.setdefault(name, node.type)
    columns = list(zip(*rows, strict=True)) or [()] * 5
    kinds = (pa.int32(), pa.int64(), pa.int64(), pa.int32(), pa.bool_())
    labels = ("rank", "pid", "context_id", "entry", "counted")
    arrays = [pa.array(each, kind) for each, kind in zip(columns, kinds, strict=True)]
    run.connection.register("diff_rows", pa.table(arrays, names=list(labels)))
    run.connection.execute("CREATE OR REPLACE TEMP TABLE diff_entries AS SELECT * FROM diff_rows")
    run.connection.unregister("diff_rows")
    return list(index), types


def _namer(tree: ContextTree, by: str, *, device: bool) -> Namer:
    """The function that names the entry of a context."""

    def started(rank: int, pid: int, node: ContextNode) -> ContextNode:
        """What a device's work counts for: the context that launched it."""
        return (launcher_of(rank, pid, node, tree) or node) if device else node

    def operator(rank: int, pid: int, node: ContextNode, attribute: str) -> str:
        node = started(rank, pid, node)
        around = (node, *tree.ancestors(rank, pid, node)) if device else (node,)
        found = next((above for above in around if is_operator(above)), None)
        return OUTSIDE_OPERATORS if found is None else str(getattr(found, attribute))

    def layer(rank: int, pid: int, node: ContextNode) -> str:
        node = started(rank, pid, node)
        return node.layer or (node.name if node.kind == "layer" else OUTSIDE_LAYERS)

    def path(rank: int, pid: int, node: ContextNode) -> str:
        names = [node.name, *(above.name for above in tree.ancestors(rank, pid, node))]
        return f"{' > '.join(reversed(names))}" + (" [backward]" if node.phase == "backward" else "")

    return {
        "layer": layer,
        "op": lambda rank, pid, node: operator(rank, pid, node, "name"),
        "type": lambda rank, pid, node: operator(rank, pid, node, "type"),
        "phase": lambda rank, pid, node: started(rank, pid, node).phase,
        "context": path,
    }[by]
