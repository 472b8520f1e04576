"""What PyTorch's snapshot of CUDA memory says of each device: allocated, reserved, and how fragmented the rest is.

The format is that of ``torch.cuda.memory._snapshot``: ``segments`` are what the allocator holds of the device, their
``blocks`` what it has given to tensors (``active_allocated``), will get back (``active_pending_free``) or keeps free.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_prof.analysis.cuda_layers import CudaLayer, layers_of
from deepseek_prof.errors import RunDamagedError
from deepseek_prof.trace.run import Run

_PLACE = re.compile(r"rank=(\d{1,9})/pid=(\d{1,10})", re.ASCII)


@dataclass(frozen=True)
class CudaPool:
    """The CUDA memory of one process on one device when the snapshot was taken; sizes in bytes."""

    rank: int
    pid: int
    device: str
    reserved_bytes: int
    allocated_bytes: int
    free_bytes: int
    """Reserved and in no use: what fragmentation costs."""
    largest_free_bytes: int
    """The largest piece that can be had without asking the device for more."""
    free_blocks: int
    history: int
    """Allocations and releases that the snapshot's history holds."""


@dataclass(frozen=True)
class CudaMemory:
    """What the snapshots of a run say: of each process and device, and of the layers there."""

    pools: tuple[CudaPool, ...]
    layers: tuple[CudaLayer, ...]


def cuda_memory(run: Run) -> CudaMemory:
    """Empty for a run without snapshots (``run --memory-snapshot``).

    Raises:
        RunDamagedError: a snapshot cannot be read; names the file.
    """
    pools: list[CudaPool] = []
    layers: list[CudaLayer] = []
    for path in sorted((run.path / "snapshots").glob("rank=*/pid=*/memory-snapshot.pickle")):
        place = _PLACE.fullmatch("/".join(path.parts[-3:-1]))
        if place is None:
            continue
        snapshot, rank, pid = _read(path), int(place[1]), int(place[2])
        try:
            for device in sorted({segment["device"] for segment in snapshot["segments"]}):
                pools.append(_pool(snapshot, device, rank, pid))
                layers += layers_of(snapshot, device, rank, pid)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise RunDamagedError(f"{path} is not a snapshot of CUDA memory: {error!r}.") from error
    return CudaMemory(tuple(pools), tuple(layers))


def _pool(snapshot: Mapping[str, Any], device: int, rank: int, pid: int) -> CudaPool:
    blocks = list(_blocks(snapshot, device))
    free = [size for size, state in blocks if state == "inactive"]
    histories = snapshot.get("device_traces") or []
    return CudaPool(
        rank=rank,
        pid=pid,
        device=f"cuda:{device}",
        reserved_bytes=sum(each["total_size"] for each in snapshot["segments"] if each["device"] == device),
        allocated_bytes=sum(size for size, state in blocks if state == "active_allocated"),
        free_bytes=sum(free),
        largest_free_bytes=max(free, default=0),
        free_blocks=len(free),
        history=len(histories[device]) if device < len(histories) else 0,
    )


def _blocks(snapshot: Mapping[str, Any], device: int) -> Iterator[tuple[int, str]]:
    for segment in snapshot["segments"]:
        if segment["device"] == device:
            yield from ((block["size"], block["state"]) for block in segment["blocks"])


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, numbers and text: a run from elsewhere must not run code here."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it wants {module}.{name}")


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file).load()
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, IndexError, MemoryError) as error:
        raise RunDamagedError(f"{path} is not a snapshot of CUDA memory: {error}.") from error
