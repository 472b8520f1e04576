"""What the figures of a GPU must keep to, and the table of it; nothing here needs a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.statistics import estimate

FULL_RATIO = 1.05
LIGHT_RATIO = 1.01
PROFILER_SHARE = 0.5
TOTALS_SHARE = 0.01
EAGER_LAYER_SHARE = 0.98
COMPILED_LAYER_SHARE = 0.90
MEMORY_GROWTH = 0.02
_WARM_SHARE = 0.25
"""Of the time over which memory is watched, what it may still take to fill caches."""


@dataclass(frozen=True)
class Check:
    """One line of the table. ``passed`` is None for what could not be measured here, and ``note`` says why."""

    subject: str
    bar: str
    found: str
    passed: bool | None
    note: str = ""


def missing(subject: str, bar: str, why: str) -> Check:
    """A line for what was not measured."""
    return Check(subject, bar, "not measured", None, why)


def ratio_check(subject: str, rounds: Sequence[Mapping[str, float]], arm: str, limit: float) -> Check:
    """The ratio of an arm's steps to bare ones of the same round, by the median of the rounds."""
    found = estimate([each[arm] / each["bare"] for each in rounds])
    text = f"{found.median:.3f} × ({found.low:.3f} to {found.high:.3f}, {found.rounds} rounds)"
    bare_ms = median(each["bare"] for each in rounds) * 1e3
    return Check(subject, f"≤ {limit:g} × bare", text, found.median <= limit, f"bare {bare_ms:.2f} ms a step")


def added_check(subject: str, rounds: Sequence[Mapping[str, float]]) -> Check:
    """What recording adds to a step, against what ``torch.profiler`` adds."""
    ours = estimate([each["full"] - each["bare"] for each in rounds]).median
    theirs = estimate([each["profiler"] - each["bare"] for each in rounds]).median
    text = f"{ours * 1e6:.0f} µs of {theirs * 1e6:.0f} µs"
    return Check(subject, "≤ half of torch.profiler's added time", text, ours <= PROFILER_SHARE * max(theirs, 0.0))


def totals_checks(subject: str, ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[Check]:
    """Kernels a step and their time a step, against ``torch.profiler``'s."""
    checks = []
    for key, what, scale, unit in (
        ("kernels", "kernels a step", 1.0, ""),
        ("kernel_ns", "kernel time a step", 1e-6, " ms"),
    ):
        share = abs(ours[key] - theirs[key]) / theirs[key] if theirs[key] else float("inf")
        text = f"{ours[key] * scale:.3f}{unit}, torch.profiler {theirs[key] * scale:.3f}{unit}"
        checks.append(Check(f"{subject}: {what}", "within 1 %", text, share <= TOTALS_SHARE))
    return checks


def layer_check(subject: str, ours: Mapping[str, float], limit: float) -> Check:
    """The share of kernel time in forward and backward that carries a layer; an optimizer has none."""
    found = ours["in_layer_ns"] / ours["model_ns"] if ours["model_ns"] else 0.0
    whole = ours["in_layer_ns"] / ours["kernel_total_ns"] if ours["kernel_total_ns"] else 0.0
    note = f"of forward and backward; {whole:.1%} of all kernels, the optimizer's included"
    return Check(f"{subject}: kernel time with a layer", f"≥ {limit:.0%}", f"{found:.1%}", found >= limit, note)


def memory_check(subject: str, resident: Sequence[Sequence[float]]) -> Check:
    """Whether the resident size of the program grows, from (seconds, bytes)."""
    bar = f"grows ≤ {MEMORY_GROWTH:.0%} in 5 minutes"
    if len(resident) < 8:
        return missing(subject, bar, f"{len(resident)} samples are too few")
    seconds = resident[-1][0]
    steady = [size for at_s, size in resident if at_s >= seconds * _WARM_SHARE]
    third = max(len(steady) // 3, 1)
    before, after = median(steady[:third]), median(steady[-third:])
    growth = after / before - 1
    note = "" if seconds >= 290 else f"over {seconds:.0f} s: shorter than 5 minutes, for lack of time"
    return Check(subject, bar, f"{growth:+.2%} of {before / 2**20:.0f} MiB", growth <= MEMORY_GROWTH, note)


def conv_pool_checks(found: Sequence[Mapping[str, Any]]) -> list[Check]:
    """The fused kernel against cuDNN and pooling."""
    return [
        Check(
            f"convolution, ReLU and pooling in Triton, {each['dtype'].removeprefix('torch.')}",
            f"error ≤ {each['tolerance']:g}, one launch",
            f"error {each['error']:.1e}, {each['launches']} launches (cuDNN: {each['reference_launches']})",
            each["error"] <= each["tolerance"] and each["launches"] == 1,
            f"{each['fused_ms']:.3f} ms, cuDNN and pooling {each['reference_ms']:.3f} ms",
        )
        for each in found
    ]


def markdown(gpu: str, versions: str, checks: Sequence[Check]) -> str:
    """The table for ``docs/benchmarks.md``."""
    verdicts = {True: "yes", False: "**no**", None: "–"}
    lines = [
        f"### {gpu}",
        "",
        versions,
        "",
        "| what | bar | found | kept | note |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        "| " + " | ".join(_cell(text) for text in (c.subject, c.bar, c.found, verdicts[c.passed], c.note)) + " |"
        for c in checks
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
