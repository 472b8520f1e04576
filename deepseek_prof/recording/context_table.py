"""The calling context tree of one process: stable ids, depths, layers, and the table that becomes Parquet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from deepseek_prof.model import Kind, Phase
from deepseek_prof.operator_types import operator_type
from deepseek_prof.recording.contexts_log import ContextEntry
from deepseek_prof.recording.signatures import has_flop_formula
from deepseek_prof.trace.schema import CONTEXTS

UNKNOWN_CONTEXT_NAME = "(unknown context)"
"""Stands for a context that a record names and the log does not hold (a full disk may cut the log)."""
STEP_CONTEXT_NAME = "step"


def merge_contexts(table: pa.Table, earlier: pa.Table) -> pa.Table:
    """The rows of ``table``, and those of ``earlier`` whose id it does not have."""
    if earlier.num_rows == 0:
        return table
    missing = pc.invert(pc.is_in(earlier["context_id"], value_set=table["context_id"]))
    return pa.concat_tables([table, earlier.filter(missing).cast(CONTEXTS)])


def context_id(parent_id: int, kind: Kind, phase: Phase, name: str) -> int:
    """A stable 63-bit hash of a path, above 0; ``parent_id`` is the parent's hash, 0 for a root."""
    path = b"%d:%d:%d:%s" % (parent_id, kind, phase, name.encode("utf-8", errors="replace"))
    return (int.from_bytes(blake2b(path, digest_size=8).digest(), "little") >> 1) or 1


UNKNOWN_CONTEXT_ID = context_id(0, Kind.OP, Phase.OTHER, UNKNOWN_CONTEXT_NAME)
STEP_CONTEXT_ID = context_id(0, Kind.STEP, Phase.OTHER, STEP_CONTEXT_NAME)


@dataclass(frozen=True)
class _Node:
    id: int
    parent_id: int
    depth: int
    kind: Kind
    phase: Phase
    text: str
    layer: _Node | None
    """The nearest layer above; for a layer, the layer that holds it."""
    root: str
    """The text of the outermost layer around, itself included; empty outside any layer."""
    counts_flops: bool
    below_counted: bool


