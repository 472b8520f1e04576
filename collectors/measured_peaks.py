"""What a device reaches at its best: ``python -m deepseek_prof.collectors.measured_peaks [DEVICE]`` prints it as JSON.

Large square matrix products for FLOP/s, a large copy for bytes a second (it reads and writes each once); of several
rounds the fastest. Needs torch and the standard library.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

_ROUNDS = 5
_SIZE = 8192
_COPY_BYTES = 1 << 30


def measure(device: torch.device, size: int = _SIZE, copy_bytes: int = _COPY_BYTES) -> dict[str, Any]:
    """``name``, ``flops`` (FLOP/s by precision: ``fp32``, ``tf32``, ``fp16``) and ``bandwidth`` (bytes a second).

    Args:
        device: where to measure.
        size: of the matrices, rows and columns.
        copy_bytes: what is copied.
    """
    flops = {"fp32": _products(device, size, torch.float32, tf32=False)}
    if device.type == "cuda":
        flops["tf32"] = _products(device, size, torch.float32, tf32=True)
    flops["fp16"] = _products(device, size, torch.bfloat16, tf32=False)
    source = torch.empty(copy_bytes, dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source)
    seconds = _fastest(device, lambda: target.copy_(source))
    return {"name": _name(device), "flops": flops, "bandwidth": 2 * copy_bytes / seconds}


def _products(device: torch.device, size: int, dtype: torch.dtype, *, tf32: bool) -> float:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty(size, size, device=device, dtype=dtype)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        return float(2 * size**3 / _fastest(device, lambda: torch.mm(left, right, out=out)))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _fastest(device: torch.device, work: Callable[[], Any]) -> float:
    """Seconds of the fastest round, after one that warms up."""
    best = float("inf")
    for number in range(_ROUNDS + 1):
        _finish(device)
        begin = time.perf_counter()
        work()
        _finish(device)
        if number:
            best = min(best, time.perf_counter() - begin)
    return best


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def main() -> None:
    """Measure the device that is named, or the first accelerator."""
    if len(sys.argv) > 1:
        device = torch.device(sys.argv[1])
    elif torch.accelerator.is_available():
        device = torch.device(f"{torch.accelerator.current_accelerator()}:0")
    else:
        sys.exit("torch finds no accelerator on this machine")
    print(json.dumps(measure(device)))


if __name__ == "__main__":
    main()
