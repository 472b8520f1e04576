"""How metrics are called outside: base units and names as Prometheus and OpenTelemetry want them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deepseek_prof.interfaces import CounterSample

PREFIX = "deepseek_prof"
_UNITS = {
    "ns": ("seconds", 1e-9, "s"),
    "us": ("seconds", 1e-6, "s"),
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

DESCRIPTIONS = {
    "rss": "Sum of the resident sets of the program's processes",
    "cpu": "CPU time of the program's processes over wall time; above 1 for several cores",
    "step_latency_p50": "Median duration of a step over the last 10 seconds",
    "step_latency_p90": "90th percentile of the duration of a step over the last 10 seconds",
    "step_latency_p99": "99th percentile of the duration of a step over the last 10 seconds",
    "request_latency_p50": "Median duration of a call of the root modules over the last 10 seconds",
    "request_latency_p90": "90th percentile of the duration of a call of the root modules over the last 10 seconds",
    "request_latency_p99": "99th percentile of the duration of a call of the root modules over the last 10 seconds",
    "throughput_steps": "Steps that ended a second",
    "throughput_samples": "Samples a second that the root module was called with",
    "throughput_tokens": "Tokens a second that the root module was called with",
}
"""Of the metrics that we make ourselves."""


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
    suffix, factor, ucum = _UNITS.get(sample.unit, (_legal(sample.unit), 1.0, sample.unit))
    body = _legal(sample.name)
    # A name that says its unit already, such as grad_norm_ratio, is not to say it twice.
    parts = [PREFIX, body] + ([suffix] if suffix and not f"_{body}".endswith(f"_{suffix}") else [])
    about = DESCRIPTIONS.get(sample.name) or f"{sample.name} as published" + (f", in {ucum}" if ucum != "1" else "")
    labels = [("device", sample.device), ("rank", str(sample.rank))]
    if body != sample.name:
        labels.append(("name", sample.name))  # two names may become one
    return ExportedMetric("_".join(parts), sample.value * factor, ucum, _written(about), _pairs(labels))


def _legal(text: str) -> str:
    return re.sub(r"_+", "_", re.sub(r"[^a-zA-Z0-9_]", "_", text)).strip("_") or "unnamed"


def _pairs(labels: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((key, _written(value)) for key, value in labels)


def _written(text: str) -> str:
    """Names are data of the program: what UTF-8 cannot hold is replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
