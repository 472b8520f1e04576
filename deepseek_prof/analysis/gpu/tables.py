"""Time of accelerators by layer, operator, operator type and kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.aggregate import ContextSum, ContextTree
from deepseek_prof.analysis.devices import NOT_LAUNCHED, launching_operator
from deepseek_prof.analysis.gpu.tensor_cores import uses_tensor_cores
from deepseek_prof.analysis.groups import OUTSIDE_LAYERS, in_layers, layer_chains

BY = ("layer", "operator", "type", "kernel")


@dataclass
class GpuRow:
    """Work of one group. ``ns`` adds over streams and ranks; ``share`` is of all selected work.

    By layer, a layer has the work of its sub-layers too, so that shares add up to more than one.
    """

    name: str
    type: str = ""
    count: int = 0
    ns: int = 0
    share: float = 0.0
    forward_ns: int = 0
    backward_ns: int = 0
    max_ns: int = 0
    tensor_core_ns: int = 0
    """In kernels whose name says that they use tensor cores."""

    def add(self, each: ContextSum) -> None:
        """Count the work of a context."""
        self.count += each.count
        self.ns += each.dur_ns
        self.max_ns = max(self.max_ns, each.max_ns)
        self.forward_ns += each.dur_ns if each.node.phase == "forward" else 0
        self.backward_ns += each.dur_ns if each.node.phase == "backward" else 0
        if each.node.kind == "kernel" and uses_tensor_cores(each.node.name):
            self.tensor_core_ns += each.dur_ns


def gpu_rows(
    work: Sequence[ContextSum], everything: Sequence[ContextSum], tree: ContextTree, by: str
) -> tuple[GpuRow, ...]:
    """The groups of ``work``, sums of kernels, copies and memsets, the largest first; ``by`` is one of :data:`BY`.

    ``everything`` holds the host's spans too: layers nest as they were called.
    """
    chains = layer_chains(in_layers(everything), tree).around if by == "layer" else {}
    groups: dict[str, GpuRow] = {}
    for each in work:
        operator = None if by in ("layer", "kernel") else launching_operator(each, tree)
        if by == "layer":
            names = chains.get((each.rank, each.pid, each.node.context_id), (OUTSIDE_LAYERS,))
        elif by == "kernel":
            names = (each.node.name,)
        elif operator is None:
            names = (NOT_LAUNCHED,)
        else:
            names = (operator.type if by == "type" else operator.name,)
        kind = each.node.type if by == "kernel" else "" if operator is None else operator.type
        for name in names:
            groups.setdefault(name, GpuRow(name, kind)).add(each)
    total_ns = sum(each.dur_ns for each in work) or 1
    for row in groups.values():
        row.share = row.ns / total_ns
    return tuple(sorted(groups.values(), key=lambda row: (-row.ns, row.name)))
