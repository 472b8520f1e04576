"""Snapshots of PyTorch's CUDA allocator (``run --memory-snapshot``) for its viewer, https://docs.pytorch.org/memory_viz.

In the profiled process: standard library and torch only. CUDA is not initialized for it: the history begins when the
program does that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deepseek_prof.errors import RecorderError

if TYPE_CHECKING:
    from deepseek_prof.collectors.memory_labels import LayerLabels

FILE_NAME = "memory-snapshot.pickle"
MAX_ENTRIES = 100_000
"""Allocations and releases that the history keeps, the latest ones: some hundreds of MB with their stacks."""


def start_history(warn: Callable[[str], None], labels: LayerLabels | None) -> None:
    """Let PyTorch keep the history of its CUDA allocator from now on, or from the start of CUDA.

    ``warn`` is told where that cannot be done then; ``labels`` begin with the history.

    Raises:
        RecorderError: there is no CUDA here.
    """
    if torch.version.cuda is None:
        raise RecorderError(f"torch {torch.__version__} is built without CUDA; on CPU, use --record full")
    if torch.cuda.device_count() == 0:  # asks NVML: a program that forks later still may
        raise RecorderError("no CUDA device is visible; on CPU, use --record full")

    def initialised() -> None:
        try:
            torch.cuda.memory._record_memory_history("all", context="all", stacks="python", max_entries=MAX_ENTRIES)
            if labels is not None:
                labels.begin()
        except Exception as error:  # noqa: BLE001  # raised here, it would fail the program's own use of CUDA
            warn(f"no memory snapshot: {type(error).__name__}: {error}")

    torch.cuda._lazy_call(initialised)


def dump_snapshot(directory: Path) -> bool:
    """Write the snapshot into the process's folder; False where the program has not used CUDA."""
    if not torch.cuda.is_initialized():
        return False
    torch.cuda.memory._dump_snapshot(str(directory / FILE_NAME))
    torch.cuda.memory._record_memory_history(None)
    return True
