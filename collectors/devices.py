"""The devices that torch computes on: their names, what can be recorded and measured of them, memory, peaks.

What a device cannot tell is None or not in the list, never zero. ``cuda`` is torch's name for NVIDIA's and AMD's GPUs.
Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, supported_activities

from deepseek_prof.analysis.device_peaks import DevicePeaks, peaks_of


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes. ``allocated`` is in tensors of this process, ``reserved`` what its allocator holds for them."""

    total: int | None = None
    free: int | None = None
    allocated: int | None = None
    reserved: int | None = None


class Device:
    """One device. A subclass is a kind of device: it is what this file must learn to support another one."""

    type: str
    """As in ``torch.device``."""
    activity: str | None = None
    """The activity of ``torch.profiler`` that records the device's own work."""
    measured_by: str
    """Where its metrics come from."""

    def __init__(self, index: int = 0) -> None:
        self.index = index

    @classmethod
    def count(cls) -> int:
        """How many the program can use."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """``cuda:0``: the ``device`` of its spans and counters."""
        return f"{self.type}:{self.index}"

    def name(self) -> str | None:
        """As the maker calls it."""
        return None

    def activities(self) -> tuple[str, ...]:
        """What can be recorded with this device: the host's operators, and its own kernels where torch can."""
        supported = {each.name for each in supported_activities()}
        wanted = [ProfilerActivity.CPU.name, *([self.activity] if self.activity else [])]
        return tuple(name for name in wanted if name in supported)

    def memory(self) -> DeviceMemory:
        """The present state. Asks the device, which makes a program begin to use it."""
        return DeviceMemory()

    def metrics(self) -> dict[str, int]:
        """Counters in bytes that this process alone can tell, without waiting for the device."""
        memory = self.memory()
        return _told(memory.allocated, memory.reserved)

    def peaks(self) -> DevicePeaks | None:
        """What it can do at most, from the table of data sheets."""
        name = self.name()
        return None if name is None else peaks_of(name)

    def describe(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        peaks = self.peaks()
        return {
            "device": self.label,
            "name": self.name(),
            "activities": list(self.activities()),
            "measured_by": self.measured_by,
            "metrics": sorted(self.metrics()),
            "memory": {key: value for key, value in asdict(self.memory()).items() if value is not None},
            "peaks": None if peaks is None else {"flops": dict(peaks.flops), "bandwidth": peaks.bandwidth},
        }


class Cpu(Device):
    """The host's processors, as one device."""

    type = "cpu"
    measured_by = "psutil"

    @classmethod
    def count(cls) -> int:
        """One."""
        return 1

    @property
    def label(self) -> str:
        """Without a number."""
        return "cpu"

    def name(self) -> str | None:
        """From ``/proc/cpuinfo``: ARM's processors have no name there."""
        try:
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # the first line only
                return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), None)
        except OSError:
            return None

    def memory(self) -> DeviceMemory:
        """Of the whole machine."""
        page = os.sysconf("SC_PAGE_SIZE")
        return DeviceMemory(total=os.sysconf("SC_PHYS_PAGES") * page, free=os.sysconf("SC_AVPHYS_PAGES") * page)


class _TorchDevice(Device):
    """A device whose module in torch, such as ``torch.xpu``, has the functions of ``torch.cuda``."""

    @classmethod
    def module(cls) -> Any:
        """``torch.cuda`` and its like; None where this torch has none."""
        return getattr(torch, cls.type, None)

    @classmethod
    def count(cls) -> int:
        """Without beginning to use one."""
        module = cls.module()
        return int(module.device_count()) if module is not None and module.is_available() else 0

    def name(self) -> str | None:
        """As the driver says it."""
        name = self._ask("get_device_name")
        return None if name is None else str(name)

    def memory(self) -> DeviceMemory:
        """Of this device, with the part of this process."""
        free, total = self._ask("mem_get_info") or (None, None)
        return DeviceMemory(total, free, self._ask("memory_allocated"), self._ask("memory_reserved"))

    def metrics(self) -> dict[str, int]:
        """Nothing before the program uses the device. Asks torch's allocator only, not the device itself."""
        begun = getattr(self.module(), "is_initialized", None)
        if begun is not None and not begun():
            return {}
        return _told(self._ask("memory_allocated"), self._ask("memory_reserved"))

    def _ask(self, function: str) -> Any:
        ask: Callable[[int], Any] | None = getattr(self.module(), function, None)
        try:
            return None if ask is None else ask(self.index)
        except (RuntimeError, AttributeError, NotImplementedError):  # this device, or this version, does not tell
            return None


class Cuda(_TorchDevice):
    """NVIDIA's GPUs, and AMD's with ROCm, which torch calls by the same names."""

    type = "cuda"
    activity = "CUDA"
    measured_by = "amdsmi" if torch.version.hip else "NVML"


class Xpu(_TorchDevice):
    """Intel's GPUs."""

    type = "xpu"
    activity = "XPU"
    measured_by = "torch.xpu"


class Hpu(_TorchDevice):
    """Intel's Gaudi, with ``habana_frameworks`` imported."""

    type = "hpu"
    activity = "HPU"
    measured_by = "torch.hpu"


class Mps(Device):
    """Apple's GPUs: one, whose memory is the host's."""

    type = "mps"
    measured_by = "torch.mps"

    @classmethod
    def count(cls) -> int:
        """One or none."""
        return int(torch.backends.mps.is_available())

    def memory(self) -> DeviceMemory:
        """``total`` is what Metal recommends to stay below."""
        return DeviceMemory(
            total=torch.mps.recommended_max_memory(),
            allocated=torch.mps.current_allocated_memory(),
            reserved=torch.mps.driver_allocated_memory(),
        )


def _told(allocated: int | None, reserved: int | None) -> dict[str, int]:
    told = {"memory_allocated": allocated, "memory_reserved": reserved}
    # Nothing reserved: the process has not used this device.
    return {name: value for name, value in told.items() if value is not None and reserved != 0}


KINDS: tuple[type[Device], ...] = (Cpu, Cuda, Xpu, Hpu, Mps)


def devices() -> list[Device]:
    """All that this process can use, the CPU first."""
    return [kind(index) for kind in KINDS for index in range(kind.count())]
