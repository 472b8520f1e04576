"""The little of accelerators that the report and the TUI's first screen show: idle time, overlap, tensor cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.aggregate import ContextSum, ContextTree, context_sums, has_devices, has_evicted
from deepseek_prof.analysis.gpu.idle import DeviceTime, Overlap, device_time, overlaps
from deepseek_prof.analysis.gpu.tensor_cores import uses_tensor_cores
from deepseek_prof.analysis.gpu.work import timelines
from deepseek_prof.analysis.steps import common_warmup, read_steps
from deepseek_prof.analysis.window import Selection, select
from deepseek_prof.trace.run import Condition, Run

_WORK_KINDS = frozenset({"kernel", "memcpy", "memset"})
_ARITHMETIC = frozenset({"matmul", "conv", "attention"})


@dataclass(frozen=True)
class TensorCoreUse:
    """Kernel time by what the kernels' names say of tensor cores; ``arithmetic`` is that of matrix products,
    convolutions and attention, which could use them."""

    kernel_ns: int
    using_ns: int
    unknown_ns: int
    arithmetic_ns: int
    arithmetic_using_ns: int


@dataclass(frozen=True)
class GpuOverview:
    """``devices`` and ``overlaps`` have entries for each device of each rank."""

    devices: tuple[DeviceTime, ...]
    overlaps: tuple[Overlap, ...]
    tensor_cores: TensorCoreUse


@dataclass(frozen=True)
class SelectedWork:
    """The work of accelerators that is looked at, by context; ``sums`` has the host's beside it."""

    selection: Selection
    tree: ContextTree
    sums: Sequence[ContextSum]
    work: Sequence[ContextSum]


def selected_work(run: Run, condition: Condition | None = None) -> SelectedWork | None:
    """What ran in the steady steps of ``run``, or what ``condition`` selects; None without work of accelerators.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    if not has_devices(run):
        return None
    tree = ContextTree.of(run)
    steps = read_steps(run)
    selection = select(run, steps, common_warmup(steps), evicted=has_evicted(run), condition=condition)
    sums = context_sums(run, tree, selection.where, selection.params)
    work = [each for each in sums if each.device is not None and each.node.kind in _WORK_KINDS]
    return SelectedWork(selection, tree, sums, work) if work else None


def gpu_overview(run: Run) -> GpuOverview | None:
    """What accelerators did in the steady steps of ``run``; None where it holds no work of theirs.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    found = selected_work(run)
    if found is None:
        return None
    lines = timelines(run, found.selection.where, found.selection.params)
    return GpuOverview(
        devices=tuple(device_time(line) for line in lines),
        overlaps=tuple(each for line in lines for each in overlaps(line)),
        tensor_cores=tensor_core_use(found.work),
    )


def tensor_core_use(work: Sequence[ContextSum]) -> TensorCoreUse:
    """What the names of the kernels among ``work`` say."""
    kernels = [each for each in work if each.node.kind == "kernel"]
    arithmetic = [each for each in kernels if each.node.type in _ARITHMETIC]
    return TensorCoreUse(
        sum(each.dur_ns for each in kernels),
        sum(each.dur_ns for each in kernels if uses_tensor_cores(each.node.name)),
        sum(each.dur_ns for each in kernels if uses_tensor_cores(each.node.name) is None),
        sum(each.dur_ns for each in arithmetic),
        sum(each.dur_ns for each in arithmetic if uses_tensor_cores(each.node.name)),
    )
