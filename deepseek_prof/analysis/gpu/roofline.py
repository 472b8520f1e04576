"""What operators achieve on a device against its peaks: bound by arithmetic, by memory, or by neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from deepseek_prof.analysis.aggregate import ContextNode, ContextSum, ContextTree
from deepseek_prof.analysis.device_peaks import DevicePeaks
from deepseek_prof.analysis.gpu.tensor_cores import uses_tensor_cores
from deepseek_prof.analysis.groups import is_operator
from deepseek_prof.trace.run import Run

LOW_SHARE = 0.10
"""Below this share of either peak neither bounds the operator: its work is too small, or waits."""
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "fp16"}


@dataclass(frozen=True)
class RooflineRow:
    """An operator with its tensors' precision. ``bytes`` are those of the tensors it is given: what it writes is not
    known, so that the share of the bandwidth is a lower bound."""

    name: str
    precision: str
    """Key of :attr:`DevicePeaks.flops`; empty where the data type has none there."""
    count: int
    ns: int
    """Of the device, on what the operator started."""
    flops: int
    bytes: int
    flops_per_s: float
    bytes_per_s: float
    compute_share: float | None
    """Of the peak; None without a figure for the device and precision, or without counted operations."""
    memory_share: float | None
    bound: str
    """``compute``, ``memory``, ``neither``; empty where the device's peaks are not known."""


@dataclass
class _Group:
    contexts: set[tuple[int, int, int]] = field(default_factory=set)
    ns: int = 0
    tensor_core_ns: int = 0


def roofline(
    run: Run,
    where: str,
    params: Sequence[Any],
    work: Sequence[ContextSum],
    tree: ContextTree,
    peaks: DevicePeaks | None,
) -> tuple[RooflineRow, ...]:
    """Operators with known operations or bytes (``run --record full``, or traces with shapes), by device time.

    ``where`` selects the operators' spans; ``work`` is what they started, all on devices with these ``peaks``.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    rows = run.rows(
        "SELECT rank, pid, context_id, count(*), coalesce(sum(flops), 0)::BIGINT, coalesce(sum(bytes), 0)::BIGINT, "
        f"mode(split_part(shapes, '[', 1)) FROM spans WHERE ({where}) AND device IS NULL AND (flops > 0 OR bytes > 0) "
        "GROUP BY ALL",
        params,
    )
    known = {tuple(row[:3]): row[3:] for row in rows}
    groups: dict[tuple[str, str], _Group] = {}
    for each in work:
        node = _measured(each, tree, known)
        if node is None or each.node.kind != "kernel" or each.node.type == "collective":
            continue
        key = (each.rank, each.pid, node.context_id)
        group = groups.setdefault((node.name, known[key][3] or ""), _Group())
        group.contexts.add(key)
        group.ns += each.dur_ns
        group.tensor_core_ns += each.dur_ns if uses_tensor_cores(each.node.name) else 0
    found = [
        _row(name, dtype, group, [known[key] for key in group.contexts], peaks)
        for (name, dtype), group in groups.items()
        if group.ns
    ]
    return tuple(sorted(found, key=lambda row: (-row.ns, row.name)))


def _measured(each: ContextSum, tree: ContextTree, known: dict[tuple[Any, ...], tuple[Any, ...]]) -> ContextNode | None:
    """The operator that a kernel's work is measured by: the nearest with counted operations, else with bytes."""
    above = [
        node
        for node in tree.ancestors(each.rank, each.pid, each.node)
        if is_operator(node) and (each.rank, each.pid, node.context_id) in known
    ]
    counted = (node for node in above if known[each.rank, each.pid, node.context_id][1])
    return next(counted, above[0] if above else None)


def _row(
    name: str, dtype: str, group: _Group, measured: Sequence[tuple[Any, ...]], peaks: DevicePeaks | None
) -> RooflineRow:
    flops, size_bytes = sum(each[1] for each in measured), sum(each[2] for each in measured)
    precision = "fp8" if dtype.startswith("float8") else _PRECISIONS.get(dtype, "")
    if precision == "fp32" and group.tensor_core_ns > group.ns / 2:
        precision = "tf32"  # the only way in which tensor cores take float32
    flops_per_s, bytes_per_s = flops * 1e9 / group.ns, size_bytes * 1e9 / group.ns
    peak = None if peaks is None else peaks.flops.get(precision)
    compute = flops_per_s / peak if peak and flops else None
    memory = bytes_per_s / peaks.bandwidth if peaks is not None else None
    bound = ""
    if memory is not None:
        largest = max(memory, compute or 0.0)
        bound = "neither" if largest < LOW_SHARE else "compute" if largest == compute else "memory"
    return RooflineRow(
        name,
        precision,
        sum(each[0] for each in measured),
        group.ns,
        flops,
        size_bytes,
        flops_per_s,
        bytes_per_s,
        compute,
        memory,
        bound,
    )
