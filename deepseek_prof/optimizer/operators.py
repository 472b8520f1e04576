"""Self time by operator of the captured calls, as torch's profiler sees it. Standard library and torch only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from deepseek_prof.optimizer.device import wait


def by_operator(call_all: Callable[[], Any], device: str, repeats: int) -> dict[str, tuple[float, float]]:
    """Self time in ns and count of each operator or kernel, per run of ``call_all``.

    On CUDA the kernels' own time, elsewhere the operators'.
    """
    profiler = profiler_of(device)
    with profiler:
        for _ in range(repeats):
            call_all()
        wait(device)
    return totals(profiler, device, repeats)


def profiler_of(device: str) -> torch.profiler.profile:
    """A profiler of the device's kernels and the host's operators, not started."""
    from torch.profiler import ProfilerActivity, profile

    return profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])])


def totals(profiler: torch.profiler.profile, device: str, repeats: int) -> dict[str, tuple[float, float]]:
    """What a stopped profiler saw, for one of ``repeats``: self time in ns and count by operator or kernel."""
    found = {}
    for each in profiler.key_averages():
        self_us = each.self_device_time_total if device == "cuda" else each.self_cpu_time_total
        if self_us:
            found[str(each.key)] = (self_us * 1e3 / repeats, each.count / repeats)
    return found
