"""A driver for the real ``pynvml``: answers in the place of ``libnvidia-ml.so``, and fails as told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml
import pytest

UUIDS = ("GPU-aaaa-1", "GPU-bbbb-2")


class FakeNvml:
    """Two GPUs without GPM. ``failures`` gives a function of the C library an NVML status."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures: dict[str, int] = {"nvmlGpmQueryDeviceSupport": pynvml.NVML_ERROR_NOT_SUPPORTED}
        self.link_kib = 0
        self.throttle_bits = 0
        monkeypatch.setattr(pynvml, "_LoadNvmlLibrary", lambda: None)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer", self._function)

    def _function(self, name: str) -> Callable[..., int]:
        def call(*args: Any) -> int:
            status = self.failures.get(name, 0)
            if not status:
                getattr(self, f"_{name}", lambda *_: None)(*args)
            return status

        return call

    @staticmethod
    def _nvmlDeviceGetCount_v2(count: Any) -> None:  # noqa: N802  # the C library's names
        count._obj.value = len(UUIDS)

    @staticmethod
    def _nvmlDeviceGetHandleByIndex_v2(index: Any, handle: Any) -> None:  # noqa: N802
        handle._obj.contents = pynvml.struct_c_nvmlDevice_t()
        del index

    def _nvmlDeviceGetUUID(self, handle: Any, text: Any, size: Any) -> None:  # noqa: N802
        del handle, size
        self._asked = (getattr(self, "_asked", -1) + 1) % len(UUIDS)
        text.value = UUIDS[self._asked].encode()

    @staticmethod
    def _nvmlDeviceGetUtilizationRates(handle: Any, rates: Any) -> None:  # noqa: N802
        del handle
        rates._obj.gpu, rates._obj.memory = 70, 30

    @staticmethod
    def _nvmlDeviceGetMemoryInfo(handle: Any, memory: Any) -> None:  # noqa: N802
        del handle
        memory._obj.used, memory._obj.total = 3 << 30, 80 << 30

    @staticmethod
    def _nvmlDeviceGetPowerUsage(handle: Any, milliwatts: Any) -> None:  # noqa: N802
        del handle
        milliwatts._obj.value = 301_500

    @staticmethod
    def _nvmlDeviceGetTemperature(handle: Any, sensor: Any, celsius: Any) -> None:  # noqa: N802
        del handle, sensor
        celsius._obj.value = 61

    @staticmethod
    def _nvmlDeviceGetClockInfo(handle: Any, kind: Any, mhz: Any) -> None:  # noqa: N802
        del handle
        mhz._obj.value = 1980 if kind.value == pynvml.NVML_CLOCK_SM else 2619

    def _nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, reasons: Any) -> None:  # noqa: N802
        del handle
        reasons._obj.value = self.throttle_bits

    @staticmethod
    def _nvmlDeviceGetPcieThroughput(handle: Any, counter: Any, kb_per_s: Any) -> None:  # noqa: N802
        del handle
        kb_per_s._obj.value = 5 if counter.value == pynvml.NVML_PCIE_UTIL_TX_BYTES else 7

    def _nvmlDeviceGetFieldValues(self, handle: Any, count: Any, values: Any) -> None:  # noqa: N802
        del handle
        for index in range(count.value):
            values._obj[index].nvmlReturn = 0
            values._obj[index].value.ullVal = self.link_kib
