"""How metrics are called outside: base units and names as Prometheus and OpenTelemetry want them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from deepseek_prof.interfaces import CounterSample

PREFIX = "deepseek_prof"
_MAX_NAME, _MAX_UNIT = 150, 63
"""Of our parts of a name; with prefix and unit OpenTelemetry takes 255 characters, and units of 63 in ASCII."""
_UNITS = {
    "ns": ("seconds", 1e-9, "s"),
    "us": ("seconds", 1e-6, "s"),
    "µs": ("seconds", 1e-6, "s"),
    "ms": ("seconds", 1e-3, "s"),
    "s": ("seconds", 1.0, "s"),
    "bytes": ("bytes", 1.0, "By"),
    "bytes/s": ("bytes_per_second", 1.0, "By/s"),
    "percent": ("ratio", 0.01, "1"),
    "1/s": ("per_second", 1.0, "1/s"),
    "W": ("watts", 1.0, "W"),
    "MHz": ("hertz", 1e6, "Hz"),
    "Hz": ("hertz", 1.0, "Hz"),
    "C": ("celsius", 1.0, "Cel"),
    "": ("", 1.0, "1"),
}
"""Of our units: the end of a Prometheus name, the factor to the base unit, and the base unit in UCUM."""

KNOWN = {
    "rss": ("bytes", "Sum of the resident sets of the program's processes"),
    "cpu": ("percent", "CPU time of the program's processes over wall time; above 1 for several cores"),
    "disk_read": ("bytes/s", "What the program's processes read from disks"),
    "disk_write": ("bytes/s", "What the program's processes write to disks"),
    "network_rx": ("bytes/s", "What the machine receives over the network"),
    "network_tx": ("bytes/s", "What the machine sends over the network"),
    "step_latency_p50": ("ns", "Median duration of a step over the last 10 seconds"),
    "step_latency_p90": ("ns", "90th percentile of the duration of a step over the last 10 seconds"),
    "step_latency_p99": ("ns", "99th percentile of the duration of a step over the last 10 seconds"),
    "request_latency_p50": ("ns", "Median duration of the calls of root modules over the last 10 seconds"),
    "request_latency_p90": ("ns", "90th percentile of the duration of calls of root modules over the last 10 seconds"),
    "request_latency_p99": ("ns", "99th percentile of the duration of calls of root modules over the last 10 seconds"),
    "throughput_steps": ("1/s", "Steps that ended a second"),
    "throughput_samples": ("1/s", "Samples a second that the root module was called with"),
    "throughput_tokens": ("1/s", "Tokens a second that the root module was called with"),
    "loss": ("", "The loss of the last step"),
    "gpu_utilisation": ("percent", "Share of the time in which a kernel ran"),
    "sm_activity": ("percent", "Share of the streaming multiprocessors that had work"),
    "sm_occupancy": ("percent", "Share of the warps that streaming multiprocessors could hold"),
    "tensor_activity": ("percent", "Share of the time in which tensor cores worked"),
    "dram_bandwidth": ("percent", "Share of the bandwidth of the device's memory that was used"),
    "memory_busy": ("percent", "Share of the time in which the device's memory was read or written"),
    "memory_used": ("bytes", "Memory of the device that is in use"),
    "power": ("W", "Power that the device draws"),
    "temperature": ("C", "Temperature of the device"),
    "sm_clock": ("MHz", "Clock of the streaming multiprocessors"),
    "pcie_tx": ("bytes/s", "What the device sends over PCIe"),
    "pcie_rx": ("bytes/s", "What the device receives over PCIe"),
    "nvlink_tx": ("bytes/s", "What the device sends over NVLink"),
    "nvlink_rx": ("bytes/s", "What the device receives over NVLink"),
}
"""Unit and meaning of the usual metrics. Others are exported in the same way, without a text of their own."""


@dataclass(frozen=True)
class ExportedMetric:
    """A sample in base units. ``name`` is legal in both formats."""

    name: str
    value: float
    unit: str
    """In UCUM, as OpenTelemetry has it."""
    help: str
    labels: tuple[tuple[str, str], ...]


def exported(sample: CounterSample) -> ExportedMetric:
    """Name, scale and label a sample of the hub."""
    own_suffix = _legal(sample.unit, "")[:_MAX_UNIT]
    fits = sample.unit.isascii() and len(sample.unit) <= _MAX_UNIT
    suffix, factor, ucum = _UNITS.get(sample.unit, (own_suffix, 1.0, sample.unit if fits else own_suffix))
    body = _legal(sample.name)[:_MAX_NAME]
    # A name that says its unit already, such as grad_norm_ratio, is not to say it twice.
    parts = [PREFIX, body] + ([suffix] if suffix and not f"_{body}".endswith(f"_{suffix}") else [])
    known_unit, known = KNOWN.get(sample.name, ("", ""))
    about = known if known and known_unit == sample.unit else f"{sample.name} as published"
    labels = [("device", sample.device), ("rank", str(sample.rank))]
    if body != sample.name:
        labels.append(("name", sample.name))  # two names may become one
    return ExportedMetric("_".join(parts), sample.value * factor, ucum, _written(about), _pairs(labels))


def latest_by_name(samples: Iterable[CounterSample]) -> dict[str, list[ExportedMetric]]:
    """The last samples of series by exported name; of series that become one, the newest."""
    found: dict[str, dict[tuple[tuple[str, str], ...], ExportedMetric]] = {}
    for sample in sorted(samples, key=lambda sample: sample.ts_ns):
        metric = exported(sample)
        found.setdefault(metric.name, {})[metric.labels] = metric
    return {name: list(series.values()) for name, series in found.items()}


def _legal(text: str, empty: str = "unnamed") -> str:
    return re.sub(r"_+", "_", re.sub(r"[^a-zA-Z0-9_]", "_", text)).strip("_") or empty


def _pairs(labels: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((key, _written(value)) for key, value in labels)


def _written(text: str) -> str:
    """Names are data of the program: what UTF-8 cannot hold is replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
