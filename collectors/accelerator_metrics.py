"""Memory of accelerators that no driver library samples from outside: told by torch, in the program's process."""

from __future__ import annotations

import time

from deepseek_prof.collectors.devices import Device, devices
from deepseek_prof.collectors.metric_log import MetricLog

SOURCE = "torch"
PERIOD_NS = 1_000_000_000
_SAMPLED_OUTSIDE = ("cpu", "cuda")


class AcceleratorMetrics:
    """Once a second at most, where the program is between two operators anyway."""

    def __init__(self, log: MetricLog) -> None:
        self._log = log
        self._devices: list[Device] | None = None
        self._due_ns = 0

    def poll(self) -> None:
        """Write what the devices tell now, if that is due."""
        now_ns = time.monotonic_ns()
        if now_ns < self._due_ns or self._devices == []:
            return
        self._due_ns = now_ns + PERIOD_NS
        if self._devices is None:
            self._devices = [each for each in devices() if each.type not in _SAMPLED_OUTSIDE]
        for device in self._devices:
            for name, value in device.metrics().items():
                self._log.add(SOURCE, name, value, "bytes", device=device.label)
