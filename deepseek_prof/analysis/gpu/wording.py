"""What is known of accelerators as short lines for people, the same in the command, the report and the TUI."""

from __future__ import annotations

from deepseek_prof.analysis.gpu.idle import DeviceTime, Overlap
from deepseek_prof.analysis.gpu.launches import LaunchStats
from deepseek_prof.analysis.gpu.overview import GpuOverview, TensorCoreUse
from deepseek_prof.analysis.gpu.summary import CopyRow, GpuSummary
from deepseek_prof.text import clean, count, duration, percent, size

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def device_label(rank: int, device: str) -> str:
    """``rank 3 cuda:3``."""
    return f"rank {rank} {clean(device, 40)}"


def rate(per_second: float, unit: str) -> str:
    """A rate with three figures: ``12.3 TFLOP/s``."""
    scale, prefix = next(((scale, prefix) for scale, prefix in _PREFIXES if per_second >= scale), (1.0, ""))
    return f"{per_second / scale:.3g} {prefix}{unit}"


def time_parts(each: DeviceTime) -> list[tuple[str, int, bool]]:
    """The parts of a device's time that are not nothing: what, nanoseconds, and whether it is idle meanwhile."""
    parts = [
        ("arithmetic", each.compute_ns, False),
        ("communication alone", each.exposed_communication_ns, False),
        ("copies alone", each.exposed_copy_ns, False),
        ("idle: launch-bound", each.launch_ns, True),
        ("idle: waiting for data", each.data_ns, True),
        ("idle: synchronisation", each.sync_ns, True),
        ("idle: launched but not started", each.start_ns, True),
        ("idle: launch not seen", each.unknown_ns, True),
    ]
    return [part for part in parts if part[1]]


def idle_line(each: DeviceTime) -> str:
    """``idle 16 %: launch-bound 12 %, …``, of a device's time; what is exposed beside arithmetic follows."""
    extent = each.extent_ns or 1
    parts = time_parts(each)
    idle = ", ".join(
        f"{label.removeprefix('idle: ')} {percent(ns / extent)}" for label, ns, is_idle in parts if is_idle
    )
    alone = [f"{label} {percent(ns / extent)}" for label, ns, is_idle in parts[1:] if not is_idle]
    text = f"{device_label(each.rank, each.device)}: idle {percent(each.idle_ns / extent)}"
    return " · ".join([text + (f" ({idle})" if idle else ""), *alone])


def gpu_lines(found: GpuOverview) -> tuple[str, ...]:
    """The most important of it: idle time, overlap of communication, tensor cores."""
    idle = [idle_line(each) for each in found.devices]
    communication = [overlap_line(each) for each in found.overlaps if each.kind == "communication"]
    return (*idle, *communication, f"tensor cores: {tensor_core_line(found.tensor_cores)}")


def overlap_line(each: Overlap) -> str:
    """How much of the communication or the copies is hidden behind arithmetic."""
    return (
        f"{device_label(each.rank, each.device)} {each.kind}: {duration(each.total_ns)}, of which "
        f"{percent(each.hidden_ns / (each.total_ns or 1))} beside arithmetic and {duration(each.exposed_ns)} exposed"
    )


def launch_lines(each: LaunchStats) -> list[str]:
    """Latencies and the queue of a device."""
    missing = f", {each.not_seen:,} not seen" if each.not_seen else ""
    latency = (
        f"{device_label(each.rank, each.device)}: launches: {each.count:,}{missing}; from call to start "
        f"median {duration(each.p50_ns)}, p90 {duration(each.p90_ns)}, p99 {duration(each.p99_ns)}, "
        f"max {duration(each.max_ns)}"
    )
    delay = (
        f"of that, not behind earlier work of the stream: median {duration(each.delay_p50_ns)}, "
        f"p99 {duration(each.delay_p99_ns)}"
    )
    queue = (
        f"queue: {count(round(each.mean_queue, 1))} on average, at most {each.max_queue:,}, "
        f"empty {percent(each.empty_share)} of the time; over time:"
    )
    return [latency, delay, queue]


def tensor_core_line(use: TensorCoreUse) -> str:
    """The share of kernel time in tensor cores, and of that which could be."""
    whole = f"{percent(use.using_ns / (use.kernel_ns or 1))} of kernel time"
    if use.arithmetic_ns:
        whole += (
            f"; {percent(use.arithmetic_using_ns / use.arithmetic_ns)} of the {duration(use.arithmetic_ns)} in matrix "
            "products, convolutions and attention"
        )
    if use.unknown_ns:
        whole += f"; {percent(use.unknown_ns / (use.kernel_ns or 1))} in kernels whose names do not tell"
    return whole


def copy_line(each: CopyRow) -> str:
    """A kind of copy with what it moved."""
    line = f"{clean(each.name, 60)}: {each.count:,} in {duration(each.ns)}"
    if each.bytes is None or each.bytes_per_s is None:
        return line
    return f"{line}, {size(each.bytes)}, {rate(each.bytes_per_s, 'B/s')}"


def peaks_line(found: GpuSummary) -> str:
    """What the roofline compares with."""
    if found.peaks is None:
        return "the peaks of this device are not known; bytes are those of the tensors given"
    peaks = ", ".join(f"{name} {rate(value, 'FLOP/s')}" for name, value in found.peaks.flops.items())
    return f"{found.peaks.name}: {peaks}, {rate(found.peaks.bandwidth, 'B/s')}"
