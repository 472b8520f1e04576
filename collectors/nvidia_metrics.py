"""What NVIDIA's driver tells of its GPUs, once a second, from the parent (NVML through ``nvidia-ml-py``)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from deepseek_prof.collectors.gpm import GpmSampler
from deepseek_prof.interfaces import CounterSample

Reading = tuple[str, float, str]
"""Name, value and unit."""

_TRANSIENT = ("NoData", "NotReady", "Timeout", "InUse")
"""Errors after which the same question may be answered the next time."""
_GONE = ("GpuIsLost", "DriverNotLoaded", "Uninitialized", "LibRmVersionMismatch", "ResetRequired")
_ALL_LINKS = 0xFFFF_FFFF
_THROTTLES = {
    "throttled_power_cap": "nvmlClocksEventReasonSwPowerCap",
    "throttled_power_brake": "nvmlClocksEventReasonHwPowerBrakeSlowdown",
    "throttled_thermal_software": "nvmlClocksEventReasonSwThermalSlowdown",
    "throttled_thermal_hardware": "nvmlClocksEventReasonHwThermalSlowdown",
    "throttled_hardware": "nvmlClocksEventReasonHwSlowdown",
    "throttled_sync_boost": "nvmlClocksEventReasonSyncBoost",
}


class NvidiaMetrics:
    """All GPUs that the program may use, as ``cuda:N``. What a GPU does not tell is absent.

    The performance monitor of Hopper and later (GPM) gives SM, tensor and DRAM activity and the transfers; elsewhere
    ``memory_busy`` is the share of time in which device memory was read or written at all.
    """

    name = "nvidia_metrics"
    interval_s = 1.0

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._devices: list[_Gpu] | None = None

    def sample(self, root_pid: int, ranks: Mapping[int, int]) -> Iterator[CounterSample]:
        """The present values; nothing without an NVIDIA driver."""
        if self._devices is None:
            self._devices = self._find()
        for device in list(self._devices):
            for name, value, unit in device.read():
                yield CounterSample(time.time_ns(), 0, device.name, name, value, unit)
            self.warnings += device.warnings
            device.warnings.clear()
            if device.gone:
                self._devices.remove(device)

    def _find(self) -> list[_Gpu]:
        import pynvml

        try:
            pynvml.nvmlInit()
            uuids = [
                str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)))
                for index in range(pynvml.nvmlDeviceGetCount())
            ]
        except pynvml.NVMLError as error:
            if _kind(error) not in ("LibraryNotFound", "DriverNotLoaded"):  # these: no NVIDIA GPU here
                self.warnings.append(f"NVIDIA GPUs are not sampled: {error}")
            return []
        visible = visible_devices(uuids, os.environ.get("CUDA_VISIBLE_DEVICES"))
        return [_Gpu(f"cuda:{ordinal}", index) for ordinal, index in enumerate(visible)]


class _Gpu:
    """One GPU and the questions that it still answers."""

    def __init__(self, name: str, index: int) -> None:
        import pynvml

        self.name = name
        self.gone = False
        self.warnings: list[str] = []
        self._nvml: Any = pynvml
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        self._links_kib: dict[str, tuple[int, int]] = {}
        self._questions: dict[str, Callable[[], Iterator[Reading]]] = {
            "utilisation": self._utilisation,
            "memory": self._memory,
            "power": self._power,
            "temperature": self._temperature,
            "clocks": self._clocks,
            "throttling": self._throttling,
        }
        try:
            self._gpm: GpmSampler | None = GpmSampler.of(self._nvml, self._handle)
        except pynvml.NVMLError as error:  # an older driver or GPU: what it has instead is asked for below
            self._gpm = None
            if _kind(error) == "NoPermission":
                self.warnings.append(f"{name}: no SM, tensor and DRAM activity: {error}")
        if self._gpm is not None:
            self._questions["activity"] = self._gpm.read
        else:
            self._questions |= {"PCIe": self._pcie, "NVLink": self._nvlink}

    def read(self) -> Iterator[Reading]:
        """All answers; a question that is refused is told of once and asked no more."""
        for subject, ask in list(self._questions.items()):
            try:
                yield from list(ask())
            except self._nvml.NVMLError as error:
                if _kind(error) in _TRANSIENT:
                    continue
                if _kind(error) in _GONE:
                    self.gone = True
                    self.warnings.append(f"{self.name} is sampled no longer: {error}")
                    return
                del self._questions[subject]
                self.warnings.append(f"{self.name} does not tell {subject}: {error}")

    def _utilisation(self) -> Iterator[Reading]:
        rates = self._nvml.nvmlDeviceGetUtilizationRates(self._handle)
        yield "gpu_utilisation", float(rates.gpu), "percent"
        if self._gpm is None:
            yield "memory_busy", float(rates.memory), "percent"

    def _memory(self) -> Iterator[Reading]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        yield "memory_used", float(memory.used), "bytes"
        yield "memory_total", float(memory.total), "bytes"

    def _power(self) -> Iterator[Reading]:
        yield "power", self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000, "W"

    def _temperature(self) -> Iterator[Reading]:
        found = self._nvml.nvmlDeviceGetTemperature(self._handle, self._nvml.NVML_TEMPERATURE_GPU)
        yield "temperature", float(found), "C"

    def _clocks(self) -> Iterator[Reading]:
        for name, clock in (("sm_clock", self._nvml.NVML_CLOCK_SM), ("memory_clock", self._nvml.NVML_CLOCK_MEM)):
            yield name, float(self._nvml.nvmlDeviceGetClockInfo(self._handle, clock)), "MHz"

    def _throttling(self) -> Iterator[Reading]:
        reasons = self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)
        for name, constant in _THROTTLES.items():
            yield name, float(bool(reasons & getattr(self._nvml, constant))), ""

    def _pcie(self) -> Iterator[Reading]:
        nvml = self._nvml
        for name, counter in (("pcie_tx", nvml.NVML_PCIE_UTIL_TX_BYTES), ("pcie_rx", nvml.NVML_PCIE_UTIL_RX_BYTES)):
            yield name, nvml.nvmlDeviceGetPcieThroughput(self._handle, counter) * 1000.0, "bytes/s"

    def _nvlink(self) -> Iterator[Reading]:
        """Rates from the counters of all links, which count KiB since they were set up."""
        nvml = self._nvml
        fields = {
            "nvlink_tx": nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX,
            "nvlink_rx": nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX,
        }
        answers = nvml.nvmlDeviceGetFieldValues(self._handle, [(field, _ALL_LINKS) for field in fields.values()])
        now_ns = time.monotonic_ns()
        for name, answer in zip(fields, answers, strict=True):
            if answer.nvmlReturn != nvml.NVML_SUCCESS:
                raise nvml.NVMLError(answer.nvmlReturn)
            kib = int(answer.value.ullVal)
            before = self._links_kib.get(name)
            self._links_kib[name] = (now_ns, kib)
            if before is not None and now_ns > before[0]:
                yield name, (kib - before[1]) * 1024e9 / (now_ns - before[0]), "bytes/s"


def visible_devices(uuids: list[str], visible: str | None) -> list[int]:
    """The driver's indices in the order of CUDA's, as ``CUDA_VISIBLE_DEVICES`` says: up to the first unknown one.

    With several kinds of GPUs CUDA's own order is the driver's with ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` only.
    """
    if visible is None:
        return list(range(len(uuids)))
    found: list[int] = []
    for text in visible.split(","):
        wanted = text.strip()
        matching = [index for index, uuid in enumerate(uuids) if wanted.startswith("GPU-") and uuid.startswith(wanted)]
        if wanted.isdecimal() and int(wanted) < len(uuids):
            matching = [int(wanted)]
        if len(matching) != 1 or matching[0] in found:
            break
        found += matching
    return found


def _kind(error: Exception) -> str:
    """``GpuIsLost`` for ``NVMLError_GpuIsLost``."""
    return type(error).__name__.removeprefix("NVMLError_")
