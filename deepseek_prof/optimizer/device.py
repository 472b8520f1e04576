"""What is asked of the device: its type, to wait for it, and the most memory at once. Torch only."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch


def device_of(module: torch.nn.Module) -> str:
    """Type of the device of the module's first parameter; ``cpu`` where it has none."""
    first = next(module.parameters(), None)
    return "cpu" if first is None else first.device.type


def wait(device: str) -> None:
    """Wait for what was given to the device; ``cpu`` has done it already."""
    if device == "cuda":
        torch.cuda.synchronize()


def reset_peak(device: str) -> None:
    """Count the most memory from now on."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # another kernel or a sandbox: the peak is then that of the whole process
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes(device: str) -> int:
    """Most memory at once since ``reset_peak``: of the device, on the CPU resident set of the process; 0: unknown."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0
