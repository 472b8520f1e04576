"""Writes small runs of which every figure can be computed by hand: spans drawn as trees with exact durations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepseek_prof.model import SCHEMA_VERSION, Kind
from deepseek_prof.operator_types import operator_type
from deepseek_prof.trace import schema
from deepseek_prof.trace.run_file import write_run_file
from tests.support.synthetic_step import Context, context_hash

EPOCH_NS = 1_790_000_000_000_000_000
PID = 4_200


@dataclass(frozen=True)
class Node:
    """A span of ``ns`` whose children follow one another from its start; what they leave is its self time.

    ``below`` names the layers whose backward contexts it hangs from, outermost first, as backward operators do.
    """

    name: str
    ns: int
    kind: str = "op"
    phase: str = "forward"
    layer: str | None = None
    children: tuple[Node, ...] = ()
    below: tuple[str, ...] = ()
    tid: int | None = None


def gap(ns: int) -> Node:
    """Time that no span covers."""
    return Node("", ns, kind="gap")


def op(name: str, ns: int, *children: Node, phase: str = "forward", layer: str | None = None) -> Node:
    """An operator."""
    return Node(name, ns, phase=phase, layer=layer, children=children)


def module(name: str, ns: int, *children: Node) -> Node:
    """A forward call of a layer; its operators carry its name unless they say otherwise."""
    return Node(name, ns, kind="layer", layer=name, children=tuple(_with_layer(each, name) for each in children))


def _with_layer(node: Node, layer: str) -> Node:
    if node.layer is not None:
        return node
    children = tuple(_with_layer(each, layer) for each in node.children)
    return Node(node.name, node.ns, node.kind, node.phase, layer, children, node.below, node.tid)


Draw = Callable[[int, int], Sequence[Node]]
"""The spans of a step, given rank and step."""


@dataclass
class _Process:
    rank: int
    pid: int
    contexts: dict[int, Context] = field(default_factory=dict)
    spans: list[dict[str, Any]] = field(default_factory=list)

    def context(self, parent: int | None, kind: str, phase: str, name: str, layer: str | None) -> int:
        key = context_hash(parent, kind, phase, name)
        if key not in self.contexts:
            depth = 0 if parent is None else self.contexts[parent].depth + 1
            found = operator_type(name, Kind[kind.upper()])
            self.contexts[key] = Context(key, parent, depth, kind, name, found, layer, phase)
        return key

    def draw(self, node: Node, start_ns: int, step: int | None, parent: int | None) -> None:
        if node.kind == "gap":
            return
        for layer in node.below:
            parent = self.context(None if layer == node.below[0] else parent, "layer", "backward", layer, layer)
        context_id = self.context(parent, node.kind, node.phase, node.name, node.layer)
        now_ns = start_ns
        for child in node.children:
            self.draw(child, now_ns, step, context_id)
            now_ns += child.ns
        assert now_ns <= start_ns + node.ns, f"the children of {node.name} take longer than itself"
        tid = self.pid if node.tid is None else node.tid
        self.span(context_id, tid, step, start_ns, node.ns, start_ns + node.ns - now_ns + _gaps(node))

    def span(self, context_id: int, tid: int, step: int | None, start_ns: int, dur_ns: int, self_ns: int) -> None:
        times = {"start_ns": start_ns, "dur_ns": dur_ns, "self_ns": self_ns}
        self.spans.append({"tid": tid, "step": step, **times, "context_id": context_id})


def _gaps(node: Node) -> int:
    return sum(child.ns for child in node.children if child.kind == "gap")


def write_drawn_run(
    run_dir: Path,
    draw: Draw = lambda rank, step: (),
    *,
    steps: int = 1,
    ranks: int = 1,
    with_steps: bool = True,
    counters: Sequence[Mapping[str, Any]] = (),
    process: Mapping[str, Any] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Write a finished run of ``steps`` steps, one after another; a node with a ``tid`` of its own takes no time here.

    ``process`` overrides keys of every process in ``run.json``, ``info`` keys of ``run.json`` itself.
    """
    run_dir.mkdir(parents=True)
    written = 0
    ended_ns = EPOCH_NS
    for rank in range(ranks):
        recorded = _Process(rank, PID + rank)
        now_ns = EPOCH_NS
        for step in range(steps):
            began_ns = now_ns
            for node in draw(rank, step):
                recorded.draw(node, now_ns, step if with_steps else None, None)
                now_ns += node.ns if node.tid is None else 0
            if with_steps:
                step_context = recorded.context(None, "step", "other", "step", None)
                recorded.span(step_context, 0, step, began_ns, now_ns - began_ns, now_ns - began_ns)
        ended_ns = max(ended_ns, now_ns)
        written += len(recorded.spans)
        if recorded.spans:
            folder = f"rank={rank}/pid={recorded.pid}"
            contexts = [asdict(each) for each in recorded.contexts.values()]
            _write(run_dir / f"contexts/{folder}.parquet", contexts, schema.CONTEXTS)
            _write(run_dir / f"spans/{folder}/part-00000.parquet", recorded.spans, schema.SPANS)
    for rank in sorted({each.get("rank", 0) for each in counters}):
        own = [each for each in counters if each.get("rank", 0) == rank]
        _write(run_dir / f"counters/rank={rank}/part-00000.parquet", own, schema.COUNTERS)
    processes = [
        {"pid": PID + rank, "rank": rank, "is_main": rank == 0, "torch": "2.13.0", "start_ns": EPOCH_NS}
        | dict(process or {})
        for rank in range(ranks)
    ]
    described = {
        "schema_version": SCHEMA_VERSION,
        "id": run_dir.name,
        "name": run_dir.name,
        "script": "train",
        "command": ["python", "train.py"],
        "created_ns": EPOCH_NS,
        "ended_ns": ended_ns,
        "status": "finished",
        "exit_code": 0,
        "signal": None,
        "host": {"cpu_count": 8},
        "settings": {},
        "processes": processes,
        "spans": {"count": written, "size_bytes": 0},
        "dropped": [],
        "warnings": [],
    }
    write_run_file(run_dir, described | dict(info or {}))
    return run_dir


def _write(path: Path, rows: Sequence[Mapping[str, Any]], columns: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=columns), path)
