"""Self time by operator of the captured calls, as torch's profiler sees it. Standard library and torch only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def by_operator(call_all: Callable[[], Any], device: str, repeats: int) -> dict[str, tuple[float, float]]:
    """Self time in ns and count of each operator or kernel, per run of ``call_all``.

    On CUDA the kernels' own time, elsewhere the operators'.
    """
    from torch.profiler import ProfilerActivity, profile

    on_cuda = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities) as profiler:
        for _ in range(repeats):
            call_all()
        if on_cuda:
            torch.cuda.synchronize()
    found = {}
    for each in profiler.key_averages():
        self_us = each.self_device_time_total if on_cuda else each.self_cpu_time_total
        if self_us:
            found[str(each.key)] = (self_us * 1e3 / repeats, each.count / repeats)
    return found
