"""Memory that this process's tensors and allocator take of accelerators: told by torch, in the program's process."""

from __future__ import annotations

import time

import torch

from deepseek_prof.collectors.devices import KINDS, Cpu, Cuda, Device
from deepseek_prof.collectors.metric_log import MetricLog

SOURCE = "torch"
PERIOD_NS = 1_000_000_000


class AcceleratorMetrics:
    """Once a second at most, where the program is between two operators anyway."""

    def __init__(self, log: MetricLog) -> None:
        self._log = log
        self._devices: list[Device] | None = None
        self._due_ns = 0

    def poll(self) -> None:
        """Write what the devices tell now, if that is due. None of them is waited for."""
        now_ns = time.monotonic_ns()
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + PERIOD_NS
        if self._devices is None:
            kinds = [kind for kind in KINDS if kind not in (Cpu, Cuda)]
            self._devices = [kind(index) for kind in kinds for index in range(kind.count())]
        for device in (*self._devices, *_cuda_devices()):
            for name, value in device.metrics().items():
                self._log.add(SOURCE, name, value, "bytes", device=device.label)


def _cuda_devices() -> list[Cuda]:
    """Not even counted before the program uses CUDA: what it forks later could not use it any more."""
    return [Cuda(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_initialized() else []
