"""Values of scalar tensors, read as bits: an operator would be recorded, and one on a device be waited for."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch

Then = Callable[[float, int], None]
"""Takes a value and when it was told (CLOCK_MONOTONIC, ns)."""

MAX_WAITING = 64
"""Copies from devices that may be on their way; past it values are left out."""
_ASYNCHRONOUS = ("cuda", "xpu")
"""Devices with events that can be asked without waiting, and copies to pinned memory."""
_C_TYPES: dict[torch.dtype, Any] = {
    torch.float64: ctypes.c_double,
    torch.float32: ctypes.c_float,
    torch.float16: ctypes.c_uint16,
    torch.bfloat16: ctypes.c_uint16,
}


class ScalarReader:
    """Reads scalars of the computer's memory at once, those of accelerators when their copy has arrived."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._waiting: deque[tuple[Any, torch.Tensor, int, Then]] = deque()
        self._free: dict[tuple[torch.device, torch.dtype], list[tuple[Any, torch.Tensor]]] = {}

    def read(self, tensor: Any, then: Then) -> None:
        """Call ``then`` with the value of ``tensor``, now or in a later :meth:`poll`; never for what is no scalar."""
        if (
            type(tensor) not in (torch.Tensor, torch.nn.Parameter)
            or tensor.numel() != 1
            or tensor.dtype not in _C_TYPES
        ):
            return
        if tensor.device.type == "cpu":
            value = value_in_memory(tensor)
            if value is not None:
                then(value, time.monotonic_ns())
        elif tensor.device.type in _ASYNCHRONOUS and len(self._waiting) < MAX_WAITING:
            self._begin_copy(tensor, then)

    def poll(self) -> None:
        """Hand on what has arrived."""
        self._leave_to_parent()
        while self._waiting:
            event, held, told_ns, then = self._waiting[0]
            if _is_capturing(event.device) or not event.query():  # to ask an event would break the capture
                return
            try:
                self._waiting.popleft()
            except IndexError:  # taken by another thread between the two
                return
            value = value_in_memory(held)
            self._free.setdefault((event.device, held.dtype), []).append((event, held))
            if value is not None:
                then(value, told_ns)

    def finish(self) -> None:
        """The program is at its end: wait for the rest. Raises what a device that has failed makes torch raise."""
        self._leave_to_parent()
        for event, _, _, _ in list(self._waiting):
            event.synchronize()
        self.poll()

    def _leave_to_parent(self) -> None:
        """In a fork, forget the copies that the parent waits for: its devices cannot be asked here."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._waiting.clear()
            self._free.clear()

    def _begin_copy(self, tensor: torch.Tensor, then: Then) -> None:
        if _is_capturing(tensor.device):
            return  # a copy would become a part of the program's graph
        free = self._free.setdefault((tensor.device, tensor.dtype), [])
        enable = torch._C._autograd._enable_record_function
        enable(False)  # what we do is no operator of the program
        try:
            # Outside the program's modes: what is made in inference mode could not be used again outside it.
            with torch.inference_mode(False), torch.no_grad():
                event, held = free.pop() if free else self._make(tensor)
                held.copy_(tensor.detach().reshape(()), non_blocking=True)
            event.record(torch.accelerator.current_stream(tensor.device))
        finally:
            enable(True)
        self._waiting.append((event, held, time.monotonic_ns(), then))

    @staticmethod
    def _make(tensor: torch.Tensor) -> tuple[Any, torch.Tensor]:
        held = torch.empty((), dtype=tensor.dtype, device="cpu", pin_memory=True)  # the program's default may differ
        return torch.Event(device=tensor.device), held


def _is_capturing(device: torch.device) -> bool:
    """Whether this thread records a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def value_in_memory(tensor: torch.Tensor) -> float | None:
    """The value of a floating-point scalar in the computer's memory; None where it has no memory of its own."""
    try:
        address = tensor.data_ptr()
    except RuntimeError:  # as under torch.func
        return None
    if not address:
        return None
    raw = _C_TYPES[tensor.dtype].from_address(address).value
    if tensor.dtype is torch.bfloat16:  # the upper half of a float32
        return float(struct.unpack("<f", struct.pack("<I", raw << 16))[0])
    if tensor.dtype is torch.float16:
        return float(struct.unpack("<e", struct.pack("<H", raw))[0])
    return float(raw)
