"""What layers held of CUDA memory at its peak, from the history in PyTorch's snapshot and our labels in it.

The history is of one device and holds the latest allocations and releases. A piece that is released in it or alive at
its end without having been allocated in it is older: how large it is, is known, and what made it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.model import LAYER_LABEL

OUTSIDE = "(outside of layers, or backward)"
OLDER = "(older than the history)"


@dataclass(frozen=True)
class CudaLayer:
    """What the forward pass of one layer allocated in one process on one device; sizes in bytes, as asked for."""

    rank: int
    pid: int
    device: str
    name: str
    """The layer; or OUTSIDE, or OLDER."""
    at_peak_bytes: int
    """Of what it held when the device held most, as far as the history goes."""
    allocated_bytes: int
    count: int


def layers_of(snapshot: Mapping[str, Any], device: int, rank: int, pid: int) -> list[CudaLayer]:
    """By what they held at the peak; empty where nothing in the history has a label of ours.

    Raises:
        KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError: it is no snapshot.
    """
    histories = snapshot.get("device_traces") or []
    history: Sequence[Mapping[str, Any]] = histories[device] if device < len(histories) else ()
    if not any(_label(each).startswith(LAYER_LABEL) for each in history if each["action"] == "alloc"):
        return []
    peak, older = _peak(history, dict(_alive(snapshot, device)))
    held: dict[str, int] = {OLDER: older} if older else {}
    pieces: dict[int, tuple[str, int]] = {}
    allocated: dict[str, tuple[int, int]] = {}
    for index, each in enumerate(history):
        if index == peak:
            _add_up(pieces, held)
        if each["action"] == "alloc":
            name, size = _name(each), int(each["size"])
            pieces[each["addr"]] = name, size
            total, count = allocated.get(name, (0, 0))
            allocated[name] = total + size, count + 1
        elif each["action"] == "free_requested":
            pieces.pop(each["addr"], None)
    if peak == len(history):
        _add_up(pieces, held)
    found = [
        CudaLayer(rank, pid, f"cuda:{device}", name, held.get(name, 0), *allocated.get(name, (0, 0)))
        for name in {**held, **allocated}
    ]
    return sorted(found, key=lambda row: (-row.at_peak_bytes, -row.allocated_bytes, row.name))


def _peak(history: Sequence[Mapping[str, Any]], alive: dict[int, int]) -> tuple[int, int]:
    """How many entries of the history come before its peak, and the bytes of older pieces that are alive then.

    ``alive``: the size of each piece at its end, by address.
    """
    known: dict[int, int] = {}
    total = largest = peak = freed = freed_at_peak = 0
    for index, each in enumerate(history, start=1):
        address = each.get("addr")
        if each["action"] == "alloc":
            known[address] = size = int(each["size"])  # type: ignore[index]  # an allocation has an address
            total += size
        elif each["action"] == "free_requested":
            size = known.pop(address, -1)  # type: ignore[arg-type]  # and a release
            if size < 0:
                size = int(each["size"])
                freed += size
            total -= size
        if total > largest:
            largest, peak, freed_at_peak = total, index, freed
    kept = sum(size for address, size in alive.items() if address not in known)
    return peak, kept + freed - freed_at_peak


def _alive(snapshot: Mapping[str, Any], device: int) -> Iterator[tuple[int, int]]:
    for segment in snapshot["segments"]:
        if segment["device"] != device:
            continue
        address = segment["address"]
        for block in segment["blocks"]:
            if block["state"] == "active_allocated":
                yield address, int(block.get("requested_size", block["size"]))
            address += block["size"]


def _add_up(pieces: Mapping[int, tuple[str, int]], held: dict[str, int]) -> None:
    for name, size in pieces.values():
        held[name] = held.get(name, 0) + size


def _name(entry: Mapping[str, Any]) -> str:
    label = _label(entry)
    return label.removeprefix(LAYER_LABEL) if label.startswith(LAYER_LABEL) else OUTSIDE


def _label(entry: Mapping[str, Any]) -> str:
    label = entry.get("user_metadata", "")
    return label if isinstance(label, str) else ""