class ContextTable:
    """Grows with ``contexts.log``. Ids do not depend on what comes later; the layers' final names do."""

    def __init__(self) -> None:
        self._nodes: dict[int, _Node] = {}
        self._rows: dict[int, _Node] = {}
        self._ids = np.full(1024, UNKNOWN_CONTEXT_ID, dtype=np.int64)
        self._known = np.zeros(1024, dtype=bool)
        # The roots under which a layer's name was seen: more than one, and the name says too little.
        self._roots_of_layer: dict[str, set[str]] = {}
        self._table: pa.Table | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, entries: Iterable[ContextEntry]) -> None:
        """Takes over contexts; a parent comes before its children."""
        for entry in entries:
            parent = self._nodes.get(entry.parent_id)
            self._insert(entry, parent)

    def add_special(self, name: str, kind: Kind) -> bool:
        """Adds a root context of ours, of phase ``other``, that no log holds; whether it is new."""
        node_id = context_id(0, kind, Phase.OTHER, name)
        if node_id in self._rows:
            return False
        self._rows[node_id] = _Node(node_id, 0, 0, kind, Phase.OTHER, name, None, "", False, False)
        return True

    def child(self, parent_id: int, kind: Kind, name: str) -> int:
        """The stable id of a context that no log holds, below that of ``parent_id`` (a stable id) and of its phase.

        Where the parent is unknown it is a root.
        """
        parent = self._rows.get(parent_id)
        phase = Phase.OTHER if parent is None else parent.phase
        own_parent_id = 0 if parent is None else parent.id
        node_id = context_id(own_parent_id, kind, phase, name)
        if node_id not in self._rows:
            depth, layer, root = 0, None, ""
            if parent is not None:
                depth, root = parent.depth + 1, parent.root
                layer = parent if parent.kind is Kind.LAYER else parent.layer
            self._rows[node_id] = _Node(node_id, own_parent_id, depth, kind, phase, name, layer, root, False, False)
        return node_id

    def _insert(self, entry: ContextEntry, parent: _Node | None) -> None:
        is_layer = entry.kind is Kind.LAYER
        layer = None
        if parent is not None:
            layer = parent if parent.kind is Kind.LAYER else parent.layer
        root = layer.root if layer is not None else (entry.text if is_layer else "")
        parent_id = 0 if parent is None else parent.id
        below_counted = parent is not None and (parent.counts_flops or parent.below_counted)
        node = _Node(
            id=context_id(parent_id, entry.kind, entry.phase, entry.text),
            parent_id=parent_id,
            depth=0 if parent is None else parent.depth + 1,
            kind=entry.kind,
            phase=entry.phase,
            text=entry.text,
            layer=layer,
            root=root,
            counts_flops=not below_counted and has_flop_formula(entry.text),
            below_counted=below_counted,
        )
        self._nodes[entry.id] = node
        self._rows.setdefault(node.id, node)
        if is_layer:
            self._roots_of_layer.setdefault(entry.text, set()).add(root)
        if entry.id >= len(self._ids):
            size = max(len(self._ids) * 2, entry.id + 1)
            ids, known = np.full(size, UNKNOWN_CONTEXT_ID, dtype=np.int64), np.zeros(size, dtype=bool)
            ids[: len(self._ids)], known[: len(self._known)] = self._ids, self._known
            self._ids, self._known = ids, known
        self._ids[entry.id] = node.id
        self._known[entry.id] = True

    def ids_of(self, local: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
        """The stable ids for ids of the log, and how many of them the log does not hold."""
        largest = int(local.max(initial=0))
        if largest >= len(self._ids):
            inside = np.minimum(local, len(self._ids) - 1)
            known = self._known[inside] & (local < len(self._ids))
            ids = np.where(known, self._ids[inside], UNKNOWN_CONTEXT_ID)
        else:
            known, ids = self._known[local], self._ids[local]
        unknown = len(local) - int(np.count_nonzero(known))
        if unknown:
            self.add_special(UNKNOWN_CONTEXT_NAME, Kind.OP)
        return ids, unknown

    def counted_operator(self, local: int) -> str | None:
        """The operator's name if its floating-point operations are to be counted, None if an outer one has them."""
        node = self._nodes.get(local)
        return node.text if node is not None and node.counts_flops else None

    def to_arrow(self) -> pa.Table:
        """All contexts as the columns of :data:`deepseek_prof.trace.schema.CONTEXTS`, with layer names made unique.

        Where two roots have a layer of the same name, the layers of both are prefixed with ``Root.``.
        """
        if self._table is None or self._table.num_rows < len(self._rows):  # rows only come
            self._table = self._make_table()
        return self._table

    def _make_table(self) -> pa.Table:
        ambiguous = {root for roots in self._roots_of_layer.values() if len(roots) > 1 for root in roots}

        def layer_name(node: _Node) -> str:
            is_root = node.layer is None
            return f"{node.root}.{node.text}" if not is_root and node.root in ambiguous else node.text

        names, types, layers = [], [], []
        for node in self._rows.values():
            layer = node if node.kind is Kind.LAYER else node.layer
            names.append(layer_name(node) if node.kind is Kind.LAYER else node.text)
            types.append(operator_type(node.text, node.kind))
            layers.append(None if layer is None else layer_name(layer))
        rows = self._rows.values()
        return pa.table(
            {
                "context_id": [node.id for node in rows],
                "parent_id": [node.parent_id or None for node in rows],
                "depth": [node.depth for node in rows],
                "kind": [node.kind.label for node in rows],
                "name": names,
                "type": types,
                "layer": layers,
                "phase": [node.phase.label for node in rows],
            },
            schema=CONTEXTS,
        )
