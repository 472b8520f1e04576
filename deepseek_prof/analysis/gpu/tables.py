"""Time of accelerators by layer, operator, operator type and kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.aggregate import ContextSum, ContextTree
from deepseek_prof.analysis.devices import NOT_LAUNCHED, launching_operator
from deepseek_prof.analysis.gpu.compiled import KernelLayers
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

    def add(self, each: ContextSum, part: float = 1.0) -> None:
        """Count the work of a context, or a part of its time."""
        ns = round(each.dur_ns * part)
        self.count += each.count
        self.ns += ns
        self.max_ns = max(self.max_ns, each.max_ns)
        self.forward_ns += ns if each.node.phase == "forward" else 0
        self.backward_ns += ns if each.node.phase == "backward" else 0
        if each.node.kind == "kernel" and uses_tensor_cores(each.node.name):
            self.tensor_core_ns += ns


def gpu_rows(work: Sequence[ContextSum], tree: ContextTree, by: str) -> tuple[GpuRow, ...]:
    """The groups of ``work``, sums of kernels, copies and memsets, the largest first; ``by`` is any of :data:`BY` but
    ``layer``."""
    groups: dict[str, GpuRow] = {}
    for each in work:
        if by == "kernel":
            name, kind = each.node.name, each.node.type
        else:
            operator = launching_operator(each, tree)
            name, kind = NOT_LAUNCHED, ""
            if operator is not None:
                name, kind = operator.type if by == "type" else operator.name, operator.type
        groups.setdefault(name, GpuRow(name, kind)).add(each)
    return _sorted(groups, work)


def layer_rows(
    work: Sequence[ContextSum], everything: Sequence[ContextSum], tree: ContextTree, compiled: KernelLayers
) -> tuple[GpuRow, ...]:
    """The layers that ``work`` was done for, the largest first.

    ``everything`` holds the host's spans too: layers nest as they were called. Inside a compiled region no layer is
    called; of its kernels ``compiled`` tells the layers.
    """
    chains = layer_chains(in_layers(everything), tree).around
    groups: dict[str, GpuRow] = {}
    for each in work:
        parts = dict.fromkeys(chains.get((each.rank, each.pid, each.node.context_id), ()), 1.0)
        parts = {**compiled.get((each.rank, each.node.name), {}), **parts} or {OUTSIDE_LAYERS: 1.0}
        for name, part in parts.items():
            groups.setdefault(name, GpuRow(name)).add(each, part)
    return _sorted(groups, work)


def _sorted(groups: dict[str, GpuRow], work: Sequence[ContextSum]) -> tuple[GpuRow, ...]:
    total_ns = sum(each.dur_ns for each in work) or 1
    for row in groups.values():
        row.share = row.ns / total_ns
    return tuple(sorted(groups.values(), key=lambda row: (-row.ns, row.name)))
