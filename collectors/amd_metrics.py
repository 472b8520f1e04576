"""What AMD's driver tells of its GPUs, once a second, from the parent (``amdsmi``, extra ``amd`` or ROCm's own)."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deepseek_prof.collectors.nvidia_metrics import visible_devices
from deepseek_prof.interfaces import CounterSample

DRIVER = Path("/dev/kfd")
"""There with AMD's compute driver only."""
_MIB = 1 << 20


class AmdMetrics:
    """All GPUs that the program may use, by torch's name for them, ``cuda:N``. What a GPU does not tell is absent."""

    name = "amd_metrics"
    interval_s = 1.0

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._questions: list[tuple[str, str, Callable[[], Iterator[tuple[str, Any, str]]]]] | None = None

    def sample(self, root_pid: int, ranks: Mapping[int, int]) -> Iterator[CounterSample]:
        """The present values; nothing without AMD's driver. A question that is refused is asked no more."""
        if self._questions is None:
            self._questions = self._find() if DRIVER.exists() else []
        if not self._questions:
            return
        import amdsmi

        for question in list(self._questions):
            device, subject, ask = question
            try:
                for name, value, unit in ask():
                    if isinstance(value, int | float):  # else "N/A"
                        yield CounterSample(time.time_ns(), 0, device, name, float(value), unit)
            except amdsmi.AmdSmiException as error:
                self._questions.remove(question)
                self.warnings.append(f"{device} does not tell {subject}: {error}")

    def _find(self) -> list[tuple[str, str, Callable[[], Iterator[tuple[str, Any, str]]]]]:
        if find_spec("amdsmi") is None:
            self.warnings.append("AMD GPUs are not sampled: amdsmi is not installed; pip install 'deepseek-prof[amd]'")
            return []
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints where ROCm's library is missing
                import amdsmi

            amdsmi.amdsmi_init()
            handles = amdsmi.amdsmi_get_processor_handles()
        except Exception as error:  # noqa: BLE001  # what its import raises depends on the version
            self.warnings.append(f"AMD GPUs are not sampled: {type(error).__name__}: {error}")
            return []
        visible = os.environ.get("HIP_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES"))
        chosen = [handles[index] for index in visible_devices([""] * len(handles), visible)]
        return [
            (f"cuda:{ordinal}", subject, ask)
            for ordinal, handle in enumerate(chosen)
            for subject, ask in _questions(amdsmi, handle).items()
        ]


def _questions(smi: Any, handle: Any) -> dict[str, Callable[[], Iterator[tuple[str, Any, str]]]]:
    def activity() -> Iterator[tuple[str, Any, str]]:
        found = smi.amdsmi_get_gpu_activity(handle)
        yield "gpu_utilisation", found["gfx_activity"], "percent"
        yield "memory_busy", found["umc_activity"], "percent"

    def memory() -> Iterator[tuple[str, Any, str]]:
        found = smi.amdsmi_get_gpu_vram_usage(handle)
        yield "memory_used", found["vram_used"] * _MIB, "bytes"
        yield "memory_total", found["vram_total"] * _MIB, "bytes"

    def power() -> Iterator[tuple[str, Any, str]]:
        found = smi.amdsmi_get_power_info(handle)
        told = [found.get(key) for key in ("current_socket_power", "average_socket_power")]
        yield "power", next((watts for watts in told if isinstance(watts, int) and watts), "N/A"), "W"

    def temperature() -> Iterator[tuple[str, Any, str]]:
        place, which = smi.AmdSmiTemperatureType.HOTSPOT, smi.AmdSmiTemperatureMetric.CURRENT
        yield "temperature", smi.amdsmi_get_temp_metric(handle, place, which), "C"

    def clocks() -> Iterator[tuple[str, Any, str]]:
        for name, kind in (("sm_clock", smi.AmdSmiClkType.GFX), ("memory_clock", smi.AmdSmiClkType.MEM)):
            yield name, smi.amdsmi_get_clock_info(handle, kind)["clk"], "MHz"

    return {"activity": activity, "memory": memory, "power": power, "temperature": temperature, "clocks": clocks}
